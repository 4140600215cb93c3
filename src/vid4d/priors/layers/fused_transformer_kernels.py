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

ROWS, COLUMNS, INNER = 128, 128, 64
"""Sizes of a block of `gated_linear`: of the result, and of the products that are summed at a time."""

_HELD = 2048
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
def _gated_kernel(
    x,
    weight,
    bias,
    out,
    rows,
    width,
    inner,
    blocks,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    INNER: tl.constexpr,
):  # type: ignore[no-untyped-def]
    """A block of x V^T + v times the GELU of the same block of x G^T + g; inner is a multiple of INNER.

    blocks: of columns; those of the same rows come one after the other, so that x is read from memory once.
    """
    r = (tl.program_id(0) // blocks).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    c = (tl.program_id(0) % blocks) * COLUMNS + tl.arange(0, COLUMNS)
    k = tl.arange(0, INNER)
    # What lies outside repeats the last row or column, and is not stored.
    left = x + tl.minimum(r, rows - 1)[:, None] * inner + k[None, :]
    right = weight + tl.minimum(c, width - 1)[None, :] * inner + k[:, None]
    value = tl.zeros([ROWS, COLUMNS], dtype=tl.float32)
    gate = tl.zeros([ROWS, COLUMNS], dtype=tl.float32)
    for _ in range(0, inner, INNER):
        a = tl.load(left)
        value = tl.dot(a, tl.load(right), value, input_precision="ieee")
        gate = tl.dot(a, tl.load(right + width * inner), gate, input_precision="ieee")
        left += INNER
        right += INNER
    value += tl.load(bias + c, mask=c < width, other=0.0).to(tl.float32)[None, :]
    gate += tl.load(bias + width + c, mask=c < width, other=0.0).to(tl.float32)[None, :]
    value = value * gate * 0.5 * (1.0 + tl.erf(gate * 0.7071067811865476))
    inside = (r < rows)[:, None] & (c < width)[None, :]
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
            x, extra, weight, bias, out, rows, channels, per_picture, eps, add is not None, many, wide
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


def gated_linear(
    x: Float[Tensor, "*b k"], weight: Float[Tensor, "d2 k"], bias: Float[Tensor, " d2"]
) -> Float[Tensor, "*b d"]:
    """geglu(x W^T + b) without what lies between in memory; k is a multiple of INNER."""
    width, inner = weight.shape[0] // 2, weight.shape[1]
    if inner % INNER:
        raise ValueError(f"{inner} inputs of a gated linear layer are not a multiple of {INNER}")
    out = x.new_empty(*x.shape[:-1], width)
    rows, blocks = out.numel() // width, triton.cdiv(width, COLUMNS)
    grid = (triton.cdiv(rows, ROWS) * blocks,)
    on_device_of(
        x,
        lambda: _gated_kernel[grid](
            x, weight, bias, out, rows, width, inner, blocks, ROWS, COLUMNS, INNER, num_warps=8, num_stages=3
        ),
    )
    return out
