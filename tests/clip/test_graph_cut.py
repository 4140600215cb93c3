"""A minimum cut follows the evidence, and edges of color where there is none; soft edges after it."""

from __future__ import annotations

import numpy as np
import pytest

from vid4d.clip.graph_cut import block_colors, histogram, minimum_cut, odds, without


def test_a_cut_goes_along_the_edge_of_color() -> None:
    mask = np.ones((12, 20), bool)
    color = np.full((12, 20, 3), 60, np.uint8)
    color[:, 11:] = 180
    likely = np.zeros((12, 20), np.float32)
    likely[:, 2], likely[:, 17] = 6.0, -6.0
    found = minimum_cut(mask, color, likely)
    assert found[:, :11].all()
    assert not found[:, 11:].any()
    likely[4, 4] = -3.0  # one pixel against its surroundings
    assert (minimum_cut(mask, color, likely) == found).all()
    assert not minimum_cut(np.zeros_like(mask), color, likely).any()


def test_odds_of_colors() -> None:
    red, blue = (np.full((50, 3), c, np.uint8) for c in ((200, 40, 40), (40, 40, 200)))
    one, other = histogram(red), histogram(blue)
    assert one.sum() == pytest.approx(1, abs=1e-5)
    likely = odds(np.stack([red[:1], blue[:1]]), one, other)
    assert likely[0, 0] > 5
    assert likely[1, 0] < -5
    assert (odds(red, one, one) == 0).all()


def test_colors_of_blocks_are_those_of_the_opaque_part() -> None:
    frame = np.zeros((4, 4, 4), np.uint8)
    frame[:2, 0] = (100, 50, 20, 255)
    frame[:2, 1] = (255, 255, 255, 0)
    assert block_colors(frame, 2)[0, 0].tolist() == [100, 50, 20]
    assert block_colors(frame, 2)[1, 1].tolist() == [0, 0, 0]


def test_what_is_lost_is_clear_and_the_rest_is_as_it_was() -> None:
    frame = np.full((40, 80, 4), 255, np.uint8)
    left = np.zeros((20, 40), bool)
    left[:, :20] = True
    result = without(frame, left, ~left, 2)
    assert (result[:, :36] == 255).all()
    assert not result[:, 44:].any()
