"""Shots that pass into each other bit by bit, by wipes, slides and dissolves of what moves.

No two frames in a row are unlike each other then, and what comes between looks different with every kind of
transition. But the object's colors change for good within some frames, and hardly before and after.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, UInt8

from vid4d.clip.checks import touched_sides
from vid4d.clip.takes import COLORS_DIFFER, Look, Takes, span
from vid4d.media.keying import mask_middle

GAPS = (2, 3, 4, 6, 8, 10, 12, 16, 20, 26)
"""Frames from the last before to the first after, of those that are looked at."""
LONGEST = 1.2
"""Seconds that such a transition lasts, at most: what turns round in longer is one thing."""
AROUND = 6
"""Frames on either side, within which colors hardly change, at least; where more lie between, as many."""
FEWEST = 4
"""The same at an end of the clip, at least."""
STEADY = 3.0
"""Change of the colors over what they change by within those frames, at least."""
CLEAR = 0.7
"""The same over that of the clearest passage, of the shortest that is taken."""
NOISE = 0.02
"""What colors change by of themselves."""
SLIDES = 0.03
"""Way of the object from frame to frame, over the picture's longer side, from which the picture slides."""
MOST = 512
"""Frames that are looked at of a take."""


def parted_by_colors(
    takes: Takes, objects: Sequence[UInt8[np.ndarray, "h w 4"]], times: Float[np.ndarray, " t"]
) -> Takes:
    """Takes whose frames between two things that pass into each other are not good.

    objects: frames without background. Where the light changes nothing is said, for colors change with it.
    """
    between: list[int] = []
    runs = takes.runs()
    while runs:
        first, last = runs.pop()
        seen = [i for i in range(first, last + 1) if takes.good[i] and i not in takes.brief]
        seen = [seen[i] for i in np.unique(np.linspace(0, len(seen) - 1, min(len(seen), MOST)).astype(int))]
        if len(seen) < 2 * FEWEST + GAPS[0] or any(first < i <= last for i in takes.lit):
            continue
        colors = np.stack([Look.of(objects[i]).colors for i in seen])
        if found := _passage(colors, times[seen]):
            moved = _ways(objects, seen)
            before = found[0] - _hurried(moved[: found[0]][::-1], moved)
            after = found[1] + _hurried(moved[found[1] :], moved)
            a, b = seen[before], seen[after]
            between += range(a + 1, b)
            runs += [(first, a), (b, last)]
            continue
        late, early = _unfinished(colors, times[seen]), _unfinished(colors[::-1], -times[seen][::-1])
        for some in (seen[len(seen) - late :], seen[:early]):
            if some and not any(touched_sides(objects[i][..., 3] > 127).any() for i in some):  # comes or goes
                between += range(some[0], some[-1] + 1)
    told = (
        f"the object's colors change for good {span(times, between)}: another one, or its other side: a cut"
    )
    return takes.without(between, told) if between else takes


def _ways(objects: Sequence[UInt8[np.ndarray, "h w 4"]], seen: Sequence[int]) -> Float[np.ndarray, " n"]:
    """How far the object's middle moves from each frame to the next, over the picture's longer side."""
    masks = [objects[i][..., 3] > 127 for i in seen]
    middles = np.array([mask_middle(m.sum(0), m.sum(1)) for m in masks])
    return np.hypot(*np.diff(middles, axis=0).T) / max(masks[0].shape)


def _hurried(ways: Float[np.ndarray, " k"], all_ways: Float[np.ndarray, " n"]) -> int:
    """How many of the first of some ways are too long for the object: the picture itself slides."""
    slow = ways <= max(SLIDES, 4 * float(np.median(all_ways)))
    return int(np.argmax(slow)) if slow.any() else 0


def _passage(colors: Float[np.ndarray, "n c"], times: Float[np.ndarray, " n"]) -> tuple[int, int] | None:
    """Last frame before and first after the clearest passage to other colors for good; None where is none."""
    n = len(colors)
    apart = np.stack([1 - np.minimum(colors, c).sum(-1) for c in colors])
    found: list[tuple[float, int, int]] = []
    for gap in GAPS:
        clearest, around = (STEADY, 0, 0), max(gap, AROUND)
        for a in range(FEWEST - 1, n - gap - FEWEST + 1):
            b = a + gap
            if apart[a, b] <= COLORS_DIFFER or times[b] - times[a] > LONGEST:
                continue
            before, after = slice(max(0, a - around), a + 1), slice(b, b + around + 1)
            usual = max(apart[before, before].max(), apart[after, after].max(), NOISE)
            change = float(apart[: a + 1, b:].min())
            if change > COLORS_DIFFER:
                clearest = max(clearest, (change / usual, a, b))
        found += [clearest] if clearest[1:] != (0, 0) else []
    if not found:
        return None
    _, a, b = next(f for f in found if f[0] >= CLEAR * max(found)[0])
    return a - _unsettled(colors[a::-1]), b + _unsettled(colors[b:])


def _unfinished(colors: Float[np.ndarray, "n c"], times: Float[np.ndarray, " n"]) -> int:
    """How many frames at the end are a passage in whose midst the clip ends; 0 where is none."""
    n = len(colors)
    apart = 1 - np.minimum(colors, colors[-1]).sum(-1)
    count = int(np.argmax(apart[::-1] > COLORS_DIFFER))  # the last frame is 0 away from itself
    for gap in (g for g in GAPS if count <= g <= n - 2 * max(g, AROUND)):
        a = n - 1 - gap
        if times[-1] - times[a] > LONGEST:
            break
        before = colors[a - 2 * max(gap, AROUND) + 1 : a + 1]
        usual = max(float((1 - np.minimum(before[:, None], before[None]).sum(-1)).max()), NOISE)
        if apart[: a + 1].min() > max(COLORS_DIFFER, STEADY * usual):
            return gap + _unsettled(colors[a::-1])
    return 0


def _unsettled(colors: Float[np.ndarray, "n c"]) -> int:
    """How many of the first of some frames are still on their way to the colors of those that follow."""
    near = colors[: AROUND + 1]
    apart = 1 - np.minimum(near, near[2:].mean(0)).sum(-1)
    return int(np.argmax(apart <= max(NOISE, 2 * np.median(apart))))
