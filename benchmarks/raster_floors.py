"""What the Triton rasteriser has to do on paper: bytes, instructions, and the time a card needs at least.

    python benchmarks/raster_floors.py [--bandwidth 4.8] [--multiprocessors 132] [--clock 1.755]

No GPU is needed. The scenes are those of `raster.py --device cuda`; one view's splats are projected and
sorted into tiles by the kernels themselves, in Triton's interpreter, and counted; other views of the ring are
taken to be alike. Instructions are those that Triton's assembler makes of the kernels for compute capability
9.0. Bandwidth in TB/s and clock in GHz are an H200's.

Bytes are those that have to cross the memory's bus if what a stage reads twice comes from the cache the
second time; sorts read and write once a pass of 8 bits. Entries behind the place where a tile's light ends
are counted as if they were blended, so blending is a ceiling; all other times are floors.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import re
import subprocess
import sys

CODE = "--code"
if CODE not in sys.argv:  # read when Triton is imported
    os.environ["TRITON_INTERPRET"] = "1"

import torch  # noqa: E402
from raster import GPU_CASES, shell  # noqa: E402

from vid4d.cameras import Cameras  # noqa: E402
from vid4d.gaussians.raster import triton as ours  # noqa: E402

SH = 48


def instructions() -> dict[str, tuple[int, int]]:
    """Instructions of every kernel, whole, and of its longest loop."""
    from triton import compile
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from vid4d.gaussians.raster import blend_kernels, project_backward_kernels, project_kernels

    kinds = {"DIMS": 4, "HARMONICS": 16, "FOURIER": 1, "CYCLIC": False, "ANTIALIAS": True, "FAST": True}
    kinds |= {"TILE": ours.TILE, "ENTRIES": ours.ENTRIES}
    types = {"keys": "*i16", "ids": "*i32", "touched": "*i32", "period": "fp32"}
    types |= dict.fromkeys(("ends", "starts", "places"), "*i64")
    types |= dict.fromkeys(("count", "width", "height", "first_key", "tiles", "tiles_x", "views"), "i32")
    found = {}
    for kernel, block, warps in (
        (project_kernels.project_kernel, ours.BLOCK, 4),
        (blend_kernels.blend_kernel, 0, ours.BLEND_WARPS),
        (blend_kernels.blend_backward_kernel, 0, ours.BACKWARD_WARPS),
        (project_backward_kernels.splat_backward_kernel, ours.BLOCK // 2, 2),
    ):
        names = kernel.arg_names
        constants = {k: v for k, v in {**kinds, "BLOCK": block}.items() if k in names}
        signature = {n: "constexpr" if n in constants else types.get(n, "*fp32") for n in names}
        source = ASTSource(kernel, signature, {(names.index(k),): v for k, v in constants.items()})
        compiled = compile(source, target=GPUTarget("cuda", 90, 32), options={"num_warps": warps})
        found[kernel.__name__] = count_code(compiled.asm["sass"])
    return found


def count_code(sass: str) -> tuple[int, int]:
    """Instructions of a listing, and of its longest stretch from a label to a jump back to it."""
    labels: dict[str, int] = {}
    count, longest = 0, 0
    for line in sass.splitlines():
        label = re.match(r"\s*(\.?L\w+):", line)
        if label:
            labels[label[1]] = count
        elif re.search(r"\b[A-Z][A-Z0-9]+(\.|\s|;)", line) and line.rstrip().endswith(";"):
            count += 1
            jump = re.search(r"BRA\S*\s+.*?`?\(?(\.?L\w+)\)?\s*;", line)
            if jump and jump[1] in labels:
                longest = max(longest, count - labels[jump[1]])
    return count, longest


@functools.cache
def counts(count: int, size: int) -> dict[str, int]:
    """What there is to do in one view: visible splats, entries, blocks of entries, entries of a tile."""
    ours.BLOCK = 1 << 14  # each program takes the interpreter long
    splats, cameras = shell(count), Cameras.ring(1, size=size)
    with torch.no_grad():
        shape = (splats.log_scales, splats.quats_left, splats.quats_right, splats.opacity_logits)
        covariances = splats.covariance4d().flatten(1).T.contiguous()
        background = torch.ones(1, 3)
        fixed = (cameras.world_to_camera, cameras.focal, background, size, size, True, 1.0, False)
        scene = ours._Scene(torch.full((1,), 0.5), *fixed)
        inputs = (splats.means, covariances, shape[3].sigmoid(), splats.sh.permute(1, 2, 3, 0).contiguous())
        records, radii, depths = ours._project(scene, (4, 16, 1, False, True), inputs)
        entries = ours._find_entries(scene, records, radii, depths, None)
    per_tile = entries.starts.diff()
    return {
        "visible": int((radii > 0).sum()),
        "entries": len(entries.ids),
        "blocks": int((-(-per_tile // ours.ENTRIES)).sum()),
        "most": int(per_tile.max()),
    }


def stages(
    n: int, size: int, views: int, c: dict[str, int], code: dict[str, tuple[int, int]]
) -> list[tuple[str, float, float]]:
    """Stages with the bytes and warp instructions of each; instructions of the heavy ones alone."""
    p, q, m, x = views * n, views * c["visible"], views * c["entries"], views * size * size
    k = 2 if views * (size // ours.TILE) ** 2 <= ours.KEYS_16 else 4
    warps = p / 32
    return [
        ("covariances, opacities; coefficients transposed", n * (4 * 30 + 8 * SH), 0),
        ("projection, colors", n * 4 * (15 + SH) + p * 24 + q * 32, warps * code["project_kernel"][0]),
        ("depths sorted", p * (4 + 4 * 2 * 12), 0),
        ("tiles counted and summed up", p * 40 + q * 32, 0),
        ("entries written", p * 24 + q * 32 + m * (k + 4), 0),
        ("entries sorted by tile, looked up", m * (k * 2 * (k + 8) + 16), 0),
        ("blended", m * 4 + q * 48 + x * 20, views * c["blocks"] * code["blend_kernel"][1]),
        (
            "blended, backward",
            m * (4 + 8 + 48) + q * 48 + x * 40,
            views * c["blocks"] * code["blend_backward_kernel"][1],
        ),
        (
            "sums over tiles and views, projection backward",
            m * (48 + k) + q * 48 + n * 4 * (15 + SH + 21) + p * 36,
            warps * code["splat_backward_kernel"][1],
        ),
        ("coefficients' gradient, transposed back", p * 28 + n * 4 * SH * 3, 0),
        ("parameters' gradient", n * 4 * 42, 0),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--bandwidth", type=float, default=4.8)
    parser.add_argument("--multiprocessors", type=int, default=132)
    parser.add_argument("--clock", type=float, default=1.755)
    parser.add_argument(CODE, action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.code:
        print(json.dumps(instructions()))
        return
    told = subprocess.run(
        [sys.executable, __file__, CODE],
        env=os.environ | {"TRITON_INTERPRET": "0"},
        capture_output=True,
        text=True,
        check=True,
    )
    code = json.loads(told.stdout.splitlines()[-1])
    for name, (whole, loop) in code.items():
        print(f"{name}: {whole} instructions, the longest loop {loop}")
    issued = args.multiprocessors * 4 * args.clock * 1e9  # warp instructions a second
    for case in GPU_CASES:
        c = counts(*case[:2])
        print(f"\n{case[0]} splats, {case[1]} pixels, {case[2]} views:", end=" ")
        print(f"in each {c['visible']} visible, {c['entries']} entries, at most {c['most']} in a tile")
        print("| stage | MB | memory (ms) | instructions (ms) |\n|---|---|---|---|")
        total = [0.0, 0.0]
        for name, size, work in stages(*case, c, code):
            times = (size / args.bandwidth / 1e9, work / issued * 1e3)
            total = [total[0] + size / 1e6, total[1] + max(times)]
            shown = f"{times[1]:.3f}" if work else ""
            print(f"| {name} | {size / 1e6:.1f} | {times[0]:.3f} | {shown} |")
        print(f"| all, the longer of the two of each | {total[0]:.1f} | {total[1]:.3f} | |", flush=True)


if __name__ == "__main__":
    main()
