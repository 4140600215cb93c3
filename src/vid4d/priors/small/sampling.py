"""Sampling the small prior: from a clip's frames to pictures from every view of the ring at every frame."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from vid4d.cameras import Cameras
from vid4d.errors import InputError
from vid4d.priors.guidance import PLAIN, Guidance
from vid4d.priors.pictures import check_size, from_network, to_network
from vid4d.priors.precision import best_dtype
from vid4d.priors.samplers import ProgressCallback, Sampling, draw_samples, q_sample
from vid4d.priors.small.model import SmallCondition, SmallConfig, SmallPrior, ViewFeatures
from vid4d.priors.smoothing import smoothing_matrix
from vid4d.priors.weights.files import config_from_json, load_into, read_metadata
from vid4d.priors.weights.loaded import loaded_once

SHIPPED = Path(__file__).parents[1] / "data" / "small.safetensors"


@dataclass(frozen=True)
class SampleConfig(Sampling):
    """Sampling options of the small prior.

    guidance: plain, classifier-free or decomposed. smooth: average the steps' volumes over time (2401.08742,
    section 3.2). start: share of the noise schedule that is run; below 1 sampling begins at the lifted
    volume's own rendering with that much noise on it. anchor: share of the lifted rendering's colors in each
    step's predicted colors (in the spirit of 2108.02938, which keeps low frequencies); shapes are the
    diffusion's own. batch: (frame, view) pairs at a time, which bounds memory.
    """

    steps: int = 10
    eta: float | None = 0.0
    guidance: Guidance = PLAIN
    smooth: bool = True
    start: float = 1.0
    anchor: float = 0.7
    batch: int = 32

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.start <= 1:
            raise InputError(f"start is {self.start}, but it is a share of the noise schedule: use 0 to 1")


@loaded_once
def load_small_prior(
    device: torch.device | str = "cpu", dtype: torch.dtype | None = None, weights: Path = SHIPPED
) -> SmallPrior:
    """The prior that ships with the package, or one that `vid4d train` made, in its own sizes."""
    config = config_from_json(SmallConfig, read_metadata(weights).get("config"))
    prior = SmallPrior(config).eval().requires_grad_(False)
    load_into(prior, weights)
    return prior.to(device, dtype or best_dtype(device))


@dataclass
class _Part:
    """Some frames of a clip: which, their conditioning, and their lifted volumes rendered from the ring."""

    frames: slice
    condition: SmallCondition
    features: ViewFeatures


class _Denoiser:
    """One step for all frames: their volumes first, synchronised over time, then the views in batches."""

    def __init__(self, prior: SmallPrior, parts: list[_Part], config: SampleConfig, cyclic: bool) -> None:
        self.prior, self.parts, self.config = prior, parts, config
        count = parts[-1].frames.stop
        self.smoothing = smoothing_matrix(count, cyclic) if config.smooth else None

    def __call__(self, x: Float[Tensor, "t v c p p"], t: Tensor) -> Float[Tensor, "t v c p p"]:
        dtype = self.parts[0].condition.latent.dtype
        ring = x.to(dtype)
        steps = t.expand(len(x))
        volumes = torch.cat(
            [self.prior.synchronous_volume(ring[p.frames], steps[p.frames]) for p in self.parts]
        )
        if self.smoothing is not None:
            weights = self.smoothing.to(volumes.device, torch.float32)
            volumes = torch.einsum("ij,j...->i...", weights, volumes.float()).to(dtype)
        out = torch.empty_like(x)
        for part in self.parts:
            count = part.frames.stop - part.frames.start
            total = torch.zeros_like(x[part.frames])
            for variant in self.config.guidance.variants():
                predicted = self.prior.denoise(
                    part.condition,
                    part.features,
                    volumes[part.frames],
                    ring[part.frames],
                    steps[part.frames],
                    image_on=torch.full((count,), float(variant.clip > 0), device=x.device),
                    volume_on=torch.full((count,), float(variant.volume), device=x.device),
                    image_scale=variant.image,
                )
                total += variant.weight * predicted.float()
            out[part.frames] = self._anchored(total, part.features.coarse) if self.config.anchor else total
        return out

    def _anchored(self, latents: Float[Tensor, "t v c p p"], coarse: Float[Tensor, "n 4 h w"]) -> Tensor:
        """Predicted data with its colors drawn to those of the lifted rendering, where it shows anything."""
        predicted, lifted = from_network(self.prior.decode(latents.flatten(0, 1))), from_network(coarse)
        share = self.config.anchor * (lifted[..., 3:] / 0.3).clamp(max=1)
        color = torch.lerp(predicted[..., :3], lifted[..., :3], share)
        anchored = to_network(torch.cat([color, predicted[..., 3:]], -1))
        return self.prior.encode(anchored).view_as(latents)


@torch.no_grad()
def sample_small_prior(
    prior: SmallPrior,
    frames: Float[Tensor, "t h w 4"],
    elevation: float,
    config: SampleConfig | None = None,
    *,
    cyclic: bool = False,
    generator: torch.Generator | None = None,
    progress: ProgressCallback | None = None,
) -> Float[Tensor, "v t h w 4"]:
    """Draws an image matrix by joint diffusion of all views and frames.

    frames: the clip's frames, straight-alpha RGBA in [0, 1], of the prior's picture size. elevation: of the
    input camera, degrees. The noise is the same for all frames (2401.08742, section 3.2). generator: makes it
    repeatable; its device draws. progress: called with (steps done, steps).

    Raises InputError for frames of another size.
    """
    config = config or SampleConfig()
    size, count = prior.config.lift.image_size, len(frames)
    check_size(frames, size)
    parameter = next(prior.parameters())
    device = parameter.device
    ring = prior.ring(device)
    views, per = len(ring), max(1, config.batch // len(ring))
    parts = []
    for begin in range(0, count, per):
        part = slice(begin, min(begin + per, count))
        pictures = to_network(frames[part].to(device)).to(parameter.dtype)
        n = len(pictures)
        condition = prior.condition(pictures, Cameras.orbit([0.0] * n, elevation, size=size, device=device))
        features = prior.precompute(prior.render_features(condition, Cameras.cat([ring] * n), views))
        parts.append(_Part(part, condition, features))
    coarse = torch.cat([prior.encode(p.features.coarse.float()) for p in parts]).unflatten(0, (count, views))
    randn = partial(torch.randn, generator=generator, device=generator.device if generator else device)
    noise = randn(1, *coarse.shape[1:]).to(device).expand_as(coarse)
    start = round(config.start * len(prior.schedule)) - 1
    whole = start == len(prior.schedule) - 1
    x = noise if whole else q_sample(prior.schedule, coarse, torch.tensor(start), noise)
    latents = draw_samples(
        _Denoiser(prior, parts, config, cyclic),
        x,
        prior.schedule,
        config,
        prediction="x0",
        spacing="trailing",
        t_start=None if whole else start,
        clip=1.0,
        noise=lambda like: randn(1, *like.shape[1:]).to(like).expand_as(like),
        progress=progress,
    )
    pictures = from_network(prior.decode(latents.flatten(0, 1)))
    return pictures.unflatten(0, (count, views)).transpose(0, 1)


def lifted_views(
    prior: SmallPrior, frames: Float[Tensor, "t h w 4"], elevation: float, cameras: Cameras
) -> Float[Tensor, "v t h w 4"]:
    """Renders of the lifted volume from any cameras: the deterministic half, without diffusion."""
    parameter = next(prior.parameters())
    size = prior.config.lift.image_size
    rows = []
    with torch.no_grad():
        for frame in frames:
            picture = to_network(frame[None].to(parameter.device)).to(parameter.dtype)
            inputs = Cameras.orbit([0.0], elevation, size=size, device=parameter.device)
            features = prior.render_features(prior.condition(picture, inputs), cameras, len(cameras))
            rows.append(from_network(features.coarse))
    return torch.stack(rows, 1)
