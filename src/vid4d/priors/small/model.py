"""The small prior that ships with the package: SyncDreamer-T with the input view lifted into its volume.

The joint diffusion of SyncDreamer (2309.03453) at 128 px over pixel-unshuffled RGBA. Each frame has two
volumes: one lifted from the input view, once; one made of all noisy views in every step, which is what
Efficient4D (2401.08742, section 3.2) synchronises over time. Each view attends to both along its rays and is
denoised by a view-conditioned UNet, as a correction of what the lifted volume alone renders. With the noisy
views left out and one target view it is a small Zero123 (2303.11328).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import pairwise

import torch
import torch.nn.functional as F
from jaxtyping import Float, Real
from torch import Tensor, nn

from vid4d.cameras import RING_DISTANCE, RING_ELEVATION, RING_VIEWS, Cameras
from vid4d.priors.layers.blocks import timestep_embedding
from vid4d.priors.layers.residual import ResBlock
from vid4d.priors.layers.unet import UNet
from vid4d.priors.layers.unet_config import DepthAttentionConfig, UNetConfig
from vid4d.priors.samplers import NoiseSchedule
from vid4d.priors.small.lifting import LiftConfig, Lifter, composite_features, lift, ray_weights


@dataclass(frozen=True)
class SmallConfig:
    """Sizes of the small prior.

    frustum_channels: features of the view frustum at the UNet's levels. noisy_hidden, noisy_channels: inside
    and out of the encoder of noisy views; noisy_volume: of their volume at full and half resolution.
    noise_shift: of the schedule.
    """

    lift: LiftConfig = field(default_factory=LiftConfig)
    model_channels: int = 96
    channel_mult: tuple[int, ...] = (1, 2, 2)
    num_res_blocks: int = 1
    frustum_channels: tuple[int, ...] = (24, 48, 96)
    noisy_hidden: int = 64
    noisy_channels: int = 16
    noisy_volume: tuple[int, int] = (24, 48)
    noisy_views: int = RING_VIEWS
    noise_shift: float = -2.0

    @property
    def unet(self) -> UNetConfig:
        latent = self.lift.latent_channels
        return UNetConfig(
            in_channels=3 * latent + self.lift.features + 2 + self.noisy_volume[0],
            out_channels=latent,
            model_channels=self.model_channels,
            channel_mult=self.channel_mult,
            num_res_blocks=self.num_res_blocks,
            attention_levels=(False, *[True] * (len(self.channel_mult) - 1)),
            head_dim=48,
            context_dim=self.lift.channels[2],
            norm_groups=8,
            depth_attention=DepthAttentionConfig(self.frustum_channels, heads=2, norm_groups=8),
        )


@dataclass
class SmallCondition:
    """Conditioning of the diffusion: lifted volume, tokens and latents of the pictures, input cameras."""

    volume: Tensor
    tokens: Tensor
    latent: Tensor
    cameras: Cameras


@dataclass
class ViewFeatures:
    """The lifted volume seen by n target cameras of each of b frames.

    frustum: samples along rays (b, c, n, d, p, p). weight: of compositing (b, n, d, p, p).
    ray_features: composited (b * n, c, p, p). coarse: pictures rendered from them (b * n, 4, h, w).
    frustum_in: output of the frustum network's first layer for `frustum`, where `precompute` made it.
    """

    frustum: Tensor | None
    weight: Tensor
    ray_features: Tensor
    coarse: Tensor
    cameras: Cameras
    frustum_in: Tensor | None = None


class NoisyVolume(nn.Module):
    """Noisy latents of the ring's views -> the spatial volume of a step (2309.03453, section 3.2)."""

    def __init__(self, config: SmallConfig) -> None:
        super().__init__()
        c, e = config.noisy_hidden, config.lift.embedding
        self.embedding = e
        self.time = nn.Sequential(nn.Linear(e, e), nn.SiLU(), nn.Linear(e, e))
        self.enter = nn.Conv2d(config.lift.latent_channels, c, 3, padding=1)
        self.blocks = nn.ModuleList([ResBlock(2, c, c, e) for _ in range(2)])
        self.leave = nn.Conv2d(c, config.noisy_channels, 1)
        a, b = config.noisy_volume
        self.size, self.extent = config.lift.volume_size, config.lift.extent
        self.fuse = nn.Conv3d(config.noisy_views * config.noisy_channels, a, 1)
        self.fine = ResBlock(3, a, a, e)
        self.down = nn.Conv3d(a, b, 2, 2)
        self.coarse = nn.ModuleList([ResBlock(3, b, b, e) for _ in range(2)])
        self.up = nn.ConvTranspose3d(b, a, 2, 2)
        self.last = ResBlock(3, a, a, e)

    def forward(
        self, latents: Float[Tensor, "b v c p p"], t: Real[Tensor, " b"], ring: Cameras
    ) -> Float[Tensor, "b a s s s"]:
        views = latents.shape[1]
        embedding = self.time(timestep_embedding(t, self.embedding).to(latents.dtype))
        per_view = embedding.repeat_interleave(views, 0)
        x = self.enter(latents.flatten(0, 1))
        for block in self.blocks:
            x = block(x, per_view)
        volume = lift(self.leave(x), ring, self.size, self.extent).unflatten(0, (-1, views)).flatten(1, 2)
        volume = self.fine(self.fuse(volume), embedding)
        deep = self.down(volume)
        for block in self.coarse:
            deep = block(deep, embedding)
        return self.last(volume + self.up(deep), embedding)


