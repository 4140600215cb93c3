"""What a camera sees, told by depths: exact spheres, whose visible side is known."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from vid4d.cameras import Cameras
from vid4d.gaussians.raster import SplatRender
from vid4d.gaussians.visibility import visible_from

RADIUS = 0.2


def shown(cameras: Cameras, centres: Tensor) -> SplatRender:
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
    nothing = torch.zeros(len(cameras), 0, 2)
    return SplatRender(
        torch.zeros(*alpha.shape, 3), alpha, depth.nan_to_num(posinf=0), nothing, nothing[..., 0]
    )


def test_the_near_side_of_a_sphere_is_seen_and_the_far_side_is_not():
    camera, cameras = Cameras.orbit([0.0], 10.0, size=128), Cameras.ring(8, size=64)
    ball = torch.zeros(1, 3)
    views = shown(cameras, ball)
    visible = visible_from(camera, shown(camera, ball), cameras, views)
    origin, direction = cameras.rays()
    points = origin[:, None, None] + views.depth[..., None] * direction
    facing = ((camera.position - points) * points).sum(-1) / RADIUS  # towards the camera, along the normal
    mask = views.alpha > 0
    assert visible[mask & (facing > 0.3)].float().mean() > 0.97
    assert not visible[mask & (facing < -0.3)].any()
    assert not visible[~mask].any()
    share = visible.flatten(1).sum(1) / mask.flatten(1).sum(1)
    assert share[0] > 0.9
    assert share[4] < 0.25
    assert share[0] > share[1] > share[2] > share[3] > share[4]


def test_what_the_camera_shows_as_a_veil_is_not_seen():
    """The depth is that of the surface, but less than half of the light in the pixel comes from there."""
    camera, cameras = Cameras.orbit([0.0], 10.0, size=64), Cameras.ring(4, size=48)
    ball = torch.zeros(1, 3)
    own, views = shown(camera, ball), shown(cameras, ball)
    solid = visible_from(camera, replace(own, alpha=0.51 * own.alpha), cameras, views)
    assert torch.equal(solid, visible_from(camera, own, cameras, views))
    assert solid.any()
    assert not visible_from(camera, replace(own, alpha=0.49 * own.alpha), cameras, views).any()
    assert not visible_from(camera, own, cameras, replace(views, alpha=0.49 * views.alpha)).any()


def test_what_stands_in_front_hides():
    camera, side = Cameras.orbit([0.0], 0.0, size=96), Cameras.orbit([90.0], 0.0, size=96)
    apart = torch.tensor([[0.4, 0.0, 0.0], [-0.4, 0.0, 0.0]])  # the first stands before the second
    visible = visible_from(camera, shown(camera, apart), side, shown(side, apart))[0]
    near, far = (visible[:, :48], visible[:, 48:])
    assert side.project(apart)[0][0, 0, 0] < 48, "the near one is on the left"
    assert near.sum() > 50
    assert far.sum() == 0
    alone = apart[1:]
    free = visible_from(camera, shown(camera, alone), side, shown(side, alone))[0]
    assert free.sum() > 50
