// Reads .v4d files (docs/v4d.md) in browsers, without libraries:
//   const header = await readV4D((await fetch("asset.v4d")).body, (splats) => { ... });
// source: a ReadableStream of bytes. onChunk is called as soon as a chunk has arrived, in the order in which splats
// begin to be seen: { first, count, begin, end, columns }. columns: numbers of the chunk's splats by name, Float32Array.
// All that can be seen at a time has arrived once every chunk has whose begin is not after that time.
export async function readV4D(source, onChunk) {
  const reader = source.getReader();
  let held = new Uint8Array(0);
  const take = async (size) => {
    while (held.length < size) {
      const { value, done } = await reader.read();
      if (done) throw new Error("This .v4d file is cut off.");
      const longer = new Uint8Array(held.length + value.length);
      longer.set(held);
      longer.set(value, held.length);
      held = longer;
    }
    const taken = held.subarray(0, size);
    held = held.subarray(size);
    return taken;
  };
  const start = new DataView((await take(12)).slice().buffer);
  if (start.getUint32(0) !== 0x56344453) throw new Error("This is no .v4d file.");
  if (start.getUint32(4, true) !== 1) throw new Error("This .v4d file is of another version.");
  const header = JSON.parse(new TextDecoder().decode(await take(start.getUint32(8, true))));
  let first = 0;
  for (const chunk of header.chunks) {
    const stream = new Blob([await take(chunk.bytes)]).stream().pipeThrough(new DecompressionStream("deflate"));
    const bytes = new Uint8Array(await new Response(stream).arrayBuffer()), n = chunk.count, columns = {};
    const size = header.columns.reduce((sum, { bits }) => sum + (bits > 8 ? 2 * n : n), 0);
    if (bytes.length !== size) throw new Error("This .v4d file is damaged.");
    let at = 0;
    for (const { name, bits, low, high, log, delta } of header.columns) {
      const values = new Float32Array(n), step = (high - low) / (2 ** bits - 1), wide = bits > 8;
      for (let i = 0, word = 0; i < n; i++) {
        const read = bytes[at + i] | (wide ? bytes[at + n + i] << 8 : 0);
        word = delta ? (word + read) & 65535 : read;
        const number = low + word * step;
        values[i] = log ? Math.exp(number) : number;
      }
      at += wide ? 2 * n : n;
      columns[name] = values;
    }
    onChunk({ first, count: n, begin: chunk.begin, end: chunk.end, columns });
    first += n;
  }
  return header;
}
