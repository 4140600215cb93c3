"""The frustum's coordinates, against numbers worked by hand and laws."""

from __future__ import annotations

import torch

from vid4d.cameras import Cameras
from vid4d.priors.frustum.framing import Framing
from vid4d.priors.frustum.geometry import (
    frustum_points,
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


def test_nothing_is_left_outside_of_the_silhouette() -> None:
    alpha = torch.zeros(1, N, N)
    alpha[:, 10:20, 5:9] = 1
    kept = within_silhouette(
        Solid(torch.ones(1, 1, N, N, N), torch.zeros(1, 3, N, N, N), torch.zeros(1)), alpha
    )
    expected = torch.zeros(N, N, dtype=torch.bool)
    expected[9:21, 4:10] = True  # one voxel more: pixels at the edge are half covered
    assert bool((kept.logits[0, 0] > 0).eq(expected).all())


def test_a_windows_pixels_are_the_columns_and_its_depth_is_scaled() -> None:
    """A window half as wide, a tenth of the picture to the right: its middle and its crop's right edge."""
    framing = Framing(torch.tensor([[0.1, 0.0]]), 0.5)
    for pixel, place in ((64 + 12.8, 0.0), (64 + 12.8 + 28, 1.0)):
        x = (pixel - 64) / (128 * 280 / 256) * 1.65
        world = to_world(torch.tensor([[x, 0.0, 1.65]]), CAMERA)
        at = to_frustum(world[None], CAMERA, CONFIG, framing)[0, 0]
        torch.testing.assert_close(at, torch.tensor([place, 0.0, 0.5]), atol=1e-4, rtol=0)
