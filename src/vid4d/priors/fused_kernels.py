"""Triton kernels of `fused`. Tensors are channels last: (b, n, c) for n positions; sums are in float32."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import triton
import triton.language as tl
from jaxtyping import Float
from torch import Tensor

TILE = 64
"""Positions, and channels, that a program handles at a time."""

_ACTIVATIONS = {"none": 0, "silu": 1, "relu": 2}


@triton.jit
def _sums_kernel(
    x, add, out, rows, channels, chunk, chunks, add_stride, HAS_ADD: tl.constexpr, TILE: tl.constexpr
):  # type: ignore[no-untyped-def]
    """Per channel: the sum and the sum of squares of x + add over a chunk of positions of one picture."""
    part = tl.program_id(0).to(tl.int64)
    picture = part // chunks
    first = (part % chunks) * chunk
    c = tl.program_id(1) * TILE + tl.arange(0, TILE)
    seen = c < channels
    extra = tl.zeros([TILE], dtype=tl.float32)
    if HAS_ADD:
        extra += tl.load(add + picture * add_stride + c, mask=seen, other=0.0).to(tl.float32)
    base = x + picture * rows * channels
    total = tl.zeros([TILE, TILE], dtype=tl.float32)
    squares = tl.zeros([TILE, TILE], dtype=tl.float32)
    for start in range(0, chunk, TILE):
        r = first + start + tl.arange(0, TILE)
        inside = (r < rows)[:, None] & seen[None, :]
        value = tl.load(base + r[:, None] * channels + c[None, :], mask=inside, other=0.0).to(tl.float32)
        value = tl.where(inside, value + extra[None, :], 0.0)
        total += value
        squares += value * value
    place = out + part * 2 * channels + c
    tl.store(place, tl.sum(total, axis=0), mask=seen)
    tl.store(place + channels, tl.sum(squares, axis=0), mask=seen)


@triton.jit
def _normalise_kernel(
    x,
    add,
    sums,
    weight,
    bias,
    out,
    rows,
    channels,
    groups,
    per_group,
    one_over_count,
    eps,
    chunk,
    chunks,
    add_stride,
    HAS_ADD: tl.constexpr,
    ACTIVATION: tl.constexpr,
    TILE: tl.constexpr,
):  # type: ignore[no-untyped-def]
    """activation((x + add - mean) / deviation * weight + bias) for a chunk of positions of one picture."""
    part = tl.program_id(0).to(tl.int64)
    picture = part // chunks
    first = (part % chunks) * chunk
    c = tl.program_id(1) * TILE + tl.arange(0, TILE)
    seen = c < channels
    group = c // per_group
    found = sums + picture * 2 * groups + group
    mean = tl.load(found, mask=seen, other=0.0) * one_over_count
    variance = tl.load(found + groups, mask=seen, other=0.0) * one_over_count - mean * mean
    scale = tl.load(weight + c, mask=seen, other=0.0).to(tl.float32) / tl.sqrt(
        tl.maximum(variance, 0.0) + eps
    )
    shift = tl.load(bias + c, mask=seen, other=0.0).to(tl.float32) - mean * scale
    if HAS_ADD:
        shift += tl.load(add + picture * add_stride + c, mask=seen, other=0.0).to(tl.float32) * scale
    base = picture * rows * channels
    for start in range(0, chunk, TILE):
        r = first + start + tl.arange(0, TILE)
        inside = (r < rows)[:, None] & seen[None, :]
        place = base + r[:, None] * channels + c[None, :]
        value = tl.load(x + place, mask=inside, other=0.0).to(tl.float32)
        value = value * scale[None, :] + shift[None, :]
        if ACTIVATION == 1:
            value = value * tl.sigmoid(value)
        if ACTIVATION == 2:
            value = tl.maximum(value, 0.0)
        tl.store(out + place, value.to(out.dtype.element_ty), mask=inside)


@triton.jit
def _plus_kernel(x, y, bias, rows, channels, TILE: tl.constexpr):  # type: ignore[no-untyped-def]
    r = tl.program_id(0).to(tl.int64) * TILE + tl.arange(0, TILE)
    c = tl.program_id(1) * TILE + tl.arange(0, TILE)
    inside = (r < rows)[:, None] & (c < channels)[None, :]
    place = r[:, None] * channels + c[None, :]
    value = tl.load(x + place, mask=inside, other=0.0).to(tl.float32)
    value += tl.load(y + place, mask=inside, other=0.0).to(tl.float32)
    value += tl.load(bias + c, mask=c < channels, other=0.0).to(tl.float32)[None, :]
    tl.store(y + place, value.to(y.dtype.element_ty), mask=inside)


@triton.jit
def _geglu_kernel(x, out, rows, width, TILE: tl.constexpr):  # type: ignore[no-untyped-def]
    r = tl.program_id(0).to(tl.int64) * TILE + tl.arange(0, TILE)
    c = tl.program_id(1) * TILE + tl.arange(0, TILE)
    inside = (r < rows)[:, None] & (c < width)[None, :]
    place = r[:, None] * (2 * width) + c[None, :]
    value = tl.load(x + place, mask=inside, other=0.0).to(tl.float32)
    gate = tl.load(x + place + width, mask=inside, other=0.0).to(tl.float32)
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
    there = (d < depths)[:, None] & (k < width)[None, :]
    place = rays + pixel * depths * width + d[:, None] * width + k[None, :]
    ray = tl.load(place, mask=there, other=0.0).to(tl.float32)
    for head in range(HEADS):
        here = (pixel * HEADS + head) * width + k
        asked = tl.load(query + here, mask=k < width, other=0.0).to(tl.float32)
        score = tl.sum(ray * asked[None, :], axis=1) * scale
        score = tl.where(d < depths, score, -1.0e30)
        score = tl.exp(score - tl.max(score, axis=0))
        share = score / tl.sum(score, axis=0)
        mean = tl.sum(ray * share[:, None], axis=0)
        tl.store(out + here, mean.to(out.dtype.element_ty), mask=k < width)


def _on(x: Tensor, launch: Callable[[], Any]) -> None:
    """Launches on the tensor's own card, which need not be the current one."""
    if x.is_cuda:
        with torch.cuda.device(x.device):
            launch()
    else:
        launch()


