"""Interpolation-driven consistency, score distillation and the regularisers of normals."""

from __future__ import annotations

import math

import pytest
import torch
from toys import jumping_ball

from vid4d.cameras import Cameras
from vid4d.losses import interpolation_consistency, normal_smoothness_loss, orientation_loss
from vid4d.priors.rife import as_interpolator
from vid4d.priors.rife_small import load_interpolator
from vid4d.priors.samplers import NoiseSchedule
from vid4d.priors.sds import score_distillation, sds_loss
from vid4d.render import render_asset


def blend(first: torch.Tensor, last: torch.Tensor, share: torch.Tensor) -> torch.Tensor:
    """An interpolator that fades."""
    share = share.view(-1, 1, 1, 1)
    return first * (1 - share) + last * share


def test_a_run_in_even_steps_is_consistent():
    first, last = torch.rand(2, 1, 4, 4, 3)
    run = torch.cat([first + (last - first) * i / 4 for i in range(5)])
    assert interpolation_consistency(run, blend).item() == pytest.approx(0, abs=1e-12)
    run[2] += 0.3
    assert interpolation_consistency(run, blend).item() == pytest.approx(0.3**2 / 3, rel=1e-5)


def test_only_inner_pictures_get_a_gradient():
    run = torch.rand(2, 4, 5, 5, 3, dtype=torch.float64, requires_grad=True)
    gain = torch.ones((), dtype=torch.float64, requires_grad=True)
    interpolation_consistency(run, lambda a, b, s: gain * blend(a, b, s)).backward()
    assert gain.grad is None
    assert run.grad is not None
    assert bool((run.grad[:, [0, -1]] == 0).all())
    x = run.detach()
    third = [x[:, :1] + (x[:, 3:] - x[:, :1]) * i / 3 for i in (1, 2)]
    expected = 2 * (x[:, 1:3] - torch.cat(third, 1)) / x[:, 1:3].numel()
    torch.testing.assert_close(run.grad[:, 1:3], expected)


def test_colors_with_alpha_are_compared_over_white():
    run = torch.rand(5, 6, 6, 4)
    run[..., :3] *= run[..., 3:]
    over_white = run[..., :3] + 1 - run[..., 3:]
    expected = interpolation_consistency(over_white, blend)
    torch.testing.assert_close(interpolation_consistency(run, blend), expected)


def test_runs_of_two_have_nothing_to_compare():
    with pytest.raises(ValueError, match="three or more"):
        interpolation_consistency(torch.rand(2, 4, 4, 3), blend)


def disc(centre: torch.Tensor, size: int = 64) -> torch.Tensor:
    """A renderer with a gradient: premultiplied RGBA of discs, one for each centre (n, 2) in pixels."""
    rows, columns = torch.meshgrid(torch.arange(size) + 0.5, torch.arange(size) + 0.5, indexing="ij")
    x, y = columns - centre[:, 0, None, None], rows - centre[:, 1, None, None]
    inside = torch.sigmoid((10 - (x.square() + y.square()).sqrt()) / 1.5)[..., None]
    stripes = 0.5 + 0.4 * torch.stack([torch.sin(0.4 * x), torch.cos(0.3 * y), torch.sin(0.3 * (x + y))], -1)
    return torch.cat([stripes * inside, inside], -1)


def test_a_jittered_run_becomes_smooth():
    """With the shipped interpolator: the loss of a jittered path falls to that of the even one, near zero."""
    between = as_interpolator(load_interpolator())
    even = torch.stack([torch.linspace(29, 35, 5), torch.full((5,), 32.0)], -1)
    jitter = torch.tensor([[0.0, 0], [2.5, -3], [-3, 2], [2, 3], [0, 0]])
    smooth = interpolation_consistency(disc(even), between).item()
    centre = (even + jitter).requires_grad_()
    optimizer = torch.optim.Adam([centre], lr=0.25)
    losses = []
    for _ in range(40):
        loss = interpolation_consistency(disc(centre), between)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert smooth < 2e-4
    assert losses[0] > 20 * smooth
    assert losses[-1] < 0.1 * losses[0]
    assert torch.equal(centre.detach()[[0, -1]], even[[0, -1]])
    assert (centre.detach() - even).norm() < 0.3 * jitter.norm()


def test_a_jittered_orbit_is_told_from_a_smooth_one():
    """Runs of views around an object, and of times: true ones against ones that wander."""
    between = as_interpolator(load_interpolator())
    ball = jumping_ball()

    def loss(azimuth: torch.Tensor, elevation: torch.Tensor | float, times: torch.Tensor | float) -> float:
        rgba = render_asset(ball, Cameras.orbit(azimuth, elevation, size=64), times)
        run = torch.cat([rgba[..., :3] * rgba[..., 3:], rgba[..., 3:]], -1)
        return interpolation_consistency(run, between).item()

    azimuth, still = torch.arange(5) * 8.0, torch.zeros(5)
    times = torch.linspace(0.1, 0.2, 5)
    wander = torch.tensor([0.0, 6, -7, 6, 0])
    spatial = loss(azimuth, 10.0, 0.3), loss(azimuth + wander, 10.0 + wander, 0.3)
    temporal = loss(still, 10.0, times), loss(still, 10.0, times + 0.01 * wander)
    for smooth, jittered in (spatial, temporal):
        assert smooth < 1e-3
        assert jittered > 4 * smooth


