"""Speed of the rasterisers: on a CPU the C kernel against the torch reference, on a GPU ours against gsplat.

    python benchmarks/raster.py [--threads 2] [--runs 9] [--quick]
    python benchmarks/raster.py --device cuda [--runs 20] [--sweep] [--profile]

Splats on a sphere of radius 0.35, about as wide as the gaps between them, harmonics of degree 3, all of
them there at the rendered time. Forward without gradients, and forward plus backward of color and alpha down
to the parameters of Gaussians4D. The median of the runs; what takes longer than two seconds (the reference:
every splat at every pixel) runs once.

On a CPU, one or eight views in a call. OMP_WAIT_POLICY=passive is set unless it is set already: where other
programs use the same cores, threads that spin while they wait cost far more than they save.

On a GPU, the sizes that others were measured at. `alone`: a call and the wait for it. `in a row`: a call of
many without a wait between, which is what a fit does. Before anything is timed, pictures and gradients are
compared: with the reference where that is not too slow, with the C kernel, and with gsplat for what it is
worth (it cuts splats off elsewhere). --sweep: other tiles and warps. --profile: what the kernels take.
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
from vid4d.gaussians.raster import SplatRender, available_backends, rasterize_4d

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


GPU_CASES = ((20000, 256, 1), (100_000, 512, 1), (100_000, 512, 16))
"""Splats, pixels, views."""
SHAPES = ((8, 16, 1, 1), (8, 16, 1, 2), (8, 32, 1, 2), (8, 16, 2, 2), (16, 16, 2, 4), (16, 16, 4, 8))
"""Tiles, splats at a time, warps forward and backward, for --sweep."""


class Case:
    """A scene on a device, its cameras, and random gradients of its pictures."""

    def __init__(self, count: int, size: int, views: int, device: str) -> None:
        self.name = f"{count:7} {size:7} {views:6}"
        self.gaussians = shell(count).to(device).trainable()
        self.cameras = Cameras.ring(views, size=size, device=device)
        self.times = torch.full((views,), 0.5, device=device)
        generator = torch.Generator().manual_seed(1)
        self.g_color = torch.randn(views, size, size, 3, generator=generator).to(device)
        self.g_alpha = torch.randn(views, size, size, generator=generator).to(device)
        self.background = torch.ones(3, device=device)

    def forward(self, backend: str) -> SplatRender:
        with torch.no_grad():
            return self._render(backend)

    def both(self, backend: str) -> SplatRender:
        """Forward and backward, into the gradients of the splats."""
        for value in self.gaussians.tensors().values():
            value.grad = None
        render = self._render(backend)
        torch.autograd.backward((render.color, render.alpha), (self.g_color, self.g_alpha))
        return render

    def gradients(self) -> dict[str, torch.Tensor]:
        """Those of the last backward, on the CPU."""
        values = self.gaussians.tensors().items()
        return {name: value.grad.detach().cpu() for name, value in values if value.grad is not None}

    def _render(self, backend: str) -> SplatRender:
        options = {"background": self.background, "backend": backend}
        return rasterize_4d(self.gaussians, self.times, self.cameras, **options)  # type: ignore[arg-type]


def compare(case: Case, other: Case, backend: str) -> str:
    """Worst pixel of color and alpha, share of pixels off by 1e-3, largest relative error of a gradient."""
    mine, gradients = case.both("triton"), case.gradients()
    true, expected = other.both(backend), other.gradients()
    apart = torch.cat(
        [
            (mine.color.detach().cpu() - true.color.detach().cpu()).abs().flatten(),
            (mine.alpha.detach().cpu() - true.alpha.detach().cpu()).abs().flatten(),
        ]
    )
    errors = [float((gradients[k] - v).norm() / v.norm().clamp(min=1e-12)) for k, v in expected.items()]
    share = float((apart > 1e-3).float().mean())
    return f"worst {float(apart.max()):.1e}, off by 1e-3 {share:.1e}, gradients {max(errors):.1e}"


def same_bytes(case: Case) -> bool:
    """Whether two runs of forward and backward give the same bytes."""
    found = []
    for _ in range(2):
        render = case.both("triton")
        found.append([render.color.detach().cpu(), *case.gradients().values()])
    return all(torch.equal(a, b) for a, b in zip(*found, strict=True))


def gpu_times(function: Callable[[], object], runs: int) -> tuple[float, float]:
    """Milliseconds of a call with the wait for it (median), and of one of `runs` in a row."""
    for _ in range(3):
        function()
    torch.cuda.synchronize()
    alone = []
    for _ in range(runs):
        start = time.perf_counter()
        function()
        torch.cuda.synchronize()
        alone.append(time.perf_counter() - start)
    start = time.perf_counter()
    for _ in range(runs):
        function()
    torch.cuda.synchronize()
    return statistics.median(alone) * 1e3, (time.perf_counter() - start) / runs * 1e3


def row(case: Case, backend: str, runs: int) -> str:
    """Forward and forward plus backward: alone, and in a row."""
    forward, both = (gpu_times(lambda f=f: f(backend), runs) for f in (case.forward, case.both))  # type: ignore[misc]
    return f"{forward[0]:8.3f} {forward[1]:9.3f} | {both[0]:8.3f} {both[1]:9.3f}"


def profile(case: Case, lines: int = 16) -> None:
    """Microseconds of each kernel in a forward and backward, the longest first."""
    from torch.profiler import ProfilerActivity, profile

    case.both("triton")
    torch.cuda.synchronize()
    with profile(activities=[ProfilerActivity.CUDA]) as found:
        for _ in range(5):
            case.both("triton")
        torch.cuda.synchronize()
    events = sorted(found.key_averages(), key=lambda e: -e.self_device_time_total)
    total = sum(e.self_device_time_total for e in events) / 5
    print(f"  kernels of {case.name.strip()}: {total:.0f} us in {sum(e.count for e in events) // 5} starts")
    for event in events[:lines]:
        print(f"  {event.self_device_time_total / 5:8.1f} us {event.count // 5:3}x {event.key[:70]}")


def measure_gpu(runs: int, sweep: bool, profiled: bool) -> None:
    """Prints equality, times of all backends, and what was asked for besides."""
    from vid4d.gaussians.raster import triton as ours

    backends = available_backends()
    if "triton" not in backends:
        raise SystemExit("no CUDA device for which Triton can build kernels")
    peers = [name for name in ("gsplat",) if name in backends]
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}; ms, median of {runs}; peers: {peers}")
    first, heading = True, f"{'splats':>7} {'pixels':>7} {'views':>6}"
    for count, size, views in GPU_CASES:
        case = Case(count, size, views, "cuda")
        if first:
            print(f"  {case.name.strip()} against reference: {compare(case, case, 'reference')}", flush=True)
        if "cpu" in backends:
            told = compare(case, Case(count, size, views, "cpu"), "cpu")
            print(f"  {case.name.strip()} against the C kernel: {told}", flush=True)
        for peer in peers:
            print(f"  {case.name.strip()} against {peer}: {compare(case, case, peer)}", flush=True)
        print(f"  same bytes twice: {same_bytes(case)}")
        print(f"{heading} | {'forward':>8} {'in a row':>9} | {'+ back':>8} {'in a row':>9}")
        for backend in ("triton", *peers):
            print(f"{case.name} | {row(case, backend, runs)} | {backend}", flush=True)
        if first:
            print(f"{case.name} | {row(case, 'reference', 1)} | reference", flush=True)
        if sweep:
            kept = (ours.TILE, ours.ENTRIES, ours.BLEND_WARPS, ours.BACKWARD_WARPS)
            for shape in SHAPES:
                ours.TILE, ours.ENTRIES, ours.BLEND_WARPS, ours.BACKWARD_WARPS = shape
                print(f"{case.name} | {row(case, 'triton', runs)} | triton {shape}", flush=True)
            ours.TILE, ours.ENTRIES, ours.BLEND_WARPS, ours.BACKWARD_WARPS = kept
        if profiled:
            profile(case)
        first = False


def processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--runs", type=int, default=9)
    parser.add_argument("--quick", action="store_true", help="on a CPU: the kernel alone")
    parser.add_argument("--sweep", action="store_true", help="on a GPU: other tiles and warps, too")
    parser.add_argument("--profile", action="store_true", help="on a GPU: what each kernel takes")
    args = parser.parse_args()
    if args.device == "cuda":
        measure_gpu(args.runs, args.sweep, args.profile)
        return
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
