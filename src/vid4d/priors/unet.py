"""The latent-diffusion UNet of Zero123 and SyncDreamer, its sizes a configuration.

Parameter names are those of the latent-diffusion checkpoints (`input_blocks.1.0.in_layers.0.weight`, ...),
so that a converter only strips a prefix. SyncDreamer's depth-wise attention (2309.03453, section 3.3) is an
option.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from vid4d.priors.fused import along_rays, geglu, group_norm, is_channels_last, plus, usable, without_bias

M = TypeVar("M", bound=nn.Module)


@dataclass(frozen=True)
class DepthAttentionConfig:
    """Attention of every pixel to the features along its ray in a view frustum.

    volume_channels: channels of the frustum features at each UNet level, finest first.
    heads: attention heads; each has half as many channels as the frustum features.
    norm_groups: groups of the normalisations inside.
    """

    volume_channels: tuple[int, ...] = (64, 128, 256, 512)
    heads: int = 4
    norm_groups: int = 8


@dataclass(frozen=True)
class UNetConfig:
    """Sizes of a UNet; the defaults are Zero123's.

    channel_mult: channels of a level over model_channels, finest level first; each level halves the size.
    attention_levels: which levels have transformers (the middle always has one).
    num_heads: attention heads; head_dim, where given, fixes the channels of a head instead.
    context_dim: channels of the cross-attention tokens; None leaves the cross-attention out.
    norm_groups: groups of all normalisations; must divide every channel count.
    dropout: in the residual blocks, while training.
    depth_attention: SyncDreamer's attention to frustum features, or None.
    """

    in_channels: int = 8
    out_channels: int = 4
    model_channels: int = 320
    channel_mult: tuple[int, ...] = (1, 2, 4, 4)
    num_res_blocks: int = 2
    attention_levels: tuple[bool, ...] = (True, True, True, False)
    num_heads: int = 8
    head_dim: int | None = None
    context_dim: int | None = 768
    transformer_depth: int = 1
    norm_groups: int = 32
    dropout: float = 0.0
    depth_attention: DepthAttentionConfig | None = None

    def __post_init__(self) -> None:
        levels = len(self.channel_mult)
        if len(self.attention_levels) != levels:
            raise ValueError(
                f"{levels} levels in channel_mult, {len(self.attention_levels)} in attention_levels"
            )
        for mult in (1, *self.channel_mult):
            if mult * self.model_channels % self.norm_groups:
                raise ValueError(
                    f"{mult * self.model_channels} channels do not split into {self.norm_groups} norm groups"
                )
        if self.depth_attention is not None and len(self.depth_attention.volume_channels) != levels:
            raise ValueError(
                f"{levels} levels in channel_mult, "
                f"{len(self.depth_attention.volume_channels)} in depth_attention"
            )

    def heads(self, channels: int) -> tuple[int, int]:
        """Number of heads and channels per head at a level with this many channels."""
        count = self.num_heads if self.head_dim is None else channels // self.head_dim
        if count < 1 or channels % count:
            raise ValueError(f"{channels} channels do not split into {count} attention heads")
        return count, channels // count


def timestep_embedding(
    t: Float[Tensor, " b"], dim: int, max_period: float = 10000.0
) -> Float[Tensor, "b {dim}"]:
    """Sinusoids of a time step (2006.11239, section 4): first the cosines, then the sines, in float32."""
    half = dim // 2
    rates = torch.exp(-math.log(max_period) * torch.arange(half, device=t.device, dtype=torch.float32) / half)
    angles = t.float()[:, None] * rates
    return F.pad(torch.cat([angles.cos(), angles.sin()], -1), (0, dim % 2))


def layers(sequence: nn.Sequential) -> list[Any]:
    """Its modules, whose kinds the caller knows."""
    return list(sequence)


def zeroed(module: M) -> M:
    """The module with all parameters set to zero, so that a new branch starts as the identity."""
    for parameter in module.parameters():
        nn.init.zeros_(parameter)
    return module


class ResBlock(nn.Module):
    """Two convolutions with the time embedding added between them."""

    def __init__(self, channels: int, out_channels: int, embed_dim: int, config: UNetConfig) -> None:
        super().__init__()
        self.in_layers = nn.Sequential(
            nn.GroupNorm(config.norm_groups, channels),
            nn.SiLU(),
            nn.Conv2d(channels, out_channels, 3, padding=1),
        )
        self.emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(embed_dim, out_channels))
        self.out_layers = nn.Sequential(
            nn.GroupNorm(config.norm_groups, out_channels),
            nn.SiLU(),
            nn.Dropout(config.dropout),
            zeroed(nn.Conv2d(out_channels, out_channels, 3, padding=1)),
        )
        self.skip_connection: nn.Module
        if channels == out_channels:
            self.skip_connection = nn.Identity()
        else:
            self.skip_connection = nn.Conv2d(channels, out_channels, 1)

    def forward(self, x: Float[Tensor, "b c h w"], embed: Float[Tensor, "b e"]) -> Float[Tensor, "b o h w"]:
        if not (usable(x) and is_channels_last(x)):
            h = self.in_layers(x) + self.emb_layers(embed)[:, :, None, None]
            return self.skip_connection(x) + self.out_layers(h)
        # the same with every bias added where a normalisation or the sum reads the values anyway
        norm, _, conv = layers(self.in_layers)
        h = without_bias(conv, group_norm(norm, x, "silu"))
        norm, _, _, last = layers(self.out_layers)
        h = without_bias(last, group_norm(norm, h, "silu", self.emb_layers(embed) + conv.bias))
        skip: Any = self.skip_connection
        if isinstance(skip, nn.Identity):
            return plus(x, h, last.bias)
        return plus(without_bias(skip, x), h, last.bias + skip.bias)


class Downsample(nn.Module):
    """Halves the size."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.op = nn.Conv2d(channels, channels, 3, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.op(x)


