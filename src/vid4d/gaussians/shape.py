"""Bounds on the shape of splats: no needles, no foil."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor


@torch.no_grad()
def bound_shape(log_scales: Float[Tensor, "n 4"], elongation: float, flatness: float) -> None:
    """Bounds the extents in space of splats in place, relative to their middle one; time is left alone.

    Where generated views disagree, a needle that points at the camera fits every picture and looks like fur
    from between them.

    log_scales: logarithms of the standard deviations along x, y, z and t of each splat.
    elongation: the longest extent over the middle one, at most.
    flatness: the middle extent over the shortest one, at most.
    """
    space = log_scales[:, :3]
    x, y, z = space.split(1, 1)
    middle = torch.maximum(torch.minimum(x, y), torch.minimum(torch.maximum(x, y), z))  # faster than median
    torch.minimum(space, middle + math.log(elongation), out=space)
    torch.maximum(space, middle - math.log(flatness), out=space)
