"""A small thing that moves on its own is told: a mouse cursor; what moves along with the object is not."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from boxes import H, W, box, moving

from vid4d.clip.places import Places
from vid4d.clip.subject import keep_subject

COUNT = 12


def told(
    place: Callable[[int], tuple[int, int]], size: Callable[[int], tuple[int, int]] = lambda _: (4, 4)
) -> str | None:
    """What is said of something dark beside a box of 20 x 20 that goes from 10 to 60, row 30.

    place: x and y of its corner in each frame. size: its width and height; 0 where there is none.
    """
    pictures = moving(COUNT)
    for i, picture in enumerate(pictures):
        (x, y), (w, h) = place(i), size(i)
        picture[y : y + h, x : x + w] = (20, 20, 20, 255)
    found = keep_subject(pictures, np.arange(COUNT) / 24, Places((W, H)))
    frames, left_out, loose = found.frames, found.left_out, found.loose
    assert left_out == []
    assert all(np.array_equal(f, p) for f, p in zip(frames, pictures, strict=True))
    return loose


def test_a_cursor_is_told_with_its_way() -> None:
    said = told(lambda i: (80 - 6 * i, 70 - i))
    assert said is not None
    assert "from 82,72 at 0.00 s to 16,61 at 0.46 s, and is kept" in said


def test_over_the_object_it_is_the_same() -> None:
    """It comes from the upper right and leaves at the lower left, before the box in between."""
    said = told(lambda i: (82 - 7 * i, 4 + 6 * i))
    assert said is not None
    assert "from 84,6 at 0.00 s to 7,72 at 0.46 s" in said


@pytest.mark.parametrize(
    ("place", "size"),
    [
        (lambda i: (18 + round(50 * i / 11), 22), lambda _: (4, 4)),  # goes along above it
        (lambda i: (18 + round(50 * i / 11) + 5 * (i % 2), 22 - 4 * (i % 3)), lambda _: (4, 4)),  # and swings
        (lambda i: (80 - 6 * i, 62), lambda i: (9, 2) if i % 2 else (2, 9)),  # of changing shape
        (lambda i: (80 - 6 * i, 70 - i), lambda i: (4 * (i < 4), 4)),  # for a moment
        (lambda i: (80 - 6 * i, 62), lambda _: (14, 14)),  # not small
    ],
)
def test_what_else_is_beside_the_object(
    place: Callable[[int], tuple[int, int]], size: Callable[[int], tuple[int, int]]
) -> None:
    assert told(place, size) is None


def test_an_object_alone() -> None:
    loose = keep_subject([box(30 + i) for i in range(8)], np.arange(8) / 24, Places((W, H))).loose
    assert loose is None


@pytest.mark.parametrize("over", [True, False])
def test_a_speck_that_passes_over_the_object_is_told(over: bool) -> None:
    """It is left out beside the object, and stays in it: a cursor of 3 x 3 before one of 76 x 66 pixels."""
    pictures = [box(10 + i % 2, 6, 76, 66) for i in range(COUNT)]
    for i, picture in enumerate(pictures):
        x = 2 * i if i < 4 else 88 + i - 8 if i > 7 else 28 + 17 * (i - 4)
        row = 40 if over else 75
        picture[row : row + 3, x : x + 3] = (20, 20, 20, 255)
    found = keep_subject(pictures, np.arange(COUNT) / 24, Places((W, H)))
    left_out, loose = found.left_out, found.loose
    assert any("specks" in n for n in left_out)
    if over:
        assert loose is not None
        assert "passes over the object at 0.17, 0.21, 0.25, 0.29 s" in loose
    else:
        assert loose is None
