"""What it means for a clip that others touch the object in some frames: in words, as takes, as confidence.

Frames are good in which nothing hides a part of the object, and its mask is sure.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from jaxtyping import Bool, Float, UInt8
from scipy import ndimage

from vid4d.clip.checks import touched_sides
from vid4d.clip.graph_cut import block_colors
from vid4d.clip.pieces import EIGHT, Pieces, follow_pieces
from vid4d.clip.places import Places
from vid4d.clip.spool import Spool
from vid4d.clip.subject import SIDE, strongest_alpha
from vid4d.clip.takes import Takes, option_words, span, stretches
from vid4d.clip.touching import (
    APART,
    BESIDE,
    FAR,
    Followed,
    Follower,
    extent,
    frames_with_several,
)

LESS = 0.9
"""Area of what is touched, over the tenth smallest when it is alone, below which a part of it is hidden."""
AGREED = 0.7
"""What two looks at it have in common, at least, if its mask is sure."""
ENOUGH = 1 / 3
"""Share of a clip, at least, in which the object is seen without the others, if it is trimmed to that."""
LEAST = 0.05
"""Area of another thing over the object's, at least, if it is told where nobody chose."""
AT_BORDER = 0.1
"""What a thing counts, in the choice of the object, where it touches the border of the picture."""
PARTED, UNSURE = 0.7, 0.5
"""Confidence, at most, in masks that were parted, and in those where that is not sure or was not done."""


@dataclass(frozen=True)
class Touched:
    """An object that others touch. masks: of it alone, in blocks of `step` pixels.

    touched, doubtful, beside: frames in which that is so, in which a part of it is hidden or its mask is not
    sure, and in which the others are seen. parted: whether the frames show the object alone.
    """

    masks: Sequence[Bool[np.ndarray, "h w"]]
    touched: Bool[np.ndarray, " t"]
    doubtful: Bool[np.ndarray, " t"]
    beside: Bool[np.ndarray, " t"]
    step: int
    places: Places
    parted: bool = True

    @staticmethod
    def of(
        followed: Sequence[Followed], masks: Sequence[Bool[np.ndarray, "h w"]], step: int, places: Places
    ) -> Touched | None:
        """What was followed, all of it one object with the masks; None where nothing touches it."""
        touched = np.any([f.touched for f in followed], 0) if followed else np.zeros(len(masks), bool)
        if not touched.any():
            return None
        doubtful = np.zeros_like(touched)
        for f in followed:
            areas = f.areas
            alone = areas[~f.touched]
            odd = f.touched & ((areas < LESS * np.quantile(alone, 0.1)) | (f.agreed < AGREED))
            for first, last in stretches(np.nonzero(f.touched)[0]):
                if (inside := np.nonzero(odd[first : last + 1])[0]).size:
                    doubtful[first + inside[0] : first + inside[-1] + 1] = True
        beside = np.any([f.beside for f in followed], 0)
        return Touched(masks, touched, doubtful, beside, step, places)

    def clicks(self, frame: int) -> tuple[str, ...]:
        """`--click` that mean the object in a frame: a place in each large piece of it."""
        labels, _ = ndimage.label(self.masks[frame], EIGHT)
        area = np.bincount(labels.ravel())
        area[0] = 0
        found = []
        for n in np.nonzero(area > BESIDE * area.max())[0].tolist() if area.any() else []:
            depth = ndimage.distance_transform_edt(np.pad(labels == n, 1))[1:-1, 1:-1]
            row, column = np.unravel_index(int(depth.argmax()), depth.shape)
            left, top, right, bottom = self.places.of_box(
                (slice(row, row + 1), slice(column, column + 1)), self.step
            )
            found.append(f"{(left + right) // 2},{(top + bottom) // 2}")
        return tuple(found)

    def left_out(self) -> Bool[np.ndarray, " t"]:
        """Frames that `--trim auto` leaves out: the doubtful, or all in which another thing is seen."""
        if self.parted:
            return self.doubtful
        return self.beside | self.touched if self._beside_too() else self.touched

    def _beside_too(self) -> bool:
        """Whether enough frames show the object without the others."""
        without = np.nonzero(~(self.beside | self.touched))[0]
        longest = max((last - first + 1 for first, last in stretches(without)), default=0)
        return longest >= max(4, ENOUGH * len(self.beside))

    def good(self, takes: Takes, times: Float[np.ndarray, " t"]) -> Takes:
        """Takes without these frames, with the reason; as they were where nothing of some length is left."""
        lost = self.left_out() & takes.good
        reason = f"{self._what()} {span(times, np.nonzero(lost)[0])}: left out"
        result = replace(takes, good=takes.good & ~lost, reasons=[*takes.reasons, reason])
        best = result.best()
        return takes if not lost.any() or best is None or best[1] - best[0] < 3 else result

    def _what(self) -> str:
        if self.parted:
            return "other things hide a part of what was chosen, or cannot be told from it for sure,"
        return (
            "another thing is beside the object" if self._beside_too() else "another thing touches the object"
        )

    def way_out(self, takes: Takes, all_times: Float[np.ndarray, " n"], chosen: Sequence[int]) -> str:
        """Options for the longest part of the takes that is good; empty where that is nothing or all."""
        good = self.good(takes, all_times[list(chosen)])
        best = good.best()
        if good.whole() or best is None or best[1] - best[0] < 3:
            return ""
        words = option_words(all_times, chosen[best[0]], chosen[best[1]])
        if self.parted or not self._beside_too():
            words = " ".join([words, *(f"--click {c}" for c in self.clicks(best[0]))])
        return f"give {words} for the longest part without that, or --trim auto"

    def notes(self, takes: Takes, all_times: Float[np.ndarray, " n"], chosen: Sequence[int]) -> list[str]:
        """What is so, and what to do about it. takes: of the chosen frames among all."""
        times = all_times[list(chosen)]
        where = span(times, np.nonzero(self.touched)[0])
        way = self.way_out(takes, all_times, chosen) or "give --masks, or film it alone"
        if not self.parted:
            clicks = " ".join(f"--click {c}" for c in self.clicks(0))
            said = f"another thing touches the object {where}, and masks show both as one"
            return [f"{said}: {clicks} follows the object alone; {way}" if clicks else f"{said}: {way}"]
        said = f"other things touch what was chosen {where}: they are parted by color and motion"
        if self.doubtful.any():
            doubtful = span(times, np.nonzero(self.doubtful)[0])
            said += f"; a part of it is hidden, or its mask not sure, {doubtful}: {way}"
        return [said]

    def confidence(self, kept: Sequence[int]) -> float:
        """The most confidence in the masks of the frames that are kept."""
        which = list(kept)
        if not self.touched[which].any():
            return 1.0
        return PARTED if self.parted and not self.doubtful[which].any() else UNSURE


