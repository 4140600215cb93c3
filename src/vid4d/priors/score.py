"""Judges: image diffusion networks that say how a render of an unfinished object should change.

One interface for the small prior that ships with the package and for the authors' Zero123 (2303.11328), as
score distillation (2209.14988) asks for it: encode a render with a gradient, noise it, predict the noise.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from vid4d.cameras import Cameras
from vid4d.conventions import view_change
from vid4d.errors import InputError
from vid4d.images import over_white, resized
from vid4d.kernels.cuda_graphs import Recorded
from vid4d.priors.guidance import ClassifierFree
from vid4d.priors.multiview_sampling import load_full_prior
from vid4d.priors.samplers import NoiseSchedule, to_eps
from vid4d.priors.sds import score_distillation
from vid4d.priors.small.sampling import load_small_prior, to_network
from vid4d.priors.small.small import Condition, Look, SmallPrior
from vid4d.priors.zero123 import Condition as Zero123Condition
from vid4d.priors.zero123 import Zero123

GUIDANCE = 5.0
"""Scale of classifier-free guidance of Zero123 (2311.02848, code)."""

SMALL_GUIDANCE = 1.0
"""Of the small prior, which works on pixels: there a scale of 5 burns colours out."""


class Judge(ABC):
    """What a method asks of a prior.

    schedule: the noise process of its latents. Everything that depends on the cameras but not on the render
    is a `view`, made once per step and used for all levels of a cascade. Judges of pictures also have
    `condition(frames, elevation)`, which comes first: the clip's frames, straight-alpha RGBA in [0, 1], seen
    from azimuth 0 and so many degrees of elevation.
    """

    schedule: NoiseSchedule

    @abstractmethod
    def encode(
        self, color: Float[Tensor, "b h w 3"], alpha: Float[Tensor, "b h w"]
    ) -> Float[Tensor, "b ..."]:
        """Renders over white, in [0, 1] and of any size, as latents, with a gradient."""

    @abstractmethod
    def view(self, cameras: Cameras, frame: Int[Tensor, " b"]) -> Any:
        """How b cameras lie to the input camera, at the times of these frames of the clip."""

    @abstractmethod
    def predict(
        self, noisy: Float[Tensor, "l b ..."], t: Int[Tensor, " b"], view: Any
    ) -> Float[Tensor, "l b ..."]:
        """The guided noise in latents of l levels of b views, noised to the steps t; without a gradient."""

    def distil(
        self,
        color: Float[Tensor, "l b h w 3"],
        alpha: Float[Tensor, "l b h w"],
        t: Int[Tensor, " b"],
        view: Any,
        generator: torch.Generator | None = None,
    ) -> Float[Tensor, ""]:
        """Score distillation of renders of l levels of b views, at the steps t: `score_distillation`.

        generator: draws the noise, which is the same for all levels.
        """
        latents = self.encode(color.flatten(0, 1), alpha.flatten(0, 1)).unflatten(0, color.shape[:2])
        noise = torch.randn(latents.shape[1:], generator=generator).to(latents)
        return score_distillation(
            latents, lambda noisy, t: self.predict(noisy, t, view), noise, t, self.schedule
        )


def resized_render(
    color: Float[Tensor, "b h w 3"], alpha: Float[Tensor, "b h w"], size: int
) -> Float[Tensor, "b 4 size size"]:
    """Colours over white and opacity, channels first, bilinearly at another size; with a gradient."""
    pictures = torch.cat([color, alpha[..., None]], -1).permute(0, 3, 1, 2)
    if pictures.shape[-2:] == (size, size):
        return pictures
    smaller = size < pictures.shape[-1]
    return F.interpolate(pictures, (size, size), mode="bilinear", align_corners=False, antialias=smaller)


class SmallJudge(Judge):
    """The small prior with its noisy views left out: one target view from one picture (a small Zero123).

    guidance: scale; 1 leaves out the unconditional evaluation. keep: how many frames' lifted volumes are held
    at a time (3 MB each).
    """

    def __init__(self, prior: SmallPrior, *, guidance: float = SMALL_GUIDANCE, keep: int = 64) -> None:
        self.prior, self.guidance, self.keep = prior, guidance, keep
        self.size = prior.config.lift.image_size
        self.schedule = prior.schedule.to(next(prior.parameters()).device)
        self._pictures: Tensor | None = None
        self._known: dict[int, Condition] = {}

    def condition(self, frames: Float[Tensor, "t h w 4"], elevation: float) -> None:
        parameter = next(self.prior.parameters())
        self._pictures = to_network(resized(frames, self.size)).to(parameter)
        self._camera = Cameras.orbit([0.0], elevation, size=self.size, device=parameter.device)
        self._known = {}

    def encode(self, color: Float[Tensor, "b h w 3"], alpha: Float[Tensor, "b h w"]) -> Tensor:
        return self.prior.encode(resized_render(color, alpha, self.size) * 2 - 1)

    @torch.no_grad()
    def view(self, cameras: Cameras, frame: Int[Tensor, " b"]) -> tuple[Condition, Look]:
        known = self._condition_of(frame.tolist())
        return known, self.prior.look(known, cameras.resized(self.size), 1)

    @torch.no_grad()
    def predict(
        self, noisy: Float[Tensor, "l b c p p"], t: Int[Tensor, " b"], view: tuple[Condition, Look]
    ) -> Float[Tensor, "l b c p p"]:
        condition, look = view
        levels = len(noisy)
        x, look = noisy.transpose(0, 1), _repeated(look, levels)
        off = torch.zeros(len(t), device=t.device)
        data = self.prior.denoise(condition, look, None, x, t).float()
        if self.guidance != 1:
            blind = self.prior.denoise(condition, look, None, x, t, image_on=off, volume_on=off).float()
            data = blind + self.guidance * (data - blind)
        return to_eps(self.schedule, x.float(), t, data, "x0").transpose(0, 1)

    def _condition_of(self, frames: Sequence[int]) -> Condition:
        if self._pictures is None:
            raise RuntimeError("condition(...) comes first: the judge has seen no picture yet")
        for i in frames:
            if i in self._known:
                self._known[i] = self._known.pop(i)  # the newest last
                continue
            self._known[i] = self.prior.condition(self._pictures[i : i + 1], self._camera)
        parts = [self._known[i] for i in frames]
        while len(self._known) > self.keep:
            del self._known[next(iter(self._known))]
        return Condition(
            torch.cat([p.volume for p in parts]),
            torch.cat([p.tokens for p in parts]),
            torch.cat([p.latent for p in parts]),
            Cameras.cat([p.cameras for p in parts]),
        )


class Zero123Judge(Judge):
    """Zero123 at any size; its autoencoder takes the gradient from latents to renders.

    On a graphics card score distillation is recorded as a whole (`kernels.cuda_graphs`): the network must stay
    where it is.

    guidance: scale of classifier-free guidance.
    """

    def __init__(self, prior: Zero123, *, guidance: float = GUIDANCE) -> None:
        self.prior, self.guidance = prior, ClassifierFree(guidance)
        self.schedule = prior.schedule.to(prior.device)
        self._known: Zero123Condition | None = None
        self._recorded = Recorded(self._distil)

    def condition(self, frames: Float[Tensor, "t h w 4"], elevation: float) -> None:
        color = over_white(frames).permute(0, 3, 1, 2)
        size = (self.prior.config.image_size,) * 2
        known = self.prior.condition(F.interpolate(color, size, mode="bilinear", antialias=True))
        self._known, self._elevation = known, elevation

    def encode(self, color: Float[Tensor, "b h w 3"], alpha: Float[Tensor, "b h w"]) -> Tensor:
        return self.prior.encode(self._pictures(color, alpha)).float()

    @torch.no_grad()
    def view(self, cameras: Cameras, frame: Int[Tensor, " b"]) -> tuple[Tensor, Tensor]:
        if self._known is None:
            raise RuntimeError("condition(...) comes first: the judge has seen no picture yet")
        change = view_change(cameras.elevation, cameras.azimuth, self._elevation)
        frame = frame.to(self.prior.device)
        context = self.prior.context(self._known.embedding[frame], change.to(self.prior.device))
        return context, self._known.latent[frame]

    @torch.no_grad()
    def predict(
        self, noisy: Float[Tensor, "l b c h w"], t: Int[Tensor, " b"], view: tuple[Tensor, Tensor]
    ) -> Float[Tensor, "l b c h w"]:
        levels = len(noisy)
        context, latent = (x.repeat(levels, *[1] * (x.ndim - 1)) for x in view)
        found = self.prior.noise(noisy.flatten(0, 1), t.repeat(levels), context, latent, self.guidance)
        return found.unflatten(0, noisy.shape[:2]).float()

    def distil(
        self,
        color: Float[Tensor, "l b h w 3"],
        alpha: Float[Tensor, "l b h w"],
        t: Int[Tensor, " b"],
        view: tuple[Tensor, Tensor],
        generator: torch.Generator | None = None,
    ) -> Float[Tensor, ""]:
        pictures = self._pictures(color.flatten(0, 1), alpha.flatten(0, 1))
        size = (self.prior.config.autoencoder.latent_channels, *(self.prior.config.latent_size,) * 2)
        noise = torch.randn(len(t), *size, generator=generator).to(pictures)
        loss, slope = self._recorded(pictures.detach(), noise, t.to(pictures.device), *view)
        return loss + ((pictures - pictures.detach()) * slope).sum()

    def _distil(
        self, pictures: Float[Tensor, "n 3 s s"], noise: Tensor, t: Tensor, context: Tensor, latent: Tensor
    ) -> tuple[Float[Tensor, ""], Float[Tensor, "n 3 s s"]]:
        """The loss, and its gradient in the pictures."""
        with torch.enable_grad():
            leaf = pictures.detach().requires_grad_()
            latents = self.prior.encode(leaf).float().unflatten(0, (-1, len(t)))
            loss = score_distillation(
                latents, lambda noisy, t: self.predict(noisy, t, (context, latent)), noise, t, self.schedule
            )
            (slope,) = torch.autograd.grad(loss, leaf)
        return loss.detach(), slope

    def _pictures(
        self, color: Float[Tensor, "b h w 3"], alpha: Float[Tensor, "b h w"]
    ) -> Float[Tensor, "b 3 s s"]:
        return resized_render(color, alpha, self.prior.config.image_size)[:, :3].contiguous(
            memory_format=torch.channels_last
        )


def _repeated(look: Look, levels: int) -> Look:
    """One view per frame -> the same view once per level, frames outermost."""
    if levels == 1:
        return look
    assert look.frustum is not None
    return replace(
        look,
        frustum=look.frustum.repeat_interleave(levels, 2),
        weight=look.weight.repeat_interleave(levels, 1),
        rays=look.rays.repeat_interleave(levels, 0),
        coarse=look.coarse.repeat_interleave(levels, 0),
        cameras=look.cameras[torch.arange(len(look.cameras)).repeat_interleave(levels)],
    )


def load_judge(
    prior: str, device: torch.device | str = "cpu", *, guidance: float = GUIDANCE
) -> SmallJudge | Zero123Judge:
    """The judge of that name: 'small', or a Zero123 of `vid4d weights`. guidance: of a Zero123.

    Raises InputError where the weights are not on this machine or are no Zero123's.
    """
    if prior == "small":
        return SmallJudge(load_small_prior(device))
    network = load_full_prior(prior, device)
    if not isinstance(network, Zero123):
        raise InputError(f"{prior} cannot judge single views: use 'small' or a Zero123")
    return Zero123Judge(network, guidance=guidance)
