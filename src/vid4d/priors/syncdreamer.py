"""SyncDreamer (2309.03453) made time-synchronous (Efficient4D, 2401.08742, section 3.2).

From each frame of a clip, pictures of the object from all views of a ring. All views of a frame are denoised
together through one spatial volume, and in every step each frame's volume is averaged with its neighbours'.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from vid4d.cameras import RING_ELEVATION, Cameras
from vid4d.compute.randomness import normal
from vid4d.conventions import view_change
from vid4d.errors import InputError
from vid4d.priors.guidance import DECOMPOSED, PLAIN, ClassifierFree, Decomposed
from vid4d.priors.latent_diffusion import LatentPrior
from vid4d.priors.layers.autoencoder import Autoencoder, AutoencoderConfig
from vid4d.priors.layers.blocks import timestep_embedding
from vid4d.priors.layers.clip_vision import CLIPVision, CLIPVisionConfig
from vid4d.priors.layers.syncdreamer_volumes import SpatialVolumes, VolumeConfig
from vid4d.priors.layers.unet import UNet
from vid4d.priors.layers.unet_config import DepthAttentionConfig, UNetConfig
from vid4d.priors.multiview_sampling import FullConfig
from vid4d.priors.samplers import OFFICIAL_SAMPLING, NoiseSchedule, ProgressCallback, Sampling, draw_samples
from vid4d.priors.smoothing import smoothing_matrix
from vid4d.priors.weights.convert_layouts import SCHEDULE, TEXT_TOWER
from vid4d.priors.weights.network import Network


@dataclass(frozen=True)
class SyncDreamerConfig:
    """Sizes of a SyncDreamer; the defaults are the authors'."""

    unet: UNetConfig = field(default_factory=lambda: UNetConfig(depth_attention=DepthAttentionConfig()))
    autoencoder: AutoencoderConfig = field(default_factory=AutoencoderConfig)
    clip: CLIPVisionConfig = field(default_factory=CLIPVisionConfig)
    volumes: VolumeConfig = field(default_factory=VolumeConfig)

    @property
    def image_size(self) -> int:
        return self.volumes.latent_size * self.autoencoder.factor


CONFIGS = {
    "syncdreamer": SyncDreamerConfig(),
    "tiny": SyncDreamerConfig(
        unet=UNetConfig(
            model_channels=8,
            channel_mult=(1, 1, 2, 2),
            num_res_blocks=1,
            num_heads=2,
            context_dim=12,
            norm_groups=4,
            depth_attention=DepthAttentionConfig(volume_channels=(4, 8, 8, 8), heads=2, norm_groups=2),
        ),
        autoencoder=AutoencoderConfig(channels=8, channel_mult=(1, 1, 2, 2), num_res_blocks=1, norm_groups=4),
        clip=CLIPVisionConfig(image_size=32, patch_size=16, width=16, layers=2, heads=2, embed_dim=12),
        volumes=VolumeConfig(
            views=4,
            latent_size=8,
            view_channels=4,
            channels=(4, 8, 8, 8),
            size=8,
            depths=8,
            time_dim=16,
            norm_groups=2,
        ),
    ),
}


@dataclass(frozen=True)
class SyncDreamerCondition:
    """Conditioning of each frame.

    clip: embeddings. latent: of the input picture, unscaled. view: poses relative to the input view.
    """

    clip: Float[Tensor, "t e"]
    latent: Float[Tensor, "t c h w"]
    view: Float[Tensor, "t v 4"]

    def of(self, frames: slice, device: torch.device) -> SyncDreamerCondition:
        """That of some frames, on a device."""
        parts = (x[frames].to(device) for x in (self.clip, self.latent, self.view))
        return SyncDreamerCondition(*parts)