class FrustumNet(nn.Module):
    """Samples of the volume along a view's rays -> a pyramid of frustum features for depth attention."""

    def __init__(self, config: SmallConfig) -> None:
        super().__init__()
        channels = config.frustum_channels
        self.enter = nn.Conv3d(config.lift.features + 1 + config.noisy_volume[0], channels[0], 1)
        self.down = nn.ModuleList([nn.Conv3d(a, b, 2, 2) for a, b in pairwise(channels)])

    def project_in(self, frustum: Float[Tensor, "b c n d p p"], first: int) -> Float[Tensor, "b e n d p p"]:
        """First layer applied to its input channels from `first` on alone, without bias."""
        weight = self.enter.weight[:, first : first + frustum.shape[1]]
        part = F.conv3d(frustum.flatten(2, 3), weight.to(frustum.dtype))
        return part.unflatten(2, frustum.shape[2:4])

    def forward(self, frustum_in: Float[Tensor, "b e n d p p"], frame_mask: Tensor) -> dict[int, Tensor]:
        """Feature pyramid by edge length.

        frustum_in: sum of `project_in` over all input channels. frame_mask: factor per frame (b,), 0 hides
        the volumes.
        """
        x = frustum_in * frame_mask[:, None, None, None, None, None]
        bias = self.enter.bias
        assert bias is not None
        x = x.transpose(1, 2).flatten(0, 1) + bias.to(x.dtype)[:, None, None, None]
        x = F.silu(x)
        pyramid = {x.shape[-1]: x}
        for layer in self.down:
            x = F.silu(layer(x))
            pyramid[x.shape[-1]] = x
        return pyramid


