"""The autoencoder of latent diffusion (2112.10752, section 3.1), its sizes a configuration.

Parameter names are those of the authors' `first_stage_model`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from vid4d.priors.layers.blocks import Upsample
from vid4d.priors.layers.fused_ops import addable, convolved, group_norm, normalisable, plus, without_bias


@dataclass(frozen=True)
class AutoencoderConfig:
    """Sizes of an autoencoder; the defaults are Zero123's and SyncDreamer's (8 times smaller latents).

    channel_mult: channels of a level over `channels`, finest first; each level but the last halves the size.
    """

    image_channels: int = 3
    latent_channels: int = 4
    channels: int = 128
    channel_mult: tuple[int, ...] = (1, 2, 4, 4)
    num_res_blocks: int = 2
    norm_groups: int = 32

    @property
    def factor(self) -> int:
        """Picture size over latent size."""
        return 2 ** (len(self.channel_mult) - 1)


class ResnetBlock(nn.Module):
    def __init__(self, channels: int, out_channels: int, groups: int) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(groups, channels, eps=1e-6)
        self.conv1 = nn.Conv2d(channels, out_channels, 3, padding=1)
        self.norm2 = nn.GroupNorm(groups, out_channels, eps=1e-6)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        self.has_shortcut = channels != out_channels
        if self.has_shortcut:
            self.nin_shortcut = nn.Conv2d(channels, out_channels, 1)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b o h w"]:
        h = group_norm(self.norm1, x, "silu")
        if normalisable(h, self.norm2, self.conv1.bias):  # which reads the values anyway
            h = group_norm(self.norm2, without_bias(self.conv1, h), "silu", self.conv1.bias)
        else:
            h = group_norm(self.norm2, self.conv1(h), "silu")
        last: Any = self.conv2
        if addable(x, last.bias):
            h, bias = without_bias(last, h), last.bias
            if self.has_shortcut:
                x, bias = without_bias(self.nin_shortcut, x), bias + self.nin_shortcut.bias
            return plus(x, h, bias)
        return (self.nin_shortcut(x) if self.has_shortcut else x) + self.conv2(h)


class _SingleHead(torch.autograd.Function):
    """Attention of one wide head, whose gradient is made of plain products.

    Kernels of attention are slow for heads of 512 channels, most of all in their gradient.
    """

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        out = F.scaled_dot_product_attention(q[:, None], k[:, None], v[:, None])[:, 0]
        ctx.save_for_backward(q, k, v, out)
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad_out: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        q, k, v, out = ctx.saved_tensors
        scale = q.shape[-1] ** -0.5
        share = (q @ k.mT * scale).softmax(-1)
        mean = (grad_out * out).sum(-1, keepdim=True)
        grad_score = share * (grad_out @ v.mT - mean) * scale
        return grad_score @ k, grad_score.mT @ q, share.mT @ grad_out


class AttentionBlock(nn.Module):
    """Single-head self-attention over all positions."""

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(groups, channels, eps=1e-6)
        self.q = nn.Conv2d(channels, channels, 1)
        self.k = nn.Conv2d(channels, channels, 1)
        self.v = nn.Conv2d(channels, channels, 1)
        self.proj_out = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        y = group_norm(self.norm, x)
        q, k, v = (convolved(layer, y).flatten(2).transpose(1, 2) for layer in (self.q, self.k, self.v))
        out = _SingleHead.apply(q, k, v).transpose(1, 2)
        return x + convolved(self.proj_out, out.unflatten(2, x.shape[2:]))


class Middle(nn.Module):
    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        self.block_1 = ResnetBlock(channels, channels, groups)
        self.attn_1 = AttentionBlock(channels, groups)
        self.block_2 = ResnetBlock(channels, channels, groups)

    def forward(self, x: Tensor) -> Tensor:
        return self.block_2(self.attn_1(self.block_1(x)))


class AutoencoderDownsample(nn.Module):
    """Halves the size; pads on the right and below only, as the authors do."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        return convolved(self.conv, F.pad(x, (0, 1, 0, 1)))


class Level(nn.Module):
    """Blocks of one size, then a change of size."""

    def __init__(self, channels: int, out_channels: int, blocks: int, groups: int) -> None:
        super().__init__()
        self.block = nn.ModuleList(
            ResnetBlock(channels if i == 0 else out_channels, out_channels, groups) for i in range(blocks)
        )

    def forward(self, x: Tensor) -> Tensor:
        for block in self.block:
            x = block(x)
        for name in ("downsample", "upsample"):
            if hasattr(self, name):
                x = getattr(self, name)(x)
        return x


class Encoder(nn.Module):
    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        groups, channels = config.norm_groups, config.channels
        self.conv_in = nn.Conv2d(config.image_channels, channels, 3, padding=1)
        self.down = nn.ModuleList()
        for i, mult in enumerate(config.channel_mult):
            level = Level(channels, mult * config.channels, config.num_res_blocks, groups)
            channels = mult * config.channels
            if i + 1 < len(config.channel_mult):
                level.downsample = AutoencoderDownsample(channels)
            self.down.append(level)
        self.mid = Middle(channels, groups)
        self.norm_out = nn.GroupNorm(groups, channels, eps=1e-6)
        self.conv_out = nn.Conv2d(channels, 2 * config.latent_channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = convolved(self.conv_in, x)
        for level in self.down:
            x = level(x)
        return self.conv_out(group_norm(self.norm_out, self.mid(x), "silu"))


class Decoder(nn.Module):
    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        groups, channels = config.norm_groups, config.channels * config.channel_mult[-1]
        self.conv_in = nn.Conv2d(config.latent_channels, channels, 3, padding=1)
        self.mid = Middle(channels, groups)
        levels: list[Level] = []
        for i, mult in reversed(list(enumerate(config.channel_mult))):
            level = Level(channels, mult * config.channels, config.num_res_blocks + 1, groups)
            channels = mult * config.channels
            if i > 0:
                level.upsample = Upsample(channels)
            levels.insert(0, level)
        self.up = nn.ModuleList(levels)
        self.norm_out = nn.GroupNorm(groups, channels, eps=1e-6)
        self.conv_out = nn.Conv2d(channels, config.image_channels, 3, padding=1)

    def forward(self, z: Tensor) -> Tensor:
        x = self.mid(convolved(self.conv_in, z))
        for level in reversed(self.up):
            x = level(x)
        return self.conv_out(group_norm(self.norm_out, x, "silu"))


class Autoencoder(nn.Module):
    """Pictures to latents and back. Pictures are in [-1, 1], their sizes divisible by `config.factor`."""

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.decoder = Decoder(config)
        self.quant_conv = nn.Conv2d(2 * config.latent_channels, 2 * config.latent_channels, 1)
        self.post_quant_conv = nn.Conv2d(config.latent_channels, config.latent_channels, 1)

    def moments(
        self, images: Float[Tensor, "b i h w"]
    ) -> tuple[Float[Tensor, "b c h2 w2"], Float[Tensor, "b c h2 w2"]]:
        """Mean and standard deviation of each picture's latents."""
        mean, log_variance = self.quant_conv(self.encoder(images)).chunk(2, 1)
        return mean, (0.5 * log_variance.clamp(-30, 20)).exp()

    def encode(self, images: Float[Tensor, "b i h w"]) -> Float[Tensor, "b c h2 w2"]:
        """The most likely latents, without any scaling."""
        return self.moments(images)[0]

    def decode(self, latents: Float[Tensor, "b c h w"]) -> Float[Tensor, "b i h2 w2"]:
        """Pictures from latents without any scaling."""
        return self.decoder(self.post_quant_conv(latents))
