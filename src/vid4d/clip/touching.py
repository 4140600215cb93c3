"""One thing followed through a clip in which others touch it, so that masks show them as one piece.

Where it is a piece of its own, that is its mask. From there on it is carried into the frames in which it
touches something: a minimum cut by color, learned where the things are apart, and by motion and texture (see
`carrying`), from both ends of such a stretch where both are known. What both ends agree about is sure.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import groupby, pairwise

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8
from scipy import ndimage

from vid4d.clip.carrying import Way, continued, painted, way_of
from vid4d.clip.graph_cut import CERTAIN, histogram, minimum_cut, odds
from vid4d.clip.pieces import EIGHT, Pieces, overlap
from vid4d.media.keying import around, mask_box

INTO = 0.1
"""Share of a thing that goes into a piece of the next frame, at least, if it is in it."""
BESIDE = 0.1
"""Area over the thing's from which a new piece is another thing wherever it lies."""
CRUMB = 0.02
"""Area over the thing's below which what lay beside it is a crumb."""
SPOT = 0.01
"""The same of what is cut off within a piece."""
FAR = 2.0, 0.1
"""Gap to the thing, over a smaller piece's size and over the thing's, from which it is no part of it."""
OWN = 0.6
"""Share of a piece, at least, that was carried into it, if it is the thing again when things part."""
AGAIN = 0.4, 2.0
"""Area over the usual, from and to, of the thing when it is a piece of its own again."""
TOO_MUCH = 1.3
"""Area over the usual of what has come apart, from which not all of it is the thing."""
HIDDEN = 0.1
"""Area over the usual below which nothing of a thing can be seen."""
MOTION, COLOR = 8.0, 3.0
"""Evidence of motion and of color, logarithms of probabilities, at most."""
APART = 3
"""Frames in a row in which parts of a thing are apart that are things of their own."""
MANY = 64
"""Frames that colors are learned from, at most."""


@dataclass(frozen=True)
class Followed:
    """One thing in all frames, in blocks of pixels.

    masks: of it. touched: frames in which something touches or hides it. beside: frames in which another
    thing of its track is seen. agreed: where it is touched, what two looks at it have in common: from both
    ends of such a stretch, or from one and by color alone. 1 elsewhere.
    """

    masks: list[Bool[np.ndarray, "h w"]]
    touched: Bool[np.ndarray, " t"]
    beside: Bool[np.ndarray, " t"]
    agreed: Float[np.ndarray, " t"]

    @property
    def areas(self) -> Int[np.ndarray, " t"]:
        """Blocks of each mask."""
        return np.array([int(m.sum()) for m in self.masks])


@dataclass(frozen=True)
class _State:
    """A frame of a sweep. mine: the thing. blob: pieces that were cut. likely: what they were cut by.

    hidden: nothing of the thing can be seen. others_out: others have come out from behind it.
    """

    mine: Bool[np.ndarray, "h w"]
    blob: Bool[np.ndarray, "h w"] | None = None
    likely: Float[np.ndarray, "h w"] | None = None
    hidden: bool = False
    others_out: bool = False

    @property
    def alone(self) -> bool:
        """Whether the thing is a piece of its own."""
        return self.blob is None and not self.hidden


@dataclass
class _Learned:
    """Colors of the thing and of others, from frames in which they are apart; the thing's areas there."""

    mine: list[np.ndarray] = field(default_factory=list)
    rest: list[np.ndarray] = field(default_factory=list)
    areas: list[int] = field(default_factory=list)
    tables: tuple[np.ndarray, np.ndarray] | None = None

    @property
    def usual(self) -> float:
        """The thing's area."""
        return float(np.median(self.areas))

    def odds(self, color: UInt8[np.ndarray, "*s 3"]) -> Float[np.ndarray, "*s"]:
        """Logarithm of how much likelier a color is the thing's."""
        if self.tables is None:
            self.tables = (histogram(np.concatenate(self.mine)), histogram(np.concatenate(self.rest)))
        return odds(color, *self.tables).clip(-COLOR, COLOR)


