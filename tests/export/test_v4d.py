"""The asset in one small file: read back by Python, by a reader of the tests, and by Node."""

from __future__ import annotations

import json
import shutil
import struct
import subprocess
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from exported import asset_of, tumbling
from readers_splats import V4D

import vid4d
from vid4d.errors import InputError
from vid4d.export.formats import export
from vid4d.export.moving import MovingGaussians, moving
from vid4d.export.splats import ellipsoids
from vid4d.export.v4d import CHUNK, Column, packed, read_v4d, unpacked
from vid4d.gaussians import sh as harmonics
from vid4d.gaussians.model import Gaussians3D

MODULE = Path(vid4d.__file__).parent / "export" / "v4d.js"


def one_splat(**changes) -> MovingGaussians:
    """At (0.1, 0.2, 0.3) at time 0.5, upright, deviation 0.1, half opaque, grey, 0.4 a clip upwards."""
    splat = MovingGaussians(
        torch.tensor([0.5]),
        torch.tensor([[0.1, 0.2, 0.3]]),
        torch.tensor([[0.0, 0, 0.4]]),
        torch.tensor([[0.01, 0.02, 0.03]]),
        torch.tensor([[1.0, 0, 0, 0]]),
        torch.tensor([0.1]),
        torch.tensor([0.5]),
        harmonics.from_rgb(torch.tensor([[0.5, 0.5, 0.5]]))[:, None, None],
    )
    return replace(splat, **changes)


def test_a_file_of_one_splat_byte_by_byte():
    data = packed(one_splat(), seconds=2.0, elevation=12.0)
    assert data[:8] == b"V4DS\x01\0\0\0"
    (length,) = struct.unpack_from("<I", data, 8)
    header = json.loads(data[12 : 12 + length])
    assert {k: header[k] for k in ("count", "seconds", "cyclic", "harmonics", "fourier", "elevation")} == {
        **{"count": 1, "seconds": 2.0, "cyclic": False, "harmonics": 1, "fourier": 1, "elevation": 12.0}
    }
    names = [column["name"] for column in header["columns"]]
    assert names == [
        *("t", "x", "y", "z", "dx", "dy", "dz", "deviation", "sx", "sy", "sz", "q", "q0", "q1", "q2"),
        *("opacity", "sh_0_0_0", "sh_0_0_1", "sh_0_0_2"),
    ]
    assert [column["bits"] for column in header["columns"]] == [
        *(16, 14, 14, 14, 12, 12, 12, 10, 7, 7, 7, 2, 8, 8, 8, 10, 8, 8, 8)
    ]
    (chunk,) = header["chunks"]
    assert chunk["count"] == 1
    assert (chunk["begin"], chunk["end"]) == pytest.approx((0.5 - 0.2448, 0.5 + 0.2448), abs=1e-4)
    raw = zlib.decompress(data[12 + length :])
    # A column with one value has the word 0; then q is w, its others in the middle, half opaque.
    # 512 of 1,023 in two bytes.
    assert raw == bytes(14) + bytes(5) + bytes([0, 128, 128, 128, 0, 2]) + bytes(3)
    assert chunk["bytes"] == len(data) - 12 - length


def seen(splats: Gaussians3D) -> Gaussians3D:
    """Those that are there, in an order of their own."""
    mask = splats.opacities > 0.01
    order = mask.nonzero()[:, 0][splats.means[mask][:, 0].argsort()]
    parts = (splats.means, splats.covariances, splats.opacities, splats.sh)
    return Gaussians3D(*(part[order].double() for part in parts))


