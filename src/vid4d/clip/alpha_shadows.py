"""Shadows in alpha: a render with a shadow catcher is dark and half clear beside and below its object.

Such a shadow is black at every pixel and has its strength for alpha, which fades to nothing where it ends.
Dark glass has an edge there, fur and hair are dark on all sides of a thing that is dark itself, and both lie
within or around the object, not below it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, UInt8
from scipy import ndimage

from vid4d.clip.spool import Spool
from vid4d.media.keying import around

DARK = 32
"""The brightest channel of a shadow's color, 8-bit steps, at most."""
CLEAR, SOLID = 8, 250
"""Alpha up to which a pixel counts for nothing, and from which it cannot be a shadow."""
EDGE = 2.5
"""Width of an object's own soft edge, pixels."""
SMALLEST = 0.03
"""Area of a shadow over the object's, at least."""
LARGEST = 4.0
"""The same, at most: else it is smoke, or dark glass, that has something in it."""
SOFT = 40
"""Alpha just within the end of a shadow, at most; where it ends at an edge it is that of the shadow."""
LOOKS = 9
"""Frames that are looked at."""
EIGHT = np.ones((3, 3), bool)


def without_shadows(
    frames: Sequence[UInt8[np.ndarray, "h w 4"]],
) -> tuple[Sequence[UInt8[np.ndarray, "h w 4"]], str | None, bool]:
    """Frames without the soft shadow in their alpha, a sentence about it, and whether it was left out.

    They are as they came where most have none, or one with a hard edge, which is told.
    """
    few = np.unique(np.linspace(0, len(frames) - 1, min(len(frames), LOOKS)).round().astype(int)).tolist()
    found = [_shadow(frames[i]) for i in few]
    soft = sum(f is not None and f.soft for f in found)
    if 2 * soft > len(few):
        said = "a soft shadow in the alpha, at the foot of the object, is left out; --keep keeps it"
        return Spool(map(_cleared, frames), boxed=True), said, True
    if 2 * sum(f is not None for f in found) > len(few):
        said = (
            "what is dark and half clear at the foot of the object may be its shadow, with a hard edge: its "
            "alpha is taken as it is; render without it, or give --masks, if it is one"
        )
        return frames, said, False
    return frames, None, False


def _cleared(frame: UInt8[np.ndarray, "h w 4"]) -> UInt8[np.ndarray, "h w 4"]:
    found = _shadow(frame)
    return frame if found is None else frame * ~found.mask[..., None]


class _Shadow(NamedTuple):
    """mask: its pixels. soft: whether it fades where it ends."""

    mask: Bool[np.ndarray, "h w"]
    soft: bool


def _shadow(frame: UInt8[np.ndarray, "h w 4"]) -> _Shadow | None:
    """The shadow in a frame's alpha; None where there is none."""
    step = max(1, max(frame.shape[:2]) // 256)
    small = frame[::step, ::step]
    dark = is_dark(small)
    if not dark.any() or dark.sum() < SMALLEST * ((small[..., 3] > CLEAR) & ~dark).sum():
        return None
    box = around(frame[..., 3] > 0, 4)
    part = frame[box]
    alpha, dark = part[..., 3], is_dark(part)
    rest = (alpha > CLEAR) & ~dark
    if not rest.any() or dark.sum() > LARGEST * rest.sum():
        return None
    away, nearest = ndimage.distance_transform_edt(~rest, return_indices=True)
    edge = (away <= EDGE) & (part[nearest[0], nearest[1], :3].max(-1) <= 2 * DARK)  # of a dark object
    ends = dark & (away > 2 * EDGE) & (ndimage.distance_transform_edt(alpha > CLEAR) <= EDGE)
    labels, count = ndimage.label(dark & ~edge, EIGHT)
    open_ended = np.zeros(count + 1, bool)
    open_ended[np.unique(labels[ends])] = True
    open_ended[0] = False
    shadow = open_ended[labels]
    if not shadow.any() or shadow.sum() < SMALLEST * rest.sum():
        return None
    rows = np.arange(len(part))
    if np.average(rows, weights=shadow.sum(1)) <= np.average(rows, weights=rest.sum(1)):
        return None
    mask = np.zeros(frame.shape[:2], bool)
    mask[box] = shadow | (alpha <= CLEAR)
    return _Shadow(mask, bool(np.median(alpha[ends]) <= SOFT))


def is_dark(frame: UInt8[np.ndarray, "h w 4"]) -> Bool[np.ndarray, "h w"]:
    """Pixels that may be those of a shadow in alpha, by themselves."""
    alpha = frame[..., 3]
    return (alpha > CLEAR) & (alpha < SOLID) & (frame[..., :3].max(-1) <= DARK)
