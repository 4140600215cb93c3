"""What an object stands on, or in: hard shadows, turntables, tables and floors before a plain wall.

A hard shadow and a grey disc have an edge of their own, so by color they may be parts of the object: they
stay, and are told. What reaches from one side of the picture to the other is furniture, and no object at all.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, UInt8
from scipy import ndimage

from vid4d.clip.shadows import DARKEST, SIDE, at_foot, blocks, hue_limit
from vid4d.media.images import color_distance, shade_of
from vid4d.media.keying import Background, around, smooth

LIGHTEST = 0.93
"""Factor of the background's color above which nothing is taken for a hard shadow."""
BRIGHTER = 1.06
"""The same from which something lighter lies there: a white disc, a sheet of paper."""
ALIKE = 0.012
"""Standard deviation of that factor over what is flat, at most, and difference from piece to piece: hardly
any part of an object is as flat as a wall."""
EVEN = 0.05
"""Range of that factor among neighbors, at most."""
PIECE = 0.004
"""Share of the mask that each piece has, at least."""
WIDE = 1.3
"""Width over height of what lies flat, at least: the ground is seen at a slant."""
LEAST = 0.04
"""Share of the mask, at least, that is flat at the foot."""
MOST = 0.75
"""The same, at most: else it is the object."""
SPANNING = 0.5
"""Share of the frames that are spanned, at least, where it is furniture."""


def flat_at_foot(
    frame: UInt8[np.ndarray, "h w 3"],
    rgba: UInt8[np.ndarray, "h w 4"],
    surface: Float[np.ndarray, "h w 3"],
    background: Background,
) -> float:
    """Share of a frame's mask that is one flat shade of the background at the foot of the rest; 0 if none is.

    Shades are as of `shadows`, but all of one piece is equally dark: what is round or soft is not.
    """
    step = max(1, -(-max(frame.shape[:2]) // SIDE))
    mask = rgba[step // 2 :: step, step // 2 :: step, 3] > 127
    if not mask.any():
        return 0.0
    box = around(mask, 2)
    part = tuple(slice(s.start * step, s.stop * step) for s in box)
    mask = mask[box]
    picture, bare = (blocks(x[part], step)[: mask.shape[0], : mask.shape[1]] for x in (frame, surface))
    picture = smooth(picture)
    factor = shade_of(picture, bare)
    shade = mask & (color_distance(picture - factor[..., None] * bare) < hue_limit(bare, background))
    shade &= ((factor > DARKEST) & (factor < LIGHTEST)) | (factor > BRIGHTER)
    shade &= ndimage.maximum_filter(factor, 3) - ndimage.minimum_filter(factor, 3) < EVEN
    pieces, count = ndimage.label(shade)
    numbers = np.arange(1, count + 1)
    size = ndimage.sum_labels(shade, pieces, numbers)
    usual, spread = (
        np.asarray(f(factor, pieces, numbers)) for f in (ndimage.mean, ndimage.standard_deviation)
    )
    left = (size > PIECE * mask.sum()) & (spread < ALIKE)
    while left.any():  # all pieces of one shade at once: limbs lie between them
        alike = left & (np.abs(usual - usual[int(np.argmax(left * size))]) < ALIKE)
        left &= ~alike
        flat = ndimage.binary_dilation(np.isin(pieces, numbers[alike])) & mask  # the rim is not even
        rows, columns = (np.ptp(np.nonzero(flat.any(axis))[0]) + 1 for axis in (1, 0))
        rest = ndimage.binary_opening(mask & ~ndimage.binary_dilation(flat, iterations=3))
        share = float(flat.sum() / mask.sum())
        if LEAST < share < MOST and columns > WIDE * rows and at_foot(flat, rest):
            return share
    return 0.0


def spans(mask: Bool[np.ndarray, "h w"]) -> bool:
    """Whether a mask reaches the left and the right side of the picture, or its top and its bottom."""
    left, right, top, bottom = (line.any() for line in (mask[:, 0], mask[:, -1], mask[0], mask[-1]))
    return bool((left and right) or (top and bottom))


def furniture(frames: Sequence[UInt8[np.ndarray, "h w 4"]]) -> bool:
    """Whether what is left of most frames spans the picture."""
    return bool(np.mean([spans(f[..., 3] > 127) for f in frames]) > SPANNING)
