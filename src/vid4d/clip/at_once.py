"""Whether a picture changes at once, as in a cut, or bit by bit, as something moves."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from jaxtyping import UInt8

from vid4d.clip.checks import thumbnail
from vid4d.clip.source import Source

AROUND = 4
"""Frames on either side of a cut in which the picture changes less; drawn animations hold for so many."""
AT_ONCE = 2.0
"""Change at a cut over the changes around it."""
BACK = 1.8
"""Change to what is seen for some frames only over those just before and after it."""
REST = 0.15
"""Change over that in question, at most, of a picture that is held for some frames."""
SAME = 14.0
"""Median change between two frames, 8-bit steps, of what is the same."""


def changes_at_once(source: Source, first: int, last: int, brief: bool = False) -> bool:
    """Whether the picture changes between two frames of a source as in a cut, and not as something moves.

    Most of the change happens from one frame to the next, and is larger than those of the frames around it.
    One other large change there says nothing: it can be another cut. brief: for a few frames only; then it is
    larger than the changes just before and after it, but for the way back.
    """
    whole: float | None = None
    while True:
        picked = np.unique(np.linspace(first, last, min(last - first + 1, 9)).round().astype(int)).tolist()
        steps = _steps(source, picked)
        if whole is None:
            whole = _steps(source, [first, last])[0]
        k = int(np.argmax(steps))
        if steps[k] < 0.6 * whole:
            return False
        first, last = picked[k], picked[k + 1]
        if last - first == 1:
            break
    begin, end = max(0, first - AROUND), min(last + AROUND, len(source.times) - 1)
    steps = _steps(source, list(range(begin, end + 1)))
    at = first - begin
    jump = steps[at]
    if not jump:
        return False
    if brief:
        moves = [i for i, step in enumerate(steps) if step > REST * jump]
        beside = [i for i in moves if i < at][-1:] + [i for i in moves if i > at][:1]
        for i in beside:
            there_and_back = [begin + min(i, at), begin + max(i, at) + 1]
            if jump <= BACK * min(steps[i], *_steps(source, there_and_back)):
                return False
        return True
    steps.pop(at)
    return jump > AT_ONCE * sorted([0.0, 0.0, *steps])[-2]


def _steps(source: Source, indices: list[int]) -> list[float]:
    """Root mean square changes of the picture between frames that follow each other in a list."""
    small = [thumbnail(f) for f in source.read(indices, 512)]
    return [float(np.sqrt(np.mean((a - b) ** 2))) for a, b in pairwise(small)]


def same_where_masks_differ(
    pictures: Sequence[UInt8[np.ndarray, "h w 4"]], cut: Sequence[UInt8[np.ndarray, "h w 4"]], i: int, j: int
) -> bool:
    """Whether two opaque pictures are the same where their masks are not: a mask that lacks a part."""
    step = max(1, max(pictures[i].shape[:2]) // 256)
    one, other = (pictures[k][::step, ::step].astype(np.float32) for k in (i, j))
    differ = (cut[i][::step, ::step, 3] > 127) != (cut[j][::step, ::step, 3] > 127)
    if not differ.any() or min(one[..., 3].min(), other[..., 3].min()) < 255:
        return False
    return bool(np.median(np.abs(one - other).max(-1)[differ]) < SAME)
