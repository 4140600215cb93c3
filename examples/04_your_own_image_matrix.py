"""An asset from pictures that you have: renders, or another tool's views. No prior has to imagine anything.

    python examples/04_your_own_image_matrix.py

Here the pictures are drawn: a red ball with a blue spot that rises and sinks. Then the same fit as in
`vid4d reconstruct FOLDER` makes splats of them.
"""

from __future__ import annotations

import math
from pathlib import Path

import torch
import tyro
from tyro.conf import Positional

import vid4d
from vid4d.gaussians.fit import fit
from vid4d.gaussians.fit_config import PRESETS, FitConfig
from vid4d.matrix.io import save_matrix


def ball(cameras: vid4d.Cameras, time: float) -> torch.Tensor:
    """(views, h, w, 4): a ball of radius 0.25 seen by the cameras, by intersecting their rays with it."""
    centre = torch.tensor([0.0, 0.0, 0.15 * math.sin(2 * math.pi * time)])
    origins, rays = cameras.rays()
    rays = rays / rays.norm(dim=-1, keepdim=True)
    to_centre = (origins - centre)[:, None, None]
    b = (rays * to_centre).sum(-1)
    inside = b**2 - (to_centre**2).sum(-1) + 0.25**2
    hit = inside > 0
    normal = torch.nn.functional.normalize(
        to_centre + (-b - inside.clamp(min=0).sqrt())[..., None] * rays, dim=-1
    )
    spot = (normal @ torch.tensor([0.8, 0.6, 0.0]) > 0.9)[..., None]
    light = 0.65 + 0.35 * normal[..., 2:]
    color = torch.where(spot, torch.tensor([0.15, 0.3, 0.9]), torch.tensor([0.85, 0.25, 0.2])) * light
    return torch.cat([color, hit[..., None].float()], -1).clamp(0, 1)


def main(
    out: Positional[Path] = Path("ball_matrix"),
    views: int = 8,
    moments: int = 6,
    size: int = 96,
    fast: bool = False,
) -> float:
    """out: where the image matrix is written, for `vid4d reconstruct`. Returns the fit's PSNR in dB."""
    cameras = vid4d.Cameras.ring(views, size=size)
    times = torch.linspace(0, 1, moments)
    images = torch.stack([ball(cameras, float(t)) for t in times], 1)  # (views, moments, h, w, 4)
    matrix = vid4d.ImageMatrix(images, cameras, times, seconds=2.0)
    save_matrix(matrix, out)
    config = FitConfig(iterations=60, size=size) if fast else PRESETS["draft"]
    gaussians, report = fit(matrix, config)
    print(f"{len(gaussians)} splats after {report.seconds:.1f} s, {report.input_psnr:.1f} dB")
    print(f"the same with a run folder: vid4d reconstruct {out}")
    return report.input_psnr


if __name__ == "__main__":
    tyro.cli(main)