@pytest.mark.parametrize(("cyclic", "moment"), [(False, 0.37), (True, 0.97)])
def test_three_readers_agree_within_the_steps(tmp_path, cyclic, moment):
    """Python's reader and the tests' own to the last digit, both with the asset within the header's steps."""
    gaussians = tumbling(degree=1, fourier=2)
    asset = asset_of(tmp_path, gaussians, seconds=2.0, cyclic=cyclic)
    (path,) = export(asset, "v4d")
    assert path.name == "asset.v4d"
    read, own = read_v4d(path), V4D(path.read_bytes())
    assert (read.header.seconds, read.splats.cyclic) == (2.0, cyclic)
    ours, theirs = read.splats.at(moment), own.at(moment)
    torch.testing.assert_close(ours.means.double(), theirs.means, rtol=0, atol=1e-6)
    torch.testing.assert_close(ours.covariances.double(), theirs.covariances, rtol=1e-4, atol=1e-9)
    torch.testing.assert_close(ours.opacities.double(), theirs.opacities, rtol=0, atol=1e-5)
    torch.testing.assert_close(ours.sh.double(), theirs.sh, rtol=0, atol=1e-5)
    back, expected = seen(ours), seen(replace(gaussians, cyclic=cyclic).at(moment))
    assert len(back) == len(expected) > 5
    step = {column.name: column.step for column in read.header.columns}
    # Half a step of place, and of what it moves in up to 2.45 deviations.
    assert (back.means - expected.means).abs().max() < step["x"] + 2 * step["dx"] + 1e-3
    scales, expected_scales = (ellipsoids(s.covariances)[0] for s in (back, expected))
    np.testing.assert_allclose(np.log(scales), np.log(expected_scales), atol=step["sx"] / 2 + 5e-3)
    assert (back.opacities - expected.opacities).abs().max() < 0.03
    assert (back.sh - expected.sh).abs().max() < 2 * max(step[n] for n in step if n.startswith("sh")) + 0.02


def test_every_number_is_within_half_a_step():
    """Splat by splat: the order of a file with one chunk is that of the times."""
    splats = moving(tumbling(degree=0))
    read = unpacked(packed(splats))
    expected = splats.select(splats.times.argsort())
    step = {column.name: column.step / 2 + 1e-6 for column in read.header.columns}
    assert (read.splats.times - expected.times).abs().max() <= step["t"]
    assert (read.splats.means - expected.means).abs().max() <= max(step[a] for a in "xyz")
    assert (read.splats.scales.log() - expected.scales.log()).abs().max() <= max(step[f"s{a}"] for a in "xyz")
    assert (read.splats.deviations.log() - expected.deviations.log()).abs().max() <= step["deviation"]
    assert (read.splats.opacities - expected.opacities).abs().max() <= step["opacity"]
    assert (read.splats.sh - expected.sh).abs().max() <= max(step[f"sh_0_0_{c}"] for c in range(3))
    turned = (read.splats.rotations * expected.rotations).sum(1).abs()
    assert turned.min() > 1 - 2 * (3 * step["q0"] ** 2)  # 1 - (angle / 2)^2 / 2, three components off


def test_chunks_come_in_the_order_in_which_they_are_needed():
    """Splats that live briefly all over the clip; at a time, those that are there have arrived."""
    n = 3 * CHUNK
    many = one_splat()
    many = many.select(torch.zeros(n, dtype=torch.long))
    rng = torch.Generator().manual_seed(0)
    many = replace(many, times=torch.rand(n, generator=rng), deviations=torch.full((n,), 0.02))
    file = V4D(packed(many))
    begins = [chunk["begin"] for chunk in file.header["chunks"]]
    assert begins[0] == 0
    assert begins == sorted(begins)
    assert begins[1] == pytest.approx(1 / 3, abs=0.07)
    needed = sum(begin <= 0.4 for begin in begins) * CHUNK
    assert needed == 2 * CHUNK
    there = file.at(0.4).opacities > 0
    assert there[:needed].sum() > 100
    assert not there[needed:].any()


def test_a_loop_needs_what_is_seen_at_its_seam_first():
    both = one_splat().select(torch.tensor([0, 0]))
    both = replace(both, times=torch.tensor([0.6, 0.95]), cyclic=True)
    file = V4D(packed(both))
    assert (file.header["chunks"][0]["begin"], file.header["chunks"][0]["end"]) == (0, 1)
    assert (file.at(0.02).opacities > 0).tolist() == [False, True]


def test_no_splats_are_a_file_too():
    none = one_splat().select(torch.zeros(0, dtype=torch.long))
    assert len(unpacked(packed(none)).splats) == 0


def test_a_fifth_of_a_sequence_at_most(tmp_path):
    """Noise, which nothing compresses: 40 splats with their header, and 4,000."""
    asset = asset_of(tmp_path, tumbling(4000, degree=0), seconds=1.0)
    (small,) = export(asset, "v4d")
    sequence = export(asset, "ply", tmp_path / "plys")
    assert len(sequence) == 25
    assert small.stat().st_size < sum(f.stat().st_size for f in sequence) / 5


