"""Scores of priors: what they are told, what they answer, and how their answer reaches a render."""

from __future__ import annotations

import copy
import math

import pytest
import torch
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from vid4d.cameras import Cameras
from vid4d.conventions import view_change
from vid4d.errors import InputError
from vid4d.priors.base import load_score_prior
from vid4d.priors.guidance import ClassifierFree
from vid4d.priors.multiview_sampling import prepare_for_inference
from vid4d.priors.score import LatentScorePrior, resized_render
from vid4d.priors.zero123 import CONFIGS, Zero123
from vid4d.priors.zero123_score import Zero123ScorePrior


@pytest.fixture(scope="module")
def frames():
    """Two discs with soft alpha, 32 pixels."""
    y, x = torch.meshgrid(torch.arange(32) + 0.5, torch.arange(32) + 0.5, indexing="ij")
    alpha = torch.stack([((9 + 3 * i) ** 2 - (x - 16) ** 2 - (y - 16) ** 2).clamp(0, 1) for i in range(2)])
    color = torch.rand(2, 32, 32, 3, generator=torch.Generator().manual_seed(1))
    return torch.cat([color, alpha[..., None]], -1)


CAMERAS = Cameras.orbit([30.0, 200.0], 20.0, size=16)
BOTH = torch.tensor([0, 1])


def test_renders_of_other_sizes_are_resized():
    color, alpha = torch.full((1, 8, 8, 3), 0.25), torch.ones(1, 8, 8)
    for size in (4, 8, 32):
        out = resized_render(color, alpha, size)
        assert out.shape == (1, 4, size, size)
        torch.testing.assert_close(out[:, :3], torch.full((1, 3, size, size), 0.25))
        torch.testing.assert_close(out[:, 3], torch.ones(1, size, size))


# Zero123


@pytest.fixture(scope="module")
def zero123() -> Zero123:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        prior = Zero123(CONFIGS["tiny"]).eval().requires_grad_(False)
        for parameter in prior.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    return prior


