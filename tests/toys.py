"""Small made-up things for tests."""

from __future__ import annotations

import math
from typing import Any

import torch

from vid4d.cameras import Cameras
from vid4d.gaussians.model import Gaussians4D
from vid4d.gaussians.sh import from_rgb
from vid4d.matrix.io import load_matrix, save_matrix
from vid4d.matrix.matrix import ImageMatrix
from vid4d.methods import stages
from vid4d.render import render_asset
from vid4d.runs.progress import Bar
from vid4d.runs.run import Run


def jumping_ball(
    splats: int = 300, moments: int = 5, radius: float = 0.22, height: float = 0.2
) -> Gaussians4D:
    """A ball that jumps once: red in front (+x), green on +y, blue on top, dark behind.

    Each moment has its own shell of splats, present around its time; the centre is at
    z = height * (2 sin(pi t) - 1).
    """
    i = torch.arange(splats) + 0.5
    polar, turn = torch.acos(1 - 2 * i / splats), math.pi * (1 + 5**0.5) * i
    unit = torch.stack([turn.cos() * polar.sin(), turn.sin() * polar.sin(), polar.cos()], -1)
    rgb = (unit * 0.45 + 0.5).clamp(0, 1)
    spacing = radius * math.sqrt(4 * math.pi / splats)
    parts = []
    for k in range(moments):
        t = k / (moments - 1)
        centre = torch.tensor([0.0, 0.0, height * (2 * math.sin(math.pi * t) - 1)])
        means = torch.cat([centre + radius * unit, torch.full((splats, 1), t)], 1)
        scales = torch.tensor([spacing, spacing, spacing, 0.35 / (moments - 1)]).log().expand(splats, 4)
        unrotated = torch.tensor([1.0, 0, 0, 0]).expand(splats, 4)
        parts.append(
            Gaussians4D(
                means,
                scales * 1.0,
                unrotated * 1.0,
                unrotated * 1.0,
                torch.full((splats,), 3.0),
                from_rgb(rgb)[:, None, None],
            )
        )
    return Gaussians4D.cat(parts)


def toy_matrix(views: int = 4, frames: int = 3, size: int = 32) -> ImageMatrix:
    """Rendered from the jumping ball, with an input view at azimuth 0, elevation 10."""
    ball = jumping_ball(80)
    times = torch.linspace(0, 1, frames)
    ring = Cameras.ring(views, size=size)
    images = torch.stack([render_asset(ball, ring, float(t)) for t in times], 1)
    camera = Cameras.orbit([0.0], 10.0, size=size)
    seen = torch.cat([render_asset(ball, camera, float(t)) for t in times])
    return ImageMatrix(
        images, ring, times, input_images=seen, input_camera=camera, input_times=times, seconds=1.0
    )


# A method, as `vid4d.api.Method` describes them: tests put "toys" into `vid4d.api.METHODS`.


PRESETS: dict[str, Any] = {}
NEEDS = "matrix"
FROM_TEXT = False


def make_matrix(run: Run) -> ImageMatrix:
    folder = run.path("matrix")
    if run.settings.source == "clip":
        stages.frames(run, frames=3, size=32)
    return run.stage(
        "matrix",
        lambda bar: toy_matrix() if run.settings.source == "clip" else load_matrix(run.settings.clip),
        save=lambda m: save_matrix(m, folder),
        load=lambda: load_matrix(folder),
    )


def make_asset(run: Run, matrix: ImageMatrix) -> Gaussians4D:
    def fit(bar: Bar) -> Gaussians4D:
        bar.update(1, 2, psnr=20.0)
        bar.update(2, 2, psnr=30.0)
        return jumping_ball(80)

    return run.stage(
        "fit",
        fit,
        save=lambda g: stages.keep_asset(run, g, matrix),
        load=lambda: stages.kept_asset(run),
    )
