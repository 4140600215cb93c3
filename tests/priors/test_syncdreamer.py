"""SyncDreamer-T: smoothing laws, guidance algebra, batching, and (full size) the authors' numbers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from reference import arrays

from vid4d.errors import InputError
from vid4d.priors import syncdreamer
from vid4d.priors.guidance import PLAIN, ClassifierFree, Decomposed
from vid4d.priors.samplers import Sampling
from vid4d.priors.smoothing import smoothing_matrix
from vid4d.priors.syncdreamer import CONFIGS, SyncDreamer


@pytest.fixture(scope="module")
def tiny() -> SyncDreamer:
    """A small network without the zeros that would hide its branches."""
    torch.manual_seed(0)
    model = SyncDreamer(CONFIGS["tiny"]).eval()
    for name, parameter in model.named_parameters():
        if name.startswith(("unet.", "spatial_volume.")) and parameter.ndim >= 2:
            torch.nn.init.normal_(parameter, std=parameter[0].numel() ** -0.5)
    return model


def frames(count: int) -> torch.Tensor:
    return torch.rand(count, 3, 64, 64, generator=torch.Generator().manual_seed(3))


# Smoothing over time


@pytest.mark.parametrize("cyclic", [False, True])
def test_smoothing_is_the_published_one(cyclic):
    reference = arrays("efficient4d_misc")
    checked = 0
    for n in range(1, 33):
        name = f"smoothing_{'cyclic' if cyclic else 'open'}_{n}"
        if name in reference:
            np.testing.assert_allclose(smoothing_matrix(n, cyclic), reference[name], atol=1e-6, err_msg=name)
            checked += 1
    assert checked == (30 if cyclic else 32)


@pytest.mark.parametrize("n", [5, 6])
def test_short_cyclic_clips_wrap_five_taps(n):
    matrix = smoothing_matrix(n, cyclic=True)
    expected = torch.tensor([6.0, 1, 1, 0, 1, 1] if n == 6 else [6.0, 1, 1, 1, 1], dtype=torch.float64) / 10
    for i in range(n):
        torch.testing.assert_close(matrix[i], expected.roll(i))


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 6, 7, 12, 13, 40])
@pytest.mark.parametrize("cyclic", [False, True])
def test_smoothing_keeps_what_does_not_change(n, cyclic):
    matrix = smoothing_matrix(n, cyclic)
    torch.testing.assert_close(matrix.sum(1), torch.ones(n, dtype=torch.float64))
    assert (matrix >= 0).all()
    if cyclic:
        torch.testing.assert_close(matrix.roll((1, 1), (0, 1)), matrix)


# Guidance


def test_guidance_weights_sum_to_one():
    for guidance in (PLAIN, ClassifierFree(2.0), ClassifierFree(0.0), Decomposed(), Decomposed(0.5, 0)):
        assert sum(v.weight for v in guidance.variants()) == pytest.approx(1)


def test_guidance_is_the_published_formula(tiny):
    torch.manual_seed(1)
    x, latent = torch.randn(2, 4, 8, 8), torch.randn(2, 4, 8, 8)
    t, context = torch.tensor([400, 400]), torch.randn(2, 1, 12)
    pyramid = {8 >> i: torch.randn(2, c, 8 >> i, 8 >> i, 8 >> i) for i, c in enumerate((4, 8, 8, 8))}
    nothing = {k: torch.zeros_like(v) for k, v in pyramid.items()}

    def unet(context, latent, volumes):
        return tiny.unet(torch.cat([x, latent], 1), t, context, volumes)

    with torch.no_grad():
        full = unet(context, latent, pyramid)
        none = unet(0 * context, 0 * latent, nothing)
        no_image = unet(0 * context, 0 * latent, pyramid)
        no_volume = unet(context, 4 * latent, nothing)
        plain = tiny.predict(x, t, context, latent, pyramid)
        free = tiny.predict(x, t, context, latent, pyramid, ClassifierFree(3.0))
        decomposed = tiny.predict(x, t, context, latent, pyramid, Decomposed(2.0, 1.0))
    torch.testing.assert_close(plain, full)
    torch.testing.assert_close(free, none + 3 * (full - none), rtol=1e-3, atol=1e-4)
    expected = full + 2 * (full - no_image) + (full - no_volume)
    torch.testing.assert_close(decomposed, expected, rtol=1e-3, atol=1e-4)
    assert (full - no_image).abs().max() > 1e-2
    assert (full - no_volume).abs().max() > 1e-2


# One step


def test_views_in_batches_equal_all_at_once(tiny):
    condition = tiny.condition(frames(3), torch.tensor([0.0, 10.0, 20.0]))
    x = torch.randn(3, 4, 4, 8, 8)
    t = torch.tensor(500)
    together = tiny.noise(x, t, condition, smoothing=smoothing_matrix(3), batch=12)
    for batch in (1, 5):
        parts = tiny.noise(x, t, condition, smoothing=smoothing_matrix(3), batch=batch)
        torch.testing.assert_close(parts, together, rtol=1e-3, atol=1e-4)


def test_frames_meet_only_through_smoothing(tiny):
    condition = tiny.condition(frames(2), 10.0)
    x = torch.randn(2, 4, 4, 8, 8)
    changed = x.clone()
    changed[1] += 1
    t = torch.tensor(500)
    apart = [tiny.noise(y, t, condition)[0] for y in (x, changed)]
    torch.testing.assert_close(apart[0], apart[1])
    joined = [tiny.noise(y, t, condition, smoothing=smoothing_matrix(2))[0] for y in (x, changed)]
    assert (joined[0] - joined[1]).abs().max() > 1e-3


def test_views_meet_in_the_volume(tiny):
    condition = tiny.condition(frames(1), 10.0)
    x = torch.randn(1, 4, 4, 8, 8)
    changed = x.clone()
    changed[:, 2] += 1
    t = torch.tensor(500)
    difference = (tiny.noise(x, t, condition) - tiny.noise(changed, t, condition))[0, 0]
    assert difference.abs().max() > 1e-3


def test_it_is_told_how_each_view_of_the_rig_lies_to_the_input(tiny):
    view = tiny.condition(frames(2), torch.tensor([30.0, 0.0])).view
    assert view.shape == (2, 4, 4)
    torch.testing.assert_close(view[0, 0], torch.tensor([0.0, 0, 1, 0]))
    torch.testing.assert_close(view[1, 1], torch.tensor([-torch.pi / 6, 1, 0, 0]))


# Sampling


@pytest.mark.parametrize("sampler", ["ddim", "dpm"])
def test_samples_have_the_right_shape_and_repeat(tiny, sampler):
    def run(seed):
        generator = torch.Generator().manual_seed(seed)
        return tiny.sample(frames(2), 10.0, Sampling(sampler, 3), generator=generator)

    first = run(1)
    assert first.shape == (2, 4, 3, 64, 64)
    assert first.min() >= 0
    assert first.max() <= 1
    assert torch.equal(first, run(1))
    assert not torch.equal(first, run(2))


def test_equal_frames_stay_equal_with_shared_noise(tiny):
    same = frames(1).expand(3, -1, -1, -1)

    def run(shared):
        generator = torch.Generator().manual_seed(0)
        return tiny.sample(same, 10.0, Sampling(steps=3), shared_noise=shared, generator=generator)

    shared = run("all")
    torch.testing.assert_close(shared[0], shared[2], rtol=1e-3, atol=1e-3)
    assert (run("first")[0] - run("first")[2]).abs().max() > 0.05
    assert (run("none")[0] - run("none")[2]).abs().max() > 0.05


def test_progress_reaches_the_end(tiny):
    seen = []
    tiny.sample(frames(1), 0.0, Sampling(steps=2), guidance=PLAIN, progress=lambda *p: seen.append(p))
    assert seen == [(1, 2), (2, 2)]


def test_bfloat16_stays_close():
    torch.manual_seed(0)
    model = SyncDreamer(CONFIGS["tiny"]).eval()
    torch.nn.init.normal_(model.unet.out[2].weight, std=0.1)
    x, t = torch.randn(1, 4, 4, 8, 8), torch.tensor(300)
    full = model.noise(x, t, model.condition(frames(1), 10.0))
    model.to(torch.bfloat16)
    half = model.noise(x, t, model.condition(frames(1), 10.0))
    assert half.dtype == torch.float32
    assert (half - full).norm() / full.norm() < 0.05


def test_bad_input_is_refused(tiny):
    with pytest.raises(InputError, match="resize"):
        tiny.condition(torch.rand(1, 3, 32, 32), 0.0)
    with pytest.raises(InputError, match="memory"):
        tiny.pairs_within(1e-6)


# The authors' numbers


def test_the_rig_is_the_authors():
    reference = arrays("schedules")
    cameras = syncdreamer.Cameras.ring(16, size=256)
    np.testing.assert_allclose(cameras.world_to_camera[:, :3], reference["poses"], atol=1e-5)
    np.testing.assert_allclose(cameras.intrinsics, reference["Ks"], atol=1e-3)
