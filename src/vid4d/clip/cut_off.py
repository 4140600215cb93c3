"""Objects that the border of the picture cuts off in some frames, though enough others show all of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, UInt8

from vid4d.clip.checks import touched_sides
from vid4d.clip.takes import BRIEF, Takes, span, stretches

LESS = 0.95
"""Area of an object over the usual, at most, in one frame at least of those in a row that are left out."""
WHOLE = 1 / 3
"""Share of a take, at least, that shows all of the object, if the rest is left out."""


def whole_ones(
    frames: Sequence[UInt8[np.ndarray, "h w 4"]], times: Float[np.ndarray, " t"], takes: Takes
) -> Takes:
    """Takes of frames that show all of the object; as they were where too few do, or none is cut off.

    frames: without background. Cut off are those around one that lacks some of its area and touches the same
    sides of the picture; a side that nearly all touch is what the object stands on. What is cut off for a
    moment is left out, and cuts nothing.
    """
    sides = np.array([touched_sides(f[..., 3] > 127) for f in frames]) & takes.good[:, None]
    if not sides.any():
        return takes
    sides &= sides[takes.good].mean(0) <= 1 - WHOLE
    touching = sides.any(1)
    whole = takes.good & ~touching
    if not touching.any() or not whole.any():
        return takes
    sizes = np.array([(f[..., 3] > 127).sum() for f in frames])
    small = sizes < LESS * np.median(sizes[whole])
    cut = np.zeros_like(touching)
    for first, last in stretches(np.nonzero(touching)[0]):
        cut[first : last + 1] = small[first : last + 1].any()
    if not cut.any():
        return takes
    result = Takes(takes.good & ~cut, takes.cuts, takes.brief, takes.lit, list(takes.reasons))
    for first, last in stretches(np.nonzero(cut)[0]):
        if first > 0 and last + 1 < len(cut) and len(result.brief) + last - first < BRIEF:
            result.brief = result.brief | set(range(first, last + 1))
    before, after = takes.best(), result.best()
    if before is None or after is None or after[1] - after[0] < max(3, WHOLE * (before[1] - before[0])):
        return takes
    where = span(times, np.nonzero(cut)[0])
    result.reasons.append(f"the border of the picture cuts the object off {where}: left out")
    return result
