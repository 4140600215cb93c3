"""Zero123 (Zero-1-to-3, 2303.11328): one picture of an object, seen from elsewhere.

A latent-diffusion UNet that is told the input picture twice: as latents beside the noisy ones, and as a CLIP
embedding joined with the change of camera. Each view is made for itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from vid4d.cameras import RING_ELEVATION, RING_VIEWS, Cameras
from vid4d.compute.randomness import normal
from vid4d.conventions import view_change
from vid4d.errors import InputError
from vid4d.priors.guidance import PLAIN, ClassifierFree
from vid4d.priors.latent_diffusion import LATENT_SCALE, LatentPrior
from vid4d.priors.layers.autoencoder import Autoencoder, AutoencoderConfig
from vid4d.priors.layers.clip_vision import CLIPVision, CLIPVisionConfig
from vid4d.priors.layers.unet import UNet
from vid4d.priors.layers.unet_config import UNetConfig
from vid4d.priors.multiview_sampling import FullConfig
from vid4d.priors.samplers import OFFICIAL_SAMPLING, NoiseSchedule, ProgressCallback, Sampling, draw_samples
from vid4d.priors.weights.convert_diffusers import diffusers_folder
from vid4d.priors.weights.convert_layouts import SCHEDULE, TEXT_TOWER
from vid4d.priors.weights.network import Network


@dataclass(frozen=True)
class Zero123Config:
    """Sizes of a Zero123; the defaults are the authors'. view_dim: numbers that describe a camera change."""

    unet: UNetConfig = field(default_factory=UNetConfig)
    autoencoder: AutoencoderConfig = field(default_factory=AutoencoderConfig)
    clip: CLIPVisionConfig = field(default_factory=CLIPVisionConfig)
    image_size: int = 256
    view_dim: int = 4

    @property
    def latent_size(self) -> int:
        return self.image_size // self.autoencoder.factor


CONFIGS = {
    "zero123": Zero123Config(),
    "tiny": Zero123Config(
        unet=UNetConfig(
            model_channels=8,
            channel_mult=(1, 1, 2, 2),
            num_res_blocks=1,
            num_heads=2,
            context_dim=12,
            norm_groups=4,
        ),
        autoencoder=AutoencoderConfig(channels=8, channel_mult=(1, 1, 2, 2), num_res_blocks=1, norm_groups=4),
        clip=CLIPVisionConfig(image_size=32, patch_size=16, width=16, layers=2, heads=2, embed_dim=12),
        image_size=64,
    ),
}

GUIDED = ClassifierFree(3.0)
"""The guidance with which the authors sample."""


@dataclass(frozen=True)
class Zero123Condition:
    """Conditioning of each picture. latent: unscaled."""

    embedding: Float[Tensor, "b e"]
    latent: Float[Tensor, "b c h w"]


