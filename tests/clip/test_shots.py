"""Things that pass into each other bit by bit are told; what turns round or flickers is one thing."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest
from boxes import H, W, box

from vid4d.clip.shots import parted_by_colors
from vid4d.clip.takes import Takes

N, BEGIN, END = 40, 16, 24
"""Frames; the first and last of the passage."""
RED, BLUE = (200, 40, 40), (30, 60, 190)
Frames = list[np.ndarray]


def wipe(one: np.ndarray, other: np.ndarray, share: float) -> np.ndarray:
    return np.where((np.arange(W) < share * W)[None, :, None], other, one)


def slide(one: np.ndarray, other: np.ndarray, share: float) -> np.ndarray:
    k = round(share * W)
    return np.concatenate([one[:, k:], other[:, :k]], 1)


def iris(one: np.ndarray, other: np.ndarray, share: float) -> np.ndarray:
    v, u = np.mgrid[:H, :W]
    return np.where((np.hypot(u - W / 2, v - H / 2) < share * W / 2)[..., None], other, one)


def passing(how: Callable[..., np.ndarray]) -> Frames:
    """A red box that walks, then a blue one that walks the other way."""
    shares = np.clip((np.arange(N) - BEGIN + 1) / (END - BEGIN + 2), 0, 1)
    return [
        how(box(20 + i // 2, 20, 34, 30, RED), box(50 - i // 2, 30, 34, 36, BLUE), s)
        for i, s in enumerate(shares)
    ]


def looked(frames: Sequence[np.ndarray], takes: Takes | None = None) -> Takes:
    return parted_by_colors(takes or Takes(np.ones(len(frames), bool)), frames, np.arange(len(frames)) / 24)


@pytest.mark.parametrize("how", [wipe, slide, iris])
def test_a_passage_to_another_thing_is_a_cut(how: Callable[..., np.ndarray]) -> None:
    takes = looked(passing(how))
    (first, second) = takes.runs()
    assert first[0] == 0
    assert second[1] == N - 1
    assert BEGIN - 4 <= first[1] <= BEGIN + 3
    assert END - 4 <= second[0] <= END + 3
    assert "for good" in takes.reasons[0]


def mixed(share: float) -> tuple[int, ...]:
    return tuple(round(a + share * (b - a)) for a, b in zip(RED, BLUE, strict=True))


def test_one_thing_is_not_cut() -> None:
    """It keeps its colors; it turns round in its own time; it shows another side for a moment."""
    same = [box(5 + i, 20, 30, 30) for i in range(N)]
    turns = [box(20, 20, 40, 30, mixed(i / (N - 1))) for i in range(N)]
    moment = [box(20, 20, 40, 30, mixed(float(16 <= i < 24))) for i in range(N)]
    for frames in (same, turns, moment):
        assert looked(frames).whole()


def test_colors_that_change_with_the_light_cut_nothing() -> None:
    lit = Takes(np.ones(N, bool), lit={20})
    assert looked(passing(wipe), lit).whole()


def test_a_passage_in_whose_midst_the_clip_ends() -> None:
    """What comes in from the border shows other colors at first, too, and is one thing."""
    takes = looked(passing(wipe)[: END - 2])
    assert [first for first, _ in takes.runs()] == [0]
    assert BEGIN - 4 <= takes.runs()[0][1] <= BEGIN + 4
    backwards = looked(passing(wipe)[: END - 2][::-1])
    assert not backwards.good[0]
    assert backwards.good[8:].all()
    comes = []
    for i in range(N):
        wide = np.concatenate([np.zeros((H, 60, 4), np.uint8), box(20, 20, 40, 30, RED)], 1)
        wide[20:50, 108:120, :3] = BLUE
        left = max(106 - 8 * i, 60)
        comes.append(wide[:, left : left + W - 46])
    assert looked(comes).whole()


def test_a_picture_that_slides_away_belongs_to_the_passage() -> None:
    """The box's colors are all there until it reaches the border, but it goes faster than it ever walked."""
    frames = passing(slide)
    still = [box(40 + i // 4, 20, 20, 30, RED) for i in range(BEGIN)]
    takes = looked([*still, *frames[BEGIN:]])
    first = takes.runs()[0][1]
    assert first <= BEGIN
    assert takes.good[: BEGIN - 4].all()
