"""What a camera sees, told by depths: exact spheres, whose visible side is known."""

from __future__ import annotations

import torch
from torch import Tensor

from vid4d.cameras import Cameras
from vid4d.gaussians.raster import Render
from vid4d.gaussians.visibility import seen_from

RADIUS = 0.2


def shown(cameras: Cameras, centres: Tensor) -> Render:
    """Depths and opacities of spheres."""
    origin, direction = cameras.rays()
    depth = torch.full(direction.shape[:3], torch.inf)
    for centre in centres:
        o = (origin - centre)[:, None, None]
        a, b, c = direction.square().sum(-1), (o * direction).sum(-1), o.square().sum(-1) - RADIUS**2
        root = b * b - a * c
        near = torch.where(root > 0, (-b - root.clamp(min=0).sqrt()) / a, torch.inf)
        depth = torch.minimum(depth, near)
    alpha = depth.isfinite().float()
    nothing = torch.zeros(len(cameras), 0)
    return Render(torch.zeros(*alpha.shape, 3), alpha, depth.nan_to_num(posinf=0), nothing, nothing)


def test_the_near_side_of_a_sphere_is_seen_and_the_far_side_is_not():
    camera, cameras = Cameras.orbit([0.0], 10.0, size=128), Cameras.ring(8, size=64)
    ball = torch.zeros(1, 3)
    views = shown(cameras, ball)
    found = seen_from(camera, shown(camera, ball), cameras, views)
    origin, direction = cameras.rays()
    points = origin[:, None, None] + views.depth[..., None] * direction
    facing = ((camera.position - points) * points).sum(-1) / RADIUS  # towards the camera, along the normal
    there = views.alpha > 0
    assert found[there & (facing > 0.3)].float().mean() > 0.97
    assert not found[there & (facing < -0.3)].any()
    assert not found[~there].any()
    share = found.flatten(1).sum(1) / there.flatten(1).sum(1)
    assert share[0] > 0.9
    assert share[4] < 0.25
    assert share[0] > share[1] > share[2] > share[3] > share[4]


def test_what_stands_in_front_hides():
    camera, side = Cameras.orbit([0.0], 0.0, size=96), Cameras.orbit([90.0], 0.0, size=96)
    apart = torch.tensor([[0.4, 0.0, 0.0], [-0.4, 0.0, 0.0]])  # the first stands before the second
    found = seen_from(camera, shown(camera, apart), side, shown(side, apart))[0]
    near, far = (found[:, :48], found[:, 48:])
    assert side.project(apart)[0][0, 0, 0] < 48, "the near one is on the left"
    assert near.sum() > 50
    assert far.sum() == 0
    alone = apart[1:]
    free = seen_from(camera, shown(camera, alone), side, shown(side, alone))[0]
    assert free.sum() > 50
