"""Triton kernels of `fused_ops` about rays: attention along them, and volumes sampled at their points.

Tensors are channels last; sums are in float32.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from jaxtyping import Float, Int
from torch import Tensor

from vid4d.kernels import on_device_of

PIXELS = 16
"""Pixels that a program of `along_rays` handles one after the other, while the next one's ray arrives."""

POINTS = 32
"""Points that a program of `sample_volume` handles."""


@triton.jit
def _rays_kernel(
    query,
    rays,
    out,
    pixels,
    depths,
    width,
    scale,
    HEADS: tl.constexpr,
    ROWS: tl.constexpr,
    DEPTHS: tl.constexpr,
    WIDTH: tl.constexpr,
    PIXELS: tl.constexpr,
):  # type: ignore[no-untyped-def]
    """All heads of a pixel, whose ray is read once, by the tensor cores.

    ROWS, DEPTHS, WIDTH: powers of two that hold heads, depths and width, at least the 16 that these want.
    """
    h = tl.arange(0, ROWS)
    d = tl.arange(0, DEPTHS)
    k = tl.arange(0, WIDTH)
    first = tl.program_id(0).to(tl.int64) * PIXELS
    for i in range(PIXELS):
        pixel = first + i
        there = pixel < pixels
        mask = (d < depths)[:, None] & (k < width)[None, :] & there
        ray = tl.load(rays + pixel * depths * width + d[:, None] * width + k[None, :], mask=mask, other=0.0)
        here = pixel * HEADS * width + h[:, None] * width + k[None, :]
        inside = (h < HEADS)[:, None] & (k < width)[None, :] & there
        q = tl.load(query + here, mask=inside, other=0.0)
        score = tl.dot(q, tl.trans(ray), input_precision="ieee") * scale
        score = tl.where((d < depths)[None, :], score, -1.0e30)
        score = tl.exp(score - tl.max(score, axis=1)[:, None])
        share = score / tl.sum(score, axis=1)[:, None]
        mean = tl.dot(share.to(ray.dtype), ray, input_precision="ieee")
        tl.store(out + here, mean.to(out.dtype.element_ty), mask=inside)


@triton.jit
def _sample_kernel(
    volume,
    frame,
    grid,
    place,
    out,
    size,
    points,
    channels,
    POINTS: tl.constexpr,
    CHANNELS: tl.constexpr,
):  # type: ignore[no-untyped-def]
    """Trilinear interpolation of all channels at some points; zero outside."""
    pair = tl.program_id(1).to(tl.int64)
    p = tl.program_id(0).to(tl.int64) * POINTS + tl.arange(0, POINTS)
    c = tl.arange(0, CHANNELS)
    valid = p < points
    at = grid + (tl.load(place + pair) * points + p) * 3
    half = (size - 1) * 0.5
    x = (tl.load(at, mask=valid, other=-9.0) + 1.0) * half
    y = (tl.load(at + 1, mask=valid, other=-9.0) + 1.0) * half
    z = (tl.load(at + 2, mask=valid, other=-9.0) + 1.0) * half
    x0, y0, z0 = tl.floor(x), tl.floor(y), tl.floor(z)
    base = volume + tl.load(frame + pair) * size * size * size * channels
    total = tl.zeros([POINTS, CHANNELS], dtype=tl.float32)
    for corner in tl.static_range(8):
        xi, yi, zi = x0 + (corner & 1), y0 + ((corner >> 1) & 1), z0 + (corner >> 2)
        weight = (1.0 - tl.abs(x - xi)) * (1.0 - tl.abs(y - yi)) * (1.0 - tl.abs(z - zi))
        inside = (xi >= 0) & (xi < size) & (yi >= 0) & (yi < size) & (zi >= 0) & (zi < size)
        voxel = (zi.to(tl.int64) * size + yi.to(tl.int64)) * size + xi.to(tl.int64)
        value = tl.load(
            base + voxel[:, None] * channels + c[None, :],
            mask=inside[:, None] & (c < channels)[None, :],
            other=0.0,
        )
        total += value.to(tl.float32) * weight[:, None]
    tl.store(
        out + (pair * points + p)[:, None] * channels + c[None, :],
        total.to(out.dtype.element_ty),
        mask=valid[:, None] & (c < channels)[None, :],
    )


def along_rays(
    query: Float[Tensor, "*p n k"], rays: Float[Tensor, "*p d k"], scale: float
) -> Float[Tensor, "*p n k"]:
    """As `fused_ops.along_rays`."""
    heads, width = query.shape[-2:]
    depths = rays.shape[-2]
    out = torch.empty_like(query)
    sizes = [max(16, triton.next_power_of_2(n)) for n in (heads, depths, width)]
    pixels = query.numel() // (heads * width)
    warps = 1 if sizes[1] * sizes[2] <= 4096 else 2
    stages = 3 if rays.element_size() < 4 else 2  # what smaller cards' shared memory holds
    on_device_of(
        query,
        lambda: _rays_kernel[(triton.cdiv(pixels, PIXELS),)](
            query,
            rays,
            out,
            pixels,
            depths,
            width,
            scale,
            heads,
            *sizes,
            PIXELS,
            num_warps=warps,
            num_stages=stages,
        ),
    )
    return out


def sample_volume(
    volume: Float[Tensor, "t s s s c"],
    frame: Int[Tensor, " b"],
    grid: Float[Tensor, "n *points 3"],
    place: Int[Tensor, " b"],
) -> Float[Tensor, "b *points c"]:
    """As `fused_ops.sample_volume`, channels last."""
    channels, points = volume.shape[-1], grid[0].numel() // 3
    out = volume.new_empty(len(frame), *grid.shape[1:-1], channels)
    launch = (triton.cdiv(points, POINTS), len(frame))
    on_device_of(
        volume,
        lambda: _sample_kernel[launch](
            volume,
            frame.contiguous(),
            grid,
            place.contiguous(),
            out,
            volume.shape[1],
            points,
            channels,
            POINTS,
            triton.next_power_of_2(channels),
        ),
    )
    return out
