"""Straight-alpha pictures in [0, 1], channels last: over backgrounds, premultiplied, resized, in 8 bits."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor

Picture = TypeVar("Picture", Tensor, np.ndarray)


def over_white(rgba: Float[Tensor, "*n 4"]) -> Float[Tensor, "*n 3"]:
    """Colors of straight-alpha pictures over white, channels last."""
    return rgba[..., :3] * rgba[..., 3:] + 1 - rgba[..., 3:]


def over(rgba: Picture, background: Picture | float) -> Picture:
    """Colors (..., 3) of straight-alpha pictures (..., 4) over any background: a grey level, or colors."""
    return rgba[..., :3] * rgba[..., 3:] + background * (1 - rgba[..., 3:])


def over_white_uint8(rgba: UInt8[np.ndarray, "h w 4"]) -> UInt8[np.ndarray, "h w 3"]:
    """Colors of an 8-bit picture over white."""
    alpha = rgba[..., 3:].astype(np.float32) / 255
    return np.rint(rgba[..., :3] * alpha + 255 * (1 - alpha)).astype(np.uint8)


def premultiplied(rgba: Float[Tensor, "..."], dim: int = -1) -> Float[Tensor, "..."]:
    """Straight-alpha RGBA with its colors times alpha, as it has to be before pixels are averaged.

    dim: of the four channels.
    """
    color, alpha = rgba.split([3, 1], dim)
    return torch.cat([color * alpha, alpha], dim)


def resized(images: Float[Tensor, "*n h w 4"], width: int) -> Float[Tensor, "*n h2 w2 4"]:
    """Straight-alpha pictures at another width, of the same proportions: area averages.

    Colors are weighted by alpha, so that edges keep theirs.
    """
    lead, (h, w) = images.shape[:-3], images.shape[-3:-1]
    flat = premultiplied(images).reshape(-1, h, w, 4).movedim(-1, 1)
    small = F.interpolate(flat, (round(h * width / w), width), mode="area").movedim(1, -1)
    color = small[..., :3] / small[..., 3:].clamp(min=1e-4)
    return torch.cat([color.clamp(0, 1), small[..., 3:]], -1).reshape(*lead, *small.shape[1:])


def to_uint8(picture: Float[np.ndarray, "..."] | Float[Tensor, "..."]) -> UInt8[np.ndarray, "..."]:
    """Pictures in [0, 1] in 8 bits, rounded; what lies outside is clipped."""
    values = picture.detach().cpu().numpy() if isinstance(picture, Tensor) else picture
    return np.rint(np.clip(values, 0, 1) * 255).astype(np.uint8)