class Upsample(nn.Module):
    """Doubles the size."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))


class Attention(nn.Module):
    """Multi-head attention of tokens to a context, or to themselves."""

    def __init__(self, dim: int, context_dim: int, heads: int, head_dim: int) -> None:
        super().__init__()
        inner = heads * head_dim
        self.head_count = heads
        self.to_q = nn.Linear(dim, inner, bias=False)
        self.to_k = nn.Linear(context_dim, inner, bias=False)
        self.to_v = nn.Linear(context_dim, inner, bias=False)
        self.to_out = nn.Sequential(nn.Linear(inner, dim))

    def forward(self, x: Float[Tensor, "b n c"], context: Float[Tensor, "b m k"]) -> Float[Tensor, "b n c"]:
        if x is context and x.is_cuda and not torch.is_grad_enabled():
            together = torch.cat([self.to_q.weight, self.to_k.weight, self.to_v.weight])
            parts = F.linear(x, together).chunk(3, -1)  # reads x once
        else:
            parts = (self.to_q(x), self.to_k(context), self.to_v(context))
        q, k, v = (y.unflatten(-1, (self.head_count, -1)).transpose(1, 2) for y in parts)
        return self.to_out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))

    def to_single(self, context: Float[Tensor, "b 1 k"]) -> Float[Tensor, "b 1 c"]:
        """What attention to a single token answers, whatever is asked: its value."""
        return self.to_out(self.to_v(context))


class GEGLU(nn.Module):
    """Linear layer gated by the GELU of its other half."""

    def __init__(self, dim: int, out_dim: int) -> None:
        super().__init__()
        self.proj = nn.Linear(dim, 2 * out_dim)

    def forward(self, x: Tensor) -> Tensor:
        return geglu(self.proj(x))


class FeedForward(nn.Module):
    def __init__(self, dim: int, mult: int = 4) -> None:
        super().__init__()
        self.net = nn.Sequential(GEGLU(dim, mult * dim), nn.Identity(), nn.Linear(mult * dim, dim))

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


class TransformerBlock(nn.Module):
    """Self-attention, cross-attention (if there is a context), feed-forward; each with a residual."""

    def __init__(self, dim: int, context_dim: int | None, heads: int, head_dim: int) -> None:
        super().__init__()
        self.attn1 = Attention(dim, dim, heads, head_dim)
        self.ff = FeedForward(dim)
        self.norm1 = nn.LayerNorm(dim)
        self.norm3 = nn.LayerNorm(dim)
        self.cross = context_dim is not None
        if context_dim is not None:
            self.attn2 = Attention(dim, context_dim, heads, head_dim)
            self.norm2 = nn.LayerNorm(dim)

    def forward(self, x: Float[Tensor, "b n c"], context: Tensor | None) -> Float[Tensor, "b n c"]:
        y = self.norm1(x)
        x = x + self.attn1(y, y)
        if self.cross:
            if context is None:
                raise ValueError("the UNet has cross-attention (context_dim is set): pass a context")
            if context.shape[1] == 1 and not torch.is_grad_enabled():
                x = x + self.attn2.to_single(context)
            else:
                x = x + self.attn2(self.norm2(x), context)
        return x + self.ff(self.norm3(x))


class SpatialTransformer(nn.Module):
    """A transformer over the positions of a feature map."""

    def __init__(self, channels: int, config: UNetConfig) -> None:
        super().__init__()
        heads, head_dim = config.heads(channels)
        self.norm = nn.GroupNorm(config.norm_groups, channels, eps=1e-6)
        self.proj_in = nn.Conv2d(channels, channels, 1)
        self.transformer_blocks = nn.ModuleList(
            TransformerBlock(channels, config.context_dim, heads, head_dim)
            for _ in range(config.transformer_depth)
        )
        self.proj_out = zeroed(nn.Conv2d(channels, channels, 1))

    def forward(self, x: Float[Tensor, "b c h w"], context: Tensor | None) -> Float[Tensor, "b c h w"]:
        if usable(x) and is_channels_last(x):
            tokens = group_norm(self.norm, x).movedim(1, -1).flatten(1, 2)
            tokens = F.linear(tokens, self.proj_in.weight[:, :, 0, 0], self.proj_in.bias)
            for block in self.transformer_blocks:
                tokens = block(tokens, context)
            tokens = F.linear(tokens, self.proj_out.weight[:, :, 0, 0], self.proj_out.bias)
            return x + tokens.unflatten(1, x.shape[2:]).movedim(-1, 1)
        tokens = self.proj_in(self.norm(x)).flatten(2).transpose(1, 2)
        for block in self.transformer_blocks:
            tokens = block(tokens, context)
        return x + self.proj_out(tokens.transpose(1, 2).unflatten(2, x.shape[2:]))


class DepthAttention(nn.Module):
    """Each pixel attends to the depths of its own ray.

    Keys and values have no biases, so their projections are applied to the query and to the attended mean
    instead of to every depth: the same result at a fraction of the work.
    """

    def __init__(self, dim: int, volume_channels: int, heads: int) -> None:
        super().__init__()
        self.head_count = heads
        self.to_q = nn.Conv2d(dim, dim, 1, bias=False)
        self.to_k = nn.Conv3d(volume_channels, dim, 1, bias=False)
        self.to_v = nn.Conv3d(volume_channels, dim, 1, bias=False)
        self.to_out = nn.Conv2d(dim, dim, 1, bias=False)

    def forward(
        self, x: Float[Tensor, "b c h w"], volume: Float[Tensor, "b k d h w"]
    ) -> Float[Tensor, "b c h w"]:
        n = self.head_count
        head_dim = self.to_k.out_channels // n
        key = self.to_k.weight.reshape(n, head_dim, -1)
        value = self.to_v.weight.reshape(n, head_dim, -1)
        query = self.to_q(x).permute(0, 2, 3, 1).unflatten(-1, (n, head_dim))
        query = torch.einsum("bhwnc,nck->bhwnk", query, key)
        rays = volume.permute(0, 3, 4, 2, 1)  # b h w d k
        if usable(query):
            query = query.contiguous()
        mean = torch.einsum("bhwnk,nck->bhwnc", along_rays(query, rays, head_dim**-0.5), value)
        return self.to_out(mean.flatten(3).permute(0, 3, 1, 2))


class DepthTransformer(nn.Module):
    """Adds to a feature map what depth attention finds in the frustum (2309.03453, section 3.3)."""

    def __init__(self, channels: int, volume_channels: int, config: DepthAttentionConfig) -> None:
        super().__init__()
        groups = config.norm_groups
        inner = config.heads * (volume_channels // 2)
        self.proj_in = nn.Sequential(nn.Conv2d(channels, inner, 1), nn.GroupNorm(groups, inner), nn.SiLU())
        self.proj_context = nn.Sequential(
            nn.Conv3d(volume_channels, volume_channels, 1, bias=False),
            nn.GroupNorm(groups, volume_channels),
            nn.ReLU(),
        )
        self.depth_attn = DepthAttention(inner, volume_channels, config.heads)
        self.proj_out = nn.Sequential(
            nn.GroupNorm(groups, inner),
            nn.ReLU(),
            nn.Conv2d(inner, inner, 3, padding=1, bias=False),
            nn.GroupNorm(groups, inner),
            nn.ReLU(),
            zeroed(nn.Conv2d(inner, channels, 3, padding=1, bias=False)),
        )

    def features(self, volume: Float[Tensor, "b k d h w"]) -> Float[Tensor, "b k d h w"]:
        """What pixels attend to, the same for all that see this volume; in memory a ray lies together."""
        if not (usable(volume) and is_channels_last(volume)):
            return self.proj_context(volume)
        conv, norm, _ = layers(self.proj_context)
        mixed = F.linear(volume.movedim(1, -1), conv.weight[:, :, 0, 0, 0]).movedim(-1, 1)
        rays = group_norm(norm, mixed, "relu").permute(0, 3, 4, 2, 1).contiguous()
        return rays.permute(0, 4, 3, 1, 2)

    def found(
        self, x: Float[Tensor, "b c h w"], features: Float[Tensor, "b k d h w"]
    ) -> Float[Tensor, "b c h w"]:
        """What depth attention adds to a feature map."""
        if not (usable(x) and is_channels_last(x)):
            return self.proj_out(self.depth_attn(self.proj_in(x), features))
        conv, norm, _ = layers(self.proj_in)
        h = self.depth_attn(group_norm(norm, without_bias(conv, x), "silu", conv.bias), features)
        norm, _, conv, other, _, last = layers(self.proj_out)
        return last(group_norm(other, conv(group_norm(norm, h, "relu")), "relu"))

    def forward(
        self, x: Float[Tensor, "b c h w"], volume: Float[Tensor, "b k d h w"]
    ) -> Float[Tensor, "b c h w"]:
        return x + self.found(x, self.features(volume))


class Stage(nn.Sequential):
    """Layers in a row; each gets what it needs of time embedding and context."""

    def forward(self, x: Tensor, embed: Tensor, context: Tensor | None) -> Tensor:  # type: ignore[override]
        for layer in self:
            if isinstance(layer, ResBlock):
                x = layer(x, embed)
            elif isinstance(layer, SpatialTransformer):
                x = layer(x, context)
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
        self.input_blocks = nn.ModuleList([Stage(nn.Conv2d(config.in_channels, base, 3, padding=1))])
        skips = [base]
        last = len(config.channel_mult) - 1
        for level, mult in enumerate(config.channel_mult):
            for _ in range(config.num_res_blocks):
                layers: list[nn.Module] = [ResBlock(channels, mult * base, embed_dim, config)]
                channels = mult * base
                if config.attention_levels[level]:
                    layers.append(SpatialTransformer(channels, config))
                self.input_blocks.append(Stage(*layers))
                skips.append(channels)
            if level < last:
                self.input_blocks.append(Stage(Downsample(channels)))
                skips.append(channels)

        self.middle_block = Stage(
            ResBlock(channels, channels, embed_dim, config),
            SpatialTransformer(channels, config),
            ResBlock(channels, channels, embed_dim, config),
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
                layers = [ResBlock(channels + skips.pop(), out, embed_dim, config)]
                channels = out
                if config.attention_levels[level]:
                    layers.append(SpatialTransformer(channels, config))
                up = level > 0 and i == config.num_res_blocks
                if up:
                    layers.append(Upsample(channels))
                self.output_blocks.append(Stage(*layers))
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
        self, volumes: Mapping[int, Float[Tensor, "b v d hv wv"]]
    ) -> list[Float[Tensor, "b v d h w"]]:
        """What every place of depth attention sees of the volumes, to share it between evaluations."""
        widths = sorted(volumes, reverse=True)
        places = zip(self._conditions, self.condition_levels, strict=True)
        return [place.features(volumes[widths[level]]) for place, level in places]

    def depth_nothing(
        self, volumes: Mapping[int, Float[Tensor, "b v d hv wv"]]
    ) -> list[Float[Tensor, "1 c h w"]]:
        """What depth attention adds where all volumes are zero, whatever the picture.

        Every depth then holds the same features, so attention answers the same for every query.
        """
        widths, nothing = sorted(volumes, reverse=True), []
        for place, level in zip(self._conditions, self.condition_levels, strict=True):
            like = volumes[widths[level]]
            channels = layers(place.proj_in)[0].in_channels
            picture = like.new_zeros(1, channels, *like.shape[3:])
            nothing.append(place.found(picture, place.features(torch.zeros_like(like[:1, :, :1]))))
        return nothing

    def forward(
        self,
        x: Float[Tensor, "b i h w"],
        t: Float[Tensor, " b"],
        context: Float[Tensor, "b m k"] | None = None,
        volumes: Mapping[int, Float[Tensor, "b v d hv wv"]] | None = None,
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
            h = h + _seen(self.middle_conditions, h, depth[0])
        plain = self.config.num_res_blocks  # before: blocks of the coarsest level, without depth attention
        for i, block in enumerate(self.output_blocks):
            h = block(torch.cat([h, skips.pop()], dim=1), embed, context)
            if depth is not None and i > plain:
                h = h + _seen(self.output_conditions[i - plain - 1], h, depth[i - plain])
        norm, _, conv = layers(self.out)
        return conv(group_norm(norm, h, "silu"))


def _seen(place: nn.Module, h: Float[Tensor, "b c h w"], depth: Tensor) -> Tensor:
    return place.found(h, depth) if depth.ndim == 5 else depth  # type: ignore[operator]