def header_with(**changes):
    """What changes a file's header, at its top or, of `column_NAME`, in a column."""

    def change(data: bytes) -> bytes:
        (length,) = struct.unpack_from("<I", data, 8)
        header = json.loads(data[12 : 12 + length])
        for key, value in changes.items():
            column = next((c for c in header["columns"] if key == f"column_{c['name']}"), None)
            (header if column is None else column).update(value if column else {key: value})
        text = json.dumps(header).encode()
        return data[:8] + struct.pack("<I", len(text)) + text + data[12 + length :]

    return change


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda d: b"PK" + d[2:], "is no .v4d file"),
        (lambda d: d[:4] + b"\x02" + d[5:], "has format version 2, this program reads 1"),
        (lambda d: d[:-20], "is damaged or cut off"),
        (lambda d: d[:200], "is damaged or cut off"),
        (lambda d: d[:10], "is no .v4d file"),
        (lambda d: d.replace(b'"opacity"', b'"opaciti"'), "has no column 'opacity'"),
        (lambda d: d.replace(b'"bits":16', b'"bits":17'), "bits"),
        (lambda d: d[:-2], "is damaged or cut off"),
        (lambda d: d[:-1] + bytes([d[-1] ^ 1]), "is damaged or cut off"),
        (header_with(count=1 << 24), "numbers are read: export an asset with fewer"),
        (header_with(count=39), "is damaged or cut off"),
        (header_with(elevation=float("nan")), "is damaged or cut off"),
        (header_with(axes="y-up"), "axes"),
        (header_with(column_q={"high": 400.0}), "is damaged or cut off"),
        (header_with(column_q={"bits": 1}), "is damaged or cut off"),
        (header_with(column_x={"name": "y"}), "is damaged or cut off"),
        (header_with(column_sx={"high": 1e6}), "is damaged or cut off"),
        (header_with(column_deviation={"low": -1e6, "high": -1e6}), "is damaged or cut off"),
        (header_with(column_opacity={"high": 2.0}), "is damaged or cut off"),
    ],
)
def test_damaged_files_are_refused_in_a_sentence(tmp_path, damage, said):
    path = tmp_path / "a.v4d"
    path.write_bytes(damage(packed(moving(tumbling()))))
    with pytest.raises(InputError) as refused:
        read_v4d(path)
    assert said in str(refused.value)
    with pytest.raises(InputError, match="there is no"):
        read_v4d(tmp_path / "b.v4d")


def test_steps_by_hand():
    assert Column("x", 2, -1.0, 2.0).step == 1.0


def test_the_module_reads_what_python_wrote(tmp_path):
    """In Node, from a stream that comes in small pieces; the numbers are those of the tests' reader."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("no Node on this machine")
    (tmp_path / "a.v4d").write_bytes(packed(moving(tumbling(100, degree=1)), seconds=1.5))
    fewer = header_with(column_opacity={"bits": 8})((tmp_path / "a.v4d").read_bytes())
    (tmp_path / "other.v4d").write_bytes(fewer)
    (tmp_path / "v4d.mjs").write_text(MODULE.read_text(encoding="utf-8"), encoding="utf-8")
    (tmp_path / "run.mjs").write_text("""
import { readFileSync } from "node:fs";
import { readV4D } from "./v4d.mjs";
const bytes = new Uint8Array(readFileSync("a.v4d"));
let at = 0;
const pieces = new ReadableStream({ pull(to) {
  if (at >= bytes.length) to.close(); else to.enqueue(bytes.slice(at, (at += 777)));
} });
const columns = {};
let count = 0;
const header = await readV4D(pieces, (chunk) => {
  if (chunk.first !== count) throw new Error("out of order");
  count += chunk.count;
  for (const [name, values] of Object.entries(chunk.columns)) (columns[name] ??= []).push(...values);
});
console.log(JSON.stringify({ count, seconds: header.seconds, columns }));
const failed = [];
for (const bad of [bytes.slice(0, 3000), readFileSync("other.v4d")]) {
  try { await readV4D(new Blob([bad]).stream(), () => {}); } catch (e) { failed.push(e.message); }
}
console.log(JSON.stringify(failed));
""")
    ran = subprocess.run(
        [node, "run.mjs"], cwd=tmp_path, capture_output=True, text=True, check=True, timeout=60
    )
    read, failed = (json.loads(line) for line in ran.stdout.splitlines())
    expected = V4D((tmp_path / "a.v4d").read_bytes())
    assert (read["count"], read["seconds"]) == (expected.header["count"], 1.5)
    assert read["columns"].keys() == expected.columns.keys()
    for name, values in expected.columns.items():
        np.testing.assert_allclose(read["columns"][name], values, rtol=1e-5, atol=1e-6)
    assert failed == ["This .v4d file is cut off.", "This .v4d file is damaged."]
