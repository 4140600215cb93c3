"""Connected pieces of masks, followed from frame to frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped
from scipy import ndimage

from vid4d.clip.spool import Spool

EIGHT = np.ones((3, 3), bool)
"""Neighbours that are connected: those at corners, too."""


@dataclass(frozen=True)
class Pieces:
    """Connected pieces of small masks, followed over time.

    labels: number of the piece in its frame, 0 for none. first: number of each frame's first piece among all.
    area: pixels of each piece. track: which of them are one thing.
    """

    labels: Sequence[Int[np.ndarray, "h w"]]
    first: list[int]
    area: Int[np.ndarray, " n"]
    track: Int[np.ndarray, " n"]

    def frame_of(self) -> Int[np.ndarray, " n"]:
        """The frame of each piece."""
        return np.repeat(np.arange(len(self.first) - 1), np.diff(self.first))

    def mask(self, frame: int, chosen: Bool[np.ndarray, " n"]) -> Bool[np.ndarray, "h w"]:
        """Pixels of the frame in chosen pieces."""
        table = np.concatenate([[False], chosen[self.first[frame] : self.first[frame + 1]]])
        return table[self.labels[frame]]


def follow_pieces(masks: Sequence[Bool[np.ndarray, "h w"]]) -> Pieces:
    """Pieces of masks; those of neighbouring frames that overlap are one thing."""
    labels, first, area = Spool(boxed=True), [0], []
    for mask in masks:
        numbered, count = ndimage.label(mask, EIGHT)
        labels.append(numbered.astype(np.int32))
        first.append(first[-1] + count)
        area.append(np.bincount(numbered.ravel(), minlength=1)[1:])
    parent = list(range(first[-1]))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    for k, (before, here) in enumerate(pairwise(labels), start=1):
        both = (before > 0) & (here > 0)
        pairs = np.stack([before[both] + first[k - 1] - 1, here[both] + first[k] - 1], -1)
        for a, b in np.unique(pairs, axis=0).tolist():
            parent[root(b)] = root(a)
    track = np.array([root(i) for i in range(len(parent))], np.int64)
    return Pieces(labels, first, np.concatenate(area).astype(np.int64), track)


def overlap(a: Bool[np.ndarray, "h w"], b: Bool[np.ndarray, "h w"]) -> float:
    """What two masks have in common, over both: 0 where neither shows anything."""
    return float((a & b).sum() / max(1, (a | b).sum()))


def shifted(mask: Shaped[np.ndarray, "h w"], way: Float[np.ndarray, "2"]) -> Shaped[np.ndarray, "h w"]:
    """A mask or channel by so many pixels to the right and down; 0 where it comes from outside."""
    x, y = np.rint(way).astype(int).tolist()
    h, w = mask.shape
    result = np.zeros_like(mask)
    result[max(y, 0) : h + min(y, 0), max(x, 0) : w + min(x, 0)] = mask[
        max(-y, 0) : h + min(-y, 0), max(-x, 0) : w + min(-x, 0)
    ]
    return result
