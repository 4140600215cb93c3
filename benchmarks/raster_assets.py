"""Pictures and gradients of real assets by every rasteriser that is here: the worst pixel.

    python benchmarks/raster_assets.py RUN [RUN ...]                      # the C kernel against the reference
    python benchmarks/raster_assets.py RUN --device cuda                  # Triton against both
    TRITON_INTERPRET=1 python benchmarks/raster_assets.py RUN --size 48   # the same on a CPU, slowly

RUN: a folder of `vid4d generate`, or its asset.safetensors. Views from all around at as many moments of the
clip, color and alpha over white, and gradients of random numbers times both. The reference composes every
splat at every pixel.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # before torch loads OpenMP

import torch
from raster import processor

from vid4d.cameras import Cameras
from vid4d.gaussians.model import Gaussians4D, load_asset
from vid4d.gaussians.raster import available_backends, rasterize_4d

Found = tuple[torch.Tensor, dict[str, torch.Tensor]]
"""Color and alpha of every view, and the gradients, on the CPU."""


def rendered(splats: Gaussians4D, size: int, views: int, backend: str, device: str) -> Found:
    """One view after the other, since the reference needs much memory."""
    pictures, total = [], splats.to(device).trainable()
    for i in range(views):
        camera = Cameras.ring(views, size=size, device=device)[i]
        render = rasterize_4d(total, [(i + 0.5) / views], camera, backend=backend)
        picture = torch.cat([render.color, render.alpha[..., None]], -1)
        generator = torch.Generator().manual_seed(i)
        picture.backward(torch.randn(picture.shape, generator=generator).to(device))
        pictures.append(picture.detach().cpu())
    gradients = {name: x.grad.cpu() for name, x in total.tensors().items() if x.grad is not None}
    return torch.cat(pictures), gradients


def apart(mine: Found, other: Found) -> str:
    """Worst pixel, share of numbers that are off by 1e-3, largest relative error of a gradient."""
    pixels = (mine[0] - other[0]).abs()
    errors = [float((mine[1][k] - v).norm() / v.norm().clamp(min=1e-12)) for k, v in other[1].items()]
    share = float((pixels > 1e-3).float().mean())
    return f"worst pixel {float(pixels.max()):.1e}, off by 1e-3 {share:.1e}, gradients {max(errors):.1e}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--views", type=int, default=4)
    args = parser.parse_args()
    here = set(available_backends())
    if os.environ.get("TRITON_INTERPRET") == "1":
        here.add("triton")
    where = [("reference", args.device)]
    where += [(name, "cpu" if name == "cpu" else args.device) for name in ("cpu", "triton") if name in here]
    name = torch.cuda.get_device_name() if args.device == "cuda" else processor()
    print(f"{name}, torch {torch.__version__}; {args.views} views of {args.size} pixels")
    for run in args.runs:
        splats = load_asset(run / "asset.safetensors" if run.is_dir() else run, "cpu")[0]
        found = {b: rendered(splats, args.size, args.views, b, d) for b, d in where}
        print(f"{run.name}: {len(splats)} splats")
        for i, (backend, _) in enumerate(where[1:], start=1):
            for other, _ in where[:i]:
                print(f"  {backend} against {other}: {apart(found[backend], found[other])}", flush=True)


if __name__ == "__main__":
    main()
