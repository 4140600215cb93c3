"""Small objects in large pictures: their windows are cut out again from the pictures at full size.

Clips are judged on pictures of a middling size. Where the window is smaller there than the frame that is made
of it, the pixels that were shrunk away are read once more, one picture at a time. What is object and what is
not was decided on the shrunk pictures; the edge alone is found again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image
from scipy import ndimage

from vid4d.clip.alpha_shadows import is_dark
from vid4d.clip.crop import crop
from vid4d.clip.matting import Matte, Plain
from vid4d.clip.matting_onnx import free_colors
from vid4d.clip.source import Source
from vid4d.clip.window import Windows
from vid4d.media.images import as_floats, over_white_uint8
from vid4d.media.keying import cut_out

BAND = 2
"""Pixels of the shrunk picture around an edge in which it is found again."""


@dataclass(frozen=True, eq=False)
class Shrunk:
    """Frames as they were judged. objects: without background. pictures: with it. places: of the frames in
    the matte. corner: of both in the shrunk picture, x and y, where bars were cut off.
    """

    objects: Sequence[UInt8[np.ndarray, "h w 4"]]
    pictures: Sequence[UInt8[np.ndarray, "h w 4"]]
    places: Sequence[int]
    corner: tuple[int, int]
    side: int


def crops(
    source: Source, chosen: Sequence[int], windows: Windows, shrunk: Shrunk, matte: Matte, size: int
) -> Iterator[Float[np.ndarray, "s s 4"]]:
    """The windows of the chosen frames at `size` pixels, from the source at full size."""
    for i, full in enumerate(source.read(chosen)):
        scale = max(full.shape[:2]) / shrunk.side
        yield _crop(full, i, scale, windows.corner(i), shrunk, matte, size)


def _crop(
    full: UInt8[np.ndarray, "h w 4"],
    i: int,
    scale: float,
    window: tuple[float, float, float],
    shrunk: Shrunk,
    matte: Matte,
    size: int,
) -> Float[np.ndarray, "s s 4"]:
    left, top, side = window
    small = shrunk.objects[i][..., 3]
    h, w = small.shape
    x0, y0 = max(0, int(left) - 4 * BAND), max(0, int(top) - 4 * BAND)
    x1, y1 = min(w, int(left + side) + 4 * BAND + 1), min(h, int(top + side) + 4 * BAND + 1)
    dx, dy = shrunk.corner
    rows = slice(round((y0 + dy) * scale), round((y1 + dy) * scale))
    columns = slice(round((x0 + dx) * scale), round((x1 + dx) * scale))
    part = full[rows, columns]
    near = _enlarged(ndimage.binary_dilation(small > 0, iterations=BAND)[y0:y1, x0:x1], part) > 127
    if matte.method == "alpha":
        result = part.copy()
        left_out = (small == 0) & (shrunk.pictures[i][..., 3] > 0)
        beside = ndimage.binary_dilation(left_out, iterations=BAND)[y0:y1, x0:x1]
        near &= ~(is_dark(part) & (_enlarged(beside, part) > 127))  # a shadow that was left out
    else:
        result = _keyed(part, near, i, (x0, y0, x1, y1), shrunk, matte)
        lost = (matte.frames[shrunk.places[i]][..., 3] > 127) & (small <= 127)  # a hand, a caption
        near &= _enlarged(lost[y0:y1, x0:x1], part) <= 127
        inner = ndimage.binary_erosion(small > 250, iterations=BAND, border_value=1)[y0:y1, x0:x1]
        solid = _enlarged(inner, part) > 127
        result[solid] = part[solid]
        result[solid, 3] = 255
    result[~near] = 0
    moved = (left + dx) * scale - columns.start, (top + dy) * scale - rows.start, side * scale
    return crop(result, moved, size)


def _keyed(
    part: UInt8[np.ndarray, "h w 4"],
    near: np.ndarray,
    i: int,
    box: tuple[int, int, int, int],
    shrunk: Shrunk,
    matte: Matte,
) -> UInt8[np.ndarray, "h w 4"]:
    """A part of a picture at full size without its background."""
    x0, y0, x1, y1 = box
    picture = over_white_uint8(part)
    if not isinstance(matte.plain, Plain):  # a network's mask is no sharper than the shrunk picture
        alpha = _enlarged(shrunk.objects[i][y0:y1, x0:x1, 3], part)
        return np.dstack([free_colors(picture, as_floats(alpha)), alpha])
    surface, ground = matte.plain.ground(shrunk.places[i], over_white_uint8(shrunk.pictures[i]))
    surface = surface[y0:y1, x0:x1]
    large = np.stack([_enlarged(surface[..., c], part) for c in range(3)], -1)
    background = matte.plain.background
    bare = (picture - large)[~near]
    if len(bare) > 64:  # shrinking hid the noise
        spread = 1.48 * np.median(np.abs(bare - np.median(bare, 0)))
        background = replace(background, noise=max(background.noise, float(spread)))
    known = None if ground is None else _enlarged(ground[y0:y1, x0:x1], part) > 127
    return cut_out(picture, large, background, known)[0]


def _enlarged(values: np.ndarray, like: np.ndarray) -> np.ndarray:
    """A plane at the size of another; masks in 0 and 255."""
    plane = values.astype(np.uint8) * np.uint8(255) if values.dtype == bool else values
    size = (like.shape[1], like.shape[0])
    return np.asarray(Image.fromarray(plane).resize(size, Image.Resampling.BILINEAR))
