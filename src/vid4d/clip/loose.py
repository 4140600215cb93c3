"""Small things of constant shape that move on their own beside the object: mouse cursors, flies, balls.

They are told and kept: what a mouse cursor in a screen recording does, a ball in a game does, too. One
that is left out as a speck is told where it passes over the object, in whose picture it stays.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, UInt8
from scipy import ndimage

from vid4d.clip.pieces import Pieces
from vid4d.clip.places import Places

SMALL = 0.06
"""Area over the object's, at most."""
OFTEN = 0.4
"""Share of the frames in which it is seen beside the object, at least."""
CONSTANT = 0.8
"""Share of these, at least, in which it has its usual width and height, to a pixel, and color."""
SAME_COLOR = 40.0
"""Distance of its mean color from the usual, 8-bit steps a channel, at most."""
SAMPLED = 300.0
"""What is added to that, over the root of its pixels, of which not all are looked at."""
FAR = 3.0
"""Its way over its size, at least, both in the picture and seen from the object."""


class _Sight(NamedTuple):
    """A small thing in a frame. box: rows and columns. middle: of it, and of the object. color: its mean."""

    frame: int
    box: tuple[slice, slice]
    middle: tuple[float, float]
    object_middle: tuple[float, float]
    color: Float[np.ndarray, "3"]


def loose_note(
    pieces: Pieces,
    beside: Bool[np.ndarray, " n"],
    colors: Sequence[UInt8[np.ndarray, "h w 3"]],
    times: Float[np.ndarray, " t"],
    step: int,
    places: Places,
    specks: Bool[np.ndarray, " n"] | None = None,
) -> str | None:
    """A sentence about a small thing that moves on its own; None where there is none.

    beside: pieces that were not left out. colors: of the masks' pixels, frame by frame. times: seconds.
    specks: pieces that were, for they are tiny.
    """
    frame, count = pieces.frame_of(), len(pieces.first) - 1
    largest = np.zeros(count)
    np.maximum.at(largest, frame[beside], pieces.area[beside])
    if not largest.any():
        return None
    small = beside & (pieces.area < SMALL * np.median(largest[largest > 0]))
    if same := _wanderer(pieces, small, beside, colors):
        ends = []
        for sight in (same[0], same[-1]):
            left, top, right, bottom = places.of_box(sight.box, step)
            ends.append(f"{(left + right) // 2},{(top + bottom) // 2} at {times[sight.frame]:.2f} s")
        return (
            f"a small thing moves on its own, from {' to '.join(ends)}, and is kept: if it is a mouse "
            "cursor, record without it; --click X,Y on the object leaves it out"
        )
    if specks is None or not (same := _wanderer(pieces, specks, beside, colors)):
        return None
    over = _passing_over(same, pieces, beside)
    if not over:
        return None
    listed = ", ".join(f"{times[i]:.2f}" for i in over[:5]) + (" ..." if len(over) > 5 else "")
    return (
        f"a small thing that moves on its own passes over the object at {listed} s, and stays in its picture "
        "there: if it is a mouse cursor, record without it"
    )


def _wanderer(
    pieces: Pieces,
    small: Bool[np.ndarray, " n"],
    beside: Bool[np.ndarray, " n"],
    colors: Sequence[UInt8[np.ndarray, "h w 3"]],
) -> list[_Sight]:
    """Sights of one thing of constant shape and color that goes its own way; none where there is no such."""
    frame, count = pieces.frame_of(), len(pieces.first) - 1
    seen = np.unique(frame[small])
    if len(seen) < max(4, OFTEN * count):
        return []
    found = []
    for i in seen.tolist():
        numbers = np.arange(pieces.first[i], pieces.first[i + 1])
        labels, area = pieces.labels[i], pieces.area[numbers]
        boxes = ndimage.find_objects(labels)
        middle = _middle(boxes[int(np.argmax(area * beside[numbers]))])
        for k in np.nonzero(small[numbers])[0].tolist():
            color = colors[i][labels == k + 1].mean(0)
            found.append(_Sight(i, boxes[k], _middle(boxes[k]), middle, color))
    size = np.array([[s.stop - s.start for s in sight.box] for sight in found])
    shade = np.array([sight.color for sight in found])
    alike = (np.abs(size - np.median(size, 0)) <= 1).all(1)
    limit = SAME_COLOR + SAMPLED / np.sqrt(np.median(size.prod(1)))
    alike &= np.abs(shade - np.median(shade, 0)).max(1) <= limit
    same = [s for s, a in zip(found, alike, strict=True) if a]
    when = {s.frame for s in same}
    if len(when) < len(same) or len(same) < CONSTANT * len(found) or len(same) < OFTEN * count:
        return []
    middle_ways = np.array([s.middle for s in same])
    from_object = middle_ways - [s.object_middle for s in same]
    enough = FAR * np.median(size, 0).max()
    if min(np.ptp(middle_ways, axis=0).max(), np.ptp(from_object, axis=0).max()) < enough:
        return []
    return same


def _passing_over(same: Sequence[_Sight], pieces: Pieces, beside: Bool[np.ndarray, " n"]) -> list[int]:
    """Frames between two sights in which the straight way from one to the other lies on the object."""
    result = []
    for a, b in pairwise(same):
        for i in range(a.frame + 1, b.frame):
            share = (i - a.frame) / (b.frame - a.frame)
            row, column = np.rint((1 - share) * np.array(a.middle) + share * np.array(b.middle)).astype(int)
            if pieces.mask(i, beside)[row, column]:
                result.append(i)
    return result


def _middle(box: tuple[slice, slice]) -> tuple[float, float]:
    rows, columns = box
    return (rows.start + rows.stop) / 2, (columns.start + columns.stop) / 2