def test_zero123_is_told_picture_and_camera(zero123, frames):
    """As the network itself answers: context and latent of the frame over white, guidance 3."""
    score_prior = Zero123ScorePrior(zero123, guidance=3.0)
    score_prior.condition(frames, 10.0)
    t = torch.tensor([400, 800])
    noisy = torch.randn(2, 2, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    found = score_prior.predict(noisy, t, score_prior.view(CAMERAS, BOTH.flip(0)))
    white = frames[..., :3] * frames[..., 3:] + 1 - frames[..., 3:]
    known = zero123.condition(F.interpolate(white.permute(0, 3, 1, 2), (64, 64), mode="bilinear"))
    change = view_change(torch.tensor([20.0, 20.0]), torch.tensor([30.0, 200.0]), 10.0)
    torch.testing.assert_close(change[0, 0], torch.tensor(-math.pi / 18))  # a camera that rises
    context = zero123.context(known.embedding.flip(0), change)
    for level in range(2):
        expected = zero123.noise(noisy[level], t, context, known.latent.flip(0), ClassifierFree(3.0))
        torch.testing.assert_close(found[level], expected, atol=1e-4, rtol=1e-3)


def answers(zero123, frames, cameras, order, guidance=3.0, levels=1):
    """What it says of the same noise, with its frames seen from cameras."""
    score_prior = Zero123ScorePrior(zero123, guidance=guidance)
    score_prior.condition(frames, 10.0)
    g = torch.Generator().manual_seed(0)
    noisy = torch.randn(levels, 1, 4, 8, 8, generator=g).expand(-1, len(order), -1, -1, -1)
    return score_prior.predict(noisy, torch.full((len(order),), 500), score_prior.view(cameras, order))


def test_levels_and_views_are_scored_one_by_one(zero123, frames):
    together = answers(zero123, frames, CAMERAS, BOTH, levels=3)
    assert together.shape == (3, 2, 4, 8, 8)
    for i in range(2):
        alone = answers(zero123, frames, CAMERAS[i], BOTH[i : i + 1], levels=3)
        torch.testing.assert_close(alone[:, 0], together[:, i], atol=1e-3, rtol=1e-3)


def test_guidance_goes_away_from_the_blind_answer(zero123, frames):
    """Linear in the scale: 5 lies on the line through 1 and 3, twice as far again."""
    one, three, five = (answers(zero123, frames, CAMERAS, BOTH, guidance=s) for s in (1.0, 3.0, 5.0))
    assert (three - one).abs().max() > 1e-3
    torch.testing.assert_close(five, 2 * three - one, atol=1e-3, rtol=1e-3)


def test_frame_and_camera_matter(zero123, frames):
    here = answers(zero123, frames, CAMERAS[0], BOTH[:1])
    assert (here - answers(zero123, frames, CAMERAS[1], BOTH[:1])).abs().max() > 1e-3
    assert (here - answers(zero123, frames, CAMERAS[0], BOTH[1:])).abs().max() > 1e-3


def test_a_score_prior_needs_a_picture_first(zero123):
    with pytest.raises(RuntimeError, match="comes first"):
        Zero123ScorePrior(zero123).view(CAMERAS, BOTH)


def test_zero123_takes_the_gradient_to_the_render(zero123):
    """Directional derivative of the latents against a small difference, in double precision."""
    score_prior = Zero123ScorePrior(copy.deepcopy(zero123).double())
    color = torch.rand(1, 16, 16, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(0)
    alpha, way = torch.ones(1, 16, 16), torch.randn_like(color)
    color.requires_grad_()
    latents = score_prior.encode(color, alpha)
    assert latents.shape == (1, 4, 8, 8)
    weights = torch.randn_like(latents)
    (gradient,) = torch.autograd.grad((latents * weights).sum(), color)
    with torch.no_grad():
        ends = [(score_prior.encode(color + h * way, alpha) * weights).sum() for h in (1e-3, -1e-3)]
    torch.testing.assert_close(
        (gradient * way).sum().item(), ((ends[0] - ends[1]) / 2e-3).item(), rtol=1e-2, atol=1e-2
    )


BOTH_WAYS = (Zero123ScorePrior.sds_loss, LatentScorePrior.sds_loss)


def distilled(score_prior, way, color, alpha):
    """Loss and gradient, by `LatentScorePrior.sds_loss` or by the prior's own."""
    view = score_prior.view(CAMERAS, BOTH)
    generator = torch.Generator().manual_seed(2)
    leaf = color.clone().requires_grad_()
    loss = way(score_prior, leaf, alpha, torch.tensor([300, 800]), view, generator)
    return loss.detach(), torch.autograd.grad(loss, leaf)[0]


def test_zero123_distils_as_every_score_prior_does(zero123, frames):
    """The recorded form is the same composition of encode, view and predict."""
    score_prior = Zero123ScorePrior(zero123, guidance=3.0)
    score_prior.condition(frames, 10.0)
    g = torch.Generator().manual_seed(4)
    color, alpha = torch.rand(3, 2, 16, 16, 3, generator=g), torch.rand(3, 2, 16, 16, generator=g)
    own, plain = (
        distilled(score_prior, way, color, alpha)
        for way in (Zero123ScorePrior.sds_loss, LatentScorePrior.sds_loss)
    )
    assert plain[1].abs().max() > 1e-6
    torch.testing.assert_close(own[0], plain[0], rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(own[1], plain[1], rtol=1e-3, atol=1e-5 * plain[1].abs().max().item())


class OnTheDevice(TorchDispatchMode):
    """Refuses what a recording refuses: numbers that come from the processor, or go there."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        places = {x.device.type for x in tree_leaves((args, kwargs or {})) if isinstance(x, torch.Tensor)}
        out = func(*args, **(kwargs or {}))
        places |= {x.device.type for x in tree_leaves(out) if isinstance(x, torch.Tensor)}
        assert places <= {"meta"}, f"{func} moves numbers between devices: {places}"
        return out


def test_zero123_distils_without_waiting_for_the_device():
    """With networks on a device that can hold no numbers."""
    prior = prepare_for_inference(Zero123(CONFIGS["tiny"]).to("meta"))
    prior.schedule = prior.schedule.to("meta")
    score_prior = Zero123ScorePrior(prior)
    given = [(4, 3, 64, 64), (2, 4, 8, 8), (2,), (2, 1, 12), (2, 4, 8, 8)]
    inputs = [torch.empty(s, device="meta", dtype=torch.long if len(s) == 1 else None) for s in given]
    with OnTheDevice():
        loss, slope = score_prior._sds(prior, prior.schedule, *inputs)
    assert loss.shape == ()
    assert slope.shape == given[0]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_zero123_distils_the_same_when_recorded(zero123, frames):
    score_prior = Zero123ScorePrior(prepare_for_inference(copy.deepcopy(zero123).cuda()), guidance=3.0)
    score_prior.condition(frames, 10.0)
    for size in (16, 16, 64):
        color, alpha = torch.rand(2, 2, size, size, 3).cuda(), torch.rand(2, 2, size, size).cuda()
        own, plain = (
            distilled(score_prior, way, color, alpha)
            for way in (Zero123ScorePrior.sds_loss, LatentScorePrior.sds_loss)
        )
        for a, b in zip(own, plain, strict=True):
            assert (a - b).norm() / b.norm() < 1e-2
    assert len(score_prior._networks[0].recorded._recordings) == 1


def test_zero123_on_several_devices_distils_as_on_one(zero123, frames):
    """Three views on two devices: one has two of them."""
    spread = copy.deepcopy(zero123)
    spread.spread(["cpu"])
    g = torch.Generator().manual_seed(4)
    color, alpha = torch.rand(2, 3, 16, 16, 3, generator=g), torch.rand(2, 3, 16, 16, generator=g)
    found = []
    for prior in (zero123, spread):
        score_prior = Zero123ScorePrior(prior, guidance=3.0)
        score_prior.condition(frames, 10.0)
        view = score_prior.view(Cameras.orbit([30.0, 200.0, 300.0], 20.0, size=16), torch.tensor([0, 1, 1]))
        leaf = color.clone().requires_grad_()
        t, generator = torch.tensor([300, 800, 500]), torch.Generator().manual_seed(2)
        loss = score_prior.sds_loss(leaf, alpha, t, view, generator)
        found.append((loss.detach(), torch.autograd.grad(loss, leaf)[0]))
    torch.testing.assert_close(found[1][0], found[0][0], rtol=1e-4, atol=1e-6)
    scale = found[0][1].abs().max().item()
    torch.testing.assert_close(found[1][1], found[0][1], rtol=1e-3, atol=1e-5 * scale)


def test_priors_by_name(frames, zero123, tmp_path, monkeypatch):
    """Published weights that are missing, that are there, and a prior that gives no score."""
    monkeypatch.setenv("VID4D_WEIGHTS", str(tmp_path))
    with pytest.raises(InputError, match="zero123-xl"):
        load_score_prior("zero123-xl", frames, 10.0)
    monkeypatch.setattr("vid4d.priors.zero123_score.load_full_prior", lambda name, device: zero123)
    told = load_score_prior("zero123-xl", frames, 10.0, guidance=2.0)
    assert isinstance(told, Zero123ScorePrior)
    assert told.guidance == ClassifierFree(2.0)
    assert told.view(CAMERAS, BOTH)[1].shape == (2, 4, 8, 8)
    with pytest.raises(InputError, match=r"syncdreamer cannot score single .* frustum, zero123-xl"):
        load_score_prior("syncdreamer", frames, 10.0)
