"""Key frames of a source: range, loop or open clip, even steps in time."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from jaxtyping import Bool, Float

from vid4d.clip.checks import loop_period, loop_probes, thumbnail
from vid4d.clip.pieces import overlap
from vid4d.clip.source import Source
from vid4d.errors import InputError


def in_range(source: Source, name: str, start: float | None, end: float | None, every: int) -> Sequence[int]:
    """Numbers of every n-th frame from `start` to `end` (seconds). Raises InputError where there is none."""
    times = source.times
    inside = np.ones(len(times), bool)
    if start is not None:
        inside &= times >= start - 1e-6
    if end is not None:
        inside &= times <= end + 1e-6
    candidates = np.nonzero(inside)[0][::every]
    if len(candidates) == 0:
        interval = f"{start or 0:g} s and {f'{end:g} s' if end is not None else 'its end'}"
        raise InputError(
            f"{name}: no frame between {interval}; the clip is {source.duration:.2f} s long, "
            "change --start and --end"
        )
    return [int(i) for i in candidates]


def period(source: Source, candidates: Sequence[int], cyclic: bool | str) -> int | None:
    """Number of candidates in one period, None for an open clip."""
    declared_cyclic = getattr(source, "cyclic", None)
    count = len(candidates)
    if cyclic is False or count < 2:
        return None
    if cyclic == "auto" and declared_cyclic is not None:
        return count if declared_cyclic and count == len(source.times) else None
    if count < 6:
        return count if cyclic is True else None
    probes = loop_probes(count)
    small = [thumbnail(f) for f in source.read([candidates[i] for i in probes], 512)]
    if len({t.shape for t in small}) > 1:
        return None  # the sizes themselves are judged where the frames are read
    loop_length = loop_period(small, probes, count)
    return count if cyclic is True and loop_length is None else loop_length


MEETING = 0.3
"""What the object's masks at the seam of a loop have in common over what neighbours have, at least."""


def meets(masks: Sequence[Bool[np.ndarray, "h w"]]) -> bool:
    """Whether a loop's object goes on from the last frame to the first as from any frame to the next.

    Pictures alone do not tell that: what enters at one side and leaves at the other shows as little of itself
    at the end as at the beginning. masks: of the loop's frames.
    """

    inner = [overlap(a, b) for a, b in pairwise(masks)]
    return len(inner) < 2 or overlap(masks[-1], masks[0]) >= MEETING * float(np.median(inner))


def count_for(least: int, rate: float, seconds: float) -> int:
    """Frames of a clip of some seconds: `rate` a second, `least` where that makes fewer."""
    return max(least, round(rate * seconds))


def choose_frames(
    times: Float[np.ndarray, " n"], candidates: Sequence[int], frames: int | None, period: int | None
) -> list[int]:
    """N candidates, as even in time as they allow: from first to last, or over one period of a loop."""
    usable = np.array(candidates if period is None else candidates[:period])
    if not frames or frames >= len(usable):
        return [int(i) for i in usable]
    if frames == 1:
        return [int(usable[0])]
    t = times[usable]
    if period is None:
        targets = np.linspace(t[0], t[-1], frames)
    else:
        step = (t[-1] - t[0]) / max(len(t) - 1, 1)
        targets = t[0] + (t[-1] - t[0] + step) * np.arange(frames) / frames
    picked: list[int] = []
    for k, target in enumerate(targets):  # nearest in time, each frame once
        low = picked[-1] + 1 if picked else 0
        high = len(usable) - (frames - k) + 1
        picked.append(low + int(np.argmin(np.abs(t[low:high] - target))))
    return [int(usable[i]) for i in picked]


def densify_keyframes(
    candidates: Sequence[int], keys: Sequence[int], most: int, period: int | None
) -> list[int]:
    """The key frames and others between them, at most `most` candidates, in steps as even as they allow.

    Only the key frames where they are as many already, and for a still (a single key frame).
    """
    if len(keys) == 1 or len(keys) >= most:
        return list(keys)
    usable = list(candidates if period is None else candidates[:period])
    places = [usable.index(key) for key in keys]
    if period is not None:
        places.append(len(usable))  # from the last key frame on to the first of the next round
    spans, added = np.diff(places), np.zeros(len(places) - 1, int)
    for _ in range(min(most, len(usable)) - len(keys)):
        added[np.argmax(np.where(added + 1 < spans, spans / (added + 1), 0))] += 1
    steps = [
        place + np.arange(1, n + 1) * span / (n + 1)
        for place, span, n in zip(places, spans, added, strict=False)
    ]
    between = [usable[i] for i in np.concatenate(steps).round().astype(int)]
    return sorted({*keys, *between})


def seconds(source: Source, candidates: Sequence[int], chosen: Sequence[int], period: int | None) -> float:
    """Duration of the chosen frames in seconds: from first to last, or one period of a loop."""
    times = source.times
    if len(chosen) == 1:
        return 1.0
    if period is None:
        return float(times[chosen[-1]] - times[chosen[0]])
    if period < len(candidates):  # the repeated first frame says when the period ends
        return float(times[candidates[period]] - times[candidates[0]])
    if candidates[-1] == len(times) - 1 and len(candidates) == len(times):
        return float(source.duration - times[candidates[0]])
    span = float(times[candidates[-1]] - times[candidates[0]])
    return span * period / (period - 1)
