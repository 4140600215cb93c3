"""Zero123 (2303.11328) as the score of renders, as Consistent4D (2311.02848) asks for it."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from vid4d.cameras import Cameras
from vid4d.compute.randomness import normal
from vid4d.conventions import view_change
from vid4d.kernels.cuda_graphs import CudaGraphed
from vid4d.media.images import over_white
from vid4d.priors.guidance import ClassifierFree
from vid4d.priors.multiview_sampling import load_full_prior, more_devices
from vid4d.priors.samplers import NoiseSchedule
from vid4d.priors.score import LatentScorePrior, resized_render
from vid4d.priors.sds import score_distillation
from vid4d.priors.zero123 import Zero123, Zero123Condition

GUIDANCE = 5.0
"""Scale of classifier-free guidance (2311.02848, code)."""


class _Network(NamedTuple):
    """recorded: the loss of renders on this network's device, and its gradient."""

    prior: Zero123
    recorded: CudaGraphed


class Zero123ScorePrior(LatentScorePrior):
    """Zero123 at any size; its autoencoder takes the gradient from latents to renders.

    On a graphics card score distillation is recorded as a whole (`kernels.cuda_graphs`): the network must
    stay where it is. Where it has copies on other devices, renders go to all of them.

    guidance: scale of classifier-free guidance.
    """

    def __init__(self, prior: Zero123, *, guidance: float = GUIDANCE) -> None:
        self.prior, self.guidance = prior, ClassifierFree(guidance)
        self.schedule = prior.schedule.to(prior.device)
        self._condition: Zero123Condition | None = None
        self._networks = [self._ready(network) for network in (prior, *prior.copies)]

    def _ready(self, prior: Zero123) -> _Network:
        schedule = prior.schedule.to(prior.device)
        return _Network(prior, CudaGraphed(partial(self._sds, prior, schedule)))

    def condition(self, frames: Float[Tensor, "t h w 4"], elevation: float) -> None:
        """CLIP embeddings and latents of the input frames; elevation of their camera in degrees."""
        color = over_white(frames).permute(0, 3, 1, 2)
        size = (self.prior.config.image_size,) * 2
        condition = self.prior.condition(F.interpolate(color, size, mode="bilinear", antialias=True))
        self._condition, self._elevation = condition, elevation

    def encode(self, color: Float[Tensor, "b h w 3"], alpha: Float[Tensor, "b h w"]) -> Tensor:
        """Latents of renders over white, at the prior's size."""
        return self.prior.encode(self._pictures(color, alpha)).float()

    @torch.no_grad()
    def view(self, cameras: Cameras, frame: Int[Tensor, " b"]) -> tuple[Tensor, Tensor]:
        """Cross-attention token of each pose, and latents of its input frame."""
        if self._condition is None:
            raise RuntimeError("condition(...) comes first: the prior has seen no picture yet")
        change = view_change(cameras.elevation, cameras.azimuth, self._elevation)
        frame = frame.to(self.prior.device)
        context = self.prior.context(self._condition.embedding[frame], change.to(self.prior.device))
        return context, self._condition.latent[frame]

    @torch.no_grad()
    def predict(
        self, noisy: Float[Tensor, "l b c h w"], t: Int[Tensor, " b"], view: tuple[Tensor, Tensor]
    ) -> Float[Tensor, "l b c h w"]:
        """Noise prediction with classifier-free guidance."""
        return self._noise(self.prior, noisy, t, view)

    def _noise(
        self, prior: Zero123, noisy: Float[Tensor, "l b c h w"], t: Tensor, view: tuple[Tensor, Tensor]
    ) -> Float[Tensor, "l b c h w"]:
        levels = len(noisy)
        context, latent = (x.repeat(levels, *[1] * (x.ndim - 1)) for x in view)
        predicted = prior.noise(noisy.flatten(0, 1), t.repeat(levels), context, latent, self.guidance)
        return predicted.unflatten(0, noisy.shape[:2]).float()

    def sds_loss(
        self,
        color: Float[Tensor, "l b h w 3"],
        alpha: Float[Tensor, "l b h w"],
        t: Int[Tensor, " b"],
        view: tuple[Tensor, Tensor],
        generator: torch.Generator | None = None,
    ) -> Float[Tensor, ""]:
        """Score distillation loss, by a recorded CUDA graph on a graphics card; on several, by one each."""
        pictures, views = self._pictures(color.flatten(0, 1), alpha.flatten(0, 1)), len(t)
        size = (self.prior.config.autoencoder.latent_channels, *(self.prior.config.latent_size,) * 2)
        noise = normal((views, *size), pictures, generator)
        if len(self._networks) == 1:
            given = (x.to(self.prior.device) for x in (pictures.detach(), noise, t, *view))
            mean, gradient = (x.to(pictures.device) for x in self._networks[0].recorded(*given))
            return mean + ((pictures - pictures.detach()) * gradient).sum()
        rows = torch.arange(len(pictures), device=pictures.device).unflatten(0, (-1, views))
        loss, grad_pictures = torch.zeros((), device=pictures.device), torch.zeros_like(pictures)
        shares = [share for share in torch.arange(views).tensor_split(len(self._networks)) if len(share)]
        for network, share in zip(self._networks, shares, strict=False):
            part, mine = slice(int(share[0]), int(share[-1]) + 1), rows[:, share.to(rows.device)].flatten()
            told = (pictures.detach()[mine], noise[part], t[part], *(x[part] for x in view))
            mean, gradient = network.recorded(*(x.to(network.prior.device) for x in told))
            loss += len(share) / views * mean.to(loss.device)
            grad_pictures[mine] = len(share) / views * gradient.to(pictures.device)
        return loss + ((pictures - pictures.detach()) * grad_pictures).sum()

    def _sds(
        self,
        prior: Zero123,
        schedule: NoiseSchedule,
        pictures: Float[Tensor, "n 3 s s"],
        noise: Tensor,
        t: Tensor,
        context: Tensor,
        latent: Tensor,
    ) -> tuple[Float[Tensor, ""], Float[Tensor, "n 3 s s"]]:
        """The loss of a network, and its gradient in the pictures."""
        with torch.enable_grad():
            leaf = pictures.detach().requires_grad_()
            latents = prior.encode(leaf).float().unflatten(0, (-1, len(t)))
            loss = score_distillation(
                latents, lambda noisy, t: self._noise(prior, noisy, t, (context, latent)), noise, t, schedule
            )
            (grad_pictures,) = torch.autograd.grad(loss, leaf)
        return loss.detach(), grad_pictures

    def _pictures(
        self, color: Float[Tensor, "b h w 3"], alpha: Float[Tensor, "b h w"]
    ) -> Float[Tensor, "b 3 s s"]:
        return resized_render(color, alpha, self.prior.config.image_size)[:, :3].contiguous(
            memory_format=torch.channels_last
        )


def load_score_prior(
    name: str,
    frames: Float[Tensor, "t h w 4"],
    elevation: float,
    device: torch.device | str = "cpu",
    *,
    guidance: float | None = None,
    devices: int = 1,
) -> Zero123ScorePrior:
    """A Zero123 of `vid4d weights`, conditioned on an object; arguments as `base.load_score_prior`."""
    network = load_full_prior(name, device)
    assert isinstance(network, Zero123), name
    network.spread(more_devices(device, devices))
    prior = Zero123ScorePrior(network, guidance=GUIDANCE if guidance is None else guidance)
    prior.condition(frames, elevation)
    return prior
