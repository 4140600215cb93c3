"""Layers of the latent-diffusion UNet: residual blocks, transformers over positions, changes of size."""

from __future__ import annotations

import math
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from jaxtyping import Float, Real
from torch import Tensor, nn

from vid4d.priors.layers.fused_ops import (
    convolved,
    doubled,
    geglu,
    group_norm,
    group_norm_of_both,
    is_channels_last,
    layer_norm,
    plus,
    usable,
    without_bias,
)
from vid4d.priors.layers.unet_config import UNetConfig

M = TypeVar("M", bound=nn.Module)


def timestep_embedding(
    t: Real[Tensor, " b"], dim: int, max_period: float = 10000.0
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


class TimestepResBlock(nn.Module):
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

    def forward(
        self,
        x: Float[Tensor, "b c h w"],
        embed: Float[Tensor, "b e"],
        beside: Float[Tensor, "b d h w"] | None = None,
    ) -> Float[Tensor, "b o h w"]:
        """beside: more channels, as if both were one feature map."""
        quick = usable(x) and is_channels_last(x)
        if beside is not None and not (quick and is_channels_last(beside)):
            x, beside = torch.cat([x, beside], 1), None
        if not quick:
            h = self.in_layers(x) + self.emb_layers(embed)[:, :, None, None]
            return self.skip_connection(x) + self.out_layers(h)
        # the same with every bias added where a normalisation or the sum reads the values anyway
        norm, _, conv = layers(self.in_layers)
        h = group_norm(norm, x, "silu") if beside is None else group_norm_of_both(norm, x, beside, "silu")
        h = without_bias(conv, h)
        norm, _, _, last = layers(self.out_layers)
        h = without_bias(last, group_norm(norm, h, "silu", self.emb_layers(embed) + conv.bias))
        skip: Any = self.skip_connection
        if isinstance(skip, nn.Identity):
            return plus(x, h, last.bias)
        return plus(_pointwise(skip.weight, x, beside), h, last.bias + skip.bias)


def _pointwise(
    weight: Float[Tensor, "o c 1 1"], x: Float[Tensor, "b c1 h w"], beside: Float[Tensor, "b c2 h w"] | None
) -> Float[Tensor, "b o h w"]:
    """A 1 x 1 convolution of the channels of one or two channels-last feature maps, as matrix products."""
    matrix, rows = weight[:, :, 0, 0], x.movedim(1, -1)
    out = F.linear(rows, matrix[:, : rows.shape[-1]])
    if beside is not None:
        more = beside.movedim(1, -1)
        out.flatten(0, 2).addmm_(more.flatten(0, 2), matrix[:, rows.shape[-1] :].T)
    return out.movedim(-1, 1)


class Downsample(nn.Module):
    """Halves the size."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.op = nn.Conv2d(channels, channels, 3, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return convolved(self.op, x)


class Upsample(nn.Module):
    """Doubles the size."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return convolved(self.conv, doubled(x))


class CrossAttention(nn.Module):
    """Multi-head attention of tokens to a context, or to themselves."""

    def __init__(self, dim: int, context_dim: int, heads: int, head_dim: int) -> None:
        super().__init__()
        inner = heads * head_dim
        self.head_count = heads
        self.to_q = nn.Linear(dim, inner, bias=False)
        self.to_k = nn.Linear(context_dim, inner, bias=False)
        self.to_v = nn.Linear(context_dim, inner, bias=False)
        self.to_out = nn.Sequential(nn.Linear(inner, dim))

    def attend(self, x: Float[Tensor, "b n c"], context: Float[Tensor, "b m k"]) -> Float[Tensor, "b n i"]:
        """What the heads find, side by side."""
        if x is context and x.is_cuda and not torch.is_grad_enabled():
            together = torch.cat([self.to_q.weight, self.to_k.weight, self.to_v.weight])
            parts = F.linear(x, together).chunk(3, -1)  # reads x once
        else:
            parts = (self.to_q(x), self.to_k(context), self.to_v(context))
        q, k, v = (y.unflatten(-1, (self.head_count, -1)).transpose(1, 2) for y in parts)
        return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)

    def forward(self, x: Float[Tensor, "b n c"], context: Float[Tensor, "b m k"]) -> Float[Tensor, "b n c"]:
        return self.to_out(self.attend(x, context))

    def to_single(self, context: Float[Tensor, "b 1 k"]) -> Float[Tensor, "b 1 c"]:
        """CrossAttention to a single token, which is its value whatever the query."""
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


