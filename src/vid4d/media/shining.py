"""Backgrounds with a hue of their own, which show where an object has gaps, lit as they may be.

What a chroma key goes by. A highlight or a pale part can be as white as a white wall; nothing of an object
of another hue is as green as a green screen. So a spot of the background's hue that ends at once in another
hue is a gap between limbs, however small, and in the object's own shade, too. A shade of a background is its
color times a factor. Colors are 8-bit; distances Euclidean.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float
from scipy import ndimage

from vid4d.media.images import color_distance, shade_of

BLUR = 0.7
"""Pixels by which noise is smoothed."""
DARKEST = 0.45
"""Factor below which nothing is taken for a shade: dark colors have hardly a hue."""
BRIGHTEST = 1.3
ANOTHER = 2.0
"""Distance from the background's hue, over that of the background's own pixels at most, of another hue."""
RING = 2, 4
"""Pixels from a spot, from and to, where the object has to be of another hue."""
MOSTLY = 0.5
"""Share of that ring which is, and of the spot that is not: light from the background tints edges."""
SPOT = 0.3
"""Share of a large gap, at least, that is hardly in shade: else it is a darker object's."""
HARDLY = 0.8
"""Factor of what is hardly in shade."""
LIMBS = 0.05
"""Area over the object's that makes a gap large."""
SMALL = 3e-4
"""Area of a gap in light, over the object's, at least."""
LARGE = 3e-3
"""The same of one in shade: parts of an object may be of the background's hue, and darker."""


def has_hue(surface: Float[np.ndarray, "h w 3"], limit: float) -> bool:
    """Whether a smooth background has a hue of its own anywhere; limit: as of `shining_through`."""
    return bool(_telling(surface[::8, ::8], limit).any())


def _telling(surface: Float[np.ndarray, "h w 3"], limit: float) -> Bool[np.ndarray, "h w"]:
    """Where even a grey as dark as the darkest shade is of another hue."""
    chroma = color_distance(surface - surface.mean(-1, keepdims=True))
    return DARKEST * chroma > ANOTHER * limit


def shining_through(
    picture: Float[np.ndarray, "h w 3"],
    surface: Float[np.ndarray, "h w 3"],
    inside: Bool[np.ndarray, "h w"],
    spots: Bool[np.ndarray, "h w"],
    limit: float,
) -> Bool[np.ndarray, "h w"]:
    """Which of the spots show the background, and what of the mask does, in shade.

    picture: a frame. surface: its background's color. inside: the mask, in which gaps that are all in shade
    are found, too. spots: what is not in the mask and may be the object's. limit: distance that the
    background's own pixels come up to.
    """
    result = np.zeros_like(inside)
    telling = _telling(surface, limit)
    if not (telling & (inside | spots)).any():
        return result
    picture = np.stack([ndimage.gaussian_filter(picture[..., c], BLUR) for c in range(3)], -1)
    factor = shade_of(picture, surface)
    away = color_distance(picture - factor[..., None] * surface)
    shade = telling & (away < limit) & (factor > DARKEST) & (factor < BRIGHTEST)
    seeds = spots | (inside & shade & (factor > HARDLY))
    labels, _ = ndimage.label((inside & shade) | spots)
    area, outside = int(inside.sum()), ~inside & ~spots
    for i, box in enumerate(ndimage.find_objects(labels), start=1):
        wide = tuple(slice(max(0, b.start - RING[1] - 1), b.stop + RING[1] + 1) for b in box)
        piece = labels[wide] == i
        spot = piece & spots[wide]
        enclosed = not (ndimage.binary_dilation(piece) & outside[wide]).any()
        if not (enclosed or spot.any()):
            continue
        held = (piece & seeds[wide]).sum()
        if held == 0 or (held < SPOT * piece.sum() and piece.sum() > LIMBS * area):
            continue
        heart = ndimage.binary_erosion(piece, border_value=0)
        if heart.sum() < 3 or not shade[wide][heart].mean() > MOSTLY:
            continue
        lit = np.median(color_distance((picture - surface)[wide][heart])) < ANOTHER * limit
        if heart.sum() < (SMALL if lit else LARGE) * area:
            continue
        ring = ndimage.binary_dilation(piece, iterations=RING[1])
        ring &= ~ndimage.binary_dilation(piece, iterations=RING[0]) & inside[wide] & ~shade[wide]
        if ring.any() and (away[wide][ring] > ANOTHER * limit).mean() > MOSTLY:
            result[wide] |= piece if enclosed else spot  # beside an object it is a shadow: see `clip.shadows`
    return result
