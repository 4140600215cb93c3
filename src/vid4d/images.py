"""Pictures as tensors, straight-alpha RGBA in [0, 1], channels last: over white, premultiplied, resized."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def over_white(rgba: Float[Tensor, "*n 4"]) -> Float[Tensor, "*n 3"]:
    """Colours of straight-alpha pictures over white, channels last."""
    return rgba[..., :3] * rgba[..., 3:] + 1 - rgba[..., 3:]


def premultiplied(rgba: Float[Tensor, "*b 4"]) -> Float[Tensor, "*b 4"]:
    """Straight-alpha RGBA with its colours times alpha, as it has to be before pixels are averaged."""
    return torch.cat([rgba[..., :3] * rgba[..., 3:], rgba[..., 3:]], -1)


def resized(frames: Float[Tensor, "t h w 4"], size: int) -> Float[Tensor, "t size size 4"]:
    """Square frames at another size, resampled with premultiplied colours so that edges keep theirs."""
    flat = premultiplied(frames).permute(0, 3, 1, 2)
    small = F.interpolate(flat, size=(size, size), mode="area").permute(0, 2, 3, 1)
    colour = small[..., :3] / small[..., 3:].clamp(min=1e-4)
    return torch.cat([colour.clamp(0, 1), small[..., 3:]], -1)
