"""Triton kernels of `fused_ops`: sums and changes of size here, the rest in files of their own.

Tensors are channels last: (b, n, c) for n positions; sums are in float32.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from jaxtyping import Float
from torch import Tensor

from vid4d.kernels import on_device_of
from vid4d.priors.layers.fused_norm_kernels import group_norm, group_norm_of_both
from vid4d.priors.layers.fused_ray_kernels import along_rays, sample_volume
from vid4d.priors.layers.fused_transformer_kernels import geglu, layer_norm

__all__ = [
    "add_bias",
    "along_rays",
    "doubled",
    "geglu",
    "group_norm",
    "group_norm_of_both",
    "layer_norm",
    "plus",
    "sample_volume",
]

TILE = 64
"""Positions, and channels, that a program handles."""


@triton.jit
def _plus_kernel(x, y, bias, out, rows, channels, per_picture, OF_PICTURE: tl.constexpr, TILE: tl.constexpr):  # type: ignore[no-untyped-def]
    r = tl.program_id(0).to(tl.int64) * TILE + tl.arange(0, TILE)
    c = tl.program_id(1) * TILE + tl.arange(0, TILE)
    inside = (r < rows)[:, None] & (c < channels)[None, :]
    offset = r[:, None] * channels + c[None, :]
    value = tl.load(x + offset, mask=inside, other=0.0).to(tl.float32)
    value += tl.load(y + offset, mask=inside, other=0.0).to(tl.float32)
    if OF_PICTURE:
        extra = (r // per_picture)[:, None] * channels + c[None, :]
        value += tl.load(bias + extra, mask=inside, other=0.0).to(tl.float32)
    else:
        value += tl.load(bias + c, mask=c < channels, other=0.0).to(tl.float32)[None, :]
    tl.store(out + offset, value.to(out.dtype.element_ty), mask=inside)


@triton.jit
def _add_bias_kernel(x, bias, rows, channels, TILE: tl.constexpr):  # type: ignore[no-untyped-def]
    r = tl.program_id(0).to(tl.int64) * TILE + tl.arange(0, TILE)
    c = tl.program_id(1) * TILE + tl.arange(0, TILE)
    inside = (r < rows)[:, None] & (c < channels)[None, :]
    here = x + r[:, None] * channels + c[None, :]
    value = tl.load(here, mask=inside, other=0.0).to(tl.float32)
    value += tl.load(bias + c, mask=c < channels, other=0.0).to(tl.float32)[None, :]
    tl.store(here, value.to(x.dtype.element_ty), mask=inside)


@triton.jit
def _doubled_kernel(x, out, rows, columns, channels, TILE: tl.constexpr):  # type: ignore[no-untyped-def]
    """Some positions of x, each to the four that it becomes. rows: positions of all pictures."""
    r = tl.program_id(0).to(tl.int64) * TILE + tl.arange(0, TILE)
    c = tl.program_id(1) * TILE + tl.arange(0, TILE)
    inside = (r < rows)[:, None] & (c < channels)[None, :]
    value = tl.load(x + r[:, None] * channels + c[None, :], mask=inside, other=0.0)
    corner = (r // columns) * 4 * columns + (r % columns) * 2  # of the four, in positions of the result
    for i in tl.static_range(4):
        to = corner + (i % 2) + (i // 2) * 2 * columns
        tl.store(out + to[:, None] * channels + c[None, :], value, mask=inside)


class _Plus(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor, bias: Tensor) -> Tensor:
        channels, out = bias.shape[-1], torch.empty_like(x)
        rows = x.numel() // channels
        of_picture = bias.ndim == 2
        per_picture = rows // len(bias) if of_picture else rows
        grid = (triton.cdiv(rows, TILE), triton.cdiv(channels, TILE))
        on_device_of(
            x,
            lambda: _plus_kernel[grid](
                x, y, bias.contiguous(), out, rows, channels, per_picture, of_picture, TILE
            ),
        )
        return out

    @staticmethod
    def backward(ctx: Any, grad_out: Tensor) -> tuple[Tensor, Tensor, None]:
        return grad_out, grad_out, None


def plus(x: Tensor, y: Tensor, bias: Float[Tensor, "*b c"]) -> Tensor:
    """x + y + bias, channels last; the bias is one for all pictures or one each, and gets no gradient."""
    return _Plus.apply(x, y, bias)


def add_bias(x: Float[Tensor, "*n c"], bias: Float[Tensor, " c"]) -> None:
    """x + bias, in place. Torch adds a bias to channels-last pictures at a third of the memory's speed."""
    channels = x.shape[-1]
    rows = x.numel() // channels
    grid = (triton.cdiv(rows, TILE), triton.cdiv(channels, TILE))
    on_device_of(x, lambda: _add_bias_kernel[grid](x, bias, rows, channels, TILE))


def doubled(x: Float[Tensor, "b h w c"]) -> Float[Tensor, "b h2 w2 c"]:
    """Each position four times, twice as high and wide."""
    pictures, height, width, channels = x.shape
    out = x.new_empty(pictures, 2 * height, 2 * width, channels)
    rows = pictures * height * width
    grid = (triton.cdiv(rows, TILE), triton.cdiv(channels, TILE))
    on_device_of(x, lambda: _doubled_kernel[grid](x, out, rows, width, channels, TILE))
    return out
