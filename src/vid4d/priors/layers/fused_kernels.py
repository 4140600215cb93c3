"""Triton kernels of `fused_ops`.

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
from vid4d.priors.layers.fused_norm_kernels import TILE, group_norm

__all__ = ["along_rays", "geglu", "group_norm", "plus"]


@triton.jit
def _plus_kernel(x, y, bias, out, rows, channels, TILE: tl.constexpr):  # type: ignore[no-untyped-def]
    r = tl.program_id(0).to(tl.int64) * TILE + tl.arange(0, TILE)
    c = tl.program_id(1) * TILE + tl.arange(0, TILE)
    inside = (r < rows)[:, None] & (c < channels)[None, :]
    offset = r[:, None] * channels + c[None, :]
    value = tl.load(x + offset, mask=inside, other=0.0).to(tl.float32)
    value += tl.load(y + offset, mask=inside, other=0.0).to(tl.float32)
    value += tl.load(bias + c, mask=c < channels, other=0.0).to(tl.float32)[None, :]
    tl.store(out + offset, value.to(out.dtype.element_ty), mask=inside)


@triton.jit
def _geglu_kernel(x, out, rows, width, TILE: tl.constexpr):  # type: ignore[no-untyped-def]
    r = tl.program_id(0).to(tl.int64) * TILE + tl.arange(0, TILE)
    c = tl.program_id(1) * TILE + tl.arange(0, TILE)
    inside = (r < rows)[:, None] & (c < width)[None, :]
    offset = r[:, None] * (2 * width) + c[None, :]
    value = tl.load(x + offset, mask=inside, other=0.0).to(tl.float32)
    gate = tl.load(x + offset + width, mask=inside, other=0.0).to(tl.float32)
    value = value * gate * 0.5 * (1.0 + tl.erf(gate * 0.7071067811865476))
    tl.store(out + r[:, None] * width + c[None, :], value.to(out.dtype.element_ty), mask=inside)


@triton.jit
def _rays_kernel(
    query,
    rays,
    out,
    depths,
    width,
    scale,
    HEADS: tl.constexpr,
    DEPTHS: tl.constexpr,
    WIDTH: tl.constexpr,
):  # type: ignore[no-untyped-def]
    """All heads of one pixel; its ray is read once. DEPTHS, WIDTH: powers of two that hold the others."""
    pixel = tl.program_id(0).to(tl.int64)
    d = tl.arange(0, DEPTHS)
    k = tl.arange(0, WIDTH)
    mask = (d < depths)[:, None] & (k < width)[None, :]
    pointer = rays + pixel * depths * width + d[:, None] * width + k[None, :]
    ray = tl.load(pointer, mask=mask, other=0.0).to(tl.float32)
    for head in range(HEADS):
        here = (pixel * HEADS + head) * width + k
        q = tl.load(query + here, mask=k < width, other=0.0).to(tl.float32)
        score = tl.sum(ray * q[None, :], axis=1) * scale
        score = tl.where(d < depths, score, -1.0e30)
        score = tl.exp(score - tl.max(score, axis=0))
        share = score / tl.sum(score, axis=0)
        mean = tl.sum(ray * share[:, None], axis=0)
        tl.store(out + here, mean.to(out.dtype.element_ty), mask=k < width)


class _Plus(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor, bias: Tensor) -> Tensor:
        channels, out = bias.numel(), torch.empty_like(x)
        rows = x.numel() // channels
        grid = (triton.cdiv(rows, TILE), triton.cdiv(channels, TILE))
        on_device_of(x, lambda: _plus_kernel[grid](x, y, bias, out, rows, channels, TILE))
        return out

    @staticmethod
    def backward(ctx: Any, grad_out: Tensor) -> tuple[Tensor, Tensor, None]:
        return grad_out, grad_out, None


def plus(x: Tensor, y: Tensor, bias: Float[Tensor, " c"]) -> Tensor:
    """x + y + bias, channels last; the bias gets no gradient."""
    return _Plus.apply(x, y, bias)


def geglu(x: Float[Tensor, "*b d2"]) -> Float[Tensor, "*b d"]:
    """As `fused_ops.geglu`."""
    width = x.shape[-1] // 2
    out = x.new_empty(*x.shape[:-1], width)
    rows = out.numel() // width
    grid = (triton.cdiv(rows, TILE), triton.cdiv(width, TILE))
    on_device_of(x, lambda: _geglu_kernel[grid](x, out, rows, width, TILE))
    return out


def along_rays(
    query: Float[Tensor, "*p n k"], rays: Float[Tensor, "*p d k"], scale: float
) -> Float[Tensor, "*p n k"]:
    """As `fused_ops.along_rays`."""
    heads, width = query.shape[-2:]
    depths = rays.shape[-2]
    out = torch.empty_like(query)
    sizes = triton.next_power_of_2(depths), triton.next_power_of_2(width)
    pixels = query.numel() // (heads * width)
    on_device_of(
        query, lambda: _rays_kernel[(pixels,)](query, rays, out, depths, width, scale, heads, *sizes)
    )
    return out
