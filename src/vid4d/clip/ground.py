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
from vid4d.media.images import color_distance
from vid4d.media.keying import Background, around, smooth

LIGHTEST = 0.93
"""Factor of the background's color above which nothing is taken for a hard shadow."""
ALIKE = 0.04
"""Spread of that factor, up and down, over what is flat."""
LEAST = 0.04
"""Share of the mask, at least, that is flat at the foot."""
MOST = 0.6
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
    factor = (picture * bare).sum(-1) / np.maximum((bare**2).sum(-1), 1)
    shade = mask & (color_distance(picture - factor[..., None] * bare) < hue_limit(bare, background))
    shade &= (factor > DARKEST) & (factor < LIGHTEST)
    if shade.sum() < LEAST * mask.sum():
        return 0.0
    counts, edges = np.histogram(factor[shade], np.arange(DARKEST, LIGHTEST + ALIKE / 2, ALIKE / 2))
    usual = edges[int(np.argmax(counts))] + ALIKE / 4
    pieces, count = ndimage.label(shade & (np.abs(factor - usual) < ALIKE))
    if count == 0:
        return 0.0
    flat = pieces == 1 + int(np.argmax(ndimage.sum_labels(shade, pieces, np.arange(1, count + 1))))
    flat = ndimage.binary_opening(flat)  # seams between colors have all shades
    share = float(flat.sum() / mask.sum())
    rest = ndimage.binary_opening(mask & ~ndimage.binary_dilation(flat, iterations=3))  # without its rim
    return share if LEAST < share < MOST and at_foot(flat, rest) else 0.0


def spans(mask: Bool[np.ndarray, "h w"]) -> bool:
    """Whether a mask reaches the left and the right side of the picture, or its top and its bottom."""
    left, right, top, bottom = (line.any() for line in (mask[:, 0], mask[:, -1], mask[0], mask[-1]))
    return bool((left and right) or (top and bottom))


def furniture(frames: Sequence[UInt8[np.ndarray, "h w 4"]]) -> bool:
    """Whether what is left of most frames spans the picture."""
    return bool(np.mean([spans(f[..., 3] > 127) for f in frames]) > SPANNING)
