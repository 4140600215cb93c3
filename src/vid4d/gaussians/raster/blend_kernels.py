"""Triton: tiles that splats reach, and blending front to back with its gradient.

Blending works on a block of splats and all pixels of a tile at once: splats are the first axis, so that one
thread holds all of a block for its pixels, products along them stay in registers, and a record is read once a
tile. The gradient runs front to back as well: what lies behind a splat is the whole less what lies before it.
Sums over the pixels are matrix products with the pixels' coordinates and gradients.
"""

from __future__ import annotations

import triton
import triton.language as tl

from vid4d.gaussians.raster.project_kernels import ALPHA_MIN, RECORD, four

ALPHA_MAX = tl.constexpr(0.99)
TRANSMITTANCE_MIN = tl.constexpr(1e-4)
SUMS = tl.constexpr(12)
"""Numbers a tile writes for each of its splats, of which ten are used."""


@triton.jit(do_not_specialize=["count", "pairs", "emit"])
def tiles_kernel(
    records,
    radii,
    order,
    ends,
    touched,
    keys,
    owners,
    count,
    pairs,
    emit,
    width,
    height,
    first_key,
    tiles,
    tiles_x,
    TILE: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Counts the tiles that each (view, splat) pair reaches, or with `emit` writes them in the given order.

    One program does both, so that the counts are those that are written. A tile is reached where the ellipse
    in which the splat's alpha is at least ALPHA_MIN covers a pixel of it, give or take a margin.
    ends: of the pairs, where their entries end. keys: first_key + view tiles + tile of every entry.
    owners: its pair.
    """
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = i < pairs
    room, start = tl.zeros([BLOCK], tl.int32), tl.zeros([BLOCK], tl.int64)
    i = i.to(tl.int64)
    if emit > 0:
        i = tl.load(order + i, mask=inside, other=0)
        room = tl.load(touched + i, mask=inside, other=0)
        start = tl.load(ends + i, mask=inside, other=0) - room
    inside &= tl.load(radii + i, mask=inside, other=0.0) > 0
    x, y, l1, l2 = four(records + i * RECORD, inside)
    k, _, limit, _ = four(records + i * RECORD + 4, inside)
    l1, k = tl.where(inside, l1, 1.0), tl.where(inside, k, 1.0)
    key = first_key + (i // count).to(tl.int32) * tiles

    square = l2 * l2 + k
    extent_y = tl.sqrt(limit / k)
    peak = -l2 * tl.sqrt(limit / (k * square))  # dy at the rightmost point of the ellipse
    margin = 0.02 + 4e-6 * (extent_y + tl.sqrt(limit * square / k) / l1)
    row0 = tl.minimum(tl.maximum(tl.ceil(y - extent_y - 0.5 - margin), 0.0), height - 1.0)
    row1 = tl.maximum(tl.minimum(tl.floor(y + extent_y - 0.5 + margin), height - 1.0), 0.0)
    first_row, last_row = row0.to(tl.int32) // TILE, row1.to(tl.int32) // TILE
    rows = tl.where(inside & (row0 <= row1), last_row - first_row + 1, 0)
    n_tiles = tl.zeros([BLOCK], tl.int32)
    for step in range(tl.max(rows, axis=0)):
        tile_y = first_row + step
        low = tl.maximum((tile_y * TILE).to(tl.float32), row0) + 0.5 - y
        high = tl.minimum((tile_y * TILE).to(tl.float32) + (TILE - 1), row1) + 0.5 - y
        at_right = tl.minimum(tl.maximum(peak, low), high)
        at_left = tl.minimum(tl.maximum(-peak, low), high)
        right = (tl.sqrt(tl.maximum(limit - k * at_right * at_right, 0.0)) - l2 * at_right) / l1
        left = (-tl.sqrt(tl.maximum(limit - k * at_left * at_left, 0.0)) - l2 * at_left) / l1
        left = tl.minimum(tl.maximum(tl.ceil(x + left - 0.5 - margin), 0.0), width * 1.0)
        right = tl.maximum(tl.minimum(tl.floor(x + right - 0.5 + margin), width - 1.0), -1.0)
        reached = (step < rows) & (left <= right)
        first_column = left.to(tl.int32) // TILE
        columns = tl.where(reached, right.to(tl.int32) // TILE - first_column + 1, 0)
        if emit > 0:
            for column in range(tl.max(columns, axis=0)):
                here = (column < columns) & (n_tiles + column < room)
                at = start + n_tiles + column
                tl.store(keys + at, key + tile_y * tiles_x + first_column + column, mask=here)
                tl.store(owners + at, i.to(tl.int32), mask=here)
        n_tiles += columns
    if emit == 0:
        tl.store(touched + i, n_tiles, mask=i < pairs)


@triton.jit
def _records(records, ids, entry, end):
    """Records of a block of entries; none is drawn from `end` on."""
    inside = entry < end
    at = records + tl.load(ids + entry, mask=inside, other=0).to(tl.int64) * RECORD
    x, y, l1, l2 = four(at, inside)
    k, opacity, limit, depth = four(at + 4, inside)
    red, green, blue, _ = four(at + 8, inside)
    limit = tl.where(inside, limit, -1.0)
    return x, y, l1, l2, k, opacity, limit, depth, red, green, blue


@triton.jit
def _exp2(x, FAST: tl.constexpr):
    """2^x. FAST: by the card's own instruction, without the steps that keep denormal numbers."""
    if FAST:
        return tl.inline_asm_elementwise(
            "ex2.approx.ftz.f32 $0, $1;", "=f,f", [x], dtype=tl.float32, is_pure=True, pack=1
        )
    else:
        return tl.exp2(x)


@triton.jit
def _inverse(x, FAST: tl.constexpr):
    """1 / x for x that is neither denormal nor huge."""
    if FAST:
        return tl.inline_asm_elementwise(
            "rcp.approx.ftz.f32 $0, $1;", "=f,f", [x], dtype=tl.float32, is_pure=True, pack=1
        )
    else:
        return 1 / x


@triton.jit
def _alphas(x, y, l1, l2, k, opacity, limit, px, py, FAST: tl.constexpr):
    """Opacities of a block of splats at all pixels of a tile, before ALPHA_MAX."""
    dx, dy = px[None, :] - x[:, None], py[None, :] - y[:, None]
    u = l1[:, None] * dx + l2[:, None] * dy
    p = u * u + k[:, None] * dy * dy
    return tl.where(p <= limit[:, None], opacity[:, None] * _exp2(-p, FAST), 0.0)


@triton.jit
def _weights(full, light, FAST: tl.constexpr):
    """Blending weights of a block, alpha / (1 - alpha), and the light behind the block.

    full: alphas before ALPHA_MAX. light: what reaches the block at each pixel. A splat that less than
    TRANSMITTANCE_MIN reaches is not drawn.
    """
    alpha = tl.minimum(full, ALPHA_MAX)
    ratio = alpha * _inverse(1 - alpha, FAST)
    behind = light[None, :] * tl.cumprod(1 - alpha, axis=0)
    weight = behind * ratio
    drawn = behind + weight >= TRANSMITTANCE_MIN
    light = tl.minimum(light, tl.min(tl.where(drawn, behind, 1.0), axis=0))
    return tl.where(drawn, weight, 0.0), tl.where(drawn, ratio, 0.0), light


@triton.jit
def _halves(x):
    """x as the sum of two numbers that TF32 holds: 11 bits each."""
    high = (x.to(tl.int32, bitcast=True) & -8192).to(tl.float32, bitcast=True)
    return high, x - high


@triton.jit
def _pixels(width, tiles_x, tile, TILE: tl.constexpr):
    """Columns and rows of a tile's pixels."""
    pixel = tl.arange(0, TILE * TILE)
    return (tile % tiles_x) * TILE + pixel % TILE, (tile // tiles_x) * TILE + pixel // TILE


@triton.jit
def blend_kernel(
    records,
    ids,
    starts,
    background,
    color,
    alpha,
    depth,
    width,
    height,
    tiles,
    tiles_x,
    TILE: tl.constexpr,
    ENTRIES: tl.constexpr,
    FAST: tl.constexpr,
):
    """Pictures of one tile of one view. starts: of each tile's entries. ids: the entries' records."""
    view, tile = tl.program_id(0) // tiles, tl.program_id(0) % tiles
    column, row = _pixels(width, tiles_x, tile, TILE)
    inside = (column < width) & (row < height)
    px, py = column + 0.5, row + 0.5
    begin = tl.load(starts + tl.program_id(0))
    end = tl.load(starts + tl.program_id(0) + 1)
    light = tl.where(inside, 1.0, 0.0)
    red, green, blue, z = light * 0, light * 0, light * 0, light * 0
    while begin < end:
        entry = begin + tl.arange(0, ENTRIES)
        x, y, l1, l2, k, opacity, limit, d, r, g, b = _records(records, ids, entry, end)
        full = _alphas(x, y, l1, l2, k, opacity, limit, px, py, FAST)
        weight, _, light = _weights(full, light, FAST)
        red += tl.sum(weight * r[:, None], axis=0)
        green += tl.sum(weight * g[:, None], axis=0)
        blue += tl.sum(weight * b[:, None], axis=0)
        z += tl.sum(weight * d[:, None], axis=0)
        begin += ENTRIES
        if tl.max(light, axis=0) < TRANSMITTANCE_MIN:  # nothing gets through at any pixel
            begin = end
    covered = 1 - light
    pixel = (view.to(tl.int64) * height + row) * width + column
    paper = background + view * 3
    tl.store(color + pixel * 3, red + light * tl.load(paper), mask=inside)
    tl.store(color + pixel * 3 + 1, green + light * tl.load(paper + 1), mask=inside)
    tl.store(color + pixel * 3 + 2, blue + light * tl.load(paper + 2), mask=inside)
    tl.store(alpha + pixel, covered, mask=inside)
    tl.store(depth + pixel, z / tl.where(covered > 0, covered, 1.0), mask=inside)


@triton.jit
def blend_backward_kernel(
    records,
    ids,
    places,
    starts,
    color,
    alpha,
    depth,
    grad_color,
    grad_alpha,
    grad_depth,
    sums,
    width,
    height,
    tiles,
    tiles_x,
    TILE: tl.constexpr,
    ENTRIES: tl.constexpr,
    FAST: tl.constexpr,
):
    """Sums over a tile's pixels for each of its splats, written where `places` says.

    With q = -alpha dL/dalpha, and u, v the pixel's place from the tile's middle: q, q u, q v, q u^2, q u v,
    q v^2, and the weights times the gradients of red, green, blue and depth.
    """
    view, tile = tl.program_id(0) // tiles, tl.program_id(0) % tiles
    column, row = _pixels(width, tiles_x, tile, TILE)
    inside = (column < width) & (row < height)
    px, py = column + 0.5, row + 0.5
    begin = tl.load(starts + tl.program_id(0))
    end = tl.load(starts + tl.program_id(0) + 1)
    c = tl.arange(0, 16)
    if begin < end:
        pixel = (view.to(tl.int64) * height + row) * width + column
        gr = tl.load(grad_color + pixel * 3, mask=inside, other=0.0)
        gg = tl.load(grad_color + pixel * 3 + 1, mask=inside, other=0.0)
        gb = tl.load(grad_color + pixel * 3 + 2, mask=inside, other=0.0)
        covered = tl.load(alpha + pixel, mask=inside, other=0.0)
        # depth = sum / alpha
        by_depth = tl.load(grad_depth + pixel, mask=inside, other=0.0)
        gz = by_depth / tl.maximum(covered, 0.5 * ALPHA_MIN)
        far = tl.load(depth + pixel, mask=inside, other=0.0)
        # What all splats and the background bring, as its product with the gradient.
        rest = gz * far - tl.load(grad_alpha + pixel, mask=inside, other=0.0)
        light = 1 - covered
        behind = by_depth * far + light * rest
        behind += gr * tl.load(color + pixel * 3, mask=inside, other=0.0)
        behind += gg * tl.load(color + pixel * 3 + 1, mask=inside, other=0.0)
        behind += gb * tl.load(color + pixel * 3 + 2, mask=inside, other=0.0)

        place = tl.arange(0, TILE * TILE)
        u, v = place % TILE + (0.5 - TILE / 2), place // TILE + (0.5 - TILE / 2)
        u, v, one = u[:, None], v[:, None], c[None, :]
        shape = tl.where(one == 1, u, tl.where(one == 2, v, tl.where(one == 3, u * u, 1.0)))
        shape = tl.where(one == 4, u * v, tl.where(one == 5, v * v, tl.where(one > 5, 0.0, shape)))
        grads = tl.where(one == 6, gr[:, None], tl.where(one == 7, gg[:, None], 0.0))
        grads = tl.where(one == 8, gb[:, None], tl.where(one == 9, gz[:, None], grads))
        grads, grads_low = _halves(grads)

        light = tl.where(inside, 1.0, 0.0)
        while begin < end:
            entry = begin + tl.arange(0, ENTRIES)
            x, y, l1, l2, k, opacity, limit, d, r, g, b = _records(records, ids, entry, end)
            full = _alphas(x, y, l1, l2, k, opacity, limit, px, py, FAST)
            weight, ratio, light = _weights(full, light, FAST)
            value = gr[None, :] * r[:, None] + gg[None, :] * g[:, None] + gb[None, :] * b[:, None]
            value = weight * (value + gz[None, :] * d[:, None])
            hidden = behind[None, :] - tl.cumsum(value, axis=0)
            q = tl.where(full < ALPHA_MAX, hidden * ratio - value, 0.0)
            behind -= tl.sum(value, axis=0)
            # Products of halves, of which the smallest is left out; `shape` needs no second half.
            high, low = _halves(q)
            total = tl.dot(high, shape, input_precision="tf32")
            total = tl.dot(low, shape, total, input_precision="tf32")
            high, low = _halves(weight)
            total = tl.dot(high, grads, total, input_precision="tf32")
            total = tl.dot(low, grads, total, input_precision="tf32")
            total = tl.dot(high, grads_low, total, input_precision="tf32")
            at = tl.load(places + entry, mask=entry < end, other=0)
            address = sums + at[:, None] * SUMS + c[None, :]
            tl.store(address, total, mask=(entry < end)[:, None] & (c < SUMS)[None, :])
            begin += ENTRIES
            if tl.max(light, axis=0) < TRANSMITTANCE_MIN:
                while begin < end:
                    entry = begin + tl.arange(0, ENTRIES)
                    at = tl.load(places + entry, mask=entry < end, other=0)
                    address = sums + at[:, None] * SUMS + c[None, :]
                    tl.store(
                        address,
                        tl.zeros([ENTRIES, 16], tl.float32),
                        mask=(entry < end)[:, None] & (c < SUMS)[None, :],
                    )
                    begin += ENTRIES
