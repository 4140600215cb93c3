"""How far an object gets from one key frame to the next: what lies between is drawn from these two alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from jaxtyping import Float, UInt8

from vid4d.clip.pieces import overlap, shifted
from vid4d.clip.subject import SIDE, strongest_alpha

FOLLOWED = 0.8
"""Share of the object's way that key frames show, at least, where they follow it."""
ALIKE = 0.5
"""What outlines at neighbouring key frames have in common, at least."""
BETTER = 0.7
"""The same where more key frames are advised."""
NUMBERS = (12, 16, 24, 32, 48, 64, 96, 128)
"""Key frames that are advised."""


def faster_than_keys(
    frames: Sequence[UInt8[np.ndarray, "h w 4"]],
    center: Float[np.ndarray, "t 2"],
    area: Sequence[int],
    keys: Sequence[int],
    moved: Float[np.ndarray, "t 2"] | float,
    rate: float | None,
) -> str | None:
    """What to do where the object moves too fast for its key frames, in words.

    frames: cut out. center, area: of their masks, pixels. keys: which are key frames. moved: what windows
    take away of the centers' motion. rate: key frames a second, where the clip's length decides.
    """
    if len(keys) < 2 or len(keys) == len(frames):
        return None
    way = center - moved
    size = float(np.median(np.sqrt(area)))

    def length(which: np.ndarray) -> float:
        return float(np.linalg.norm(np.diff(way[which], axis=0), axis=1).sum())

    whole, by_keys = length(np.arange(len(frames))), length(np.asarray(keys))
    if whole >= 2 * by_keys and whole - by_keys >= 2 * size:
        counts = (n for n in NUMBERS if len(keys) < n < len(frames))
        enough = next(
            (
                n
                for n in counts
                if length(np.linspace(0, len(frames) - 1, n).round().astype(int)) > FOLLOWED * whole
            ),
            0,
        )
        return (
            f"the object moves faster than the {len(keys)} key frames show: "
            + (f"--frames {enough} follows it, " if enough else "")
            + "or take a shorter part with --start and --end"
        )
    alike = _alike(frames, keys, np.broadcast_to(moved, center.shape))
    if alike >= ALIKE:
        return None
    times = math.ceil((1 - alike) / (1 - BETTER))
    more = (
        f"--key-frames-per-second {times * rate:.2g}"
        if rate
        else f"--frames {min(times * len(keys), len(frames))}"
    )
    return (
        f"the object's outlines at one key frame and the next have {alike:.0%} in common, so quick movements "
        f"smear: {more} follows them better and takes longer, or take a shorter part with --start and --end"
    )


def _alike(
    frames: Sequence[UInt8[np.ndarray, "h w 4"]], keys: Sequence[int], moved: Float[np.ndarray, "t 2"]
) -> float:
    """What the outlines of neighbouring key frames have in common, in the middle of all, over both."""
    step = max(1, max(frames[0].shape[:2]) // SIDE)
    masks = {k: strongest_alpha(frames[k], step) > 127 for k in keys}
    moves = ((shifted(masks[a], (moved[b] - moved[a]) / step), masks[b]) for a, b in pairwise(keys))
    return float(np.median([overlap(*both) for both in moves]))
