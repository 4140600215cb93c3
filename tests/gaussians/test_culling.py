"""Which splats leave a trace: counted against the slices themselves."""

from __future__ import annotations

from dataclasses import replace

import torch
from toys import jumping_ball

from vid4d.gaussians.culling import Spans, splats_over_time, visibility_mask

LATER = torch.tensor([0.0, 0, 0, 1.5])


def test_at_a_time_and_at_any():
    ball = jumping_ball(40, moments=3)
    assert visibility_mask(ball).all()
    assert visibility_mask(ball, 0.5).sum() == (ball.at(0.5).opacities >= 1 / 255).sum() < len(ball)
    assert visibility_mask(replace(ball, means=ball.means + LATER)).sum() == 0


def test_in_a_loop_every_time_comes():
    ball = replace(jumping_ball(40), cyclic=True)
    later = replace(ball, means=ball.means + LATER)
    assert visibility_mask(later).all()
    assert torch.equal(visibility_mask(later, 0.5), visibility_mask(ball, 0.0))
    assert visibility_mask(ball, 1.0).sum() == (ball.at(1.0).opacities >= 1 / 255).sum() == 80


def test_splats_over_time_by_counting():
    """Five shells around 0, 1/4, ..., 1, each seen for a standard deviation of 0.0875 in time."""
    times = [i / 4 for i in range(5)]
    for ball in (jumping_ball(80), replace(jumping_ball(80), cyclic=True)):
        counts = splats_over_time(ball, times)
        assert counts == [int((ball.at(time).opacities >= 1 / 255).sum()) for time in times]
        assert min(counts) >= 80


def test_spans_leave_out_none_that_is_there():
    """Also where a splat's time lies rounds away from a loop's."""
    for ball in (jumping_ball(40), replace(jumping_ball(40), cyclic=True)):
        for laps in (0, 3, -2):
            moved = replace(ball, means=ball.means + torch.tensor([0.0, 0, 0, laps]))
            spans = Spans.of(moved)
            for time in (0.0, 0.1, 0.5, 0.99):
                there = moved.at(time).opacities > 0
                kept = spans.at(torch.tensor([time]))
                assert not (there & ~kept).any()
                assert kept.sum() <= there.sum() + 40  # at most one shell more, at the edge of its time


def test_spans_of_several_times_and_of_a_stretch():
    """Shells at 0, 1/4, ..., 1, there for 0.0875 * sqrt(2 log 20) = 0.214 before and after."""
    spans = Spans.of(jumping_ball(40))
    assert spans.at(torch.tensor([0.0, 1.0])).sum() == 80
    assert spans.between(0.22, 0.28).sum() == 40
    assert spans.between(0.2, 0.3).sum() == 120