class SyncDreamer(LatentPrior):
    """A view-synchronous, time-synchronous multi-view diffusion prior.

    Input frames and views: RGB in [0, 1], over white, `config.image_size` wide and high. The input camera
    sits at azimuth 0; the views are those of `cameras`.
    """

    def __init__(self, config: SyncDreamerConfig = CONFIGS["syncdreamer"]) -> None:
        super().__init__()
        self.config = config
        v = config.volumes
        self.image_size = config.image_size
        self.cameras = Cameras.ring(v.views, size=config.image_size)
        self.schedule = NoiseSchedule.scaled_linear()
        self.time_embed = nn.Sequential(
            nn.Linear(v.time_dim, v.time_dim), nn.SiLU(), nn.Linear(v.time_dim, v.time_dim)
        )
        context = config.unet.context_dim or config.clip.embed_dim
        self.cc_projection = nn.Linear(config.clip.embed_dim + v.view_dim, context)
        self.spatial_volume = SpatialVolumes(v, self.cameras)
        self.unet = UNet(config.unet)
        self.autoencoder = Autoencoder(config.autoencoder)
        self.clip = CLIPVision(config.clip)

    # What the network knows of the input

    def time_embedding(self, t: Int[Tensor, " b"]) -> Float[Tensor, "b e"]:
        return self.time_embed(timestep_embedding(t, self.config.volumes.time_dim).to(self.dtype))

    @torch.no_grad()
    def condition(
        self, images: Float[Tensor, "t 3 h w"], elevation_deg: Float[Tensor, " t"] | float, batch: int = 4
    ) -> SyncDreamerCondition:
        """Encodes the frames. elevation_deg: of the input camera, one for all frames or one each."""
        frames, channels, height, width = images.shape
        size = self.config.image_size
        if (channels, height, width) != (3, size, size):
            raise InputError(
                f"The frames are {width} x {height} pixels with {channels} channels, "
                f"but this prior takes RGB of {size} x {size}: resize them."
            )
        elevation = torch.as_tensor(elevation_deg, dtype=torch.float32).expand(frames)
        azimuth = torch.arange(self.config.volumes.views) * (360 / self.config.volumes.views)
        view = view_change(torch.tensor(RING_ELEVATION), azimuth, elevation.cpu()[:, None])
        signed = (images * 2 - 1).to(self.device, self.dtype).split(batch)
        return SyncDreamerCondition(
            clip=torch.cat([self.clip(x) for x in signed]),
            latent=torch.cat([self.autoencoder.encode(x) for x in signed]),
            view=view.to(self.device, self.dtype),
        )

    # One denoising step

    def volumes(
        self,
        x: Float[Tensor, "t v c h w"],
        time: Float[Tensor, "t e"],
        view: Float[Tensor, "t v 4"],
        batch: int = 1,
    ) -> Float[Tensor, "t k s s s"]:
        """One volume per frame, of its noisy views alone."""
        build = self.spatial_volume.spatial
        return torch.cat(
            [
                build(*parts)
                for parts in zip(x.split(batch), time.split(batch), view.split(batch), strict=True)
            ]
        )

    def predict(
        self,
        x: Float[Tensor, "b c h w"],
        t: Int[Tensor, " b"],
        context: Float[Tensor, "b 1 k"],
        latent: Float[Tensor, "b c h w"],
        pyramid: Mapping[int, Float[Tensor, "b _ _ _ _"]],
        guidance: ClassifierFree | Decomposed = PLAIN,
    ) -> Float[Tensor, "b c h w"]:
        """Guided noise of single views, in float32. latent: of the input picture, unscaled."""
        features = self.unet.depth_features(pyramid)
        total = torch.zeros_like(x, dtype=torch.float32)
        for variant in guidance.variants():
            unet_input = torch.cat([x, variant.image * latent], 1)
            depth = features if variant.volume else self.unet.depth_nothing(pyramid)
            total = (
                total + variant.weight * self.unet(unet_input, t, variant.clip * context, depth=depth).float()
            )
        return total

    def guided(
        self,
        guidance: ClassifierFree | Decomposed,
        x: Float[Tensor, "b c h w"],
        t: Int[Tensor, " b"],
        time: Float[Tensor, "b e"],
        clip: Float[Tensor, "b e2"],
        latent: Float[Tensor, "b c h w"],
        pose: Float[Tensor, "b 4"],
        volume: Float[Tensor, "t k s s s"],
        frame: Int[Tensor, " b"],
        view: Int[Tensor, " b"],
    ) -> Float[Tensor, "b c h w"]:
        """Guided noise of single views, in float32. time: embedding of t. clip, latent, pose: conditioning.
        frame: whose volume each view sees. view: which of the ring's."""
        pyramid = self.spatial_volume.frustum(volume, frame, time, pose, view)
        return self.predict(x, t, self.context(clip, pose), latent, pyramid, guidance)

    @torch.no_grad()
    def noise(
        self,
        x: Float[Tensor, "t v c h w"],
        t: Int[Tensor, ""],
        condition: SyncDreamerCondition,
        *,
        guidance: ClassifierFree | Decomposed = PLAIN,
        smoothing: Float[Tensor, "t t"] | None = None,
        batch: int = 16,
    ) -> Float[Tensor, "t v c h w"]:
        """The predicted noise of all views of all frames. batch: (frame, view) pairs at a time.

        Frames go to this network and its copies on other devices; all volumes meet here, to be averaged by
        the rows of the smoothing matrix.
        """
        frames, views, step = *x.shape[:2], int(t)

        def volumes(prior: SyncDreamer, part: slice) -> Tensor:
            latents = x[part].contiguous().to(prior.device, prior.dtype)
            time = prior.time_embedding(torch.full((len(latents),), step, device=prior.device))
            view = condition.view[part].to(prior.device)
            return prior.volumes(latents, time, view, batch=max(1, batch // views))

        volume = self.shared_out(volumes, frames)
        if smoothing is not None:
            weights = smoothing.to(volume.device, torch.float32)  # which they are already while sampling
            volume = torch.einsum("ij,jkxyz->ikxyz", weights, volume.float()).to(volume.dtype)

        def noise(prior: SyncDreamer, part: slice) -> Tensor:
            told = condition.of(part, prior.device)
            return prior.noise_of(x[part].contiguous(), step, told, volume[part], guidance, batch)

        return self.shared_out(noise, frames).to(x.device, x.dtype)

    @torch.no_grad()
    def noise_of(
        self,
        x: Float[Tensor, "t v c h w"],
        step: int,
        condition: SyncDreamerCondition,
        volume: Float[Tensor, "t k s s s"],
        guidance: ClassifierFree | Decomposed,
        batch: int,
    ) -> Float[Tensor, "t v c h w"]:
        """The noise in views of frames whose volumes are known, in float32 and on this network's device."""
        frames, views = x.shape[:2]
        latents, volume = x.to(self.device, self.dtype), volume.to(self.device)
        steps = torch.full((frames,), step, device=self.device)
        time = self.time_embedding(steps)
        parts = []
        for pairs in self.batches(frames * views, batch):
            frame, view = pairs // views, pairs % views
            known = condition.clip[frame], condition.latent[frame], condition.view[frame, view]
            told = (latents[frame, view], steps[frame], time[frame], *known, volume, frame, view)
            kind = (guidance, len(pairs), frames)
            parts.append(self.played(kind, partial(self.guided, guidance), *told))
        return torch.cat(parts)[: frames * views].unflatten(0, (frames, views))

    # Sampling

    def pair_values(self) -> int:
        """Estimate of `LatentPrior.pair_values`.

        At the authors' size 73 MiB in bfloat16; benchmarks/prior_speed.py saw 52 MiB in use, and 65 to 79
        MiB with what is set aside.
        """
        v, u = self.config.volumes, self.config.unet
        frustum = 10 * v.channels[0] * v.depths * v.latent_size**2
        picture = 20 * u.model_channels * v.latent_size**2
        return frustum + picture

    def sampling_options(self, config: FullConfig, cyclic: bool) -> dict[str, Any]:
        return {"guidance": config.guidance, "cyclic": cyclic, "smooth": config.smooth}

    @torch.no_grad()
    def sample(
        self,
        images: Float[Tensor, "t 3 h w"],
        elevation_deg: Float[Tensor, " t"] | float,
        sampling: Sampling = OFFICIAL_SAMPLING,
        *,
        guidance: ClassifierFree | Decomposed = DECOMPOSED,
        cyclic: bool = False,
        smooth: bool = True,
        shared_noise: Literal["all", "first", "none"] = "all",
        batch: int = 16,
        generator: torch.Generator | None = None,
        progress: ProgressCallback | None = None,
    ) -> Float[Tensor, "t v 3 h w"]:
        """Draws the ring's views of every frame, time-synchronously.

        images: the clip's frames in [0, 1] over white. elevation_deg: of the input camera, one for all frames
        or one each. cyclic: the clip is a loop. smooth: average the volumes over time (off: each frame for
        itself, as SyncDreamer). shared_noise: "all" noise is the same for all frames, or only the "first" (as
        published), or "none". batch: (frame, view) pairs at a time.
        generator: makes it repeatable; its device draws. progress: called with (steps done, steps).
        """
        condition = self.condition(images, elevation_deg, batch=max(1, batch // 4))
        v = self.config.volumes
        shape = (len(images), v.views, v.latent_channels, v.latent_size, v.latent_size)

        def draw(like: Tensor, share: bool) -> Tensor:
            count = 1 if share else like.shape[0]
            return normal((count, *like.shape[1:]), like, generator).expand_as(like)

        smoothing = smoothing_matrix(len(images), cyclic).to(self.device, torch.float32) if smooth else None
        if self.copies:
            self._check_copies(condition, batch)
        denoise = partial(
            self.noise, condition=condition, guidance=guidance, smoothing=smoothing, batch=batch
        )
        with self.recording():
            latents = draw_samples(
                denoise,
                draw(torch.empty(shape, device=self.device), share=shared_noise != "none"),
                self.schedule,
                sampling,
                noise=partial(draw, share=shared_noise == "all"),
                progress=progress,
            )
        return self.decode(latents, batch=max(1, batch // 4))

    def _check_copies(self, condition: SyncDreamerCondition, batch: int) -> None:
        """`check_copies` by the views of the first frame, one frame for each network."""
        v, count = self.config.volumes, 1 + len(self.copies)
        size = (v.views, v.latent_channels, v.latent_size, v.latent_size)
        x = torch.randn(size, generator=torch.Generator().manual_seed(0)).to(self.device)
        told = (x[:1].expand(count, *x.shape[1:]) for x in (condition.clip, condition.latent, condition.view))
        last = torch.tensor(len(self.schedule) - 1)
        noise = self.noise(x.expand(count, *size), last, SyncDreamerCondition(*told), batch=batch)
        self.check_copies(noise, x[0])


NETWORK = Network(
    kind="syncdreamer",
    title="SyncDreamer",
    build=SyncDreamer,
    config=SyncDreamerConfig,
    configs=tuple(CONFIGS.values()),
    marks=("spatial_volume.", "model.diffusion_model.", "cc_projection."),
    prefixes={
        "model.diffusion_model.": "unet.",
        "first_stage_model.": "autoencoder.",
        "clip_image_encoder.model.visual.": "clip.",
        "spatial_volume.": "spatial_volume.",
        "time_embed.": "time_embed.",
        "cc_projection.": "cc_projection.",
    },
    left_out={
        SCHEDULE: "the noise schedule, which is computed",
        r"poses|Ks|azimuth|elevation": "the cameras of the ring, which are computed",
        r"clip_image_encoder\.model\." + TEXT_TOWER: "CLIP's text tower",
        r"clip_image_encoder\.(mean|std)": "CLIP's normalisation, which is known",
        r"first_stage_model\.loss\..*": "the autoencoder's training loss",
    },
)
"""Layout of the authors' SyncDreamer checkpoint."""
