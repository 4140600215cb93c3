"""Pictures with straight alpha in [0, 1]: over backgrounds, premultiplied, resized, 8 bits, sheets."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Shaped, UInt8
from torch import Tensor

Picture = TypeVar("Picture", Tensor, np.ndarray)

LEAST_ALPHA = 1e-6
"""Of less alpha than this nothing can be told."""
BLOCK = 1 << 22
"""Pixels of a large picture that are worked on at a time: floats of all of them have no room."""


def over_white(rgba: Float[Tensor, "*n 4"]) -> Float[Tensor, "*n 3"]:
    """Colors of straight-alpha pictures over white, channels last."""
    return rgba[..., :3] * rgba[..., 3:] + 1 - rgba[..., 3:]


def over(rgba: Picture, background: Picture | float) -> Picture:
    """Colors (..., 3) of straight-alpha pictures (..., 4) over any background: a grey level, or colors."""
    return rgba[..., :3] * rgba[..., 3:] + background * (1 - rgba[..., 3:])


def over_white_uint8(rgba: UInt8[np.ndarray, "h w 4"]) -> UInt8[np.ndarray, "h w 3"]:
    """Colors of an 8-bit picture over white; a view of one that is opaque."""
    if rgba[..., 3].min() == 255:
        return rgba[..., :3]
    white = np.empty((*rgba.shape[:2], 3), np.uint8)
    for rows in row_blocks(*rgba.shape[:2]):
        alpha = as_floats(rgba[rows, :, 3:])
        white[rows] = np.rint(rgba[rows, :, :3] * alpha + 255 * (1 - alpha))
    return white


def row_blocks(height: int, width: int) -> Iterator[slice]:
    """The rows of a picture in blocks of some million pixels; all of them at once where it has no more."""
    step = max(1, BLOCK // max(1, width))
    return (slice(start, min(start + step, height)) for start in range(0, height, step))


def premultiplied(rgba: Picture, dim: int = -1) -> Picture:
    """Straight-alpha RGBA with its colors times alpha, as it has to be before pixels are averaged.

    dim: of the four channels.
    """
    color, alpha = _parted(rgba, dim)
    return _joined(color * alpha, alpha, dim)


def straight(rgba: Picture, dim: int = -1) -> Picture:
    """The inverse of `premultiplied`: colors divided by alpha, in [0, 1]; black where there is none.

    dim: of the four channels.
    """
    color, alpha = _parted(rgba, dim)
    return _joined(unweighted(color, alpha).clip(0, 1), alpha, dim)


def unweighted(values: Picture, alpha: Picture) -> Picture:
    """Means of what was added up times alpha (colors, depths): divided by it, and 0 where there is none.

    alpha: of a shape that fits the values'.
    """
    return values / alpha.clip(min=LEAST_ALPHA)


def _parted(rgba: Picture, dim: int) -> tuple[Picture, Picture]:
    if isinstance(rgba, Tensor):
        color, alpha = rgba.split([3, 1], dim)
    else:
        color, alpha = np.split(rgba, [3], dim)
    return color, alpha


def _joined(color: Picture, alpha: Picture, dim: int) -> Picture:
    if isinstance(color, Tensor):
        return torch.cat([color, alpha], dim)
    return np.concatenate([color, alpha], dim)


def resized(images: Float[Tensor, "*n h w 4"], width: int) -> Float[Tensor, "*n h2 w2 4"]:
    """Straight-alpha pictures at another width, of the same proportions: area averages.

    Colors are weighted by alpha, so that edges keep theirs.
    """
    lead, (h, w) = images.shape[:-3], images.shape[-3:-1]
    flat = premultiplied(images).reshape(-1, h, w, 4).movedim(-1, 1)
    small = F.interpolate(flat, (round(h * width / w), width), mode="area").movedim(1, -1)
    return straight(small).reshape(*lead, *small.shape[1:])


def to_uint8(picture: Float[np.ndarray, "..."] | Float[Tensor, "..."]) -> UInt8[np.ndarray, "..."]:
    """Pictures in [0, 1] in 8 bits, rounded; what lies outside is clipped."""
    values = picture.detach().cpu().numpy() if isinstance(picture, Tensor) else picture
    return np.rint(np.clip(values, 0, 1) * 255).astype(np.uint8)


def as_floats(picture: UInt8[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    """Pictures of 8 bits in [0, 1], in float32."""
    return picture.astype(np.float32) / 255


def shade_of(
    picture: Float[np.ndarray, "h w 3"], surface: Float[np.ndarray, "h w 3"]
) -> Float[np.ndarray, "h w"]:
    """The factor of a surface's color, 8-bit, that comes nearest to the picture's."""
    factor: np.ndarray = (picture * surface).sum(-1) / np.maximum((surface**2).sum(-1), 1)
    return factor


def color_distance(difference: Float[np.ndarray, "*n 3"]) -> Float[np.ndarray, "*n"]:
    """Euclidean length of differences of color."""
    r, g, b = difference[..., 0], difference[..., 1], difference[..., 2]
    return np.sqrt(r * r + g * g + b * b)


def side_by_side(
    pictures: Shaped[Tensor, "n h w c"] | Shaped[np.ndarray, "n h w c"], columns: int
) -> Shaped[np.ndarray, "h2 w2 c"]:
    """A contact sheet without words: n pictures, at most `columns` in a row; white where none is left.

    pictures: (n, h, w, c), in [0, 1] or in 8 bits. Returns (rows * h, columns * w, c) of the same kind.
    """
    values = pictures.detach().cpu().numpy() if isinstance(pictures, Tensor) else pictures
    n, h, w, channels = values.shape
    columns = min(columns, n)
    rows = -(-n // columns)
    white = 255 if values.dtype == np.uint8 else 1
    cells = np.full((rows * columns, h, w, channels), white, values.dtype)
    cells[:n] = values
    parted = cells.reshape(rows, columns, h, w, channels)
    return parted.swapaxes(1, 2).reshape(rows * h, columns * w, channels)
