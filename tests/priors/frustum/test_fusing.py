"""Solids of two cameras become one: outlines of both hold, colors come from whoever sees the place."""

from __future__ import annotations

import torch

from vid4d.cameras import Cameras
from vid4d.priors.frustum.framing import Framing, whole
from vid4d.priors.frustum.fusing import Reading, fuse, registered
from vid4d.priors.frustum.geometry import frustum_places, to_frustum
from vid4d.priors.frustum.network import FrustumConfig, Solid

CONFIG = FrustumConfig(volume_size=28)
N = CONFIG.volume_size
FRONT, SIDE = (Cameras.orbit([a], 0.0, size=128) for a in (0.0, 90.0))


def box(camera: Cameras, half: tuple[float, float, float], color: float, *, deep: float = 0.0) -> Reading:
    """A box around the origin as a camera's picture and volume show it. deep: how far away it is thought."""
    places = frustum_places(camera, CONFIG)
    away = camera.rotation[0, 2] * deep
    logits = torch.where(((places[0] - away).abs() < torch.tensor(half)).all(-1), 4.0, -4.0)
    true = (places[0].abs() < torch.tensor(half)).all(-1)
    alpha = true.any(0).float()[None]
    colors = torch.full((1, 3, N, N, N), color)
    return Reading(Solid(logits[None, None], colors, torch.zeros(1)), alpha, camera, whole(1))


def test_places_are_the_inverse_of_coordinates() -> None:
    framing = Framing(torch.tensor([[0.1, -0.05]]), 0.6)
    camera = Cameras.orbit([30.0], 20.0, size=128)
    at = to_frustum(frustum_places(camera, CONFIG, framing), camera, CONFIG, framing)[0]
    center = (torch.arange(N) + 0.5) / N * 2 - 1
    expected = torch.cartesian_prod(center, center, center).flip(1).view(N, N, N, 3)
    torch.testing.assert_close(at, expected, atol=1e-4, rtol=0)


def test_one_camera_carves_what_the_other_took_for_matter() -> None:
    """In front a box that is thought 0.6 deep; from the side it is 0.3 deep."""
    front, side = box(FRONT, (0.3, 0.2, 0.2), 0.5), box(SIDE, (0.15, 0.2, 0.2), -0.5)
    solid = fuse([front, side], CONFIG)
    x = frustum_places(FRONT, CONFIG)[0, ..., 0]
    matter = solid.logits[0, 0] > 0
    assert float(x[matter].abs().max()) < 0.15 + 2.5 * CONFIG.voxel
    assert bool(matter[:, N // 2, N // 2].any())
    alone = fuse([front], CONFIG).logits[0, 0] > 0
    assert float(x[alone].abs().max()) > 0.25


def test_a_place_has_the_color_of_the_camera_that_sees_it() -> None:
    half = (0.25, 0.25, 0.25)
    solid = fuse([box(FRONT, half, 0.5), box(SIDE, half, -0.5)], CONFIG)
    places = frustum_places(FRONT, CONFIG)[0]
    color = solid.color[0, 0]
    seen_in_front = (places - torch.tensor([0.24, -0.15, 0.0])).norm(dim=-1) < 0.08
    seen_from_side = (places - torch.tensor([-0.15, 0.24, 0.0])).norm(dim=-1) < 0.08
    assert float(color[seen_in_front].mean()) > 0.4
    assert float(color[seen_from_side].mean()) < -0.4


def test_depths_that_the_other_outline_denies_are_moved() -> None:
    """The front camera's box is thought 0.18 world units, 0.3 half volumes, too far away."""
    half = (0.15, 0.2, 0.2)
    sides = registered([[box(FRONT, half, 0.5, deep=0.18)], [box(SIDE, half, 0.5)]], CONFIG)
    x = frustum_places(FRONT, CONFIG)[0, ..., 0]
    matter = sides[0][0].solid.logits[0, 0] > 0
    assert abs(float(x[matter].mean())) < 2 * CONFIG.voxel
    y = frustum_places(SIDE, CONFIG)[0, ..., 1]
    assert abs(float(y[sides[1][0].solid.logits[0, 0] > 0].mean())) < 2 * CONFIG.voxel
