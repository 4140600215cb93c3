"""Seconds and memory of the image matrix from the shipped prior: 8 frames x 16 views.

    python benchmarks/frustum_speed.py [--device cuda] [--threads 2] [--frames 8] [--runs 5]

What `vid4d generate` asks of the frustum volume for one clip: the network on every frame and on its mirror
image, averaging over time, then 16 pictures of every solid. Timed apart are the network with its loading, the
solids, and all with the pictures; median of the runs after one of warm-up. The peer is torch's own matrix
product of 2048 x 2048 in float32, on the same threads in the same call: the operations that the layers need
on paper, over the seconds, as a share of the speed of that product. Memory is the process's peak, the card's
beside it.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import torch
from torch.utils.flop_counter import FlopCounterMode

from vid4d.cameras import RING_VIEWS, Cameras
from vid4d.compute.machine import cpu_name, peak_memory_mib
from vid4d.priors.frustum.drawing import iterate_solids
from vid4d.priors.frustum.framing import network_pictures
from vid4d.priors.frustum.prior import FrustumMatrixPrior, load_frustum_volume
from vid4d.priors.smoothing import smoothing_matrix


def seconds(work: Callable[[], object], runs: int, device: str) -> float:
    """Median of so many runs after one that is not counted."""
    times = []
    for _ in range(runs + 1):
        began = time.perf_counter()
        work()
        if device.startswith("cuda"):
            torch.cuda.synchronize()
        times.append(time.perf_counter() - began)
    return statistics.median(times[1:])


def product_speed(device: str, runs: int) -> float:
    """Operations a second of a matrix product."""
    a = torch.randn(2048, 2048, device=device)
    return 2 * 2048**3 / seconds(lambda: a @ a, max(runs, 5), device)


def discs(frames: int, size: int) -> torch.Tensor:
    """A clip of a disc that rises, RGBA: what is seen does not matter for the time it takes."""
    y, x = torch.meshgrid(*[torch.linspace(-1, 1, size)] * 2, indexing="ij")
    rise = torch.linspace(-0.2, 0.2, frames)[:, None, None]
    alpha = ((x.square() + (y + rise).square()) < 0.4).float()
    return torch.stack([alpha * 0.8, alpha * 0.4, alpha * 0.2, alpha], -1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--frames", type=int, default=8)
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    device = options.device
    began = time.perf_counter()
    network = load_frustum_volume(device)
    loading = time.perf_counter() - began
    prior = FrustumMatrixPrior(network)
    frames = discs(options.frames, prior.image_size)
    _, pictures = network_pictures(frames.to(device), network.config)
    elevation = torch.full((options.frames,), 0.2, device=device)
    averaging = smoothing_matrix(options.frames, False).to(pictures)
    ring = Cameras.ring(size=network.config.image_size)

    def solids() -> None:
        for _ in iterate_solids(network, pictures, elevation, averaging=averaging):
            pass

    with FlopCounterMode(display=False) as counter:
        solids()
    only = seconds(solids, options.runs, device)
    whole = seconds(lambda: prior.views(frames, 10.0, ring), options.runs, device)
    speed = product_speed(device, options.runs)
    memory = peak_memory_mib(device)
    where = torch.cuda.get_device_name() if device.startswith("cuda") else cpu_name()
    print(f"{where}, {options.threads} threads, torch {torch.__version__}, median of {options.runs}")
    print(f"{options.frames} frames x {RING_VIEWS} views; weights loaded in {loading:.1f} s")
    print(f"solids {only:.2f} s, with all pictures {whole:.2f} s; peak MiB {memory}")
    needed = counter.get_total_flops()
    print(
        f"layers need {needed / 1e9:.0f} GFLOP: {needed / only / 1e9:.0f} GFLOP/s in the solids, "
        f"{needed / only / speed:.2f} of a matrix product's {speed / 1e9:.0f}"
    )


if __name__ == "__main__":
    main()
