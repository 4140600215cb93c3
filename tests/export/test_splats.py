"""Splats as exports want them: one color for all sides."""

from __future__ import annotations

import torch

from vid4d.export.splats import fixed_colors
from vid4d.gaussians import sh as harmonics
from vid4d.gaussians.model import Gaussians3D


def splats_with(sh: torch.Tensor, means: torch.Tensor) -> Gaussians3D:
    n = len(means)
    return Gaussians3D(means, torch.eye(3).expand(n, 3, 3) * 1e-3, torch.ones(n), sh)


def test_colors_without_harmonics_are_the_colors():
    rgb = torch.tensor([[0.2, 0.5, 0.9], [1.0, 0.0, 0.3]])
    splats = splats_with(harmonics.from_rgb(rgb)[:, None], torch.rand(2, 3))
    assert torch.allclose(fixed_colors(splats), rgb, atol=1e-6)


def test_colors_are_those_seen_from_the_splats_own_side():
    """A splat in front that looks bright from +x and dark from -x is bright; behind, it would be dark."""
    sh = torch.zeros(2, 4, 3)
    sh[:, 3] = 0.6  # times -C1 x of the direction from the camera: from +x that is +C1
    means = torch.tensor([[0.3, 0.0, 0.05], [-0.3, 0.0, 0.05]])
    front, behind = fixed_colors(splats_with(sh, means))
    color = harmonics.evaluate(sh[:1], means[:1], torch.tensor([1.5, 0.0, 0.0]))[0]
    assert front.min() > 0.65
    assert color.min() > front.min()  # looked at straight on it is brighter than from the sides
    assert behind.max() < 0.35
