"""What rests in masks while something else moves."""

from __future__ import annotations

import numpy as np
import pytest
from boxes import box

from vid4d.clip.resting import at_rest, found_again, on_a_line, scaled_in_place, within, written


def split(pictures: list[np.ndarray]) -> tuple[list[np.ndarray], list[np.ndarray]]:
    return [p[..., 3] > 127 for p in pictures], [p[..., :3] for p in pictures]


def test_what_rests_is_one_card_for_as_long_as_it_does() -> None:
    pictures = [
        np.maximum(box(5 + 3 * i), box(70, 60, 12, 10)) if 2 <= i < 7 else box(5 + 3 * i) for i in range(9)
    ]
    (card,) = at_rest(*split(pictures))
    assert (card.first, card.last, card.area, card.joined) == (2, 6, 120, False)


def test_nothing_rests_where_all_do_or_all_move() -> None:
    still = [np.maximum(box(5), box(70, 60, 12, 10))] * 6
    assert at_rest(*split(still)) == []
    moving = [np.maximum(box(5 + 2 * i), box(60 + i, 60, 12, 10)) for i in range(6)]
    assert at_rest(*split(moving)) == []


def test_a_slow_thing_does_not_rest() -> None:
    """One pixel in three frames: at rest for two, and no longer than that."""
    pictures = [np.maximum(box(5 + 3 * i), box(40 + i // 3, 58, 20, 20)) for i in range(12)]
    assert all(c.last - c.first < 3 for c in at_rest(*split(pictures)))


@pytest.mark.parametrize(("dx", "dy"), [(0, 0), (3, 0), (2, -5)])
def test_a_thing_is_found_again_as_far_as_it_went(dx: int, dy: int) -> None:
    masks, colors = split([box(20, 30), box(20 + dx, 30 + dy)])
    assert found_again(masks[0], 0, 1, masks, colors) == pytest.approx(np.hypot(dx, dy))


def test_another_thing_is_not_it() -> None:
    masks, colors = split([box(20, 30), box(22, 30, color=(20, 160, 40))])
    assert found_again(masks[0], 0, 1, masks, colors) is None


def test_growing_in_place() -> None:
    small, large, beside = (
        b[..., 3] > 0 for b in (box(30, 30, 20, 20), box(28, 28, 24, 24), box(34, 30, 20, 20))
    )
    assert scaled_in_place(small, large)
    assert not scaled_in_place(small, beside)


def test_stripes_are_written_and_a_box_is_not() -> None:
    stripes = np.zeros((20, 20, 3), np.uint8)
    stripes[:, ::4] = stripes[:, 1::4] = 255
    everywhere = np.ones((20, 20), bool)
    assert written(everywhere, stripes)
    assert not written(everywhere, np.full((20, 20, 3), 200, np.uint8))


def test_lines_and_places() -> None:
    a, b = (slice(10, 20), slice(0, 30)), (slice(12, 22), slice(60, 90))
    assert on_a_line(a, b)
    assert not on_a_line(a, (slice(18, 30), slice(0, 30)))
    assert within((slice(9, 21), slice(1, 31)), a)
    assert not within(b, a)