def toy_prior(noisy: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    """Noise as some function of noisy latents and time steps."""
    return torch.sin(3 * noisy) + noisy.flip(-1) * t.view(-1, 1, 1, 1) / 1000


def by_hand(latents: torch.Tensor, noise: torch.Tensor, t: list[int]) -> torch.Tensor:
    """The gradient of score distillation in the latents of one level, number by number in float64."""
    betas = [
        (0.00085**0.5 + (0.012**0.5 - 0.00085**0.5) * i / 999) ** 2 for i in range(1000)
    ]  # scaled linear
    out = torch.empty_like(latents)
    b, channels, h, w = latents.shape
    for i in range(b):
        kept = math.prod(1 - beta for beta in betas[: t[i] + 1])
        noisy = [kept**0.5 * x + (1 - kept) ** 0.5 * e for x, e in zip(latents[i], noise[i], strict=True)]
        for c in range(channels):
            for y in range(h):
                for x in range(w):
                    seen, mirrored = noisy[c][y, x].item(), noisy[c][y, w - 1 - x].item()
                    predicted = math.sin(3 * seen) + mirrored * t[i] / 1000
                    out[i, c, y, x] = (1 - kept) * (predicted - noise[i, c, y, x].item()) / b
    return out


def test_score_distillation_by_hand():
    generator = torch.Generator().manual_seed(0)
    latents = torch.randn(2, 3, 2, 4, 5, generator=generator, dtype=torch.float64, requires_grad=True)
    noise = torch.randn(3, 2, 4, 5, generator=generator, dtype=torch.float64)
    t, schedule = torch.tensor([20, 500, 979]), NoiseSchedule.scaled_linear()
    asked = []

    def predict(noisy: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        assert not torch.is_grad_enabled()
        asked.append(noisy)
        return torch.stack([toy_prior(level, t) for level in noisy])

    loss = score_distillation(latents, predict, noise, t, schedule)
    (gradient,) = torch.autograd.grad(loss, latents)
    expected = torch.stack([by_hand(level, noise, t.tolist()) for level in latents.detach()])
    torch.testing.assert_close(gradient, expected, rtol=1e-5, atol=1e-6)  # the schedule is in float32
    assert len(asked) == 1
    half_norm = 0.5 * 3 * expected.square().sum()
    torch.testing.assert_close(loss.detach(), half_norm, rtol=1e-5, atol=0)

    sigma = (1 - schedule.alphas_cumprod[t]).sqrt().view(-1, 1, 1, 1)
    alpha = schedule.alphas_cumprod[t].sqrt().view(-1, 1, 1, 1)
    for level, noisy in zip(latents, asked[0], strict=True):  # the same noise in every level
        torch.testing.assert_close((noisy - alpha * level) / sigma, noise, rtol=1e-9, atol=1e-9)


def test_score_distillation_goes_through_the_renderer():
    """d loss / d x = gradient in the latents times d latents / d x; nothing through the prior."""
    x = torch.tensor([0.5, -1.0], dtype=torch.float64, requires_grad=True)
    latents = (x.square()).view(1, 2, 1, 1).expand(1, 2, 3, 3)
    predicted = torch.rand(1, 2, 3, 3, dtype=torch.float64, requires_grad=True)
    noise, t, schedule = torch.zeros(1, 2, 3, 3), torch.tensor([300]), NoiseSchedule.scaled_linear()
    sds_loss(latents, predicted, noise, t, schedule).backward()
    weight = 1 - schedule.alphas_cumprod[300].item()
    assert predicted.grad is None
    assert x.grad is not None
    torch.testing.assert_close(x.grad, weight * predicted.detach().sum((0, 2, 3)) * 2 * x.detach())


def test_a_prior_that_sees_only_the_noise_asks_for_nothing():
    latents = torch.randn(1, 2, 4, 4, requires_grad=True)
    noise = torch.randn(2, 4, 4)
    loss = score_distillation(
        latents[None],
        lambda x, t: noise.expand_as(x),
        noise[None],
        torch.tensor([5]),
        NoiseSchedule.scaled_linear(),
    )
    loss.backward()
    assert latents.grad is not None
    assert bool((latents.grad == 0).all())


def test_smoothness_by_hand():
    normal = torch.tensor([[1.0, 0, 0], [0, 1, 0]])
    nearby = torch.tensor([[0.0, 1, 0], [0, 1, 0]])
    assert normal_smoothness_loss(normal, nearby).item() == pytest.approx(2 / 6)


def test_orientation_by_hand():
    normal = torch.tensor([[[0.0, 0, 1], [0.6, 0, 0.8], [0, 0, -1]]], requires_grad=True)
    direction = torch.tensor([[0.0, 0, 1], [0, 0, -1], [0, 0, -1]])
    weight = torch.tensor([[0.5, 1.0, 0.25]], requires_grad=True)
    loss = orientation_loss(normal, direction, weight, rays=3)
    assert loss.item() == pytest.approx((0.5 + 0.25) / 3)  # the second one faces the camera
    loss.backward()
    assert weight.grad is None
    assert normal.grad is not None
    assert normal.grad[0, 0].tolist() == pytest.approx([0, 0, 2 * 0.5 / 3])
    assert bool((normal.grad[0, 1] == 0).all())
    twice = orientation_loss(normal.expand(2, -1, -1), direction, weight.expand(2, -1), rays=3)
    assert twice.item() == pytest.approx(2 * loss.item())
