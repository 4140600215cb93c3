"""Motion blur: an object that moves while the shutter is open is drawn along its way.

A smeared picture has no step along the way that is shorter than the way, neither at the outline nor within;
across the way it is as sharp as ever. What is soft in all directions (fur, glass, wrong focus) is not
smeared, nor what does not move. Lengths are pixels of the source.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, UInt8
from scipy import ndimage

from vid4d.media.keying import around, mask_box

SIDE = 128
"""Longer side, at most, of the copy on which an object is judged."""
STEP = 0.08
"""Way between frames over the object's size, below which no smear can be long enough to matter."""
LEAST = 0.1
"""Smear over the object's size that is told."""
SHARPER = 2.2
"""How many times as sharp it is across the way."""
SHUTTER = 0.4
"""Way between frames over the smear: shutters are open for no longer than from frame to frame; two or three
for clips whose frames were blended, and those whose way turns back between two frames."""
MOST = 24
"""Frames that are looked at."""


class Smear(NamedTuple):
    """share: of the object's size that it is smeared over. kept: of its mask that the object itself takes."""

    share: float
    kept: float


def smeared(
    frames: Sequence[UInt8[np.ndarray, "h w 4"]],
    contrast: Callable[[int], Float[np.ndarray, "h w 3"]],
) -> dict[int, Smear]:
    """The smear of the object, of the frames where it is smeared.

    frames: without background. contrast: of a frame, its colors less those of its background, or its alpha
    three times; any unit.
    """
    boxes = [mask_box(m) if (m := f[..., 3] > 127).any() else None for f in frames]
    middle = np.array([[np.nan] * 2 if b is None else [b[0] + b[2], b[1] + b[3]] for b in boxes]) / 2
    extent = np.array([[np.nan] * 2 if b is None else [b[2] - b[0], b[3] - b[1]] for b in boxes])
    steps = np.diff(middle, axis=0)
    grown = np.abs(np.diff(extent, axis=0)) / 2  # what a box gains or loses at one end moves its middle, too
    steps = np.sign(steps) * np.maximum(np.abs(steps) - grown, 0)
    ways: dict[int, np.ndarray] = {}
    for i, box in enumerate(boxes):
        near = [s for s in steps[max(0, i - 1) : i + 1] if np.isfinite(s).all()]
        way = max(near, key=np.linalg.norm, default=None)
        if box is None or way is None:
            continue
        if np.linalg.norm(way) > STEP * np.sqrt((box[2] - box[0]) * (box[3] - box[1])):
            ways[i] = way
    which = list(ways)
    few = np.unique(np.linspace(0, len(which) - 1, min(len(which), MOST)).round().astype(int))
    found = {}
    for i in (which[k] for k in few):
        smear = _smear(frames[i], contrast(i), ways[i])
        if smear is not None and smear.share > LEAST:
            found[i] = smear
    return found


def smear_note(found: dict[int, Smear], times: Float[np.ndarray, " t"]) -> str:
    """What `smeared` found, in words. times: seconds of the frames."""
    shown = ", ".join(f"{times[i]:.2f}" for i in list(found)[:5]) + (" ..." if len(found) > 5 else "")
    most = max(smear.share for smear in found.values())
    return (
        f"the object is smeared by its motion at {shown} s, over up to {most:.0%} of its size, and its mask "
        "is as much too long: film with a shorter exposure, which needs more light"
    )


def _smear(
    frame: UInt8[np.ndarray, "h w 4"], contrast: Float[np.ndarray, "h w 3"], way: Float[np.ndarray, "2"]
) -> Smear | None:
    """An object's smear along its way; None where it is not smeared."""
    mask = frame[..., 3] > 24
    left, top, right, bottom = mask_box(mask)
    margin = max(right - left, bottom - top) // 8 + 3
    window = around(mask, margin)
    step = max(1, -(-max(right - left, bottom - top) // SIDE))
    part = contrast[window] * ndimage.binary_dilation(mask[window], iterations=2)[..., None]
    small = _shrunk(part, step)
    turn = np.degrees(np.arctan2(way[1], way[0]))
    level = ndimage.gaussian_filter(ndimage.rotate(small, turn, axes=(1, 0), order=1), (1, 1, 0))
    along, across = _width(level, 0.5), _width(level.transpose(1, 0, 2), 0.25)
    if along < SHARPER * across or SHUTTER * along * step > np.linalg.norm(way):
        return None
    seen = np.abs(level).max(-1) > 0.1 * np.abs(level).max()
    begins = np.count_nonzero(seen[:, 1:] & ~seen[:, :-1])  # each stretch of a row is too long by the smear
    extent = np.ptp(np.nonzero(seen.any(0))[0]) + 1
    return Smear(
        float(along / max(extent - along, 1.0)), float(np.clip(1 - begins * along / seen.sum(), 0, 1))
    )


def _width(level: Float[np.ndarray, "h w 3"], share: float) -> float:
    """Pixels in which the steepest step of a row would rise from nothing to the row's highest: the quantile
    of the rows that show much of the object."""
    high = np.abs(level).max((1, 2))
    steep = np.abs(np.gradient(level, axis=1)).max((1, 2))
    much = high > 0.5 * high.max()
    return float(np.quantile(high[much] / np.maximum(steep[much], 1e-6), share))


def _shrunk(picture: Float[np.ndarray, "h w 3"], step: int) -> Float[np.ndarray, "h2 w2 3"]:
    """Means of blocks; zero around."""
    h, w = picture.shape[:2]
    padded = np.pad(picture, ((0, -h % step), (0, -w % step), (0, 0)))
    parts = padded.reshape(padded.shape[0] // step, step, -1, step, 3)
    return parts.mean((1, 3), dtype=np.float32)
