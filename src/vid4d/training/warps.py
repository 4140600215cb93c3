"""Other proportions for a model: smooth random warps, as symmetric as the model was.

A few thousand models are few, and what a prior learns of their proportions it does not find again in others.
A warp makes heads larger, legs shorter and bellies rounder, the same on the left and the right, without
folding anything over.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

WAVES = 4
"""Of a warp."""

SPREAD = 2 * math.pi * 0.8
"""Standard deviation of wave numbers along each axis, radians per world unit; a model is about 1 long."""

MOST = 0.85
"""Largest gradient of a displacement: below 1, a warp is one to one."""


@dataclass(frozen=True)
class Warps:
    """Smooth displacements of n models, symmetric about their planes y = 0.

    wave (n, WAVES, 3): wave vectors. amplitude (n, WAVES, 3): world units. phase (n, WAVES): radians.
    """

    wave: Float[Tensor, "n w 3"]
    amplitude: Float[Tensor, "n w 3"]
    phase: Float[Tensor, "n w"]

    @classmethod
    def random(cls, n: int, share: float, device: torch.device) -> Warps:
        """Warps of n models, of which a share moves anything at all."""
        wave = torch.randn(n, WAVES, 3, device=device) * SPREAD
        towards = torch.randn(n, WAVES, 3, device=device)
        towards = towards / towards.norm(dim=2, keepdim=True)
        steep = torch.rand(n, WAVES, device=device)
        steep = steep / steep.sum(1, keepdim=True) * MOST * torch.rand(n, 1, device=device).sqrt()
        steep = steep * (torch.rand(n, 1, device=device) < share)
        length = steep / wave.norm(dim=2).clamp(min=1.0)
        return cls(wave, towards * length[..., None], torch.rand(n, WAVES, device=device) * 2 * math.pi)

    def move(self, points: Float[Tensor, "v 3"], owner: Int[Tensor, " v"]) -> Float[Tensor, "v 3"]:
        """Points moved by their models' warps. owner: the model of each."""
        moved = points
        for i in range(WAVES):
            wave, amplitude = self.wave[owner, i], self.amplitude[owner, i]
            level = points[:, 0] * wave[:, 0] + points[:, 2] * wave[:, 2] + self.phase[owner, i]
            across = points[:, 1] * wave[:, 1]
            even, odd = level.cos() * across.cos(), level.cos() * across.sin()
            moved = moved + amplitude * torch.stack([even, odd, even], 1)
        return moved
