"""Triton kernels of group normalisation, with a gradient, for `fused_ops`.

Tensors are channels last: (b, n, c) for n positions; sums are in float32.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from jaxtyping import Float
from torch import Tensor

from vid4d.kernels import on_device_of

TILE, WIDE, WARPS = 32, 64, 2
"""Positions and channels that a program handles at a time, and by how many warps."""

_ACTIVATIONS = {"none": 0, "silu": 1, "relu": 2}


@triton.jit
def _own_part(channels, chunk: tl.constexpr, chunks, WIDE: tl.constexpr):  # type: ignore[no-untyped-def]
    """Part of the work of a program: its number, the picture, the first position, the channels."""
    part = tl.program_id(0).to(tl.int64)
    c = tl.program_id(1) * WIDE + tl.arange(0, WIDE)
    return part, part // chunks, (part % chunks) * chunk, c, c < channels


@triton.jit
def _values(x, beside, picture, r, c, rows, channels, split, inside, HAS_BESIDE: tl.constexpr):  # type: ignore[no-untyped-def]
    """A tile in float32: channels before `split` from x, the others from what lies beside it."""
    row = picture * rows + r[:, None]
    if HAS_BESIDE:
        near = tl.load(x + row * split + c[None, :], mask=inside & (c < split)[None, :], other=0.0)
        after = row * (channels - split) + (c - split)[None, :]
        far = tl.load(beside + after, mask=inside & (c >= split)[None, :], other=0.0)
        return near.to(tl.float32) + far.to(tl.float32)
    return tl.load(x + row * channels + c[None, :], mask=inside, other=0.0).to(tl.float32)


@triton.jit
def _of_channels(
    moments, add, weight, bias, picture, c, inside, groups, per_group, add_stride, HAS_ADD: tl.constexpr
):  # type: ignore[no-untyped-def]
    """Normalisation of each channel: mean of x, 1 / deviation, weight and bias."""
    pointer = moments + picture * 2 * groups + c // per_group
    mean = tl.load(pointer, mask=inside, other=0.0)
    rstd = tl.load(pointer + groups, mask=inside, other=0.0)
    if HAS_ADD:
        mean -= tl.load(add + picture * add_stride + c, mask=inside, other=0.0).to(tl.float32)
    w = tl.load(weight + c, mask=inside, other=0.0).to(tl.float32)
    return mean, rstd, w, tl.load(bias + c, mask=inside, other=0.0).to(tl.float32)


@triton.jit
def _sums_kernel(
    x,
    beside,
    add,
    out,
    rows,
    channels,
    split,
    chunk: tl.constexpr,
    chunks,
    add_stride,
    HAS_ADD: tl.constexpr,
    HAS_BESIDE: tl.constexpr,
    TILE: tl.constexpr,
    WIDE: tl.constexpr,
):  # type: ignore[no-untyped-def]
    """Sum and sum of squares of x + add per channel, over a chunk of positions of one picture."""
    part, picture, first, c, valid = _own_part(channels, chunk, chunks, WIDE)
    extra = tl.zeros([WIDE], dtype=tl.float32)
    if HAS_ADD:
        extra += tl.load(add + picture * add_stride + c, mask=valid, other=0.0).to(tl.float32)
    total = tl.zeros([TILE, WIDE], dtype=tl.float32)
    squares = tl.zeros([TILE, WIDE], dtype=tl.float32)
    for start in range(0, chunk, TILE):
        r = first + start + tl.arange(0, TILE)
        inside = (r < rows)[:, None] & valid[None, :]
        value = _values(x, beside, picture, r, c, rows, channels, split, inside, HAS_BESIDE)
        value = tl.where(inside, value + extra[None, :], 0.0)
        total += value
        squares += value * value
    pointer = out + part * 2 * channels + c
    tl.store(pointer, tl.sum(total, axis=0), mask=valid)
    tl.store(pointer + channels, tl.sum(squares, axis=0), mask=valid)


@triton.jit
def _moments_kernel(sums, out, chunks, channels, groups, per_group, count, eps, WIDTH: tl.constexpr):  # type: ignore[no-untyped-def]
    """Mean and 1 / deviation of a group of one picture. WIDTH: a power of two that holds its channels."""
    picture = tl.program_id(0).to(tl.int64)
    c = tl.arange(0, WIDTH)
    pointer = sums + picture * chunks * 2 * channels + tl.program_id(1) * per_group + c
    total = tl.zeros([WIDTH], dtype=tl.float32)
    squares = tl.zeros([WIDTH], dtype=tl.float32)
    for _ in range(chunks):
        total += tl.load(pointer, mask=c < per_group, other=0.0)
        squares += tl.load(pointer + channels, mask=c < per_group, other=0.0)
        pointer += 2 * channels
    mean = tl.sum(total, axis=0) / count
    variance = tl.maximum(tl.sum(squares, axis=0) / count - mean * mean, 0.0)
    to = out + picture * 2 * groups + tl.program_id(1)
    tl.store(to, mean)
    tl.store(to + groups, tl.rsqrt(variance + eps))


@triton.jit
def _normalise_kernel(
    x,
    beside,
    add,
    moments,
    weight,
    bias,
    out,
    rows,
    channels,
    split,
    groups,
    per_group,
    chunk: tl.constexpr,
    chunks,
    add_stride,
    HAS_ADD: tl.constexpr,
    HAS_BESIDE: tl.constexpr,
    ACTIVATION: tl.constexpr,
    TILE: tl.constexpr,
    WIDE: tl.constexpr,
):  # type: ignore[no-untyped-def]
    """activation((x + add - mean) / deviation * weight + bias) for a chunk of positions of one picture."""
    _part, picture, first, c, valid = _own_part(channels, chunk, chunks, WIDE)
    mean, rstd, w, b = _of_channels(
        moments, add, weight, bias, picture, c, valid, groups, per_group, add_stride, HAS_ADD
    )
    scale = rstd * w
    shift = b - mean * scale
    for start in range(0, chunk, TILE):
        r = first + start + tl.arange(0, TILE)
        inside = (r < rows)[:, None] & valid[None, :]
        value = _values(x, beside, picture, r, c, rows, channels, split, inside, HAS_BESIDE)
        value = value * scale[None, :] + shift[None, :]
        if ACTIVATION == 1:
            value = value * tl.sigmoid(value)
        if ACTIVATION == 2:
            value = tl.maximum(value, 0.0)
        tl.store(
            out + (picture * rows + r[:, None]) * channels + c[None, :],
            value.to(out.dtype.element_ty),
            mask=inside,
        )


@triton.jit
def _tile(x, gradient, offset, inside, mean, rstd, w, b, ACTIVATION: tl.constexpr):  # type: ignore[no-untyped-def]
    """Tile values: n = (x - mean) / deviation, and w g, where g is the gradient before the activation."""
    n = tl.load(x + offset, mask=inside, other=0.0).to(tl.float32)
    n = (n - mean[None, :]) * rstd[None, :]
    g = tl.load(gradient + offset, mask=inside, other=0.0).to(tl.float32)
    z = n * w[None, :] + b[None, :]
    if ACTIVATION == 1:
        s = tl.sigmoid(z)
        g = g * s * (1.0 + z * (1.0 - s))
    if ACTIVATION == 2:
        g = tl.where(z > 0, g, 0.0)
    return n, g * w[None, :]


@triton.jit
def _gradient_sums_kernel(
    x,
    add,
    gradient,
    moments,
    weight,
    bias,
    out,
    rows,
    channels,
    groups,
    per_group,
    chunk: tl.constexpr,
    chunks,
    add_stride,
    HAS_ADD: tl.constexpr,
    ACTIVATION: tl.constexpr,
    TILE: tl.constexpr,
    WIDE: tl.constexpr,
):  # type: ignore[no-untyped-def]
    """Sums of w g and of w g n per channel, over a chunk of positions; g before the activation."""
    part, picture, first, c, valid = _own_part(channels, chunk, chunks, WIDE)
    mean, rstd, w, b = _of_channels(
        moments, add, weight, bias, picture, c, valid, groups, per_group, add_stride, HAS_ADD
    )
    base = picture * rows * channels
    total = tl.zeros([TILE, WIDE], dtype=tl.float32)
    product = tl.zeros([TILE, WIDE], dtype=tl.float32)
    for start in range(0, chunk, TILE):
        r = first + start + tl.arange(0, TILE)
        inside = (r < rows)[:, None] & valid[None, :]
        offset = base + r[:, None] * channels + c[None, :]
        n, g = _tile(x, gradient, offset, inside, mean, rstd, w, b, ACTIVATION)
        total += g
        product += g * n
    pointer = out + part * 2 * channels + c
    tl.store(pointer, tl.sum(total, axis=0), mask=valid)
    tl.store(pointer + channels, tl.sum(product, axis=0), mask=valid)


@triton.jit
def _gradient_kernel(
    x,
    add,
    gradient,
    moments,
    sums,
    weight,
    bias,
    out,
    rows,
    channels,
    groups,
    per_group,
    one_over_count,
    chunk: tl.constexpr,
    chunks,
    add_stride,
    HAS_ADD: tl.constexpr,
    ACTIVATION: tl.constexpr,
    TILE: tl.constexpr,
    WIDE: tl.constexpr,
):  # type: ignore[no-untyped-def]
    """(w g - mean(w g) - n mean(w g n)) / deviation, the means over a group of one picture."""
    _part, picture, first, c, valid = _own_part(channels, chunk, chunks, WIDE)
    mean, rstd, w, b = _of_channels(
        moments, add, weight, bias, picture, c, valid, groups, per_group, add_stride, HAS_ADD
    )
    pointer = sums + picture * 2 * groups + c // per_group
    mean_g = tl.load(pointer, mask=valid, other=0.0) * one_over_count
    mean_gn = tl.load(pointer + groups, mask=valid, other=0.0) * one_over_count
    base = picture * rows * channels
    for start in range(0, chunk, TILE):
        r = first + start + tl.arange(0, TILE)
        inside = (r < rows)[:, None] & valid[None, :]
        here = base + r[:, None] * channels + c[None, :]
        n, g = _tile(x, gradient, here, inside, mean, rstd, w, b, ACTIVATION)
        g = (g - mean_g[None, :] - n * mean_gn[None, :]) * rstd[None, :]
        tl.store(out + here, g.to(out.dtype.element_ty), mask=inside)


class Normalisation:
    """Sizes and arguments shared by the launches over one (pictures, positions, channels) tensor.

    beside: channels that come after those of x, as if both were one tensor; without a gradient.
    moments: mean and 1 / deviation of x + add, (pictures, 2, groups) in float32.
    """

    def __init__(
        self,
        x: Float[Tensor, "b n c"],
        groups: int,
        weight: Float[Tensor, " c"],
        bias: Float[Tensor, " c"],
        activation: str,
        add: Float[Tensor, "*b c"] | None,
        beside: Float[Tensor, "b n c2"] | None = None,
    ) -> None:
        self.x, self.groups, self.weight, self.bias = x, groups, weight, bias
        self.add = weight if add is None else add.contiguous()  # a stand-in that is not read
        self.pictures, self.rows, self.split = x.shape
        self.channels = self.split + (0 if beside is None else beside.shape[2])
        self.beside = x if beside is None else beside  # the same
        self.chunk = 256 if self.rows <= 4096 else 1024
        self.chunks = triton.cdiv(self.rows, self.chunk)
        self.grid = (self.pictures * self.chunks, triton.cdiv(self.channels, WIDE))
        stride = self.channels if add is not None and add.ndim == 2 else 0
        self.layout = (self.chunk, self.chunks, stride, add is not None)
        self.read_layout = (*self.layout, beside is not None)
        self.sizes = (self.rows, self.channels, groups, self.channels // groups)
        self.activation = _ACTIVATIONS[activation]

    def _per_group(self, sums: Tensor) -> Float[Tensor, "b 2 g"]:
        """Sums per chunk and channel -> per picture and group."""
        return sums.view(self.pictures, self.chunks, 2, self.groups, -1).sum((1, 4))

    def _empty_sums(self) -> Tensor:
        size = (self.pictures, self.chunks, 2, self.channels)
        return torch.empty(size, dtype=torch.float32, device=self.x.device)

    def compute_moments(self, eps: float) -> Float[Tensor, "b 2 g"]:
        """Mean and reciprocal standard deviation of each group of x + add. eps: added to the variance."""
        sums = self._empty_sums()
        given, sizes = (self.x, self.beside, self.add, sums), (self.rows, self.channels, self.split)
        on_device_of(
            self.x,
            lambda: _sums_kernel[self.grid](*given, *sizes, *self.read_layout, TILE, WIDE, num_warps=WARPS),
        )
        moments = torch.empty(self.pictures, 2, self.groups, dtype=torch.float32, device=self.x.device)
        per_group = self.channels // self.groups
        count, width = self.rows * per_group, triton.next_power_of_2(per_group)
        rest = (self.chunks, self.channels, self.groups, per_group, count, eps, width)
        on_device_of(
            self.x, lambda: _moments_kernel[(self.pictures, self.groups)](sums, moments, *rest, num_warps=1)
        )
        return moments

    def normalise(self, moments: Float[Tensor, "b 2 g"]) -> Float[Tensor, "b n c"]:
        out = self.x.new_empty(self.pictures, self.rows, self.channels)
        tensors = (self.x, self.beside, self.add, moments, self.weight, self.bias, out)
        sizes = (self.rows, self.channels, self.split, self.groups, self.channels // self.groups)
        on_device_of(
            self.x,
            lambda: _normalise_kernel[self.grid](
                *tensors, *sizes, *self.read_layout, self.activation, TILE, WIDE, num_warps=WARPS
            ),
        )
        return out

    def gradient(
        self, moments: Float[Tensor, "b 2 g"], grad_out: Float[Tensor, "b n c"]
    ) -> Float[Tensor, "b n c"]:
        """Gradient with respect to x, from that with respect to what `normalise` returned."""
        sums, out = self._empty_sums(), torch.empty_like(self.x)
        tensors = (self.x, self.add, grad_out, moments)
        rest = (*self.layout, self.activation, TILE, WIDE)
        on_device_of(
            self.x,
            lambda: _gradient_sums_kernel[self.grid](
                *tensors, self.weight, self.bias, sums, *self.sizes, *rest
            ),
        )
        group_sums = self._per_group(sums)
        share = self.groups / (self.rows * self.channels)
        on_device_of(
            self.x,
            lambda: _gradient_kernel[self.grid](
                *tensors, group_sums, self.weight, self.bias, out, *self.sizes, share, *rest
            ),
        )
        return out


class _GroupNorm(torch.autograd.Function):
    """Normalisation with a gradient for x; it keeps x and the moments."""

    @staticmethod
    def forward(ctx, x, groups, weight, bias, eps, activation, add):  # type: ignore[no-untyped-def]
        norm = Normalisation(x, groups, weight, bias, activation, add)
        moments = norm.compute_moments(eps)
        ctx.save_for_backward(x, moments, weight, bias, *(() if add is None else (add,)))
        ctx.settings = groups, activation
        return norm.normalise(moments)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad_out):  # type: ignore[no-untyped-def]
        x, moments, weight, bias, *add = ctx.saved_tensors
        groups, activation = ctx.settings
        norm = Normalisation(x, groups, weight, bias, activation, add[0] if add else None)
        return norm.gradient(moments, grad_out.contiguous()), None, None, None, None, None, None


def group_norm(
    x: Float[Tensor, "b n c"],
    groups: int,
    weight: Float[Tensor, " c"],
    bias: Float[Tensor, " c"],
    eps: float,
    activation: str = "none",
    add: Float[Tensor, "*b c"] | None = None,
) -> Float[Tensor, "b n c"]:
    """As `fused_ops.group_norm`, positions flattened; two passes over x. Only x gets a gradient."""
    return _GroupNorm.apply(x, groups, weight, bias, eps, activation, add)


def group_norm_of_both(
    x: Float[Tensor, "b n c1"],
    beside: Float[Tensor, "b n c2"],
    groups: int,
    weight: Float[Tensor, " c"],
    bias: Float[Tensor, " c"],
    eps: float,
    activation: str = "none",
) -> Float[Tensor, "b n c"]:
    """The same of channels that lie in two tensors; without a gradient."""
    norm = Normalisation(x, groups, weight, bias, activation, None, beside)
    return norm.normalise(norm.compute_moments(eps))
