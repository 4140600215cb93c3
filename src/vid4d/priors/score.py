"""Scores of latent diffusion: renders become latents and are noised, and the noise in them is predicted."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from vid4d.cameras import Cameras
from vid4d.compute.randomness import normal
from vid4d.priors.samplers import NoiseSchedule
from vid4d.priors.sds import score_distillation


class LatentScorePrior(ABC):
    """A `ScorePrior` in three parts: encode renders with a gradient, describe views, predict noise."""

    schedule: NoiseSchedule

    @abstractmethod
    def encode(
        self, color: Float[Tensor, "b h w 3"], alpha: Float[Tensor, "b h w"]
    ) -> Float[Tensor, "b ..."]:
        """Renders over white, in [0, 1] and of any size, as latents, with a gradient."""

    @abstractmethod
    def view(self, cameras: Cameras, frame: Int[Tensor, " b"]) -> Any:
        """As `ScorePrior.view`."""

    @abstractmethod
    def predict(
        self, noisy: Float[Tensor, "l b ..."], t: Int[Tensor, " b"], view: Any
    ) -> Float[Tensor, "l b ..."]:
        """The guided noise in latents of l levels of b views, noised to the steps t; without a gradient."""

    def sds_loss(
        self,
        color: Float[Tensor, "l b h w 3"],
        alpha: Float[Tensor, "l b h w"],
        t: Int[Tensor, " b"],
        view: Any,
        generator: torch.Generator | None = None,
    ) -> Float[Tensor, ""]:
        """`sds.score_distillation` of renders; arguments as `ScorePrior.sds_loss`."""
        latents = self.encode(color.flatten(0, 1), alpha.flatten(0, 1)).unflatten(0, color.shape[:2])
        noise = normal(latents.shape[1:], latents, generator)
        return score_distillation(
            latents, lambda noisy, t: self.predict(noisy, t, view), noise, t, self.schedule
        )


def resized_render(
    color: Float[Tensor, "b h w 3"], alpha: Float[Tensor, "b h w"], size: int
) -> Float[Tensor, "b 4 size size"]:
    """Colors over white and alpha, channels first, bilinearly at another size; with a gradient."""
    pictures = torch.cat([color, alpha[..., None]], -1).permute(0, 3, 1, 2)
    if pictures.shape[-2:] == (size, size):
        return pictures
    smaller = size < pictures.shape[-1]
    return F.interpolate(pictures, (size, size), mode="bilinear", align_corners=False, antialias=smaller)
