"""Score distillation."""

from __future__ import annotations

import math

import torch

from vid4d.priors.samplers import NoiseSchedule
from vid4d.priors.sds import score_distillation, sds_loss


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
