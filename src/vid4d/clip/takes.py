"""Takes: which frames of a clip show one thing, uncut, and what the others show.

Two looks. The first is at the pictures as they come: where the background at the border changes there is a
cut, a fade, or a card at the end. The second is at the frames without background: empty and full masks, an
object that fades, single frames that show something else or lack a part, cuts to another thing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

import numpy as np
from jaxtyping import Bool, Float, UInt8

from vid4d.clip.at_once import AROUND
from vid4d.clip.checks import thumbnail
from vid4d.clip.pieces import overlap
from vid4d.clip.spool import Picked

SIDE = 64
BORDER_STEP = 14.0  # median change at the border between two frames, 8-bit steps, of another background
FLICKER = 1.35  # factor of light, at most, from one frame to the next
ELSEWHERE = 0.1  # share of the picture that differs by more than that, since the thing moves
COLORS_DIFFER = 0.35  # share of the object's colors that are others
MASKS_DIFFER = 0.4  # 1 - intersection over union of two masks
FADED = 0.8  # alpha or contrast of a faded object over the usual
HELD = 0.03  # differences of colors and masks of a picture that is held
BRIEF = 3  # frames at most that may show something else and are left out
FLASH = 6  # the same of a flash
SWEEPS = tuple(range(3, 19))  # frames in which another picture comes in, of those that are looked at


@dataclass
class Takes:
    """What is known of the frames of a clip.

    good: frames that show the object. cuts: frames that begin another take. brief: single frames that show
    something else, or lack a part, and can be left out. lit: frames that begin in another light, which cuts
    nothing. reasons: what was seen, in words.
    """

    good: Bool[np.ndarray, " t"]
    cuts: set[int] = field(default_factory=set)
    brief: set[int] = field(default_factory=set)
    lit: set[int] = field(default_factory=set)
    reasons: list[str] = field(default_factory=list)

    def runs(self) -> list[tuple[int, int]]:
        """First and last frames of all takes, in order."""
        result: list[tuple[int, int]] = []
        open_run = False
        for i in range(len(self.good)):
            if i in self.brief:
                continue
            if not self.good[i]:
                open_run = False
            elif open_run and i not in self.cuts:
                result[-1] = (result[-1][0], i)
            else:
                result.append((i, i))
                open_run = True
            if i in self.cuts and not self.good[i]:
                open_run = False
        return result

    def best(self) -> tuple[int, int] | None:
        """The longest take; None where no frame shows the object."""
        return max(self.runs(), key=lambda r: r[1] - r[0], default=None)

    def without(self, which: Sequence[int], reason: str) -> Takes:
        """The same but for frames that are not good, and why."""
        good = self.good.copy()
        good[list(which)] = False
        return replace(self, good=good, reasons=[*self.reasons, reason])

    def whole(self) -> bool:
        """True where all frames are one take, but for single frames that can be left out."""
        runs = self.runs()
        return len(runs) == 1 and all(i in self.brief for i in range(len(self.good)) if not self.good[i])


def any_clear(frames: Sequence[UInt8[np.ndarray, "h w 4"]]) -> bool:
    """Whether any of some of the frames is not opaque everywhere."""
    return any((frames[i][..., 3] < 255).any() for i in range(0, len(frames), max(1, len(frames) // 8)))


def of_pictures(frames: Sequence[UInt8[np.ndarray, "h w 4"]], times: Float[np.ndarray, " t"]) -> Takes:
    """Takes by the border of opaque pictures. A camera that moves all the time cuts nothing."""
    takes = Takes(np.ones(len(frames), bool))
    if len(frames) < 3 or any_clear(frames):
        return takes
    rings = np.stack([_ring(thumbnail(f, SIDE)) for f in frames])
    if swept := _swept(rings):
        takes = takes.without(swept, f"another picture comes in from the border {span(times, swept)}: a cut")
    steps = np.median(np.abs(np.diff(rings, axis=0)).max(-1), -1)
    changed = steps > BORDER_STEP + 4 * np.median(steps)
    if not changed.any() or changed.mean() > 0.5:
        return takes
    bounds = [0, *(np.nonzero(changed)[0] + 1).tolist(), len(frames)]
    lengths = np.diff(bounds)
    fading: list[int] = []
    for k, (first, length) in enumerate(zip(bounds, lengths.tolist(), strict=False)):
        if first in takes.brief:
            continue
        if flash := _flash(rings, bounds, k):
            takes.brief.update(flash)
            continue
        if length <= 2 and (k == 0 or k == len(lengths) - 1 or lengths[k - 1] <= 2 or lengths[k + 1] <= 2):
            fading += range(first, first + length)
    takes.good[fading] = False
    near = takes.brief | {i + 1 for i in takes.brief}
    cuts = [b for b in bounds[1:-1] if takes.good[b] and takes.good[b - 1] and b not in near]
    takes.lit = {b for b in cuts if _in_another_light(*(thumbnail(frames[i], SIDE) for i in (b - 1, b)))}
    takes.cuts = set(cuts) - takes.lit
    if fading:
        takes.reasons.append(f"the picture fades {span(times, fading)}")
    if takes.brief:
        takes.reasons.append(f"flashes at {_listed(times, sorted(takes.brief))} are left out")
    if takes.cuts:
        takes.reasons.append(f"the background changes at {_listed(times, sorted(takes.cuts))}: a cut")
    return takes


def _swept(rings: Float[np.ndarray, "t n 3"]) -> list[int]:
    """Frames at whose border another picture has come in in part, as a wipe or an iris brings it.

    Each part of it is that of before or of after, more and more of after; before and after nothing changes.
    """
    found: set[int] = set()
    steps = (np.abs(np.diff(rings, axis=0)).max(-1) > BORDER_STEP).mean(1)
    still = np.concatenate([[True], steps < 0.02, [True]])  # from the frame before each
    for lag in SWEEPS:
        for i in range(len(rings) - lag):
            other = np.abs(rings[i + lag] - rings[i]).max(-1) > BORDER_STEP
            if other.mean() < 0.6 or not (still[i] and still[i + lag + 1]):
                continue
            between = rings[i + 1 : i + lag][:, other]
            old, new = (np.abs(between - rings[k][other]).max(-1) <= BORDER_STEP for k in (i, i + lag))
            share = (new & ~old).mean(1)
            if (old | new).mean() >= 0.9 and np.diff(share, prepend=0).min() >= -0.05:
                found.update((i + 1 + np.nonzero((share > 0.02) & (share < 0.98))[0]).tolist())
    return sorted(found)


def _flash(rings: Float[np.ndarray, "t n 3"], bounds: Sequence[int], k: int) -> range:
    """Frames from a change of the border on, after which it soon is as before: a flash, one that fades, too.

    bounds: the first frames after changes, and the ends. Empty where there is none, as at the clip's ends.
    """
    first = bounds[k]
    for after in range(k + 1, len(bounds) - 1):
        length = bounds[after] - first
        if k == 0 or length > FLASH:
            break
        back = np.median(np.abs(rings[first - 1] - rings[bounds[after]]).max(-1))
        if back <= BORDER_STEP and min(first - bounds[k - 1], bounds[after + 1] - bounds[after]) > length:
            return range(first, bounds[after])
    return range(0)


def _in_another_light(before: Float[np.ndarray, "h w 4"], after: Float[np.ndarray, "h w 4"]) -> bool:
    """Whether two thumbnails show the same, but for a factor: a lamp flickers, or somebody stands before it.

    Whether the thing is the same, too, its own colors and shape tell; see `of_objects`.
    """
    rings = _ring(before), _ring(after)
    factor = np.median(rings[1], 0) / np.maximum(np.median(rings[0], 0), 1)
    if factor.min() < 1 / FLICKER or factor.max() > FLICKER:
        return False
    same_ring = np.abs(rings[1] - factor * rings[0]).max(-1)
    same = np.abs(after[..., :3] - factor * before[..., :3]).max(-1)
    return bool(np.median(same_ring) < BORDER_STEP / 2 and (same > BORDER_STEP).mean() < ELSEWHERE)


def of_objects(
    frames: Sequence[UInt8[np.ndarray, "h w 4"]],
    times: Float[np.ndarray, " t"],
    looks: Takes,
    between: Callable[[int, bool], bool],
    unchanged: Callable[[int, int], bool],
) -> Takes:
    """Takes by the object of every frame, added to those by the pictures.

    frames: without background. between: whether the picture changes at once between frame i and the next, as
    in a cut, and not bit by bit; told whether that may be for some frames only. unchanged: whether the
    pictures of two frames are the same where their masks are not. Both are only asked where the object seems
    to be another one.
    """
    takes = Takes(looks.good.copy(), set(looks.cuts), set(looks.brief), looks.lit, list(looks.reasons))
    sizes = np.array([(f[..., 3] > 127).sum() for f in frames])
    empty = sizes < 4
    full = sizes > 0.98 * frames[0][..., 3].size
    for which, words in ((empty, "no object can be seen"), (full, "the mask fills the picture")):
        if (new := which & takes.good).any() and not which.all():
            takes.reasons.append(f"{words} {span(times, np.nonzero(new)[0])}")
    takes.good &= ~empty & ~full
    seen = np.array([i for i in np.nonzero(takes.good)[0] if i not in takes.brief], np.int64)
    if len(seen) < 4:
        return takes
    faded = _faded(Picked(frames, seen.tolist()))
    if faded.any():
        takes.reasons.append(f"the object fades {span(times, seen[faded])}")
        takes.good[seen[faded]] = False
        seen = seen[~faded]
    if len(seen) >= 4:
        _compare([Look.of(frames[i]) for i in seen], seen, times, takes, between, unchanged)
    return takes


def usable(takes: Takes, chosen: Sequence[int], key: Sequence[int]) -> tuple[list[int], list[int]]:
    """Which of the chosen frames are used, and the key frames.

    A good neighbour takes the place of a key frame that is left out. Key frames that show no object
    stay, to be refused.
    """
    spare = [i for i in range(len(chosen)) if takes.good[i] and i not in takes.brief and chosen[i] not in key]
    keys, kept = [], []
    for i, frame in enumerate(chosen):
        if frame not in key:
            continue
        if i in takes.brief and spare:
            near = min(spare, key=lambda s: abs(s - i))
            spare.remove(near)
            keys.append(chosen[near])
        elif i not in takes.brief:
            keys.append(frame)
    kept = [i for i in range(len(chosen)) if chosen[i] in keys or (takes.good[i] and i not in takes.brief)]
    return kept, sorted(keys)


def way_out(takes: Takes, times: Float[np.ndarray, " n"], chosen: Sequence[int]) -> str:
    """The longest take as options; empty where the clip is one take, or has none that is worth it."""
    best = takes.best()
    if takes.whole() or best is None or best[1] - best[0] < 2:
        return ""
    words = option_words(times, chosen[best[0]], chosen[best[1]])
    return f"give {words} for the longest take, or --trim auto"


def option_words(all_times: Float[np.ndarray, " n"], first: int, last: int) -> str:
    """--start and --end that take frames first to last of a source, with as few digits as that needs."""
    before = all_times[first - 1] if first else -1.0
    after = all_times[last + 1] if last + 1 < len(all_times) else np.inf
    words = []
    for name, time, low, high in (
        ("--start", all_times[first], before, all_times[first]),
        ("--end", all_times[last], all_times[last], after),
    ):
        text = f"{time:.6f}"
        for digits in (2, 3, 4):
            value = round(float(time), digits)
            if (low < value <= high + 1e-6) if name == "--start" else (low - 1e-6 <= value < high):
                text = f"{value:.{digits}f}"
                break
        words.append(f"{name} {text}")
    return " ".join(words)


@dataclass(frozen=True)
class Look:
    """An object's colors (shares of 64 bins) and small mask."""

    colors: Float[np.ndarray, " 64"]
    mask: Bool[np.ndarray, "h w"]

    @staticmethod
    def of(frame: UInt8[np.ndarray, "h w 4"]) -> Look:
        step = max(1, max(frame.shape[:2]) // 128)
        part = frame[::step, ::step]
        mask = part[..., 3] > 127
        # bins overlap by half, so that a shade at the edge of one does not jump to the next
        bins = np.zeros(64)
        for offset in (0, 32):
            level = np.minimum((part[mask][:, :3].astype(np.int32) + offset) // 64, 3)
            bins += np.bincount(level @ [16, 4, 1], minlength=64)
        return Look(bins / max(bins.sum(), 1), mask)

    def differs(self, other: Look) -> tuple[float, float]:
        """How far colors and masks are from another's: 0 the same, 1 nothing in common."""
        return 1 - float(np.minimum(self.colors, other.colors).sum()), 1 - overlap(self.mask, other.mask)


def _compare(
    looks: list[Look],
    seen: np.ndarray,
    times: np.ndarray,
    takes: Takes,
    between: Callable[[int, bool], bool],
    unchanged: Callable[[int, int], bool],
) -> None:
    """Finds single frames unlike both neighbours, then cuts; notes them in `takes`.

    What moves after a long rest, there and back within some frames, is unlike both, too, but its picture
    changes bit by bit.
    """
    steps = np.array([a.differs(b) for a, b in pairwise(looks)])
    usual = np.median(steps, 0)
    limit = np.maximum([COLORS_DIFFER, MASKS_DIFFER], 4 * usual)
    small = np.maximum([0.12, 0.2], 3 * usual)
    brief: list[int] = []
    k = 1
    while k < len(looks) - 1:
        for length in range(1, BRIEF + 1):
            after = k + length
            if after >= len(looks):
                break
            away = min(_excess(steps[k - 1], small), _excess(steps[after - 1], small))
            back = _excess(np.array(looks[k - 1].differs(looks[after])), small)
            if away > 1 and back < 0.5 * away and back < 1 + 0.2 * length:
                if unchanged(int(seen[k - 1]), int(seen[k])) or all(
                    between(int(seen[i]), True) for i in (k - 1, after - 1)
                ):
                    brief += range(k, after)
                k = after
                break
        k += 1
    if brief and len(brief) <= 0.2 * len(looks):
        odd = sorted(int(seen[i]) for i in brief)
        takes.brief.update(odd)
        takes.reasons.append(
            f"frames at {_listed(times, odd)} show something else, or their masks lack a part: left out"
        )
    else:
        brief = []
    rest = [i for i in range(len(looks)) if i not in brief]
    steps = np.array([looks[a].differs(looks[b]) for a, b in pairwise(rest)])
    for k, (a, b) in enumerate(pairwise(seen[rest])):
        if any(a < c <= b for c in takes.lit):
            steps[k, 0] = 0  # light changes all colors
    over = np.array([_excess(s, limit) for s in steps])
    cuts = []
    for k in np.nonzero(over > 1)[0].tolist():
        neighbours = over[_next_moves(steps, k)]
        a, b = int(seen[rest[k]]), int(seen[rest[k + 1]])
        known = any(a < c <= b for c in takes.cuts) or not takes.good[a : b + 1].all()
        if not known and over[k] > 2 * neighbours.max(initial=0) and between(a, False):
            cuts.append(b)
    takes.cuts.update(cuts)
    if cuts:
        takes.reasons.append(
            f"another thing, another take of it, or a part lost, from {_listed(times, cuts)} on: a cut"
        )


def _next_moves(steps: Float[np.ndarray, "n 2"], k: int) -> list[int]:
    """The nearest steps around one in which anything moves: pictures that are held for a while do not."""
    found = []
    for way in (range(k - 1, max(-1, k - 2 - AROUND), -1), range(k + 1, min(len(steps), k + 2 + AROUND))):
        moves = [i for i in way if steps[i].max() > HELD]
        found += moves[:1]
    return found


def _excess(step: np.ndarray, limit: np.ndarray) -> float:
    """How much the larger of the two differences exceeds its limit: 1 at the limit."""
    return float((step / limit).max())


def _faded(frames: Sequence[np.ndarray]) -> Bool[np.ndarray, " t"]:
    """Frames at the ends whose object is clearer than usual and grows towards it."""
    peak = np.array([np.quantile(f[..., 3][f[..., 3] > 12], 0.9) for f in frames], np.float64)
    low = peak < FADED * np.median(peak)
    result = np.zeros(len(frames), bool)
    for order in (np.arange(len(frames)), np.arange(len(frames))[::-1]):
        for i in order:
            if not low[i]:
                break
            result[i] = True
    return result


def _ring(small: Float[np.ndarray, "h w 4"]) -> Float[np.ndarray, "n 3"]:
    """Colors of the outermost tenth of a thumbnail."""
    h, w = small.shape[:2]
    n = max(1, min(h, w) // 10)
    inner = np.zeros((h, w), bool)
    inner[n : h - n, n : w - n] = True
    return small[~inner][:, :3]


def span(times: np.ndarray, which: Sequence[int] | np.ndarray) -> str:
    """Where frames lie: 'from 0.00 to 0.29 s', for each stretch of them."""
    found = stretches(which)
    words = [
        f"at {times[a]:.2f} s" if a == b else f"from {times[a]:.2f} to {times[b]:.2f} s" for a, b in found[:3]
    ]
    return ", ".join(words) + (" and more" if len(found) > 3 else "")


def stretches(which: Sequence[int] | np.ndarray) -> list[tuple[int, int]]:
    """First and last of all numbers in a row."""
    result: list[tuple[int, int]] = []
    for i in sorted(int(i) for i in which):
        if result and i == result[-1][1] + 1:
            result[-1] = (result[-1][0], i)
        else:
            result.append((i, i))
    return result


def _listed(times: np.ndarray, which: Sequence[int]) -> str:
    shown = ", ".join(f"{times[i]:.2f}" for i in list(which)[:5])
    return f"{shown} s" + (f" and {len(which) - 5} more times" if len(which) > 5 else "")
