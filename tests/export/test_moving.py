"""4D Gaussians as 3D Gaussians that move on straight lines."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from exported import tumbling

from vid4d.export.moving import moving, rotation_matrices
from vid4d.gaussians.culling import FAINTEST
from vid4d.gaussians.model import Gaussians3D


def seen(splats: Gaussians3D) -> Gaussians3D:
    """Those that leave a trace, in an order that does not depend on where they stood."""
    mask = splats.opacities >= FAINTEST
    order = mask.nonzero()[:, 0][splats.means[mask][:, 0].argsort()]
    return Gaussians3D(
        splats.means[order], splats.covariances[order], splats.opacities[order], splats.sh[order]
    )


def alike(some: Gaussians3D, others: Gaussians3D) -> None:
    assert len(some) == len(others) > 5
    torch.testing.assert_close(some.means, others.means, rtol=0, atol=1e-5)
    torch.testing.assert_close(some.covariances, others.covariances, rtol=1e-3, atol=1e-8)
    torch.testing.assert_close(some.opacities, others.opacities, rtol=0, atol=1e-5)
    torch.testing.assert_close(some.sh, others.sh, rtol=0, atol=1e-5)


@pytest.mark.parametrize("cyclic", [False, True])
@pytest.mark.parametrize("time", [0.0, 0.37, 0.98])
def test_at_every_time_they_are_the_slices(cyclic, time):
    gaussians = replace(tumbling(degree=2, fourier=3), cyclic=cyclic)
    alike(seen(moving(gaussians).at(time)), seen(gaussians.at(time)))


@pytest.mark.parametrize("time", [0.0, 0.03, 0.5, 0.97, 1.0])
def test_a_loop_unrolled_is_the_loop(time):
    """Also where a splat's own time is told as one of another lap."""
    gaussians = replace(tumbling(fourier=2), cyclic=True)
    shifted = gaussians.means.clone()
    shifted[::3, 3] += 1
    shifted[1::3, 3] -= 2
    other = moving(replace(gaussians, means=shifted)).unrolled()
    assert not other.cyclic
    assert len(other) > len(moving(gaussians))
    alike(seen(other.at(time)), seen(gaussians.at(time)))


def test_turned_axes_by_hand():
    """y up: (x, y, z) was (z, x, y); a speed of 1 towards the front goes to +z."""
    splats = moving(tumbling(count=9, degree=3))
    turned = splats.turned("y-up")
    np.testing.assert_allclose(turned.means, splats.means[:, [1, 2, 0]], atol=1e-6)
    np.testing.assert_allclose(turned.velocities, splats.velocities[:, [1, 2, 0]], atol=1e-6)
    before, after = splats.at(0.5), turned.at(0.5)
    reordered = before.covariances[:, [1, 2, 0]][:, :, [1, 2, 0]]
    torch.testing.assert_close(after.covariances, reordered, rtol=1e-3, atol=1e-8)
    assert (turned.sh[:, 1:] - splats.sh[:, 1:]).abs().max() > 0.1


def test_mean_colors_by_hand():
    """One splat of deviation 0.1, period 1: the mean of cos(2 pi dt) under its Gaussian is exp(-0.1974)."""
    splats = moving(tumbling(count=4, degree=0, fourier=2))
    splats = replace(splats, deviations=torch.full_like(splats.deviations, 0.1))
    expected = splats.sh[:, 0, 0] + math.exp(-0.19739) * splats.sh[:, 0, 1]
    torch.testing.assert_close(splats.mean_colors()[:, 0], expected, rtol=1e-4, atol=1e-5)
    dt = torch.linspace(-1, 1, 20001)
    weight = (-0.5 * (dt / 0.1) ** 2).exp()
    measured = ((2 * math.pi * dt).cos() * weight).sum() / weight.sum()
    assert measured == pytest.approx(math.exp(-0.19739), rel=1e-3)


def test_rotations_of_quaternions_by_hand():
    half = math.sqrt(0.5)
    quarter_about_z = rotation_matrices(torch.tensor([[half, 0, 0, half]]))[0]
    torch.testing.assert_close(quarter_about_z, torch.tensor([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]]))
