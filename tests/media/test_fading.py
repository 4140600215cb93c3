"""Outlines that fade are told from outlines that end, and what lies beyond them is the object's."""

from __future__ import annotations

import numpy as np
import pytest

from vid4d.media.fading import fading_bays, fading_holes, fading_outline

SIDE = 100
CORE = 30.0


def distances(hole: float, slope: float) -> np.ndarray:
    """Distance from the background: a disc, with a hole in it whose surroundings rise from 0 by a slope."""
    v, u = np.mgrid[:SIDE, :SIDE] + 0.5
    away = np.hypot(u - 50, v - 50)
    return np.where(away < 40, np.clip(slope * (away - hole), 0, 100), 0.0)


@pytest.mark.parametrize(("slope", "fades"), [(5.0, True), (8.0, True), (60.0, False), (300.0, False)])
def test_a_highlight_fades_and_a_gap_does_not(slope: float, fades: bool) -> None:
    distance = distances(10, slope)
    inside = distance > 15
    fading = fading_outline(distance, inside, CORE, 80)
    v, u = np.mgrid[:SIDE, :SIDE] + 0.5
    inner = np.hypot(u - 50, v - 50) < 25
    assert not fading[~inner].any()  # the outer outline ends at once
    assert fading.any() == fades
    filled = fading_holes(inside, fading, 80)
    assert np.array_equal(filled, inner & ~inside if fades else np.zeros_like(inside))


def test_a_pale_object_of_one_color_does_not_fade() -> None:
    """Low contrast alone says nothing: 25 steps from the background up to the outline."""
    distance = distances(10, 300.0).clip(0, 25)
    assert not fading_outline(distance, distance > 15, CORE, 80).any()


def test_holes_behind_a_thin_line_with_breaks_are_filled() -> None:
    """Half of a ball is lost in the background but for a line of one pixel, broken in two places."""
    v, u = np.mgrid[:SIDE, :SIDE] + 0.5
    away = np.hypot(u - 50, v - 50)
    ball = away < 40
    distance = np.where(ball, np.clip(4 * (v - 45), 0, 100), 0)
    line = ball & (away >= 39) & ~((np.abs(u - 50) < 2) | (np.abs(u - 22) < 1.5))
    distance[line] = 80
    inside = distance > 15
    fading = fading_outline(distance, inside, CORE, 80)
    found = inside | fading_holes(inside, fading, 80)
    assert (found & ball).sum() > 0.995 * ball.sum()
    assert (found & ~ball).sum() < 0.005 * ball.sum()
    sharp = np.where(distance > 15, 100.0, 0.0)  # the same shape as a cup with a handle: nothing fades
    assert not fading_outline(sharp, inside, CORE, 80).any()


def test_a_bay_that_fades_is_closed_by_a_straight_line() -> None:
    """A plate whose upper side sinks into the background by 10 pixels in the middle, 40 wide."""
    distance = np.zeros((SIDE, SIDE))
    v, u = np.mgrid[:SIDE, :SIDE]
    top = 30 + np.clip(10 - np.abs(u - 50) / 2, 0, None)
    distance = np.where((v >= top) & (v < 80) & (u >= 20) & (u < 80), np.clip(5 * (v - top), 0, 100), 0)
    inside = distance > 15
    fading = fading_outline(distance, inside, CORE, 60)
    bay = fading_bays(inside, fading, 60)
    assert not (bay & inside).any()
    assert bay[34:40, 50].all()
    assert not bay[:33].any()
    assert not bay[80:].any()


def test_short_stretches_and_masks_without_outline_leave_all_as_it_is() -> None:
    inside = np.zeros((SIDE, SIDE), bool)
    inside[20:80, 20:80] = True
    fading = np.zeros_like(inside)
    fading[20, 40:44] = True
    assert not fading_bays(inside, fading, 60).any()
    assert not fading_outline(np.full((SIDE, SIDE), 99.0), np.ones((SIDE, SIDE), bool), CORE, 100).any()
