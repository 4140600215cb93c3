"""Which splats leave a trace: counted against the slices themselves."""

from __future__ import annotations

from dataclasses import replace

import torch
from toys import jumping_ball

from vid4d.gaussians.culling import splats_over_time, visibility_mask

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
