"""Contrast: how far an object differs from a plain background, all of it and along its outline.

Distances of color are Euclidean, in 8-bit steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Float, UInt8
from scipy import ndimage

from vid4d.media.fading import fading_outline
from vid4d.media.images import color_distance
from vid4d.media.keying import Background, mask_box, smooth

SEEN = 0.002  # share of the picture's pixels, at least, that an object has
HARDLY = 1.3  # contrast of an object over what is certainly no background, below which all of it is faint


def with_contrast(
    frames: Sequence[UInt8[np.ndarray, "h w 3"]], background: Background
) -> tuple[Background, str]:
    """The background with its `contrast`, if that is little; the colors that differ most, in words.

    The words are empty where nothing differs by as much as a level.
    """
    most, levels = 1.0, ""
    for i in np.unique(np.linspace(0, len(frames) - 1, min(len(frames), 9)).round().astype(int)):
        surface = background.surface + background.offsets[i]
        distance = color_distance(smooth(frames[i] - surface))
        level = float(np.quantile(distance, 1 - SEEN))
        if level > most:
            most = level
            there = distance >= level
            colors = [np.rint(np.median(c[there], 0)).astype(int) for c in (frames[i], surface)]
            levels = " before ".join(_color_words(c) for c in colors) + " of 255"
    if background.region < most < HARDLY * background.core:
        return replace(background, contrast=most), levels
    return background, levels


def _color_words(color: np.ndarray) -> str:
    """One number for a grey."""
    return str(color[1]) if np.ptp(color) <= 2 else "/".join(str(c) for c in color)


def faint_outline(
    rgba: UInt8[np.ndarray, "h w 4"],
    picture: UInt8[np.ndarray, "h w 3"],
    surface: Float[np.ndarray, "h w 3"],
    core: float,
    upper: bool,
) -> float:
    """Share of the outline, some pixels within it, that is hardly of another color than the background.

    core: distance that is. upper: look at the upper half alone.
    """
    mask = rgba[..., 3] > 127
    outer = ndimage.binary_erosion(mask, iterations=2, border_value=1)
    ring = outer & ~ndimage.binary_erosion(outer, iterations=2, border_value=1)
    if not ring.any():
        return 0.0
    distance = color_distance(picture - surface)
    left, top, right, bottom = mask_box(mask)
    fading = fading_outline(distance, mask, core, max(right - left, bottom - top))
    if upper:
        ring[(top + bottom) // 2 :] = False
        fading[(top + bottom) // 2 :] = False
    outline = mask & ~ndimage.binary_erosion(mask, border_value=1)
    if not ring.any():
        return 0.0
    return max(float((distance[ring] < core).mean()), float(fading.sum() / max(outline.sum(), 1)))
