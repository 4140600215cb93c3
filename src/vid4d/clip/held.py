"""What comes in from the border of the picture and holds the object: a hand, an arm, a stick, a stand.

Masks show it as a part of the object. It is known by where it enters: at one place of one side, in nearly all
frames, along less of that side than the object extends. An object that stands on the border, or is cut off by
it, meets it with most of its width. What it is cannot be told from that, so it is said and doubted;
`letting_go` cuts it off where that is asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, UInt8
from scipy import ndimage

from vid4d.clip.pieces import EIGHT
from vid4d.clip.subject import SIDE, strongest_alpha

OFTEN = 0.9
"""Share of the frames in which it comes in from the same side, at least."""
JOINED = 0.5
"""Share of these in which it is one piece with the largest thing, at least."""
NARROW = 0.6
"""What it takes of the side over the extent of all that the mask shows along it, at most."""
UNSURE = 0.5
"""Confidence, at most, in masks with something that may hold the object."""

SIDES = ("top", "bottom", "left", "right")


@dataclass(frozen=True)
class Grip:
    """Where something comes in. sides: of the picture. seen: frames in which it does. count: all frames."""

    sides: tuple[str, ...]
    seen: int
    count: int

    @property
    def borders(self) -> str:
        """The sides in words."""
        return f"{' and the '.join(self.sides)} border{'s' if len(self.sides) > 1 else ''}"

    def note(self) -> str:
        """What it means, in words."""
        return (
            f"something comes in from the {self.borders} in {self.seen} of {self.count} frames and is joined "
            "to the object: a hand, arm, stick or stand that holds it becomes part of the asset. --held cuts "
            "off what is of one color there; or give --masks FOLDER, or a segmentation model by --matting. "
            "If it is the object itself, it is cut off there"
        )


def grip(frames: Sequence[UInt8[np.ndarray, "h w 4"]]) -> Grip | None:
    """What comes in from the border and is joined to the object; None where nothing does.

    frames: without background. Those that show nothing do not count.
    """
    step = max(1, -(-max(frames[0].shape[:2]) // SIDE))
    on, taken, joined = [], [], []
    for frame in frames:
        mask = strongest_alpha(frame, step) > 127
        if not mask.any():
            continue
        extent = np.array([np.ptp(np.nonzero(mask.any(axis))[0]) + 1 for axis in (0, 0, 1, 1)])
        largest = _largest(mask)
        on.append([line.any() for line in lines(mask)])
        taken.append([line.sum() for line in lines(mask)] / extent)
        joined.append([line.any() for line in lines(largest)])
    if not on:
        return None
    touched = np.array(on)
    count = touched.sum(0)
    held = (count >= OFTEN * len(on)) & (np.median(taken, 0) < NARROW)
    held &= np.array(joined).sum(0) >= JOINED * count
    if not held.any():
        return None
    sides = tuple(side for side, h in zip(SIDES, held, strict=True) if h)
    return Grip(sides, int(touched[:, held].any(1).sum()), len(on))


def lines(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The outermost pixels at each side of a picture, in the order of `SIDES`; views of it."""
    return mask[0], mask[-1], mask[:, 0], mask[:, -1]


def _largest(mask: Bool[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
    numbered, _ = ndimage.label(mask, EIGHT)
    return numbered == 1 + int(np.argmax(np.bincount(numbered.ravel())[1:]))
