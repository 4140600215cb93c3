"""What holds the object comes in from the border, at one narrow place in nearly all frames."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from boxes import H, W, box, folder_of, moving

from vid4d.clip.clip import read_clip
from vid4d.clip.held import grip

SKIN = (222, 170, 140, 255)


def held(count: int = 8) -> list[np.ndarray]:
    """The moving box, and an arm of 10 x 30 pixels that goes along below it to the bottom border."""
    pictures = moving(count)
    for i, picture in enumerate(pictures):
        x = 15 + round(50 * i / (count - 1))
        picture[48:, x : x + 10] = SKIN
    return pictures


def test_an_arm_is_told_with_its_side() -> None:
    found = grip(held())
    assert found is not None
    assert (found.sides, found.seen, found.count) == (("bottom",), 8, 8)
    said = found.note()
    assert said.startswith("something comes in from the bottom border in 8 of 8 frames and is joined")


@pytest.mark.parametrize(("turns", "side"), [(1, "right"), (2, "top"), (3, "left")])
def test_it_may_come_from_any_side(turns: int, side: str) -> None:
    found = grip([np.rot90(p, turns) for p in held()])
    assert found is not None
    assert found.sides == (side,)


def test_two_hands() -> None:
    both = [np.maximum(p, p[::-1]) for p in held()]
    found = grip(both)
    assert found is not None
    assert found.borders == "top and the bottom borders"


CASES = {
    "an object alone": moving(8),
    "for a while": held()[:6] + moving(8)[6:],
    "an object that stands on the border": [box(10 + i, 60) for i in range(8)],
    "a table": [np.maximum(p, box(0, 48, W, H - 48)) for p in moving(8)],
    "beside the object": [np.maximum(p, box(80, 60, 6, 20)) for p in moving(8)],
    "nothing": [np.zeros((H, W, 4), np.uint8)] * 8,
}


@pytest.mark.parametrize("name", list(CASES))
def test_what_holds_nothing(name: str) -> None:
    assert grip(CASES[name]) is None


def test_a_clip_says_it_once_and_doubts_it(tmp_path: Path) -> None:
    over = [np.where(p[..., 3:] > 0, p[..., :3], (90, 150, 110)).astype(np.uint8) for p in held()]
    clip = read_clip(folder_of(tmp_path / "f", over), frames=0)
    assert clip.matting == "plain"
    assert clip.matting_confidence == 0.5
    assert sum("border" in w for w in clip.warnings) == 1
    alone = [np.where(p[..., 3:] > 0, p[..., :3], (90, 150, 110)).astype(np.uint8) for p in moving(8)]
    assert read_clip(folder_of(tmp_path / "g", alone), frames=0).matting_confidence > 0.9