class Zero123(LatentPrior):
    """View-conditioned diffusion of single views, for sampling and for score distillation.

    Pictures: RGB in [0, 1] over white, squares of `config.image_size`.
    """

    def __init__(self, config: Zero123Config = CONFIGS["zero123"]) -> None:
        super().__init__()
        self.config = config
        self.image_size = config.image_size
        with torch.device("cpu"):  # no weights: real also where the weights are not yet
            self.schedule = NoiseSchedule.scaled_linear()
            self.cameras = Cameras.ring(size=config.image_size)
        context = config.unet.context_dim or config.clip.embed_dim
        self.cc_projection = nn.Linear(config.clip.embed_dim + config.view_dim, context)
        self.unet = UNet(config.unet)
        self.autoencoder = Autoencoder(config.autoencoder)
        self.clip = CLIPVision(config.clip)

    # What the network knows of the input

    def embedding(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b e"]:
        """CLIP embeddings of pictures in [0, 1]."""
        return self.clip((images * 2 - 1).to(self.device, self.dtype))

    def latent(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b c h2 w2"]:
        """The most likely latents of pictures in [0, 1], unscaled, as the UNet sees the input picture."""
        return self.autoencoder.encode((images * 2 - 1).to(self.device, self.dtype))

    def encode(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b c h2 w2"]:
        """Latents as they are noised, times 0.18215; carries gradients to the pictures."""
        return LATENT_SCALE * self.latent(images)

    @torch.no_grad()
    def condition(self, images: Float[Tensor, "b 3 h w"], batch: int = 4) -> Zero123Condition:
        """Conditioning by input pictures in [0, 1], over white."""
        size = self.config.image_size
        if images.ndim != 4 or images.shape[1:] != (3, size, size):
            raise InputError(
                f"The pictures have the shape {tuple(images.shape)}, but this prior takes RGB of "
                f"{size} x {size} pixels, (n, 3, {size}, {size}): resize them."
            )
        parts = images.split(batch)
        return Zero123Condition(
            torch.cat(list(map(self.embedding, parts))), torch.cat(list(map(self.latent, parts)))
        )

    # One denoising step

    def noise(
        self,
        x: Float[Tensor, "b c h w"],
        t: Int[Tensor, " b"],
        context: Float[Tensor, "b 1 k"],
        latent: Float[Tensor, "b c h w"],
        guidance: ClassifierFree = PLAIN,
    ) -> Float[Tensor, "b c h w"]:
        """The predicted noise. x: noisy latents (of scaled ones); latent: of the input picture, unscaled.

        Without condition means: context and latent are 0 (2303.11328, section 3.2).
        """
        variants = guidance.variants()
        image = torch.cat([v.image * latent.to(self.dtype) for v in variants])
        token = torch.cat([v.clip * context.to(self.dtype) for v in variants])
        noisy = x.to(self.device, self.dtype).repeat(len(variants), 1, 1, 1)
        predicted = self.unet(torch.cat([noisy, image], 1), t.to(self.device).repeat(len(variants)), token)
        parts = predicted.unflatten(0, (len(variants), -1)).float()
        return torch.stack([v.weight * part for v, part in zip(variants, parts, strict=True)]).sum(0).to(x)

    # Sampling

    def pair_values(self) -> int:
        """Rough estimate of `LatentPrior.pair_values`."""
        return 2 * 40 * self.config.unet.model_channels * self.config.latent_size**2

    def sampling_options(self, config: FullConfig, cyclic: bool) -> dict[str, Any]:
        """Keyword arguments of `sample` by a configuration: the guidance."""
        return {"guidance": ClassifierFree(config.scale)}

    @torch.no_grad()
    def sample(
        self,
        images: Float[Tensor, "t 3 h w"],
        elevation_deg: Float[Tensor, " t"] | float,
        sampling: Sampling = OFFICIAL_SAMPLING,
        *,
        azimuths_deg: Sequence[float] = tuple(i * 360 / RING_VIEWS for i in range(RING_VIEWS)),
        elevations_deg: Sequence[float] | float = RING_ELEVATION,
        guidance: ClassifierFree = GUIDED,
        shared_noise: bool = True,
        batch: int = 16,
        generator: torch.Generator | None = None,
        progress: ProgressCallback | None = None,
    ) -> Float[Tensor, "t v 3 h w"]:
        """Pictures of the object from every view at every frame, each for itself.

        images: the clip's frames. elevation_deg: of the input camera, one for all frames or one each.
        azimuths_deg, elevations_deg: of the views; those of the ring where not given. shared_noise: the same
        for all frames of a view. batch: pictures at a time. generator: makes it repeatable; its device draws.
        progress: called with (steps done, steps).
        """
        frames, views = len(images), len(azimuths_deg)
        condition = self.condition(images, batch=max(1, batch // 4))
        height = torch.as_tensor(elevations_deg, dtype=torch.float32).expand(views)
        input_elevation = torch.as_tensor(elevation_deg, dtype=torch.float32).cpu().expand(frames)
        change = view_change(height, torch.tensor(list(azimuths_deg)), input_elevation[:, None]).flatten(0, 1)
        frame = torch.arange(frames, device=self.device).repeat_interleave(views)
        context = self.context(condition.embedding[frame], change.to(self.device))

        channels, size = self.config.autoencoder.latent_channels, self.config.latent_size

        def draw(like: Tensor) -> Tensor:
            count = 1 if shared_noise else frames
            noise = normal((count, views, *like.shape[1:]), like, generator)
            return noise.expand(frames, -1, -1, -1, -1).flatten(0, 1)

        def denoise(x: Tensor, t: Tensor) -> Tensor:
            step = int(t)

            def noise(prior: Zero123, part: slice) -> Tensor:
                known = (y[part].to(prior.device) for y in (x, context, condition.latent[frame]))
                noisy, token, latent = known
                parts = []
                for some in prior.batches(len(noisy), batch):
                    steps = torch.full((len(some),), step, device=prior.device)
                    told = (noisy[some], steps, token[some], latent[some])
                    parts.append(prior.played(len(some), partial(prior.noise, guidance=guidance), *told))
                return torch.cat(parts)[: len(noisy)]

            return self.shared_out(noise, len(x)).to(x.device)

        start = draw(torch.empty(frames * views, channels, size, size, device=self.device))
        if self.copies:
            self._check_copies(start, context, condition.latent)
        with self.recording():
            latents = draw_samples(denoise, start, self.schedule, sampling, noise=draw, progress=progress)
        return self.decode(latents, batch=max(1, batch // 4)).unflatten(0, (frames, views))

    def _check_copies(
        self, x: Float[Tensor, "n c h w"], context: Float[Tensor, "n 1 k"], latent: Float[Tensor, "t c h w"]
    ) -> None:
        """`check_copies` by the first picture."""

        def noise(prior: Zero123, part: slice) -> Tensor:
            first = (y[:1].to(prior.device) for y in (x, context, latent))
            noisy, token, shown = (y.expand(part.stop - part.start, *y.shape[1:]) for y in first)
            steps = torch.full((len(noisy),), len(self.schedule) - 1, device=prior.device)
            return prior.noise(noisy, steps, token, shown)

        self.check_copies(self.shared_out(noise, 1 + len(self.copies)), x[0])


NETWORK = Network(
    kind="zero123",
    title="Zero123",
    build=Zero123,
    config=Zero123Config,
    configs=tuple(CONFIGS.values()),
    marks=("model.diffusion_model.", "cc_projection."),
    prefixes={
        "model.diffusion_model.": "unet.",
        "first_stage_model.": "autoencoder.",
        "cond_stage_model.model.visual.": "clip.",
        "cc_projection.": "cc_projection.",
    },
    left_out={
        SCHEDULE: "the noise schedule, which is computed",
        r"model_ema\..*": "the averaged copy of the UNet",
        r"cond_stage_model\.model\." + TEXT_TOWER: "CLIP's text tower",
        r"cond_stage_model\.(mean|std)": "CLIP's normalisation, which is known",
        r"first_stage_model\.loss\..*": "the autoencoder's training loss",
    },
    folder=diffusers_folder,
)
"""Layout of the authors' Zero123 checkpoints."""
