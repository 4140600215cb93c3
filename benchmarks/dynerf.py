"""Speed and memory of the DyNeRF's renderer.

    python benchmarks/dynerf.py [--device cuda] [--runs 20] [--preset standard]

A field of 16 frames, rendered through its occupancy grid at all levels: forward and backward of color and
opacity, the median of the runs. "fog": a field at its start, with a blob that lets light through. "solid":
the same with a dense blob, as a field looks later in training. "normals": with normals of every sample.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import time
from dataclasses import replace

import torch

from vid4d import kernels
from vid4d.cameras import Cameras
from vid4d.dynerf import PRESETS, CascadeField, OccupancyGrid, render_field

BLOBS = {"fog": 10.0, "solid": 300.0}
VIEWS = ((64, 1), (64, 4), (256, 1))


def measure(
    device: torch.device, preset: str, blob: str, size: int, batch: int, normals: bool, runs: int
) -> str:
    """A line of the table."""
    torch.manual_seed(0)
    field = CascadeField(replace(PRESETS[preset], frames=16, blob_density=BLOBS[blob])).on(device)
    grid = OccupancyGrid().to(device)
    generator = torch.Generator(device).manual_seed(0)
    for _ in range(16):
        grid.update(field, generator)
    cameras = Cameras.orbit([90.0 * i for i in range(batch)], 20.0, size=size, device=device)
    times = torch.linspace(0, 1, batch, device=device)
    on_gpu = device.type == "cuda"

    def step() -> tuple[int, float, float]:
        field.zero_grad(set_to_none=True)
        _wait(device)
        start = time.perf_counter()
        renderings = render_field(field, cameras, times, grid=grid, generator=generator, normals=normals)
        losses = [d.color.square().mean() + d.alpha.mean() for d in renderings]
        losses += [d.normal.square().mean() for d in renderings if d.normal is not None]
        loss = torch.stack(losses).sum()
        _wait(device)
        middle = time.perf_counter()
        loss.backward()
        _wait(device)
        samples = renderings[0].samples
        return len(samples.points) if samples else 0, middle - start, time.perf_counter() - middle

    step()
    if on_gpu:
        torch.cuda.reset_peak_memory_stats()
    counts, forward, backward = zip(*(step() for _ in range(runs)), strict=True)
    memory = f"{torch.cuda.max_memory_allocated() / 2**30:.2f}" if on_gpu else "-"
    name = f"{size} px x {batch}, {blob}{', normals' if normals else ''}"
    a, b = (1e3 * statistics.median(x) for x in (forward, backward))
    return f"| {name} | {counts[-1] / 1e3:.0f} | {a:.1f} | {b:.1f} | {memory} |"


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--preset", choices=sorted(PRESETS), default="standard")
    parser.add_argument("--size", type=int, nargs="*", help="only pictures of these sizes")
    parser.add_argument("--plain", action="store_true", help="without kernels of our own (on CUDA)")
    given = parser.parse_args()
    kernels.enabled = not given.plain
    device = torch.device(given.device)
    what = torch.cuda.get_device_name() if device.type == "cuda" else platform.machine()
    print(f"{what}, torch {torch.__version__}, preset {given.preset}\n")
    print("| views | samples (thousands) | forward, ms | backward, ms | memory, GiB |")
    print("|---|---|---|---|---|")
    for size, batch in VIEWS:
        for blob in BLOBS if not given.size or size in given.size else ():
            for normals in (False, True):
                line = measure(device, given.preset, blob, size, batch, normals, given.runs)
                print(line, flush=True)


if __name__ == "__main__":
    main()