def group_norm(
    x: Float[Tensor, "b n c"],
    groups: int,
    weight: Float[Tensor, " c"],
    bias: Float[Tensor, " c"],
    eps: float,
    activation: str = "none",
    add: Float[Tensor, "*b c"] | None = None,
) -> Float[Tensor, "b n c"]:
    """As `fused.group_norm`, positions flattened; two passes over x."""
    pictures, rows, channels = x.shape
    chunk = 256 if rows <= 4096 else 1024
    chunks = triton.cdiv(rows, chunk)
    grid = (pictures * chunks, triton.cdiv(channels, TILE))
    sums = torch.empty(pictures, chunks, 2, groups, channels // groups, dtype=torch.float32, device=x.device)
    out = torch.empty_like(x)
    extra, stride = weight, 0
    if add is not None:
        extra = add.contiguous()
        stride = channels if add.ndim == 2 else 0
    has_add = add is not None
    _on(
        x,
        lambda: _sums_kernel[grid](x, extra, sums, rows, channels, chunk, chunks, stride, has_add, TILE),
    )
    found = sums.sum((1, 4))
    _on(
        x,
        lambda: _normalise_kernel[grid](
            x,
            extra,
            found,
            weight,
            bias,
            out,
            rows,
            channels,
            groups,
            channels // groups,
            groups / (rows * channels),
            eps,
            chunk,
            chunks,
            stride,
            has_add,
            _ACTIVATIONS[activation],
            TILE,
        ),
    )
    return out


def plus(x: Tensor, y: Tensor, bias: Float[Tensor, " c"]) -> Tensor:
    """x + y + bias, channels last, written over y."""
    channels = bias.numel()
    rows = x.numel() // channels
    grid = (triton.cdiv(rows, TILE), triton.cdiv(channels, TILE))
    _on(x, lambda: _plus_kernel[grid](x, y, bias, rows, channels, TILE))
    return y


def geglu(x: Float[Tensor, "*b d2"]) -> Float[Tensor, "*b d"]:
    """As `fused.geglu`."""
    width = x.shape[-1] // 2
    out = x.new_empty(*x.shape[:-1], width)
    rows = out.numel() // width
    grid = (triton.cdiv(rows, TILE), triton.cdiv(width, TILE))
    _on(x, lambda: _geglu_kernel[grid](x, out, rows, width, TILE))
    return out


def along_rays(
    query: Float[Tensor, "*p n k"], rays: Float[Tensor, "*p d k"], scale: float
) -> Float[Tensor, "*p n k"]:
    """As `fused.along_rays`."""
    heads, width = query.shape[-2:]
    depths = rays.shape[-2]
    out = torch.empty_like(query)
    sizes = triton.next_power_of_2(depths), triton.next_power_of_2(width)
    pixels = query.numel() // (heads * width)
    _on(query, lambda: _rays_kernel[(pixels,)](query, rays, out, depths, width, scale, heads, *sizes))
    return out
