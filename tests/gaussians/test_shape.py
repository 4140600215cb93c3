"""Bounds on the shape of splats, by hand."""

from __future__ import annotations

import math

import torch

from vid4d.gaussians.shape import bound_shape


def test_long_and_flat_splats_are_bounded_by_their_middle_extent() -> None:
    scales = torch.tensor(
        [
            [0.1, 1.0, 0.1, 9.0],  # a needle along y
            [0.001, 0.1, 0.2, 0.001],  # foil
            [0.1, 0.15, 0.05, 0.01],  # within the bounds
        ]
    )
    log_scales = scales.log()
    bound_shape(log_scales, 3.0, 5.0)
    expected = torch.tensor([[0.1, 0.3, 0.1, 9.0], [0.02, 0.1, 0.2, 0.001], [0.1, 0.15, 0.05, 0.01]])
    torch.testing.assert_close(log_scales.exp(), expected)


def test_infinite_bounds_change_nothing() -> None:
    log_scales = torch.randn(50, 4)
    before = log_scales.clone()
    bound_shape(log_scales, math.inf, math.inf)
    torch.testing.assert_close(log_scales, before, atol=0, rtol=0)
