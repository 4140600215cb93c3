"""The deterministic half of the small prior: lifting along rays, compositing, sizes."""

from __future__ import annotations

import pytest
import torch
from tiny_prior import LIFT

from vid4d.cameras import RING_DISTANCE, Cameras
from vid4d.priors.small.lifting import (
    Lifter,
    composite_features,
    lift,
    lift_depth,
    ray_points,
    ray_weights,
    sample_volume,
    voxel_centres,
)


def pixel_image(positions: int) -> torch.Tensor:
    """(1, 2, p, p): x and y of each pixel's centre, from -1 (left, top) to 1."""
    axis = (torch.arange(positions) + 0.5) / positions * 2 - 1
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    return torch.stack([x, y])[None]


def test_voxel_centres_by_hand():
    """Two voxels an edge in a cube of half edge 0.6: centres at +-0.3, x changes fastest."""
    points = voxel_centres(2, 0.6)
    expected = [[x, y, z] for z in (-0.3, 0.3) for y in (-0.3, 0.3) for x in (-0.3, 0.3)]
    torch.testing.assert_close(points, torch.tensor(expected))


@pytest.mark.parametrize(("azimuth", "elevation"), [(0.0, 0.0), (75.0, 30.0), (200.0, -10.0)])
def test_what_is_lifted_along_a_ray_is_found_on_it_again(azimuth, elevation):
    """A picture of its own pixel coordinates, lifted, then sampled along the same camera's rays."""
    camera = Cameras.orbit([azimuth], elevation, size=64)
    positions, extent = 16, 0.6
    picture = pixel_image(positions)
    volume = lift(picture, camera, 32, extent)
    points = ray_points(camera, positions, 24, 0.75)[:, None]
    found = sample_volume(volume, points, extent)[0, :, 0]
    inside = (points[0, 0].abs() < extent * (1 - 1 / 32)).all(-1)
    assert inside.float().mean() > 0.2
    middle = picture[0][:, None].expand_as(found).abs().amax(0) < 0.85  # the border is continued outwards
    error = (found - picture[0][:, None]).abs().amax(0)[inside & middle]
    assert error.max() < 0.01

    other = Cameras.orbit([azimuth + 20], elevation, size=64)
    elsewhere = sample_volume(volume, ray_points(other, positions, 24, 0.75)[:, None], extent)[0, :, 0]
    assert (elsewhere - picture[0][:, None]).abs().amax(0)[inside & middle].max() > 0.1


def test_pictures_are_groups_of_one_per_camera():
    cameras = Cameras.ring(2, size=16)
    pictures = torch.randn(4, 3, 4, 4)
    together = lift(pictures, cameras, 4, 0.6)
    for i in range(4):
        torch.testing.assert_close(together[i : i + 1], lift(pictures[i : i + 1], cameras[i % 2], 4, 0.6))


def test_ray_points_lie_around_the_centre_from_near_to_far():
    camera = Cameras.orbit([30.0], 20.0, size=32)
    points = ray_points(camera, 8, 4, 0.5)[0]
    assert points.shape == (4, 8, 8, 3)
    pixels, depth = camera.resized(8).project(points.reshape(-1, 3))
    expected = RING_DISTANCE + torch.tensor([-0.375, -0.125, 0.125, 0.375])
    torch.testing.assert_close(depth.reshape(4, -1), expected[:, None].expand(4, 64))
    torch.testing.assert_close(pixels.reshape(4, 8, 8, 2)[2, 5, 3], torch.tensor([3.5, 5.5]))


def test_weights_of_two_samples_by_hand():
    """softplus(0) is log 2: with a step of 1/25, a sample of raw density 4 lets half of the light through."""
    weight = ray_weights(torch.full((1, 1, 2, 1, 1), 4.0), 1 / 25)
    torch.testing.assert_close(weight.flatten(), torch.tensor([0.5, 0.25]))
    hidden = ray_weights(torch.tensor([100.0, 100.0]).reshape(1, 1, 2, 1, 1), 1.0)
    torch.testing.assert_close(hidden.flatten(), torch.tensor([1.0, 0.0]))


def test_weights_sum_to_an_alpha():
    density = torch.randn(2, 3, 16, 4, 4) * 8
    weight = ray_weights(density, 0.05)
    optical = torch.nn.functional.softplus(density - 4).sum(2) * 25 * 0.05
    assert weight.min() >= 0
    assert weight.sum(2).max() <= 1 + 1e-6
    torch.testing.assert_close(weight.sum(2), 1 - torch.exp(-optical))


