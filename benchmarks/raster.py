"""Speed of the CPU rasteriser against the torch reference.

    python benchmarks/raster.py [--threads 2] [--runs 9] [--quick]

Splats on a sphere of radius 0.35, about as wide as the gaps between them, harmonics of degree 3, all of them
there at the rendered time; one or eight views in a call. Forward without gradients, and forward plus backward
of color and alpha down to the parameters of Gaussians4D. The median of the runs; what takes longer than two
seconds (the reference: every splat at every pixel) runs once.

OMP_WAIT_POLICY=passive is set unless it is set already: where other programs use the same cores, threads that
spin while they wait cost far more than they save.
"""

from __future__ import annotations

import argparse
import math
import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # before torch loads OpenMP

import torch

from vid4d.cameras import Cameras
from vid4d.gaussians.model import Gaussians4D
from vid4d.gaussians.raster import available_backends, rasterize_4d

RADIUS = 0.35
SLOW = 2.0
"""Seconds above which a case runs once."""


def shell(count: int) -> Gaussians4D:
    """Splats on a sphere, with scales that vary by a third, turned at random, mostly opaque."""
    generator = torch.Generator().manual_seed(0)
    normal = torch.nn.functional.normalize(torch.randn(count, 3, generator=generator), dim=-1)
    spacing = RADIUS * math.sqrt(4 * math.pi / count)
    scales = torch.log(torch.tensor([spacing * 0.6, spacing * 0.6, spacing * 0.3, 0.3]))
    turn = torch.randn(count, 4, generator=generator)
    return Gaussians4D(
        torch.cat([normal * RADIUS, torch.full((count, 1), 0.5)], 1),
        scales + 0.3 * torch.randn(count, 4, generator=generator) * torch.tensor([1, 1, 1, 0]),
        turn,
        turn.clone(),
        1 + torch.randn(count, generator=generator),
        0.2 * torch.randn(count, 16, 1, 3, generator=generator),
    )


def median_time(function: Callable[[], None], runs: int) -> float:
    """Seconds; one warm-up."""
    start = time.perf_counter()
    function()
    first = time.perf_counter() - start
    if first > SLOW:
        return first
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def measure(count: int, size: int, views: int, backend: str, runs: int) -> tuple[float, float, float]:
    """Milliseconds a view, forward and forward plus backward; mean radius of the visible splats in pixels."""
    gaussians = shell(count).trainable()
    cameras, times = Cameras.ring(views, size=size), torch.full((views,), 0.5)
    picture = rasterize_4d(gaussians.detach(), times, cameras, backend="cpu")
    g_color, g_alpha = torch.randn_like(picture.color), torch.randn_like(picture.alpha)

    def forward() -> None:
        with torch.no_grad():
            rasterize_4d(gaussians, times, cameras, backend=backend)

    def both() -> None:
        render = rasterize_4d(gaussians, times, cameras, backend=backend)
        torch.autograd.backward((render.color, render.alpha), (g_color, g_alpha))

    radius = picture.radii[picture.visible].mean().item()
    return median_time(forward, runs) / views * 1e3, median_time(both, runs) / views * 1e3, radius


def processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--runs", type=int, default=9)
    parser.add_argument("--quick", action="store_true", help="the kernel alone")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    backends = available_backends()
    if "cpu" not in backends:
        raise SystemExit("the C rasteriser is not available here; see the log of vid4d.raster")
    kernel = ", ".join(backends["cpu"].split(", ")[:3])
    print(f"{processor()}, {platform.system()}, {args.threads} threads, torch {torch.__version__}")
    print(f"cpu kernel: {kernel}; milliseconds a view, median of {args.runs} runs")
    print(f"{'splats':>7} {'pixels':>7} {'views':>6} {'radius':>7} | {'cpu fwd':>8} {'+bwd':>8} |", end="")
    print(f" {'ref fwd':>9} {'+bwd':>9} | {'ratio fwd':>9} {'+bwd':>7}")
    for views in (1, 8):
        for size in (128, 256):
            for count in (1000, 5000, 20000):
                forward, both, radius = measure(count, size, views, "cpu", args.runs)
                row = f"{count:7} {size:7} {views:6} {radius:7.1f} | {forward:8.2f} {both:8.2f} |"
                if views == 1 and not args.quick:
                    ref_forward, ref_both, _ = measure(count, size, 1, "reference", args.runs)
                    row += f" {ref_forward:9.1f} {ref_both:9.1f} |"
                    row += f" {ref_forward / forward:8.0f}x {ref_both / both:6.0f}x"
                print(row, flush=True)


if __name__ == "__main__":
    main()
