"""Small things of constant shape that move on their own beside the object: mouse cursors, flies, balls.

They are told and kept: what a mouse cursor in a screen recording does, a ball in a game does, too.
"""

from __future__ import annotations

from collections.abc import Sequence

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
FAR = 3.0
"""Its way over its size, at least, both in the picture and seen from the object."""


def loose_note(
    pieces: Pieces,
    beside: Bool[np.ndarray, " n"],
    colors: Sequence[UInt8[np.ndarray, "h w 3"]],
    times: Float[np.ndarray, " t"],
    step: int,
    places: Places,
) -> str | None:
    """A sentence about a small thing that moves on its own; None where there is none.

    beside: pieces that were not left out. colors: of the masks' pixels, frame by frame. times: seconds.
    """
    frame, count = pieces.frame_of(), len(pieces.first) - 1
    largest = np.zeros(count)
    np.maximum.at(largest, frame[beside], pieces.area[beside])
    if not largest.any():
        return None
    small = beside & (pieces.area < SMALL * np.median(largest[largest > 0]))
    seen = np.unique(frame[small])
    if len(seen) < max(4, OFTEN * count):
        return None
    found = []
    for i in seen.tolist():
        numbers = np.arange(pieces.first[i], pieces.first[i + 1])
        labels, area = pieces.labels[i], pieces.area[numbers]
        boxes = ndimage.find_objects(labels)
        object_box = boxes[int(np.argmax(area * beside[numbers]))]
        for k in np.nonzero(small[numbers])[0].tolist():
            color = colors[i][labels == k + 1].mean(0)
            found.append((i, boxes[k], object_box, color))
    size = np.array([[s.stop - s.start for s in box] for _, box, _, _ in found])
    shade = np.array([color for *_, color in found])
    alike = (np.abs(size - np.median(size, 0)) <= 1).all(1)
    alike &= np.abs(shade - np.median(shade, 0)).max(1) <= SAME_COLOR
    same = [f for f, a in zip(found, alike, strict=True) if a]
    when = [i for i, *_ in same]
    if len(set(when)) < len(when) or len(when) < CONSTANT * len(found) or len(when) < OFTEN * count:
        return None
    middle = np.array([_middle(box) for _, box, _, _ in same])
    from_object = middle - [_middle(box) for _, _, box, _ in same]
    enough = FAR * np.median(size, 0).max()
    if min(np.ptp(middle, axis=0).max(), np.ptp(from_object, axis=0).max()) < enough:
        return None
    ends = []
    for i, box, _, _ in (same[0], same[-1]):
        left, top, right, bottom = places.of_box(box, step)
        ends.append(f"{(left + right) // 2},{(top + bottom) // 2} at {times[i]:.2f} s")
    return (
        f"a small thing moves on its own, from {' to '.join(ends)}, and is kept: if it is a mouse cursor, "
        "record without it; --click X,Y on the object leaves it out where the two never touch"
    )


def _middle(box: tuple[slice, slice]) -> tuple[float, float]:
    rows, columns = box
    return (rows.start + rows.stop) / 2, (columns.start + columns.stop) / 2
