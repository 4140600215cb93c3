"""Splats in another unit of time look the same at the same moments."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from vid4d.gaussians.model import Gaussians4D, rotation4d
from vid4d.gaussians.retime import quaternions_of, retimed


def some(n: int = 50) -> Gaussians4D:
    random = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=random)

    scales = torch.tensor([0.02, 0.03, 0.01, 0.1]).log() + 0.3 * normal(n, 4)
    tilt = torch.tensor([1.0, 0, 0, 0]) + 0.3 * normal(2, n, 4)
    return Gaussians4D(normal(n, 4), scales, *tilt, normal(n), normal(n, 1, 2, 3), period=1.5)


@pytest.mark.parametrize("scale", [0.08, 1.0, 12.5])
def test_the_same_slices_at_the_same_moments(scale):
    splats = some()
    other = retimed(splats, scale, 0.3)
    for time in (-0.4, 0.0, 0.7):
        a, b = splats.at(time), other.at(scale * time + 0.3)
        torch.testing.assert_close(b.means, a.means, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(b.covariances, a.covariances, atol=2e-6, rtol=1e-3)
        torch.testing.assert_close(b.opacities, a.opacities, atol=1e-4, rtol=1e-3)
        torch.testing.assert_close(b.sh, a.sh, atol=1e-4, rtol=1e-3)


def test_there_and_back():
    splats = some()
    back = retimed(retimed(splats, 0.1, 0.5), 10.0, -5.0)
    torch.testing.assert_close(back.covariance4d(), splats.covariance4d(), atol=1e-6, rtol=1e-3)
    torch.testing.assert_close(back.means, splats.means, atol=1e-5, rtol=1e-5)


def test_quaternions_of_a_rotation():
    random = torch.Generator().manual_seed(1)
    given = torch.randn(2, 40, 4, generator=random, dtype=torch.float64)
    rotation = rotation4d(*given)
    torch.testing.assert_close(rotation4d(*quaternions_of(rotation)), rotation)


def test_a_loop_has_no_other_time():
    with pytest.raises(ValueError, match="loop"):
        retimed(replace(some(), cyclic=True), 0.5, 0.0)
