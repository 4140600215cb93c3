"""The latent-diffusion UNet of Zero123 and SyncDreamer, its sizes a configuration.

Parameter names are those of the latent-diffusion checkpoints (`input_blocks.1.0.in_layers.0.weight`, ...),
so that a converter only strips a prefix. SyncDreamer's depth-wise attention (2309.03453, section 3.3) is an
option.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float, Real
from torch import Tensor, nn

from vid4d.priors.layers.blocks import (
    Downsample,
    SpatialTransformer,
    TimestepResBlock,
    Upsample,
    layers,
    timestep_embedding,
    zeroed,
)
from vid4d.priors.layers.depth_attention import DepthTransformer, ray_ordered
from vid4d.priors.layers.fused_ops import convolved, group_norm, usable
from vid4d.priors.layers.unet_config import UNetConfig


class TimestepEmbedSequential(nn.Sequential):
    """Layers in a row; each gets what it needs of time embedding, context and channels beside the input."""

    def forward(  # type: ignore[override]
        self, x: Tensor, embed: Tensor, context: Tensor | None, beside: Tensor | None = None
    ) -> Tensor:
        for layer in self:
            if isinstance(layer, TimestepResBlock):
                x, beside = layer(x, embed, beside), None
            elif isinstance(layer, SpatialTransformer):
                x = layer(x, context)
            elif isinstance(layer, nn.Conv2d):
                x = convolved(layer, x)
            else:
                x = layer(x)
        return x


class UNet(nn.Module):
    """A UNet that predicts noise (or data, or velocity) from a noisy picture, a time step and a context.

    Source: latent diffusion (2112.10752, section 3), as configured by Zero-1-to-3 (2303.11328) and
    SyncDreamer (2309.03453). Runs in float32, bfloat16 and float16; picture sizes must be divisible by
    2 ** (levels - 1).
    """

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        self.config = config
        base = config.model_channels
        embed_dim = 4 * base
        self.time_embed = nn.Sequential(
            nn.Linear(base, embed_dim), nn.SiLU(), nn.Linear(embed_dim, embed_dim)
        )

        channels = base
        self.input_blocks = nn.ModuleList(
            [TimestepEmbedSequential(nn.Conv2d(config.in_channels, base, 3, padding=1))]
        )
        skips = [base]
        last = len(config.channel_mult) - 1
        for level, mult in enumerate(config.channel_mult):
            for _ in range(config.num_res_blocks):
                layers: list[nn.Module] = [TimestepResBlock(channels, mult * base, embed_dim, config)]
                channels = mult * base
                if config.attention_levels[level]:
                    layers.append(SpatialTransformer(channels, config))
                self.input_blocks.append(TimestepEmbedSequential(*layers))
                skips.append(channels)
            if level < last:
                self.input_blocks.append(TimestepEmbedSequential(Downsample(channels)))
                skips.append(channels)

        self.middle_block = TimestepEmbedSequential(
            TimestepResBlock(channels, channels, embed_dim, config),
            SpatialTransformer(channels, config),
            TimestepResBlock(channels, channels, embed_dim, config),
        )

        depth = config.depth_attention
        if depth is not None:
            self.middle_conditions = DepthTransformer(channels, depth.volume_channels[last], depth)
            self.output_conditions = nn.ModuleList()
            self.condition_levels = [last]
        self.output_blocks = nn.ModuleList()
        for level in range(last, -1, -1):
            for i in range(config.num_res_blocks + 1):
                out = config.channel_mult[level] * base
                layers = [TimestepResBlock(channels + skips.pop(), out, embed_dim, config)]
                channels = out
                if config.attention_levels[level]:
                    layers.append(SpatialTransformer(channels, config))
                up = level > 0 and i == config.num_res_blocks
                if up:
                    layers.append(Upsample(channels))
                self.output_blocks.append(TimestepEmbedSequential(*layers))
                if depth is not None and level < last:
                    after = level - 1 if up else level
                    volume = depth.volume_channels[after]
                    self.output_conditions.append(DepthTransformer(channels, volume, depth))
                    self.condition_levels.append(after)

        self.out = nn.Sequential(
            nn.GroupNorm(config.norm_groups, channels),
            nn.SiLU(),
            zeroed(nn.Conv2d(channels, config.out_channels, 3, padding=1)),
        )

    @property
    def _conditions(self) -> list[DepthTransformer]:
        if self.config.depth_attention is None:
            raise ValueError("volumes were passed to a UNet without depth attention: set depth_attention")
        return [self.middle_conditions, *self.output_conditions]  # type: ignore[list-item]

    def depth_features(
        self, volumes: Mapping[int, Float[Tensor, "b v _ _ _"]]
    ) -> list[Float[Tensor, "b _ _ _ _"]]:
        """Keys and values of every depth attention from the volumes, to be shared between evaluations."""
        ordered = {w: ray_ordered(v) if usable(v) else v for w, v in volumes.items()}  # once for all places
        widths = sorted(ordered, reverse=True)
        places = zip(self._conditions, self.condition_levels, strict=True)
        return [place.features(ordered[widths[level]]) for place, level in places]

    def depth_nothing(
        self, volumes: Mapping[int, Float[Tensor, "b v _ _ _"]]
    ) -> list[Float[Tensor, "1 _ _ _"]]:
        """Residuals of depth attention for zero volumes, the same for every picture.

        Every depth then holds the same features, so attention answers the same for every query.
        """
        widths, nothing = sorted(volumes, reverse=True), []
        for place, level in zip(self._conditions, self.condition_levels, strict=True):
            like = volumes[widths[level]]
            channels = layers(place.proj_in)[0].in_channels
            picture = like.new_zeros(1, channels, *like.shape[3:])
            nothing.append(place.residual(picture, place.features(torch.zeros_like(like[:1, :, :1]))))
        return nothing

    def forward(
        self,
        x: Float[Tensor, "b i h w"],
        t: Real[Tensor, " b"],
        context: Float[Tensor, "b m k"] | None = None,
        volumes: Mapping[int, Float[Tensor, "b v _ _ _"]] | None = None,
        depth: Sequence[Tensor] | None = None,
    ) -> Float[Tensor, "b o h w"]:
        """The prediction for each picture.

        t: time steps, whole or fractional. context: any number of tokens; needed where context_dim is set.
        volumes: frustum features by their width in pixels, one for each level; None skips depth attention.
        depth: `depth_features` or `depth_nothing` of the volumes, instead of them.
        """
        if volumes is not None:
            depth = self.depth_features(volumes)
        embed = self.time_embed(timestep_embedding(t, self.config.model_channels).to(x.dtype))
        h, skips = x, []
        for block in self.input_blocks:
            h = block(h, embed, context)
            skips.append(h)
        h = self.middle_block(h, embed, context)
        if depth is not None:
            h = h + _depth_residual(self.middle_conditions, h, depth[0])
        plain = self.config.num_res_blocks  # before: blocks of the coarsest level, without depth attention
        for i, block in enumerate(self.output_blocks):
            h = block(h, embed, context, skips.pop())
            if depth is not None and i > plain:
                h = h + _depth_residual(self.output_conditions[i - plain - 1], h, depth[i - plain])
        norm, _, conv = layers(self.out)
        return conv(group_norm(norm, h, "silu"))


def _depth_residual(place: nn.Module, h: Float[Tensor, "b c h w"], depth: Tensor) -> Tensor:
    return place.residual(h, depth) if depth.ndim == 5 else depth  # type: ignore[operator]
