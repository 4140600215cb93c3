"""Drawing pictures from the small prior: laws of frames, views, noise, time and guidance."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from tiny_prior import still_prior, tiny_prior

from vid4d.cameras import Cameras
from vid4d.errors import InputError
from vid4d.priors.guidance import PLAIN, ClassifierFree, Decomposed
from vid4d.priors.pictures import from_network, to_network
from vid4d.priors.small import sampling
from vid4d.priors.small.model import SmallPrior
from vid4d.priors.small.sampling import SampleConfig, lifted_views, sample_small_prior

FREE = SampleConfig(steps=2, anchor=0.0)
"""Colors not drawn to those of the lifted rendering."""


@pytest.fixture(scope="module")
def prior() -> SmallPrior:
    return tiny_prior()


@pytest.fixture(scope="module")
def frames() -> torch.Tensor:
    return torch.rand(3, 32, 32, 4, generator=torch.Generator().manual_seed(2))


def drawn(prior, frames, config=FREE, *, seed=0, **more) -> torch.Tensor:
    return sample_small_prior(
        prior, frames, 10.0, config, generator=torch.Generator().manual_seed(seed), **more
    )


def close(a: torch.Tensor, b: torch.Tensor, atol: float = 1e-4) -> bool:
    """Of premultiplied colors and alpha: where there is no alpha, colors are anything."""
    a, b = (to_network(x.reshape(-1, *x.shape[-3:])) for x in (a, b))
    return bool((a - b).abs().max() < atol)


def test_pictures_for_the_network_by_hand():
    """Red at alpha 0.5 over white is (1, 0.5, 0.5), in [-1, 1] (1, 0, 0); nothing is white."""
    rgba = torch.tensor([[1.0, 0.0, 0.0, 0.5], [0.2, 0.3, 0.4, 0.0]]).reshape(1, 1, 2, 4)
    seen = to_network(rgba)
    assert seen.shape == (1, 4, 1, 2)
    torch.testing.assert_close(seen[0, :, 0, 0], torch.tensor([1.0, 0.0, 0.0, 0.0]))
    torch.testing.assert_close(seen[0, :, 0, 1], torch.tensor([1.0, 1.0, 1.0, -1.0]))
    torch.testing.assert_close(from_network(seen)[0, 0, 1], torch.tensor([1.0, 1.0, 1.0, 0.0]))


def test_pictures_for_the_network_come_back(frames):
    opaque = frames.clone()
    opaque[..., 3] = 0.1 + 0.9 * opaque[..., 3]
    torch.testing.assert_close(from_network(to_network(opaque)), opaque, atol=1e-5, rtol=0)
    wild = from_network(torch.randn(2, 4, 8, 8) * 5)
    assert wild.min() >= 0
    assert wild.max() <= 1


def test_sizes_range_and_progress(prior, frames):
    told: list[tuple[int, int]] = []
    views = drawn(prior, frames, progress=lambda done, steps: told.append((done, steps)))
    assert views.shape == (4, 3, 32, 32, 4)
    assert views.min() >= 0
    assert views.max() <= 1
    assert views.std() > 0.05
    assert told == [(1, 2), (2, 2)]


@pytest.mark.parametrize("config", [FREE, SampleConfig(steps=2)])
def test_frames_in_batches_are_all_at_once(prior, frames, config):
    """4 pairs at a time is one frame at a time, 100 are all; anchoring divides by small alphas."""
    one, all_ = (drawn(prior, frames, replace(config, batch=n)) for n in (4, 100))
    assert close(one, all_, atol=4e-3 if config.anchor else 1e-4)


@pytest.mark.parametrize("smooth", [True, False])
@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_the_same_frame_gives_the_same_views(prior, frames, smooth, eta):
    """The noise is shared over time: at the start and, with eta, in every step."""
    config = replace(FREE, smooth=smooth, eta=eta)
    views = drawn(prior, torch.stack([frames[0], frames[0], frames[0]]), config)
    assert close(views[:, 0], views[:, 1])
    assert close(views[:, 0], views[:, 2])
    assert not close(views[0, 0], views[1, 0], 1e-2)


def test_frames_know_of_each_other_through_smoothing_alone(prior, frames, monkeypatch):
    other = frames.clone()
    other[2] = 1 - other[2]
    apart = replace(FREE, smooth=False)
    assert close(drawn(prior, frames, apart)[:, 0], drawn(prior, other, apart)[:, 0])
    assert close(drawn(prior, frames, apart)[:, :1], drawn(prior, frames[:1], apart))
    assert not close(drawn(prior, frames)[:, 0], drawn(prior, other)[:, 0], 1e-3)
    with monkeypatch.context() as patch:
        patch.setattr(sampling, "smoothing_matrix", lambda count, cyclic: torch.eye(count))
        assert close(drawn(prior, frames), drawn(prior, frames, apart))
    assert not close(drawn(prior, frames), drawn(prior, frames, apart), 1e-3)


def test_a_loop_is_smoothed_over_its_seam(prior, monkeypatch):
    asked = []
    real = sampling.smoothing_matrix
    monkeypatch.setattr(
        sampling, "smoothing_matrix", lambda n, cyclic: asked.append((n, cyclic)) or real(n, cyclic)
    )
    frames = torch.rand(5, 32, 32, 4, generator=torch.Generator().manual_seed(4))
    assert not close(drawn(prior, frames), drawn(prior, frames, cyclic=True), 1e-3)
    assert asked == [(5, False), (5, True)]


@pytest.mark.parametrize("config", [replace(FREE, eta=1.0), replace(FREE, sampler="dpm")])
def test_the_same_seed_is_the_same_bytes(prior, frames, config):
    first = drawn(prior, frames, config, seed=3)
    assert torch.equal(first, drawn(prior, frames, config, seed=3))
    assert not close(first, drawn(prior, frames, config, seed=4), 1e-2)


@pytest.mark.parametrize("same", [Decomposed(0.0, 0.0), ClassifierFree(1.0)])
def test_guidance_of_no_weight_is_none(prior, frames, same):
    assert torch.equal(drawn(prior, frames, replace(FREE, guidance=same)), drawn(prior, frames))


@pytest.mark.parametrize(
    ("guidance", "expected"),
    [
        (PLAIN, 0.2),
        (ClassifierFree(2.0), 2 * 0.2 - 0.4),
        (Decomposed(2.0, 1.0), 0.2 + 2 * (0.2 - 0.1) + (0.2 - 0.05)),
        (Decomposed(0.0, 0.5), 0.2 + 0.5 * (0.2 - 0.05)),
    ],
)
def test_guidance_by_hand(frames, monkeypatch, guidance, expected):
    """Predictions: 0.2 with all, 0.1 without image, 0.05 without volume (image times 4), 0.4 with neither."""
    prior = tiny_prior()
    heard = []

    def denoise(condition, features, volume, noisy, t, *, image_on, volume_on, image_scale):
        known = {(1, 1, 1): 0.2, (0, 1, 0): 0.1, (1, 0, 4): 0.05, (0, 0, 0): 0.4}
        key = int(image_on[0]), int(volume_on[0]), int(image_scale)
        heard.append(key)
        return torch.full_like(noisy, known[key])

    monkeypatch.setattr(prior, "denoise", denoise)
    views = drawn(prior, frames, SampleConfig(steps=1, sampler="dpm", guidance=guidance, anchor=0.0))
    assert heard
    torch.testing.assert_close(to_network(views[0]), torch.full((3, 4, 32, 32), expected))


@pytest.mark.parametrize("start", [1.0, 0.4])
@pytest.mark.parametrize("sampler", ["ddim", "dpm"])
def test_without_a_correction_the_lifted_volume_is_what_is_drawn(frames, start, sampler):
    prior = still_prior()
    lifted = lifted_views(prior, frames, 10.0, prior.ring("cpu"))
    assert lifted.shape == (4, 3, 32, 32, 4)
    views = drawn(prior, frames, SampleConfig(steps=3, sampler=sampler, start=start))
    assert close(views, lifted, 0.1 if sampler == "ddim" else 1e-3)  # DDIM ends at t = 0, not without noise
    assert lifted.std() > 0.01


def test_lifted_views_are_views_by_frames(prior, frames):
    cameras = Cameras.orbit([5.0, 100.0], 20.0, size=32)
    both = lifted_views(prior, frames[:2], 10.0, cameras)
    second = lifted_views(prior, frames[1:2], 10.0, cameras[1])
    assert close(both[1:, 1:], second)
    assert not close(both[:1, 1:], second, 1e-3)


def test_an_anchor_moves_colors_and_leaves_shapes(frames):
    """At full strength colors are the lifted rendering's wherever that is opaque enough."""
    prior = tiny_prior()
    config = SampleConfig(steps=1, sampler="dpm", anchor=1.0)
    free, held = drawn(prior, frames, replace(config, anchor=0.0)), drawn(prior, frames, config)
    lifted = lifted_views(prior, frames, 10.0, prior.ring("cpu"))
    torch.testing.assert_close(held[..., 3], free[..., 3], atol=1e-5, rtol=0)
    solid = (lifted[..., 3] > 0.31) & (free[..., 3] > 0.1)
    assert solid.float().mean() > 0.1
    assert (held[..., :3] - lifted[..., :3]).abs()[solid].max() < 1e-3
    assert (free[..., :3] - lifted[..., :3]).abs()[solid].max() > 0.05


def test_frames_of_another_size_are_refused(prior):
    with pytest.raises(InputError, match="the frames are 24x32 pixels, but this prior sees 32x32"):
        sample_small_prior(prior, torch.rand(1, 32, 24, 4), 0.0)


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ({"sampler": "euler"}, "no sampler 'euler': use one of ddim, dpm"),
        ({"start": 0.0}, "start is 0.0"),
        ({"start": 1.5}, "start is 1.5"),
    ],
)
def test_settings_that_cannot_be_are_refused(setting, told):
    with pytest.raises(InputError, match=told):
        SampleConfig(**setting)