def noticed(frames: Sequence[UInt8[np.ndarray, "h w 4"]], places: Places) -> Touched | None:
    """What touches the object where nobody said which thing that is; None where nothing does.

    frames: without background. places: of them in the source. The object is the thing that is seen longest
    and largest as a piece of its own, and rather within the picture than at its border. What was never far
    from it is a part of it.
    """
    step = max(1, -(-max(frames[0].shape[:2]) // SIDE))
    pieces = follow_pieces(Spool((strongest_alpha(f, step) > 127 for f in frames), boxed=True))
    if len(pieces.area) == 0:
        return None
    track = int(np.argmax(np.bincount(pieces.track, pieces.area)))
    if frames_with_several(pieces, track, LEAST) < APART:
        return None
    start, number = _longest_seen(pieces, track)
    mine = pieces.labels[start] == number
    colors = functools.lru_cache(8)(lambda k: block_colors(frames[k], step))
    followed = Follower(pieces, track, colors).follow(start, mine)
    found = Touched.of([followed], followed.masks, step, places)
    if found is None:
        return None
    own = pieces.track == track
    for k in np.nonzero(followed.beside & ~followed.touched)[0].tolist():
        rest = pieces.mask(k, own) & ~followed.masks[k]
        if rest.sum() > LEAST * followed.masks[k].sum():
            away = ndimage.distance_transform_edt(~rest)[followed.masks[k]].min()
            if away > FAR[1] * extent(followed.masks[k]):
                return replace(found, parted=False)
    return None


def _longest_seen(pieces: Pieces, track: int) -> tuple[int, int]:
    """A frame and the number of a piece in it: the middle of the longest and largest row of one piece.

    Pieces that others come to, or that come apart, are no single things.
    """
    own = pieces.track == track
    rows: dict[int, list[tuple[int, float]]] = {}
    ended: list[tuple[float, int, int]] = []

    def end(row: list[tuple[int, float]], last: int) -> None:
        half = len(row) // 2
        ended.append((sum(weight for _, weight in row), last - half, row[-1 - half][0]))

    before, large_before = pieces.labels[0], set[int]()
    for k, (first, stop) in enumerate(pairwise(pieces.first)):
        labels, area = pieces.labels[k], pieces.area[first:stop] * own[first:stop]
        large = (1 + np.nonzero(area > LEAST * area.max(initial=0))[0]).tolist()
        came = {n: large_before & set(np.unique(before[labels == n]).tolist()) for n in large}
        went = {p: [n for n in large if p in came[n]] for p in large_before}
        new = {}
        for n in large:
            weight = float(area[n - 1]) * (AT_BORDER if touched_sides(labels == n).any() else 1.0)
            if not came[n]:
                new[n] = [(n, weight)]
            elif len(came[n]) == 1 and (p := next(iter(came[n]))) in rows and went[p] == [n]:
                new[n] = [*rows[p], (n, weight)]
            elif len(came[n]) == 1:  # what comes out of a piece is a thing of its own
                new[n] = [(n, weight)]
        for p, row in rows.items():
            if not any(p in came[n] for n in new if len(new[n]) > 1) and len(went[p]) < 2:
                end(row, k - 1)
        rows, before, large_before = new, labels, set(large)
    for row in rows.values():
        end(row, len(pieces.first) - 2)
    _, frame, number = max(ended)
    return frame, number
