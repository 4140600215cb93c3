"""The small prior's networks: what each of their inputs does."""

from __future__ import annotations

import math

import pytest
import torch
from tiny_prior import CONFIG, still_prior, tiny_prior

from vid4d.cameras import Cameras
from vid4d.priors.samplers import NoiseSchedule
from vid4d.priors.small.model import SmallPrior


@pytest.fixture(scope="module")
def prior() -> SmallPrior:
    return tiny_prior()


@pytest.fixture(scope="module")
def scene(prior):
    """Two different frames as condition and features, noisy latents of all views, a volume of each frame."""
    random = torch.Generator().manual_seed(1)
    pictures = torch.rand(2, 4, 32, 32, generator=random) * 2 - 1
    condition = prior.condition(pictures, Cameras.orbit([0.0, 0.0], 10.0, size=32))
    ring = prior.ring("cpu")
    features = prior.render_features(condition, Cameras.cat([ring, ring]), len(ring))
    noisy = torch.randn(2, 4, 64, 8, 8, generator=random)
    return condition, features, prior.synchronous_volume(noisy, torch.tensor([500, 500])), noisy


T = torch.tensor([500, 500])


def test_the_schedule_decreases_to_almost_pure_noise():
    """Halfway the log signal-to-noise ratio is the shift itself."""
    a = NoiseSchedule.shifted_cosine(1000, shift=-2.0).alphas_cumprod.double()
    assert (a.diff() < 0).all()
    assert a[0] > 0.9999
    assert a[-1] < 1e-6
    assert a[499].item() == pytest.approx(1 / (1 + math.e**2), rel=1e-5)
    plain = NoiseSchedule.shifted_cosine(1000, shift=0.0).alphas_cumprod
    assert plain[249].item() == pytest.approx(math.cos(math.pi / 8) ** 2, rel=1e-5)


def test_latents_lose_nothing(prior):
    """Pixel (4 i + k, 4 j + l) of channel c is channel 16 c + 4 k + l at position (i, j)."""
    pictures = torch.rand(2, 4, 32, 32)
    latents = prior.encode(pictures)
    assert latents.shape == (2, CONFIG.lift.latent_channels, 8, 8)
    assert torch.equal(prior.decode(latents), pictures)
    assert latents[1, 16 * 3 + 4 * 2 + 1, 5, 6] == pictures[1, 3, 4 * 5 + 2, 4 * 6 + 1]


def test_the_rig(prior):
    ring = prior.ring("cpu")
    torch.testing.assert_close(ring.azimuth, torch.tensor([0.0, 90.0, 180.0, 270.0]), atol=1e-3, rtol=0)
    torch.testing.assert_close(ring.elevation, torch.full((4,), 30.0), atol=1e-3, rtol=0)
    assert ring.width == 32


