"""What a thing looked like in one frame tells which pixels of the next are its own, by motion and texture.

Each of two things has its own motion, found by whole shifts. Patches around it (block matching with capped
differences, so that what was hidden or is new counts little) say how well a pixel continues either thing.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, UInt8
from scipy import ndimage

REACH = 12
"""Pixels that a thing's motion may differ from that of the frame before."""
AROUND = 3
"""Pixels that parts of a thing move beside its own motion."""
PATCH = 5
"""Side of the patches."""
CAP = 60.0
"""Difference of colors, 8-bit steps, from which on all are the same."""
OUTSIDE = -255.0
"""Color of what is no mask."""
SAMPLED = 400
"""Pixels of a thing that its motion is found by."""
STRAY = 0.02
"""What a pixel of a part's own motion costs, of the cost of a patch that differs."""

Way = tuple[int, int]
"""Pixels down and to the right."""


def painted(color: UInt8[np.ndarray, "h w 3"], mask: Bool[np.ndarray, "h w"]) -> Float[np.ndarray, "3 h w"]:
    """Colors of a mask, channels first; `OUTSIDE` elsewhere."""
    return np.where(mask, np.moveaxis(color, -1, 0).astype(np.float32), np.float32(OUTSIDE))


def _differ(one: Float[np.ndarray, "3 ..."], other: Float[np.ndarray, "3 ..."]) -> Float[np.ndarray, "..."]:
    """The largest difference of a channel, over `CAP`, 1 at most."""
    red, green, blue = np.abs(one - other)
    return np.minimum(np.maximum(np.maximum(red, green), blue), CAP) / CAP


def way_of(
    before: Float[np.ndarray, "3 h w"],
    own: Bool[np.ndarray, "h w"],
    here: Float[np.ndarray, "3 h w"],
    guess: Way = (0, 0),
) -> Way:
    """Motion of a thing from one painted frame to another, by whole pixels. guess: about how far."""
    y, x = np.nonzero(own)
    if len(y) == 0:
        return guess
    few = np.linspace(0, len(y) - 1, min(len(y), SAMPLED)).round().astype(int)
    y, x = y[few], x[few]
    colors = before[:, y, x]
    margin = REACH + max(abs(guess[0]), abs(guess[1]))
    padded = np.pad(here, ((0, 0), (margin, margin), (margin, margin)), constant_values=OUTSIDE)
    best, found = np.inf, guess
    for dy in range(-REACH, REACH + 1):
        for dx in range(-REACH, REACH + 1):
            there = padded[:, y + margin + guess[0] + dy, x + margin + guess[1] + dx]
            cost = float(_differ(there, colors).mean()) + 0.1 * STRAY * np.hypot(dy, dx)
            if cost < best:
                best, found = cost, (guess[0] + dy, guess[1] + dx)
    return found


def continued(
    before: Float[np.ndarray, "3 h w"],
    own: Bool[np.ndarray, "h w"],
    here: Float[np.ndarray, "3 h w"],
    box: tuple[slice, slice],
    way: Way,
) -> Float[np.ndarray, "h2 w2"]:
    """How badly each pixel of a box continues a thing: 0 where it looks as before, 1 where it does not.

    before, here: painted frames. own: the thing in the first. way: its motion.
    """
    margin = AROUND + max(abs(way[0]), abs(way[1]))
    padded = np.pad(before, ((0, 0), (margin, margin), (margin, margin)), constant_values=OUTSIDE)
    owned = np.pad(own, margin)
    rows, columns = box
    target = here[:, rows, columns]
    h, w = target.shape[1:]
    best = np.ones((h, w), np.float32)
    for dy in range(-AROUND, AROUND + 1):
        for dx in range(-AROUND, AROUND + 1):
            top, left = rows.start - way[0] - dy + margin, columns.start - way[1] - dx + margin
            part = slice(top, top + h), slice(left, left + w)
            mine = owned[part]
            if not mine.any():
                continue
            differ = _differ(padded[:, *part], target)
            cost = ndimage.uniform_filter(differ, PATCH) + np.float32(STRAY * np.hypot(dy, dx))
            np.minimum(best, np.where(mine, cost, 1), out=best)
    return best