class Follower:
    """Follows one thing of one track of pieces."""

    def __init__(
        self, pieces: Pieces, track: int, colors: Callable[[int], UInt8[np.ndarray, "h w 3"]]
    ) -> None:
        """colors: of a frame, in blocks."""
        self._pieces, self._own, self._colors = pieces, pieces.track == track, colors
        self._count = len(pieces.first) - 1
        self._learned = _Learned()
        self._ways: dict[bool, Way] = {}

    def follow(self, start: int, mine: Bool[np.ndarray, "h w"]) -> Followed:
        """The thing in all frames. start: a frame in which it is a piece of its own, or several: mine."""
        mask = self._mask(start)
        labels = np.where(mask & ~mine, self._pieces.labels[start], 0)
        sizes = np.bincount(labels.ravel(), minlength=1)
        crumbs = [n for n in np.unique(labels[labels > 0]).tolist() if sizes[n] <= BESIDE * mine.sum()]
        mine, rest = mine.copy(), (labels > 0) & ~np.isin(labels, crumbs)
        self._attach(labels, crumbs, mine, rest, rest)
        states = [_State(mine)] * self._count
        self._learn(states[start], start)
        for order in (range(start + 1, self._count), range(start - 1, -1, -1)):
            self._sweep(states, start, order)
        alone = np.array([s.alone for s in states])
        agreed = np.ones(self._count)
        for is_alone, group in groupby(range(self._count), lambda k: bool(alone[k])):
            stretch = list(group)
            if not is_alone:
                self._settle(stretch, 1 if stretch[0] > start else -1, states, agreed)
        beside = np.array([bool((self._mask(k) & ~s.mine).any()) for k, s in enumerate(states)])
        touched = np.array([not s.alone for s in states])
        return Followed([s.mine for s in states], touched, beside, agreed)

    def _mask(self, k: int) -> Bool[np.ndarray, "h w"]:
        return self._pieces.mask(k, self._own)

    def _learn(self, state: _State, k: int) -> None:
        """Learns from a frame in which the thing is alone."""
        learned, rest = self._learned, self._mask(k) & ~state.mine
        learned.areas.append(int(state.mine.sum()))
        if rest.any() and len(learned.rest) < MANY:
            learned.mine.append(self._colors(k)[state.mine])
            learned.rest.append(self._colors(k)[rest])
            learned.tables = None

    def _sweep(self, states: list[_State], before: int, order: Sequence[int], *, learns: bool = True) -> None:
        """Carries the state of a frame over others in a row."""
        self._ways = {True: (0, 0), False: (0, 0)}
        passed: list[int] = []
        for k in order:
            states[k] = self._step(states[before], before, k)
            if states[k].others_out:
                self._take_back(states, k, passed)
            if learns and states[k].alone:
                self._learn(states[k], k)
            before = k
            passed.append(k)

    def _take_back(self, states: list[_State], k: int, passed: list[int]) -> None:
        """Carries a state back, in which others have come out of the thing, to where they were hidden."""
        ways, self._ways = self._ways, {True: (0, 0), False: (0, 0)}
        for i in reversed(passed):
            state = self._step(states[k], k, i)
            if state.blob is None or (self._mask(i) & ~state.mine).sum() < CRUMB * self._learned.usual:
                break
            states[i] = state
            k = i
        self._ways = ways

    def _settle(
        self, frames: list[int], way: int, states: list[_State], agreed: Float[np.ndarray, " t"]
    ) -> None:
        """Masks of frames in a row in which something touches the thing, by both ends of them.

        way: 1 where they were swept forwards, else -1.
        """
        stretch = frames[::way]
        far = stretch[-1] + way
        back = list(states)
        if 0 <= far < self._count:
            self._sweep(back, far, stretch[::-1], learns=False)
        for i, k in enumerate(stretch):
            one, other = states[k], back[k]
            share = (i + 1) / (len(stretch) + 1)
            cut = [s for s in ((one, other) if other is not one else (one,)) if s.blob is not None]
            if len(cut) == 2:
                assert one.blob is not None
                assert other.blob is not None
                assert one.likely is not None
                assert other.likely is not None
                agreed[k] = overlap(one.mine, other.mine)
                blob, likely = one.blob | other.blob, (1 - share) * one.likely + share * other.likely
                states[k] = _State((one.mine & ~blob) | self._cut(blob, k, likely), blob)
            elif other.alone and share > 0.5 and self._apart(other, k):
                states[k] = other
            elif cut:
                (seen,) = cut
                assert seen.blob is not None
                by_color = self._cut(seen.blob, k, CERTAIN / COLOR * self._learned.odds(self._colors(k)))
                agreed[k] = overlap(by_color, seen.mine & seen.blob)
                states[k] = _State(seen.mine, seen.blob)
            else:
                agreed[k] = 0.0
                states[k] = _State((one if share < 0.5 else other).mine, hidden=True)

    def _apart(self, state: _State, k: int) -> bool:
        """Whether another thing of some size is a piece of its own beside one that is."""
        return bool((self._mask(k) & ~state.mine).sum() > BESIDE * self._learned.usual)

    def _step(self, state: _State, before: int, k: int) -> _State:
        """The next frame, before or after."""
        mask = self._mask(k)
        labels = np.where(mask, self._pieces.labels[k], 0)
        area = np.bincount(labels.ravel(), minlength=1)
        numbers = np.nonzero(area[1:])[0] + 1
        usual, held = self._learned.usual, self._mask(before) & ~state.mine
        if state.mine.sum() < HIDDEN * usual:
            return self._again(k, labels, area)
        mine_in = self._enters(state.mine, labels, CRUMB * usual)
        rest_in = self._enters(held, labels, CRUMB * usual)
        mine = np.isin(labels, list(mine_in - rest_in))
        large = {n for n in numbers.tolist() if area[n] > BESIDE * usual}
        rest = np.isin(labels, list((rest_in | large) - mine_in))
        out, by_color = self._others(k, labels, (mine_in - rest_in) & large)
        mine, rest = mine & ~out, rest | out
        blob, likely = np.isin(labels, list(mine_in & rest_in)), None
        if blob.any():
            likely = self._likely(state, before, k, blob)
            cut = self._cut(blob, k, likely)
            share = np.bincount(labels.ravel(), (mine | cut).ravel(), len(area)) / np.maximum(area, 1)
            again = {n for n in large if share[n] > OWN and AGAIN[0] < area[n] / usual < AGAIN[1]}
            if again and any(share[n] < 1 - OWN for n in large):
                own = np.isin(labels, np.nonzero(share > OWN)[0])
                mine, rest, blob = mine | (blob & own), rest | (blob & ~own), np.zeros_like(blob)
            else:
                mine, rest = mine | cut, rest | (blob & ~cut)
        loose = [n for n in numbers.tolist() if n not in mine_in | rest_in | large]
        if loose:
            self._attach(labels, loose, mine, rest, held)
        if mine.sum() < HIDDEN * usual:
            return _State(np.zeros_like(mine), hidden=True)
        return _State(mine, blob, likely) if blob.any() else _State(mine, others_out=by_color)

    def _others(self, k: int, labels: np.ndarray, parts: set[int]) -> tuple[Bool[np.ndarray, "h w"], bool]:
        """Large parts into which the thing has come apart that are others, and whether their color tells it.

        Where all parts have one color, and are too much for the thing, that of about its area is it.
        """
        if len(parts) < 2 or not self._learned.rest:
            return np.zeros(labels.shape, bool), False
        color, usual = self._colors(k), self._learned.usual
        like = {n: float(self._learned.odds(color[labels == n]).mean()) for n in parts}
        if out := [n for n, own in like.items() if own < 0 < max(like.values())]:
            return np.isin(labels, out), True
        area = {n: int((labels == n).sum()) for n in parts}
        if sum(area.values()) < TOO_MUCH * usual:
            return np.zeros(labels.shape, bool), False
        mine = min(parts, key=lambda n: abs(area[n] - usual))
        return np.isin(labels, list(parts - {mine})), False

    def _enters(self, thing: np.ndarray, labels: np.ndarray, least: float) -> set[int]:
        """Pieces that some connected part of a thing goes into. least: area of such a part."""
        found: set[int] = set()
        parts, count = ndimage.label(thing, EIGHT)
        for i in range(1, count + 1):
            there = labels[parts == i]
            if len(there) >= least:
                shares = np.bincount(there, minlength=1) / len(there)
                found |= set((np.nonzero(shares[1:] >= INTO)[0] + 1).tolist())
        return found

    def _attach(
        self, labels: np.ndarray, loose: list[int], mine: np.ndarray, rest: np.ndarray, before: np.ndarray
    ) -> None:
        """Gives small pieces to what lies nearest; those that are far from the thing are others.

        before: where others were in the frame before.
        """
        if not mine.any():
            rest |= np.isin(labels, loose)
            return
        away = ndimage.distance_transform_edt(~mine)
        others = rest | before
        other = ndimage.distance_transform_edt(~others) if others.any() else np.full(mine.shape, np.inf)
        size = extent(mine)
        for n in loose:
            part = labels == n
            far = away[part].min() > max(FAR[0] * extent(part), FAR[1] * size)
            (rest if far or other[part].min() < away[part].min() else mine)[part] = True

    def _again(self, k: int, labels: np.ndarray, area: np.ndarray) -> _State:
        """A frame after one in which nothing of the thing could be seen: whether a piece is it."""
        usual, (low, high) = self._learned.usual, AGAIN
        color = self._colors(k)
        large = (np.nonzero(area[1:] > low * usual)[0] + 1).tolist()
        best, found = 0.0, np.zeros(labels.shape, bool)
        for n in large if len(large) > 1 else []:
            part = labels == n
            like = float(self._learned.odds(color[part]).mean())
            if area[n] < high * usual and like > best:
                best, found = like, part
        return _State(found, hidden=not found.any())

    def _likely(
        self, state: _State, before: int, k: int, blob: Bool[np.ndarray, "h w"]
    ) -> Float[np.ndarray, "h w"]:
        """Evidence for the thing in a blob, by its colors, its motion and its texture."""
        whole = self._mask(before)
        seen, here = painted(self._colors(before), whole), painted(self._colors(k), self._mask(k))
        box, costs = around(blob, 0), []
        for own, thing in ((True, state.mine), (False, whole & ~state.mine)):
            self._ways[own] = way_of(seen, thing, here, self._ways[own])
            costs.append(continued(seen, thing, here, box, self._ways[own]))
        result = self._learned.odds(self._colors(k))
        result[box] += MOTION * (costs[1] - costs[0])
        return result

    def _cut(
        self, blob: Bool[np.ndarray, "h w"], k: int, likely: Float[np.ndarray, "h w"]
    ) -> Bool[np.ndarray, "h w"]:
        """The thing's part of a blob, without crumbs of either side in the other."""
        box = around(blob, 0)
        whole = blob[box]
        mine = minimum_cut(whole, self._colors(k)[box], likely[box].clip(-CERTAIN, CERTAIN))
        for own, side in ((True, mine), (False, whole & ~mine)):
            parts, _ = ndimage.label(side, EIGHT)
            small = np.bincount(parts.ravel()) < SPOT * self._learned.usual
            small[0] = False
            mine[small[parts]] = not own
        result = np.zeros_like(blob)
        result[box] = mine
        return result