def test_volumes_are_averaged_over_time_by_the_rows_of_the_smoothing(prior, scene):
    noisy = scene[3]
    apart = prior.synchronous_volume(noisy, T)
    assert apart.shape == (2, 8, 8, 8, 8)
    weights = torch.tensor([[0.75, 0.25], [0.4, 0.6]])
    smooth = prior.synchronous_volume(noisy, T, weights)
    torch.testing.assert_close(smooth[0], 0.75 * apart[0] + 0.25 * apart[1], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(smooth[1], 0.4 * apart[0] + 0.6 * apart[1], atol=1e-5, rtol=1e-5)
    assert (apart[0] - apart[1]).abs().max() > 1e-2


def test_a_volume_knows_its_views_and_its_time(prior, scene):
    noisy = scene[3]
    volume = prior.synchronous_volume(noisy, T)
    assert (prior.synchronous_volume(noisy, T - 400) - volume).abs().max() > 1e-3
    assert (prior.synchronous_volume(noisy.flip(1), T) - volume).abs().max() > 1e-2


def test_frames_and_views_one_by_one_are_all_at_once(prior, scene):
    condition, features, volume, noisy = scene
    together = prior.denoise(condition, features, volume, noisy, T)
    assert together.shape == noisy.shape
    pictures = prior.decode(condition.latent)
    for frame in range(2):
        alone = prior.condition(pictures[frame : frame + 1], condition.cameras[frame])
        for view in range(4):
            seen = prior.render_features(alone, prior.ring("cpu")[view], 1)
            one = prior.denoise(
                alone, seen, volume[frame : frame + 1], noisy[frame : frame + 1, view : view + 1], T[:1]
            )
            torch.testing.assert_close(one[0, 0], together[frame, view], atol=1e-4, rtol=1e-4)
    assert (together[0] - together[1]).abs().max() > 1e-2


@pytest.mark.parametrize("left_out", ["noisy", "volume", "image_on", "volume_on", "image_scale", "pose"])
def test_everything_that_is_said_is_heard(prior, scene, left_out):
    condition, features, volume, noisy = scene
    whole = prior.denoise(condition, features, volume, noisy, T)
    off = torch.zeros(2)
    if left_out == "noisy":
        less = prior.denoise(condition, features, volume, noisy.flip(0), T)
    elif left_out == "volume":
        less = prior.denoise(condition, features, None, noisy, T)
    elif left_out == "pose":
        moved = type(condition)(
            condition.volume, condition.tokens, condition.latent, Cameras.orbit([0.0, 0.0], 40.0, size=32)
        )
        less = prior.denoise(moved, features, volume, noisy, T)
    else:
        change = {left_out: 4.0 if left_out == "image_scale" else off}
        less = prior.denoise(condition, features, volume, noisy, T, **change)
    assert (less - whole).abs().max() > 1e-4


def test_masks_are_per_frame(prior, scene):
    """Guidance for one frame leaves the other as it is."""
    condition, features, volume, noisy = scene
    whole = prior.denoise(condition, features, volume, noisy, T)
    half = prior.denoise(
        condition,
        features,
        volume,
        noisy,
        T,
        image_on=torch.tensor([1.0, 0.0]),
        volume_on=torch.tensor([1.0, 0.0]),
    )
    torch.testing.assert_close(half[0], whole[0], atol=1e-5, rtol=1e-5)
    assert (half[1] - whole[1]).abs().max() > 1e-3


def test_without_image_and_volume_the_input_picture_is_unknown(prior, scene):
    """The unconditional evaluation depends on the noisy views alone, whatever the picture and the volumes."""
    condition, features, volume, noisy = scene
    same = noisy[:1].expand(2, -1, -1, -1, -1)
    off = torch.zeros(2)
    blind = prior.denoise(condition, features, volume, same, T, image_on=off, volume_on=off)
    torch.testing.assert_close(blind[0], blind[1], atol=1e-5, rtol=1e-5)
    seeing = prior.denoise(condition, features, volume, same, T)
    assert (seeing[0] - seeing[1]).abs().max() > 1e-2


@pytest.mark.parametrize("volumes", ["both", "lifted"])
def test_features_precomputed_are_the_same_features(prior, scene, volumes):
    condition, features, volume, noisy = scene
    precomputed = prior.precompute(features)
    assert precomputed.frustum is None
    inner = volume if volumes == "both" else None
    for shown in (torch.ones(2), torch.tensor([0.0, 1.0])):
        torch.testing.assert_close(
            prior.denoise(condition, precomputed, inner, noisy, T, volume_on=shown),
            prior.denoise(condition, features, inner, noisy, T, volume_on=shown),
            atol=1e-5,
            rtol=1e-5,
        )


def test_the_unet_corrects_the_rendering_of_the_lifted_volume(scene):
    condition, features, volume, noisy = scene
    still = still_prior()
    torch.testing.assert_close(
        still.denoise(condition, features, volume, noisy, T).flatten(0, 1), still.encode(features.coarse)
    )
