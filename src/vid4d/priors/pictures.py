"""Pictures as the networks of our own priors take and give them."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from vid4d.errors import InputError
from vid4d.media.images import over_white


def to_network(frames: Float[Tensor, "n h w 4"]) -> Float[Tensor, "n 4 h w"]:
    """Straight-alpha RGBA in [0, 1] -> colors over white and alpha in [-1, 1], channels first."""
    return torch.cat([over_white(frames), frames[..., 3:]], -1).permute(0, 3, 1, 2) * 2 - 1


def check_size(frames: Float[Tensor, "t h w 4"], size: int) -> None:
    """Raises InputError for frames that are not as wide and high as a prior's pictures."""
    height, width = frames.shape[1:3]
    if (height, width) != (size, size):
        raise InputError(
            f"the frames are {width}x{height} pixels, but this prior sees {size}x{size}: resize them"
        )
