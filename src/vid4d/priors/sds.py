"""Score distillation sampling: the gradient that a diffusion prior's noise prediction gives to latents."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int
from torch import Tensor

from vid4d.cameras import Cameras
from vid4d.priors.samplers import NoiseSchedule, q_sample

if TYPE_CHECKING:
    from vid4d.priors.base import ScorePrior


def sds_loss(
    latents: Float[Tensor, "b ..."],
    predicted: Float[Tensor, "b ..."],
    noise: Float[Tensor, "b ..."],
    t: Int[Tensor, " b"],
    schedule: NoiseSchedule,
) -> Float[Tensor, ""]:
    """Score distillation of b latents: its gradient in each of them is w(t) (predicted - noise) / b.

    w(t) = 1 - alphas_cumprod[t]. predicted: the (guided) noise that a prior sees in the latents noised to
    the steps t; gets no gradient. The value is half the squared norm of the gradients, for people to look at.

    Source: DreamFusion (2209.14988), section 3.2, with the weight of Consistent4D's code.
    """
    weight = (1 - schedule.alphas_cumprod.to(latents.device)[t.to(latents.device)]).to(latents.dtype)
    weight = weight.reshape(-1, *(1,) * (latents.ndim - 1))
    gradient = (weight * (predicted - noise)).detach()
    moved = latents - latents.detach()
    return (0.5 * gradient.square() + moved * gradient).sum() / len(latents)


def score_distillation(
    latents: Float[Tensor, "levels b ..."],
    predict: Callable[[Float[Tensor, "levels b ..."], Int[Tensor, " b"]], Float[Tensor, "levels b ..."]],
    noise: Float[Tensor, "b ..."],
    t: Int[Tensor, " b"],
    schedule: NoiseSchedule,
) -> Float[Tensor, ""]:
    """`sds_loss` of every level of a cascade, summed; all levels get the same noise and time steps.

    predict: (noised latents, t) -> the noise in them; called once, without gradients.
    """
    with torch.no_grad():
        noisy = torch.stack([q_sample(schedule, x, t, noise) for x in latents.detach()])
        predicted = predict(noisy, t)
    return torch.stack(
        [sds_loss(x, eps, noise, t, schedule) for x, eps in zip(latents, predicted, strict=True)]
    ).sum()


def distillation_loss(
    prior: ScorePrior,
    color: Float[Tensor, "l b h w 3"],
    alpha: Float[Tensor, "l b h w"],
    cameras: Cameras,
    frame: Int[Tensor, " b"],
    noise_range: tuple[float, float],
    generator: torch.Generator,
) -> Float[Tensor, ""]:
    """A prior's `sds_loss` of renders, at noise levels drawn for each of the b views.

    color: over white. cameras, frame: of the views. noise_range: lowest and highest share of the prior's
    schedule. generator: of the levels and of the noise.
    """
    low, high = (round(share * (len(prior.schedule) - 1)) for share in noise_range)
    t = torch.randint(low, high + 1, (len(frame),), generator=generator).to(color.device)
    return prior.sds_loss(color, alpha, t, prior.view(cameras, frame), generator)