class BasicTransformerBlock(nn.Module):
    """Self-attention, cross-attention (if there is a context), feed-forward; each with a residual."""

    def __init__(self, dim: int, context_dim: int | None, heads: int, head_dim: int) -> None:
        super().__init__()
        self.attn1 = CrossAttention(dim, dim, heads, head_dim)
        self.ff = FeedForward(dim)
        self.norm1 = nn.LayerNorm(dim)
        self.norm3 = nn.LayerNorm(dim)
        self.cross = context_dim is not None
        if context_dim is not None:
            self.attn2 = CrossAttention(dim, context_dim, heads, head_dim)
            self.norm2 = nn.LayerNorm(dim)

    def forward(self, x: Float[Tensor, "b n c"], context: Tensor | None) -> Float[Tensor, "b n c"]:
        y = self.norm1(x)
        x = x + self.attn1(y, y)
        if self.cross:
            context = self._needed(context)
            if context.shape[1] == 1 and not torch.is_grad_enabled():
                x = x + self.attn2.to_single(context)
            else:
                x = x + self.attn2(self.norm2(x), context)
        return x + self.ff(self.norm3(x))

    def in_place(
        self, x: Float[Tensor, "b n c"], shift: Float[Tensor, "b c"], context: Tensor | None
    ) -> Float[Tensor, "b c"]:
        """The same of x + shift, into x and the shift that is returned; without a gradient.

        Residuals are added by the matrix products that make them. Biases, and what cross-attention to a
        single token adds, are equal for all tokens of a picture: they go into the shift, which only a
        normalisation has to add.
        """
        y = layer_norm(self.norm1, x, shift)
        shift = shift + _add_product(x, self.attn1.attend(y, y), self.attn1.to_out)
        if self.cross:
            context = self._needed(context)
            if context.shape[1] == 1:
                shift = shift + self.attn2.to_single(context)[:, 0]
            else:
                y = self.attn2.attend(layer_norm(self.norm2, x, shift), context)
                shift = shift + _add_product(x, y, self.attn2.to_out)
        gated, _, last = layers(self.ff.net)
        y = gated(layer_norm(self.norm3, x, shift))
        x.flatten(0, 1).addmm_(y.flatten(0, 1), last.weight.T)
        return shift + last.bias

    def _needed(self, context: Tensor | None) -> Tensor:
        if context is None:
            raise ValueError("the UNet has cross-attention (context_dim is set): pass a context")
        return context


def _add_product(x: Float[Tensor, "b n c"], y: Float[Tensor, "b n i"], to_out: nn.Sequential) -> Tensor:
    """Adds a linear layer of y to x, but for the layer's bias, which is returned."""
    (layer,) = layers(to_out)
    x.flatten(0, 1).addmm_(y.flatten(0, 1), layer.weight.T)
    return layer.bias


class SpatialTransformer(nn.Module):
    """A transformer over the positions of a feature map."""

    def __init__(self, channels: int, config: UNetConfig) -> None:
        super().__init__()
        heads, head_dim = config.heads(channels)
        self.norm = nn.GroupNorm(config.norm_groups, channels, eps=1e-6)
        self.proj_in = nn.Conv2d(channels, channels, 1)
        self.transformer_blocks = nn.ModuleList(
            BasicTransformerBlock(channels, config.context_dim, heads, head_dim)
            for _ in range(config.transformer_depth)
        )
        self.proj_out = zeroed(nn.Conv2d(channels, channels, 1))

    def forward(self, x: Float[Tensor, "b c h w"], context: Tensor | None) -> Float[Tensor, "b c h w"]:
        if usable(x) and is_channels_last(x):
            tokens = group_norm(self.norm, x).movedim(1, -1).flatten(1, 2)
            tokens = F.linear(tokens, self.proj_in.weight[:, :, 0, 0], self.proj_in.bias)
            shift = tokens.new_zeros(len(tokens), tokens.shape[-1])
            for block in self.transformer_blocks:
                shift = block.in_place(tokens, shift, context)  # type: ignore[operator]
            weight = self.proj_out.weight[:, :, 0, 0]
            tokens, shift = F.linear(tokens, weight), F.linear(shift, weight, self.proj_out.bias)
            return plus(x, tokens.unflatten(1, x.shape[2:]).movedim(-1, 1), shift)
        tokens = self.proj_in(self.norm(x)).flatten(2).transpose(1, 2)
        for block in self.transformer_blocks:
            tokens = block(tokens, context)
        return x + self.proj_out(tokens.transpose(1, 2).unflatten(2, x.shape[2:]))