def frames_with_several(pieces: Pieces, track: int, least: float = CRUMB) -> int:
    """How many frames show several pieces of a track. least: area of the second over the largest's."""
    own = pieces.track == track
    count = 0
    for first, end in pairwise(pieces.first):
        area = np.sort(pieces.area[first:end][own[first:end]])
        count += int(len(area) > 1 and area[-2] > least * area[-1])
    return count


def comes_apart(pieces: Pieces, mine: Bool[np.ndarray, "h w"]) -> int:
    """The frame in which a piece of the first frame comes apart into several things; 0 where it does not.

    It does where several parts of some size stay apart for a while, unless something has come to it before:
    then it is one of the things.
    """
    here = mine
    count = len(pieces.first) - 1
    for k in range(1, count):
        labels = pieces.labels[k]
        size = here.sum()
        shares = np.bincount(labels[here], minlength=pieces.first[k + 1] - pieces.first[k] + 1) / max(1, size)
        area = np.bincount(labels.ravel(), minlength=len(shares))
        parts = [n for n in range(1, len(shares)) if shares[n] > INTO / 2 and area[n] > BESIDE * size]
        others = (pieces.labels[k - 1] > 0) & ~here
        if len(parts) > 1 and _stay_apart(pieces, k, [labels == n for n in parts]):
            return k
        if not parts or others[np.isin(labels, parts)].sum() > BESIDE * size:
            return 0
        here = np.isin(labels, parts)
    return 0


def _stay_apart(pieces: Pieces, k: int, parts: list[Bool[np.ndarray, "h w"]]) -> bool:
    """Whether parts of a frame go into no common piece of those after it."""
    for after in range(k + 1, min(k + APART, len(pieces.first) - 1)):
        labels = pieces.labels[after]
        into = [set(np.unique(labels[p & (labels > 0)]).tolist()) for p in parts]
        if any(a & b for i, a in enumerate(into) for b in into[:i]):
            return False
        parts = [np.isin(labels, list(n)) for n in into]
    return True


def extent(mask: Bool[np.ndarray, "h w"]) -> int:
    """The longer side of the box around a mask that is not empty."""
    left, top, right, bottom = mask_box(mask)
    return max(right - left, bottom - top)
