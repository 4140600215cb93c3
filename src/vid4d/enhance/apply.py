"""An enhancer applied to renders: the small sharpener, then the object's own network."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from vid4d.enhance.footage import window
from vid4d.enhance.network import Generator
from vid4d.enhance.sharpener import Sharpener, sharpened

MARGIN = 8
"""Pixels around what a render shows within which an enhanced picture may differ from it."""


@dataclass(frozen=True)
class Enhancer:
    """What makes an object's renders sharp.

    sharpener: for any object. generator: its own, which has learnt what the sharpener leaves to be done.
    """

    sharpener: Sharpener
    generator: Generator

    def __call__(
        self, renders: Float[Tensor, "t 3 h w"], *, cyclic: bool = False
    ) -> Float[Tensor, "t 3 h w"]:
        """As `enhanced`."""
        return enhanced(self.generator, sharpened(self.sharpener, renders), cyclic=cyclic)


@torch.no_grad()
def enhanced(
    generator: Generator, renders: Float[Tensor, "t 3 h w"], *, cyclic: bool = False, batch: int = 8
) -> Float[Tensor, "t 3 h w"]:
    """Enhanced consecutive frames, in [0, 1], on the CPU; white far from the object stays white.

    batch: frames at a time; each is enhanced beside its neighbours, wherever the batches part.
    """
    count, device = len(renders), next(generator.parameters()).device
    rows, columns = window(renders, 2**generator.config.halvings)
    cut = renders[..., rows, columns]
    parts = []
    for first in range(0, count, batch):
        chosen = torch.arange(first - 1, min(first + batch, count) + 1)
        wanted = chosen % count if cyclic else chosen.clamp(0, count - 1)
        parts.append(generator(cut[wanted].to(device))[1:-1].cpu())
    seen = (cut < 1 - 1 / 255).any(1, keepdim=True).float()
    near = F.max_pool2d(seen, 2 * MARGIN + 1, 1, MARGIN)
    result = renders.clone()
    result[..., rows, columns] = (cut + near * (torch.cat(parts) - cut)).clamp(0, 1)
    return result
