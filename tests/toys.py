"""Small made-up things for tests."""

from __future__ import annotations

import math

import torch

from vid4d.gaussians.model import Gaussians4D
from vid4d.gaussians.sh import from_rgb


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