class SmallPrior(nn.Module):
    """Joint diffusion of the ring's 16 views, or of single views, given one picture."""

    def __init__(self, config: SmallConfig | None = None) -> None:
        super().__init__()
        self.config = config or SmallConfig()
        c = self.config
        self.lifter = Lifter(c.lift)
        self.noisy_volume = NoisyVolume(c)
        self.frustum_net = FrustumNet(c)
        self.pose = nn.Linear(4, c.lift.channels[2])
        self.unet = UNet(c.unet)
        self.schedule = NoiseSchedule.shifted_cosine(shift=c.noise_shift)

    def encode(self, pictures: Float[Tensor, "n 4 h w"]) -> Float[Tensor, "n c p p"]:
        """RGBA over white in [-1, 1] -> latents (pixel-unshuffle, so nothing is lost)."""
        return F.pixel_unshuffle(pictures, self.config.lift.patch)

    def decode(self, latents: Float[Tensor, "n c p p"]) -> Float[Tensor, "n 4 h w"]:
        """Inverse of `encode` (pixel-shuffle)."""
        return F.pixel_shuffle(latents, self.config.lift.patch)

    def ring(self, device: torch.device | str) -> Cameras:
        """The ring whose views the diffusion makes."""
        size, views = self.config.lift.image_size, self.config.noisy_views
        return Cameras.ring(views, elevation=RING_ELEVATION, size=size, device=device)

    def condition(self, pictures: Float[Tensor, "b 4 h w"], cameras: Cameras) -> SmallCondition:
        """Everything that depends on the input pictures and their cameras alone."""
        encoded = self.lifter.encoder(pictures)
        volume = self.lifter.volume(encoded, cameras)
        return SmallCondition(volume, encoded.tokens, self.encode(pictures).to(encoded.fine.dtype), cameras)

    def render_features(self, condition: SmallCondition, cameras: Cameras, views: int) -> ViewFeatures:
        """The lifted volume seen by `views` cameras per frame (frames outermost): what no step changes."""
        dtype = condition.latent.dtype
        frustum = self.lifter.padded_frustum(condition.volume, cameras, views)
        weight = ray_weights(frustum[:, 0], self.lifter.step)
        ray_features = composite_features(frustum, weight).flatten(0, 1).to(dtype)
        pictures = self.lifter.head(ray_features)
        return ViewFeatures(frustum.to(dtype), weight, ray_features, pictures, cameras)

    def precompute(self, features: ViewFeatures) -> ViewFeatures:
        """The features for many steps with fixed weights: smaller, their share of each step done ahead."""
        assert features.frustum is not None
        return replace(features, frustum=None, frustum_in=self.frustum_net.project_in(features.frustum, 0))

    def synchronous_volume(
        self, noisy: Float[Tensor, "b v c p p"], t: Real[Tensor, " b"], smoothing: Tensor | None = None
    ) -> Float[Tensor, "b a s s s"]:
        """The spatial volume of each frame in one step, averaged over time by the rows of `smoothing`."""
        volume = self.noisy_volume(noisy, t, self.ring(noisy.device))
        if smoothing is None:
            return volume
        return torch.einsum("ij,j...->i...", smoothing.to(volume.dtype), volume)

    def denoise(
        self,
        condition: SmallCondition,
        features: ViewFeatures,
        volume: Float[Tensor, "b a s s s"] | None,
        noisy: Float[Tensor, "b n c p p"],
        t: Real[Tensor, " b"],
        *,
        image_on: Tensor | None = None,
        volume_on: Tensor | None = None,
        image_scale: float = 1.0,
    ) -> Float[Tensor, "b n c p p"]:
        """Predicted data (latents) of n target views of each frame.

        volume: of the noisy views, or None without them. image_on, volume_on: masks (b,) for guidance and
        condition dropout; image_scale multiplies the concatenated input latent (decomposed guidance uses 4).
        """
        b, n = noisy.shape[:2]
        c, dtype = self.config, condition.latent.dtype
        ones = torch.ones(b, device=noisy.device, dtype=dtype)
        frame_mask = ones if volume_on is None else volume_on.to(dtype)
        image = (ones if image_on is None else image_on.to(dtype)).repeat_interleave(n)[:, None, None, None]
        mask = frame_mask.repeat_interleave(n)[:, None, None, None]
        frustum_in = features.frustum_in
        if frustum_in is None:
            assert features.frustum is not None
            frustum_in = self.frustum_net.project_in(features.frustum, 0)
        if volume is None:
            surface = features.ray_features.new_zeros(
                b * n, c.noisy_volume[0], *features.ray_features.shape[2:]
            )
        else:
            inner = self.lifter.frustum(volume, features.cameras, n).to(dtype)
            surface = torch.einsum("bcndpq,bndpq->bncpq", inner, features.weight.to(dtype)).flatten(0, 1)
            frustum_in = frustum_in + self.frustum_net.project_in(inner, c.lift.features + 1)
        pyramid = self.frustum_net(frustum_in, frame_mask)
        coarse = self.encode(features.coarse) * mask
        latent = condition.latent.repeat_interleave(n, 0) * (image * image_scale)
        x = torch.cat(
            [noisy.flatten(0, 1).to(dtype), latent, coarse, features.ray_features * mask, surface * mask], 1
        )
        tokens = condition.tokens.repeat_interleave(n, 0) * image[..., 0]
        context = torch.cat([tokens, self._pose_token(condition.cameras, features.cameras, n, dtype)], 1)
        residual = self.unet(x, t.repeat_interleave(n), context, pyramid)
        return (coarse + residual).unflatten(0, (b, n))

    def _pose_token(self, inputs: Cameras, targets: Cameras, n: int, dtype: torch.dtype) -> Tensor:
        """Zero123's relative pose as one more token: polar angle, sine and cosine of azimuth, distance."""
        start = torch.deg2rad(inputs.elevation).repeat_interleave(n)
        turn = torch.deg2rad(targets.azimuth - inputs.azimuth.repeat_interleave(n))
        further = targets.position.norm(dim=1) - RING_DISTANCE
        pose = torch.stack([start - torch.deg2rad(targets.elevation), turn.sin(), turn.cos(), further], 1)
        return self.pose(pose.to(dtype))[:, None]
