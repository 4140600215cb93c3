"""Normals as colors, of things whose normals are known."""

from __future__ import annotations

import math

import torch

from vid4d.cameras import RING_DISTANCE, Cameras
from vid4d.evaluation.textureless import normal_pictures


def test_a_wall_that_faces_the_camera_is_blue() -> None:
    cameras = Cameras.orbit([0.0, 130.0], 20.0, size=16)
    alpha = torch.zeros(2, 16, 16)
    alpha[:, 4:12, 4:12] = 1
    picture = normal_pictures(torch.full((2, 16, 16), RING_DISTANCE), alpha, cameras)
    torch.testing.assert_close(picture[:, 4:12, 4:12], torch.tensor([0.5, 0.5, 1.0]).expand(2, 8, 8, 3))
    assert (picture[:, :4] == 1).all()


def test_a_ball_is_red_to_the_right_and_green_above() -> None:
    """At its points the normal of a ball about the origin is the point's direction."""
    cameras = Cameras.orbit([40.0], -15.0, size=64)
    origin, direction = cameras.rays()
    a, b = direction.square().sum(-1), -torch.einsum("vhwi,vi->vhw", direction, origin)
    root = b.square() - a * (origin.square().sum(-1)[:, None, None] - 0.3**2)
    depth = torch.where(root >= 0, (b - root.clamp(min=0).sqrt()) / a, math.inf)
    picture = normal_pictures(depth, (root >= 0).float(), cameras)[0]
    points = origin + depth.where(root >= 0, 1.0)[0, ..., None] * direction[0]
    expected = torch.einsum("ij,hwj->hwi", cameras.rotation[0], points / 0.3) * torch.tensor([1.0, -1, -1])
    inside = (root[0] >= 0) & (expected[..., 2] > 0.6)
    assert inside.sum() > 300
    error = (picture * 2 - 1 - expected).norm(dim=-1)[inside]
    assert error.mean() < 0.03
    assert error.max() < 0.15
