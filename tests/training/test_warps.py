"""Random proportions: symmetric, one to one, still where nothing is to move."""

from __future__ import annotations

import math

import torch

from vid4d.training.warps import MOST, WAVES, Warps


def test_a_single_wave_by_hand() -> None:
    still = torch.zeros(1, WAVES - 1, 3)
    wave = torch.cat([torch.tensor([[[2.0, 3.0, 5.0]]]), still], 1)
    amplitude = torch.cat([torch.tensor([[[0.1, 0.2, 0.3]]]), still], 1)
    warps = Warps(wave, amplitude, torch.tensor([[0.5, *[0.0] * (WAVES - 1)]]))
    moved = warps.move(torch.tensor([[0.1, 0.2, 0.3]]), torch.tensor([0]))
    level = 2 * 0.1 + 5 * 0.3 + 0.5
    even, odd = math.cos(level) * math.cos(3 * 0.2), math.cos(level) * math.sin(3 * 0.2)
    torch.testing.assert_close(moved, torch.tensor([[0.1 + 0.1 * even, 0.2 + 0.2 * odd, 0.3 + 0.3 * even]]))


def test_what_was_symmetric_stays_symmetric() -> None:
    torch.manual_seed(0)
    warps = Warps.random(5, 1.0, torch.device("cpu"))
    left, owner = torch.rand(50, 3) - 0.5, torch.arange(50) % 5
    mirror = torch.tensor([1.0, -1.0, 1.0])
    moved = warps.move(left, owner)
    assert float((moved - left).norm(dim=1).mean()) > 0.01, "something moves"
    torch.testing.assert_close(warps.move(left * mirror, owner), moved * mirror)


def test_no_warp_folds_anything_over() -> None:
    torch.manual_seed(1)
    warps, owner = Warps.random(64, 1.0, torch.device("cpu")), torch.arange(64)
    steepest = 0.0
    for _ in range(20):
        points = torch.rand(64, 3) * 1.2 - 0.6
        jacobian = torch.autograd.functional.jacobian(lambda p: warps.move(p, owner).sum(0), points)
        change = jacobian.permute(1, 0, 2) - torch.eye(3)  # every point has a warp of its own
        steepest = max(steepest, float(torch.linalg.matrix_norm(change, 2).max()))
    assert 0.2 < steepest < MOST


def test_the_share_that_moves() -> None:
    torch.manual_seed(2)
    warps = Warps.random(4000, 0.25, torch.device("cpu"))
    moves = (warps.amplitude.abs().amax((1, 2)) > 0).float().mean()
    assert 0.22 < float(moves) < 0.28
    unmoved = warps.amplitude.abs().amax((1, 2)) == 0
    points = torch.rand(4000, 3)
    assert torch.equal(warps.move(points, torch.arange(4000))[unmoved], points[unmoved])
