"""Triton kernels of `fused_ops` between a transformer's matrix products: layer normalisation, gated units.

Sums are in float32.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from jaxtyping import Float
from torch import Tensor

from vid4d.kernels import on_device_of

TILE = 64
"""Rows, and columns, that a program of `geglu` handles."""

_HELD = 1024
"""Numbers that a program of `layer_norm` holds."""


@triton.jit
def _layer_norm_kernel(
    x,
    add,
    weight,
    bias,
    out,
    rows,
    channels,
    per_picture,
    eps,
    HAS_ADD: tl.constexpr,
    ROWS: tl.constexpr,
    CHANNELS: tl.constexpr,
):  # type: ignore[no-untyped-def]
    """Some rows, each held whole; CHANNELS: a power of two that holds them. per_picture: rows."""
    r = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    c = tl.arange(0, CHANNELS)
    inside = (r < rows)[:, None] & (c < channels)[None, :]
    offset = r[:, None] * channels + c[None, :]
    value = tl.load(x + offset, mask=inside, other=0.0).to(tl.float32)
    if HAS_ADD:
        extra = (r // per_picture)[:, None] * channels + c[None, :]
        value += tl.load(add + extra, mask=inside, other=0.0).to(tl.float32)
    mean = tl.sum(value, axis=1) / channels
    value = tl.where(inside, value - mean[:, None], 0.0)
    variance = tl.sum(value * value, axis=1) / channels
    w = tl.load(weight + c, mask=c < channels, other=0.0).to(tl.float32)
    b = tl.load(bias + c, mask=c < channels, other=0.0).to(tl.float32)
    value = value * tl.rsqrt(variance + eps)[:, None] * w[None, :] + b[None, :]
    tl.store(out + offset, value.to(out.dtype.element_ty), mask=inside)


@triton.jit
def _gelu(x):  # type: ignore[no-untyped-def]
    """x times the normal distribution function, to 1e-7 of it (Abramowitz and Stegun, 7.1.26).

    Half the instructions of the exact error function, which took as long as memory.
    """
    z = tl.abs(x) * 0.7071067811865476
    t = 1.0 / (1.0 + 0.3275911 * z)
    tail = ((((1.061405429 * t - 1.453152027) * t + 1.421413741) * t - 0.284496736) * t + 0.254829592) * t
    tail = 0.5 * tail * tl.exp(-z * z)
    return x * tl.where(x > 0, 1.0 - tail, tail)


@triton.jit
def _geglu_kernel(x, out, rows, width, TILE: tl.constexpr):  # type: ignore[no-untyped-def]
    r = tl.program_id(0).to(tl.int64) * TILE + tl.arange(0, TILE)
    c = tl.program_id(1) * TILE + tl.arange(0, TILE)
    inside = (r < rows)[:, None] & (c < width)[None, :]
    offset = r[:, None] * (2 * width) + c[None, :]
    value = tl.load(x + offset, mask=inside, other=0.0).to(tl.float32)
    gate = tl.load(x + offset + width, mask=inside, other=0.0).to(tl.float32)
    value *= _gelu(gate)
    tl.store(out + r[:, None] * width + c[None, :], value.to(out.dtype.element_ty), mask=inside)


def layer_norm(
    x: Float[Tensor, "b n c"],
    weight: Float[Tensor, " c"],
    bias: Float[Tensor, " c"],
    eps: float,
    add: Float[Tensor, "b c"] | None = None,
) -> Float[Tensor, "b n c"]:
    """As `fused_ops.layer_norm`; one pass over x."""
    pictures, per_picture, channels = x.shape
    rows, out = pictures * per_picture, torch.empty_like(x)
    wide = triton.next_power_of_2(channels)
    many = max(1, _HELD // wide)
    extra = weight if add is None else add.contiguous()  # a stand-in that is not read
    on_device_of(
        x,
        lambda: _layer_norm_kernel[(triton.cdiv(rows, many),)](
            x,
            extra,
            weight,
            bias,
            out,
            rows,
            channels,
            per_picture,
            eps,
            add is not None,
            many,
            wide,
            num_warps=1,
        ),
    )
    return out


def geglu(x: Float[Tensor, "*b d2"]) -> Float[Tensor, "*b d"]:
    """As `fused_ops.geglu`."""
    width = x.shape[-1] // 2
    out = x.new_empty(*x.shape[:-1], width)
    rows = out.numel() // width
    grid = (triton.cdiv(rows, TILE), triton.cdiv(width, TILE))
    on_device_of(x, lambda: _geglu_kernel[grid](x, out, rows, width, TILE))
    return out
