"""What holds the object cut off by its color: a hand, an arm, a stick that comes in from the border.

Two colors are learned over the whole clip, that of the mask where it meets the border, from there on grown
along what is like it, and that of all the rest. A minimum cut between the two (Boykov and Jolly, "Interactive
graph cuts", ICCV 2001; colors learned in turns as in Rother, Kolmogorov and Blake, "GrabCut", SIGGRAPH 2004,
by histograms) tells them apart in each frame. What is of other colors, as a hand out of a sleeve is, stays.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, UInt8
from scipy import ndimage

from vid4d.clip.graph_cut import CERTAIN, block_colors, histogram, minimum_cut, odds, without
from vid4d.clip.held import SIDES, Grip, grip, lines
from vid4d.clip.pieces import EIGHT
from vid4d.clip.spool import Spool
from vid4d.clip.subject import SIDE, strongest_alpha
from vid4d.errors import InputError

ENTRY = 0.6
"""How far from the border the mask is certainly what comes in, over what it takes of the border."""
TURNS = 4
"""Times that the colors are learned."""
MANY = 24
"""Frames that they are learned from, at most."""
FIRST = 0.4
"""Weight of all the rest at first, which then still holds most of what comes in."""
ALIKE = 0.35
"""What the two colors have in common, at most."""
LEFT = 0.03
"""Share of a mask that is left, at least."""
CRUMB = 0.01
"""Area over the largest piece's below which what is left is a crumb."""
SURE = 0.7
"""Confidence in masks that were cut so, at most."""


class _Small(NamedTuple):
    """A frame on a small copy. entry: of the mask, where it meets the border."""

    mask: Bool[np.ndarray, "h w"]
    color: UInt8[np.ndarray, "h w 3"]
    entry: Bool[np.ndarray, "h w"]


def let_go(
    frames: Sequence[UInt8[np.ndarray, "h w 4"]],
) -> tuple[Sequence[UInt8[np.ndarray, "h w 4"]], str]:
    """Frames without what holds the object, and a sentence about it.

    frames: without background. Raises InputError where nothing comes in, or cannot be told from the object.
    """
    found = grip(frames)
    if found is None:
        raise InputError(
            "--held: nothing that is narrower than the object comes in from the border of the picture and is "
            "joined to it in nearly all frames: leave it out, or give --masks or a matting model"
        )
    step = max(1, -(-max(frames[0].shape[:2]) // SIDE))
    few = np.unique(np.linspace(0, len(frames) - 1, min(len(frames), MANY)).round().astype(int))
    sample = [_small(frames[i], step, found) for i in few]
    holding, thing = _learned(sample)
    common = float(np.minimum(holding, thing).sum())
    result, shares = Spool(boxed=True), []
    for frame in frames:
        small = _small(frame, step, found)
        cut = _cut(small, odds(small.color, holding, thing))
        left = _without_crumbs(small.mask & ~cut)
        shares.append(left.sum() / max(1, small.mask.sum()))
        result.append(without(frame, left, small.mask & ~left, step))
    if common > ALIKE or np.median(shares) < LEFT:
        raise InputError(
            f"--held: what comes in from the {found.borders} cannot be told from the object by its color "
            f"({common:.0%} in common): give --masks, a segmentation model by --matting, or film it held by "
            "something of another color"
        )
    gone = 1 - float(np.median(shares))
    return result, (
        f"what comes in from the {found.borders} is cut off where its color ends ({gone:.0%} of the mask): "
        "look at the strip; what is of another color, as a hand out of a sleeve, stays"
    )


def _small(frame: UInt8[np.ndarray, "h w 4"], step: int, found: Grip) -> _Small:
    mask = strongest_alpha(frame, step) > 127
    met = np.zeros_like(mask)
    widest = 0
    for side, line, own in zip(SIDES, lines(met), lines(mask), strict=True):
        if side in found.sides:
            line |= own
            widest = max(widest, int(own.sum()))
    entry = np.zeros_like(mask)
    if met.any():
        entry = mask & (ndimage.distance_transform_edt(~met) < max(3.0, ENTRY * widest))
    return _Small(mask, block_colors(frame, step), entry)


def _learned(sample: Sequence[_Small]) -> tuple[Float[np.ndarray, "n n n"], Float[np.ndarray, "n n n"]]:
    """Colors of what comes in, and of all the rest."""
    labels = [s.entry for s in sample]
    weight = FIRST
    for turn in range(TURNS):
        holding, thing = (
            histogram(
                np.concatenate([s.color[s.mask & (x == own)] for s, x in zip(sample, labels, strict=True)])
            )
            for own in (True, False)
        )
        if turn < TURNS - 1:
            labels = [
                _reached(s.entry | (s.mask & (odds(s.color, holding, weight * thing) > 0)), s.entry)
                for s in sample
            ]
        weight = 1.0
    return holding, thing


def _reached(mask: Bool[np.ndarray, "h w"], entry: Bool[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
    """Pieces of a mask that hold some of the entry."""
    numbered, count = ndimage.label(mask, EIGHT)
    held = np.zeros(count + 1, bool)
    held[np.unique(numbered[entry])] = True
    held[0] = False
    return held[numbered]


def _cut(small: _Small, likely: Float[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
    """What comes in, by the minimum cut of the mask's grid of pixels."""
    if not small.entry.any():
        return np.zeros_like(small.mask)
    sure = np.where(small.entry, 10 * CERTAIN, likely.clip(-CERTAIN, CERTAIN))
    return _reached(minimum_cut(small.mask, small.color, sure), small.entry)


def _without_crumbs(left: Bool[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
    numbered, _ = ndimage.label(left, EIGHT)
    area = np.bincount(numbered.ravel())
    area[0] = 0
    return (area >= max(1, CRUMB * area.max()))[numbered] & left
