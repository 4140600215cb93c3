"""Frames in which the border cuts the object off are left out where enough show all of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from boxes import H, W, box, folder_of

from vid4d.clip.clip import read_clip
from vid4d.clip.cut_off import whole_ones
from vid4d.clip.takes import Takes

TIMES = np.arange(24) / 24


def at(x: int, y: int = 30) -> np.ndarray:
    """A box of 20 x 20 whose left is x, which may lie outside of the picture."""
    wide = np.zeros((H + 40, W + 40, 4), np.uint8)
    wide[y + 20 : y + 40, x + 20 : x + 40] = box(30)[30:50, 30:50]
    return wide[20 : 20 + H, 20 : 20 + W]


def takes_of(pictures: list[np.ndarray]) -> tuple[Takes, Takes]:
    """As they were, and of whole ones."""
    takes = Takes(np.ones(len(pictures), bool))
    return takes, whole_ones(pictures, TIMES[: len(pictures)], takes)


def test_one_that_comes_in() -> None:
    """2, 6, 10, 14 and 18 of 20 columns, then all: the whole ones are left."""
    before, takes = takes_of([at(-18 + 4 * i) for i in range(18)])
    assert takes.good.tolist() == [False] * 5 + [True] * 13
    assert takes.reasons == ["the border of the picture cuts the object off from 0.00 to 0.17 s: left out"]
    assert before.good.all()
    assert before.reasons == []


def test_what_touches_a_little_goes_with_what_is_cut_and_feet_may_stand_on_the_border() -> None:
    """It stands on the lower border and walks out to the right: cut off from where it reaches that, at 76."""
    pictures = [at(40 + 2 * i, H - 20) for i in range(20)]
    _, takes = takes_of(pictures)
    assert takes.good.tolist() == [True] * 18 + [False] * 2
    pictures = [at(60 + 2 * i) for i in range(16)]
    _, takes = takes_of(pictures)
    assert takes.good.tolist() == [True] * 8 + [False] * 8


def test_a_moment_cuts_nothing() -> None:
    pictures = [at(30)] * 8 + [at(82)] * 2 + [at(30)] * 8
    _, takes = takes_of(pictures)
    assert takes.brief == {8, 9}
    assert takes.whole()


@pytest.mark.parametrize(
    "pictures",
    [
        [at(30 + i) for i in range(8)],
        [at(30 + i, H - 20) for i in range(8)],  # it stands on the border
        [at(30, H - 20 - 2 * (i % 2)) for i in range(8)],  # and leaves it at times
        [at(-10)] * 8,
        [at(-18 + 2 * i) for i in range(12)],  # 3 whole ones of 12
    ],
)
def test_where_too_few_are_whole_or_none_is_cut_all_are_left(pictures: list[np.ndarray]) -> None:
    before, takes = takes_of(pictures)
    assert takes is before


def test_a_clip_is_trimmed_and_told_how(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "f", [at(-18 + 4 * i) for i in range(18)])
    told = read_clip(folder, frames=4, dense=64).warnings
    assert "enough frames show all of the object: --trim auto leaves out those that cut it off" in told
    trimmed = read_clip(folder, frames=4, dense=64, trim="auto")
    by_hand = read_clip(folder, frames=4, dense=64, start=5 / 24)
    assert np.array_equal(trimmed.frames, by_hand.frames)
    assert "trimmed: 0.21 to 0.71 s are used" in trimmed.warnings
    assert not any("cut off there" in w for w in trimmed.warnings)