def test_composite_by_hand():
    """Samples of features 1 and 3 with weights 0.5 and 0.25: 1.25; alpha 0.75; mean depth -0.5 + 0.25."""
    frustum = torch.tensor([[9.0, 9.0], [1.0, 3.0]]).reshape(1, 2, 1, 2, 1, 1)
    out = composite_features(frustum, torch.tensor([0.5, 0.25]).reshape(1, 1, 2, 1, 1))
    torch.testing.assert_close(out.flatten(), torch.tensor([1.25, 0.75, -0.25]))


def test_outside_of_the_volume_there_is_nothing():
    volume = torch.ones(1, 3, 4, 4, 4)
    points = torch.full((1, 1, 2, 1, 1, 3), 0.76)  # half a voxel further out than 0.6
    assert sample_volume(volume, points, 0.6).abs().max() == 0
    model = Lifter(LIFT)
    empty = torch.zeros(1, LIFT.features + 1, 8, 8, 8)
    empty[:, 0] = -10.0
    frustum = model.padded_frustum(empty, Cameras.orbit([0.0], 20.0, size=32), 1)
    assert float(ray_weights(frustum[:, 0], model.step).sum(2).max()) < 1e-3


@pytest.mark.parametrize("azimuth", [0.0, 140.0])
def test_a_guessed_depth_marks_its_voxels_and_what_lies_behind(azimuth):
    """All rays hit at one depth: a slab of voxels there is marked, those behind have it before them."""
    camera = Cameras.orbit([azimuth], 20.0, size=64)
    size, extent, depths, reach = 24, 0.6, 16, 0.75
    logits = torch.full((1, depths + 1, 8, 8), -30.0)
    logits[:, 9] = 30.0
    volume = lift_depth(logits, camera, size, extent, reach)
    pixels, depth = camera.project(voxel_centres(size, extent))
    step = 2 * reach / depths
    away = (depth[0] - (RING_DISTANCE - reach + 9.5 * step)) / step  # in samples along the ray
    inside = (pixels[0] - 32).abs().amax(1) < 28
    here, before = volume[0].flatten(1)
    expected = (1 - away.abs()).clamp(min=0) * depths / 8
    torch.testing.assert_close(here[inside], expected[inside], atol=1e-4, rtol=0)
    assert before[inside & (away > 1)].min() > 0.999
    assert before[inside & (away < -1)].max() < 1e-3


@pytest.fixture(scope="module")
def lifter() -> Lifter:
    """Tiny, with no weight at zero."""
    torch.manual_seed(0)
    model = Lifter(LIFT).eval().requires_grad_(False)
    for parameter in model.parameters():
        parameter.add_(torch.randn_like(parameter) * 0.05)
    return model


def test_sizes_and_batches(lifter):
    """Two objects at once are what they are one by one, and the sizes are those of the signature."""
    pictures = torch.rand(2, 4, 32, 32) * 2 - 1
    inputs = Cameras.orbit([0.0, 0.0], [0.0, 20.0], size=32)
    targets = Cameras.orbit([10.0, 90.0, 180.0] * 2, 30.0, size=32)
    out, weight, seen = lifter(pictures, inputs, targets, 3)
    assert (out.shape, weight.shape) == ((2, 3, 4, 32, 32), (2, 3, 8, 8, 8))
    assert (seen.elevation.shape, seen.depth.shape) == ((2,), (2, 9, 8, 8))
    assert weight.min() >= 0
    assert weight.sum(2).max() <= 1 + 1e-6
    for i in range(2):
        one, there, guess = lifter(pictures[i : i + 1], inputs[i], targets[3 * i : 3 * i + 3], 3)
        torch.testing.assert_close(one[0], out[i], atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(there[0], weight[i], atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(guess.elevation[0], seen.elevation[i], atol=1e-4, rtol=1e-4)
    assert (out[0] - out[1]).abs().max() > 1e-3
    assert (out[0, 0] - out[0, 1]).abs().max() > 1e-3


def test_the_lifted_volume_turns_with_its_camera():
    """The lifted volume of a camera at azimuth 90 is the one of azimuth 0 turned by a quarter about z."""
    features = torch.randn(1, 2, 8, 8)
    front, side = Cameras.orbit([0.0], 15.0, size=32), Cameras.orbit([90.0], 15.0, size=32)
    volume = lift(features, front, 8, 0.6)
    turned = lift(features, side, 8, 0.6)
    # (x, y) of the first becomes (-y, x) in the second; the axes are (z, y, x)
    torch.testing.assert_close(turned, volume.transpose(3, 4).flip(4), atol=1e-4, rtol=1e-4)
