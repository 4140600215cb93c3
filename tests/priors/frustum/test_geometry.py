"""The frustum's coordinates and its pictures, against numbers worked by hand and laws."""

from __future__ import annotations

import pytest
import torch

from vid4d.cameras import Cameras
from vid4d.metrics import mask_iou
from vid4d.priors.frustum.geometry import (
    LAYER,
    alpha_along,
    frustum_points,
    render_solid,
    sampled,
    to_frustum,
    within_silhouette,
)
from vid4d.priors.frustum.network import FrustumConfig, Solid

CONFIG = FrustumConfig(volume_size=56)
N = CONFIG.volume_size
CAMERA = Cameras.orbit([0.0], 20.0, size=128)


def to_world(points: torch.Tensor, camera: Cameras) -> torch.Tensor:
    return (points - camera.translation[0]) @ camera.rotation[0]


def ball(radius: float) -> Solid:
    """Around the origin: full inside, empty outside, red in front of the middle, blue behind."""
    points = frustum_points(CONFIG)
    distance = (points - torch.tensor([0.0, 0.0, 1.5])).norm(dim=1)
    logits = ((radius - distance) * 200).view(1, 1, N, N, N)
    front = (points[:, 2] < 1.5).float().view(N, N, N)
    color = torch.stack([front, 0 * front, 1 - front])[None] * 2 - 1
    return Solid(logits, color, torch.zeros(1))


def test_voxels_and_coordinates_are_inverse_to_each_other() -> None:
    points = frustum_points(CONFIG)
    world = to_world(points, CAMERA)
    at = to_frustum(world[None], CAMERA, CONFIG)[0]
    center = (torch.arange(N) + 0.5) / N * 2 - 1
    expected = torch.cartesian_prod(center, center, center).flip(1)  # depth slowest, column fastest
    torch.testing.assert_close(at, expected, atol=1e-4, rtol=0)


def test_the_volume_covers_the_middle_of_the_picture() -> None:
    # Pixel 64 is the middle; the crop begins at pixel 8 and ends at pixel 120.
    for pixel, place in ((64, 0.0), (8, -1.0), (120, 1.0)):
        x = (pixel - 64) / (128 * 280 / 256) * 1.2
        world = to_world(torch.tensor([[x, 0.0, 1.2]]), CAMERA)
        at = to_frustum(world[None], CAMERA, CONFIG)[0, 0]
        torch.testing.assert_close(at, torch.tensor([place, 0.0, -0.5]), atol=1e-4, rtol=0)


def test_samples_at_voxel_centers_are_the_voxels() -> None:
    volume = torch.randn(1, 2, N, N, N)
    at = to_frustum(to_world(frustum_points(CONFIG), CAMERA)[None], CAMERA, CONFIG)
    torch.testing.assert_close(sampled(volume, at)[0].T, volume.flatten(2)[0], atol=2e-3, rtol=0)


def test_alpha_of_two_half_layers_is_that_of_one() -> None:
    occupancy = torch.tensor([0.3]).view(1, 1, 1)
    half = alpha_along(occupancy, LAYER / 2)
    assert float(1 - (1 - half) ** 2) == pytest.approx(0.3, abs=1e-6)


@pytest.mark.parametrize("azimuth", [0.0, 70.0, 180.0])
def test_a_ball_is_a_disc_from_all_sides(azimuth: float) -> None:
    camera = Cameras.orbit([azimuth], 10.0, size=64)
    picture = render_solid(ball(0.3), CAMERA, camera, CONFIG, size=64, samples=96)[0, 0]
    y, x = torch.meshgrid(torch.arange(64) + 0.5 - 32, torch.arange(64) + 0.5 - 32, indexing="ij")
    radius = 70 * 0.3 / (1.5**2 - 0.3**2) ** 0.5  # pixels: focal 64 * 280 / 256, tangent cone of the ball
    disc = ((x**2 + y**2) < radius**2).float()
    assert float(mask_iou(picture[..., 3], disc)) > 0.92
    middle = picture[32, 32]
    assert float(middle[3]) > 0.99
    front_is_red = {0.0: (1.0, 0.0), 180.0: (0.0, 1.0)}
    if azimuth in front_is_red:
        assert middle[[0, 2]].tolist() == pytest.approx(front_is_red[azimuth], abs=0.1)


def test_nothing_is_left_outside_of_the_silhouette() -> None:
    alpha = torch.zeros(1, N, N)
    alpha[:, 10:20, 5:9] = 1
    kept = within_silhouette(
        Solid(torch.ones(1, 1, N, N, N), torch.zeros(1, 3, N, N, N), torch.zeros(1)), alpha
    )
    expected = torch.zeros(N, N, dtype=torch.bool)
    expected[9:21, 4:10] = True  # one voxel more: pixels at the edge are half covered
    assert bool((kept.logits[0, 0] > 0).eq(expected).all())


def test_bias_makes_solids_thicker() -> None:
    camera = Cameras.orbit([90.0], 0.0, size=48)
    soft = ball(0.25)
    soft = soft._replace(logits=soft.logits / 20)
    areas = [
        float((render_solid(soft, CAMERA, camera, CONFIG, size=48, bias=bias)[..., 3] > 0.5).sum())
        for bias in (-1.0, 0.0, 1.0)
    ]
    assert areas[0] < areas[1] < areas[2]
