"""Silhouettes of voxels, and pieces of a hull that no view needs."""

from __future__ import annotations

import torch

from vid4d.cameras import Cameras
from vid4d.gaussians.silhouettes import silhouettes, without_phantoms

HALF = 0.62


def box(occupied: torch.Tensor, *corner: int, side: int = 6) -> None:
    x, y, z = corner
    occupied[x : x + side, y : y + side, z : z + side] = True


def test_a_point_at_the_centre_is_seen_in_the_middle():
    seen = silhouettes(torch.zeros(1, 3), Cameras.ring(4, size=32))
    assert seen.sum((1, 2)).tolist() == [9] * 4
    assert bool(seen[:, 15:18, 15:18].any())


def test_a_piece_behind_and_beside_others_goes_one_that_is_seen_alone_stays():
    """Two far views at right angles, three boxes: the small one hides behind one box in each of them."""
    cameras = Cameras.orbit([0.0, 90.0], 0.0, distance=100.0, size=64, focal=4700.0)
    occupied = torch.zeros(40, 40, 40, dtype=torch.bool)
    box(occupied, 26, 26, 17, side=7)
    box(occupied, 8, 8, 17, side=7)
    real = occupied.clone()
    box(occupied, 28, 9, 18, side=3)
    assert torch.equal(without_phantoms(occupied, cameras, HALF), real)
    box(occupied, 28, 9, 32, side=3)  # above: nothing else explains what the views see there
    kept = without_phantoms(occupied, cameras, HALF)
    assert bool(kept[28:31, 9:12, 32:35].all())
    assert not bool(kept[28:31, 9:12, 18:21].any())


def test_one_piece_stays_as_it_is():
    occupied = torch.zeros(40, 40, 40, dtype=torch.bool)
    box(occupied, 10, 10, 10)
    assert torch.equal(without_phantoms(occupied, Cameras.ring(3, size=32), HALF), occupied)
