"""Holes that come and go: enclosed spots of a mask that are clear for a few frames only are the object's.

An object in the color of its background loses its inside here and there, now and then. A gap between limbs
stays open for longer, and moves; where the background has a hue that the object has not, it is known by that.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Bool, Float, UInt8
from scipy import ndimage

from vid4d.clip.spool import Mapped, Spool
from vid4d.clip.subject import follow_pieces
from vid4d.media.keying import filled

BRIEF = 4
"""Frames in a row, at most, in which a hole is filled."""
LONGEST = 0.5
"""Seconds from the frame before to the frame after such a hole, at most: else a gap may open and close."""
SMALLEST = 0.005
"""Area of such a hole over the object's: parts that nearly touch leave smaller gaps."""
COVERED = 0.8
"""Share of a hole that the object covers before it comes and after it goes."""


def fill_brief_holes(
    frames: Sequence[UInt8[np.ndarray, "h w 4"]],
    pictures: Sequence[UInt8[np.ndarray, "h w 4"]],
    times: Float[np.ndarray, " t"],
    shines: Callable[[int, Bool[np.ndarray, "h w"], Bool[np.ndarray, "h w"]], bool] | None = None,
) -> tuple[Sequence[UInt8[np.ndarray, "h w 4"]], str | None]:
    """Frames without holes that come and go, and a sentence about them.

    pictures: the frames with their background, whose colors show in a hole that is filled. times: seconds.
    shines: whether the background is seen in a hole for certain: of a frame's number, its mask, the hole.
    """
    masks = Mapped(frames, lambda f: f[..., 3] > 127)
    holes, area = Spool(boxed=True), []
    for mask in masks:
        holes.append(filled(mask) & ~mask)
        area.append(int(mask.sum()))
    if not any(h.any() for h in holes):
        return frames, None
    pieces = follow_pieces(holes)
    frame_of = pieces.frame_of()
    closed: dict[int, Bool[np.ndarray, "h w"]] = {}
    for track in np.unique(pieces.track):
        own = pieces.track == track
        first, last = int(frame_of[own].min()), int(frame_of[own].max())
        if last - first >= BRIEF or first == 0 or last == len(frames) - 1:
            continue
        if times[last + 1] - times[first - 1] > LONGEST:
            continue
        spots = {int(k): pieces.mask(int(k), own) for k in np.unique(frame_of[own])}
        every = np.any(list(spots.values()), 0)
        if every.sum() < SMALLEST * area[first]:
            continue
        if min(masks[first - 1][every].mean(), masks[last + 1][every].mean()) < COVERED:
            continue
        widest = max(spots, key=lambda k: int(spots[k].sum()))
        if shines is not None and shines(widest, masks[widest], spots[widest]):
            continue
        for k, spot in spots.items():
            closed[k] = closed.get(k, np.zeros_like(spot)) | spot
    if not closed:
        return frames, None
    result = Spool(
        (_filled(f, pictures[k], closed[k]) if k in closed else f for k, f in enumerate(frames)), boxed=True
    )
    listed = ", ".join(f"{times[k]:.2f}" for k in sorted(closed)[:5]) + (" ..." if len(closed) > 5 else "")
    return result, f"holes that come and go are filled, at {listed} s; --keep keeps them"


def _filled(
    frame: UInt8[np.ndarray, "h w 4"], picture: UInt8[np.ndarray, "h w 4"], spot: Bool[np.ndarray, "h w"]
) -> UInt8[np.ndarray, "h w 4"]:
    """A frame that is opaque in a spot and at its soft edge, with the picture's colors."""
    wide = ndimage.binary_dilation(spot, iterations=3) & filled(frame[..., 3] > 127)
    result = frame.copy()
    result[wide] = picture[wide]
    result[wide, 3] = 255
    return result
