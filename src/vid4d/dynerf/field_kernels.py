"""Triton kernels of the cascade field: a pass from places to raw densities and colors, one for the gradient.

Nothing is kept for the gradient but the places: the second pass reads the planes again, which lie in the
cache. A program works on BLOCK places, whose features are tiles (BLOCK, channels), so planes are read
channels last. Sums and dot products are in full float32: normals are small differences of densities.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def _spot(u, size):  # type: ignore[no-untyped-def]
    """The grid points around coordinates in [-1, 1], the border's beyond it, and how far between them."""
    x = tl.minimum(tl.maximum((u + 1.0) * 0.5 * (size - 1), 0.0), size - 1.0)
    low = tl.floor(x).to(tl.int32)
    return low, tl.minimum(low + 1, size - 1), x - low.to(tl.float32)


@triton.jit
def _texel(row, column, width, channels: tl.constexpr, c):  # type: ignore[no-untyped-def]
    return ((row * width + column) * channels)[:, None] + c[None, :]


@triton.jit
def _read(plane, row, column, width, channels: tl.constexpr, c, mask):  # type: ignore[no-untyped-def]
    """Bilinear features (BLOCK, channels) of a plane at spots along its height and its width."""
    r0, r1, v = row
    c0, c1, u = column
    u, v = u[:, None], v[:, None]
    top = tl.load(plane + _texel(r0, c0, width, channels, c), mask=mask, other=0.0) * (1.0 - u)
    top += tl.load(plane + _texel(r0, c1, width, channels, c), mask=mask, other=0.0) * u
    low = tl.load(plane + _texel(r1, c0, width, channels, c), mask=mask, other=0.0) * (1.0 - u)
    low += tl.load(plane + _texel(r1, c1, width, channels, c), mask=mask, other=0.0) * u
    return top * (1.0 - v) + low * v


@triton.jit
def _features(space, over_time, sx, sy, sz, st, size, moments, channels: tl.constexpr, c, mask):  # type: ignore[no-untyped-def]
    """Features of the six planes, at spots along x, y, z and t."""
    xy, xt = size * size * channels, moments * size * channels
    return (
        _read(space, sy, sx, size, channels, c, mask),
        _read(space + xy, sz, sx, size, channels, c, mask),
        _read(space + 2 * xy, sz, sy, size, channels, c, mask),
        _read(over_time, st, sx, size, channels, c, mask),
        _read(over_time + xt, st, sy, size, channels, c, mask),
        _read(over_time + 2 * xt, st, sz, size, channels, c, mask),
    )


@triton.jit
def _add(plane, row, column, width, channels: tl.constexpr, c, mask, g):  # type: ignore[no-untyped-def]
    """The gradient of `_read`: g (BLOCK, channels) is shared out among the four grid points."""
    r0, r1, v = row
    c0, c1, u = column
    u, v = u[:, None], v[:, None]
    top, low = g * (1.0 - v), g * v
    tl.atomic_add(plane + _texel(r0, c0, width, channels, c), top * (1.0 - u), mask=mask, sem="relaxed")
    tl.atomic_add(plane + _texel(r0, c1, width, channels, c), top * u, mask=mask, sem="relaxed")
    tl.atomic_add(plane + _texel(r1, c0, width, channels, c), low * (1.0 - u), mask=mask, sem="relaxed")
    tl.atomic_add(plane + _texel(r1, c1, width, channels, c), low * u, mask=mask, sem="relaxed")


@triton.jit
def _weights(
    weight, channels: tl.constexpr, width: tl.constexpr, CHANNELS: tl.constexpr, WIDTH: tl.constexpr
):  # type: ignore[no-untyped-def]
    """A network's first layer as (CHANNELS, WIDTH), zero beyond its own size."""
    c, h = tl.arange(0, CHANNELS), tl.arange(0, WIDTH)
    mask = (c < channels)[:, None] & (h < width)[None, :]
    return tl.load(weight + h[None, :] * channels + c[:, None], mask=mask, other=0.0)


@triton.jit
def _row(weight, number, width: tl.constexpr, WIDTH: tl.constexpr):  # type: ignore[no-untyped-def]
    """A row of a network's second layer, (WIDTH,)."""
    h = tl.arange(0, WIDTH)
    return tl.load(weight + number * width + h, mask=h < width, other=0.0)


@triton.jit
def _hidden(features, first):  # type: ignore[no-untyped-def]
    return tl.maximum(tl.dot(features, first, input_precision="ieee"), 0.0)


@triton.jit
def _place(points, time, i, inside, move, STEP: tl.constexpr):  # type: ignore[no-untyped-def]
    """Coordinates x, y, z, t of places; moves 1 to 6 are x + STEP, x - STEP, y + STEP, ..."""
    step = tl.where(move % 2 == 1, STEP, -STEP)
    x = tl.load(points + i * 3, mask=inside, other=0.0)
    y = tl.load(points + i * 3 + 1, mask=inside, other=0.0)
    z = tl.load(points + i * 3 + 2, mask=inside, other=0.0)
    x += tl.where((move == 1) | (move == 2), step, 0.0)
    y += tl.where((move == 3) | (move == 4), step, 0.0)
    z += tl.where((move == 5) | (move == 6), step, 0.0)
    return x, y, z, tl.load(time + i, mask=inside, other=0.0)


@triton.jit
def level_kernel(
    points,
    time,
    space,
    over_time,
    density_in,
    density_out,
    color_in,
    color_out,
    density,
    color,
    used,
    count,
    size,
    moments,
    blob_density,
    blob_rate,
    STEP: tl.constexpr,
    LEVEL: tl.constexpr,
    COLOR: tl.constexpr,
    ROOM: tl.constexpr,
    channels: tl.constexpr,
    width: tl.constexpr,
    CHANNELS: tl.constexpr,
    WIDTH: tl.constexpr,
    BLOCK: tl.constexpr,
):  # type: ignore[no-untyped-def]
    """Raw density (levels, moves, count) and color (levels, 3, count) of a level, on top of the one below.

    The grid is (blocks of places, moves). CHANNELS, WIDTH: powers of two from 16 that hold the others. ROOM:
    only the first `used` of the places are there, for the rest there is room.
    """
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    move, moves = tl.program_id(1), tl.num_programs(1)
    there = tl.load(used) if ROOM else count
    if tl.program_id(0) * BLOCK >= there:
        return
    inside = i < there
    c = tl.arange(0, CHANNELS)
    mask = inside[:, None] & (c < channels)[None, :]
    x, y, z, t = _place(points, time, i, inside, move, STEP)
    sx, sy, sz, st = _spot(x, size), _spot(y, size), _spot(z, size), _spot(t, moments)
    f_xy, f_xz, f_yz, f_xt, f_yt, f_zt = _features(
        space, over_time, sx, sy, sz, st, size, moments, channels, c, mask
    )
    f = f_xy * f_xz * f_yz * f_xt * f_yt * f_zt

    hidden = _hidden(f, _weights(density_in, channels, width, CHANNELS, WIDTH))
    raw = tl.sum(hidden * _row(density_out, 0, width, WIDTH)[None, :], axis=1)
    here = density + (LEVEL * moves + move) * count + i
    if LEVEL == 0:
        raw += blob_density * (1.0 - tl.sqrt(x * x + y * y + z * z) * blob_rate)
    else:
        raw += tl.load(here - moves * count, mask=inside, other=0.0)
    tl.store(here, raw, mask=inside)
    if COLOR:  # noqa: SIM102 (known when the kernel is built)
        if move == 0:
            hidden = _hidden(f, _weights(color_in, channels, width, CHANNELS, WIDTH))
            for channel in tl.static_range(3):
                raw = tl.sum(hidden * _row(color_out, channel, width, WIDTH)[None, :], axis=1)
                here = color + (LEVEL * 3 + channel) * count + i
                if LEVEL > 0:
                    raw += tl.load(here - 3 * count, mask=inside, other=0.0)
                tl.store(here, raw, mask=inside)


@triton.jit
def _above(gradient, rows, row, count, i, inside, LEVEL: tl.constexpr, LEVELS: tl.constexpr):  # type: ignore[no-untyped-def]
    """Gradient of a level's own share of a raw value: the sum over the levels that it went into."""
    g = tl.load(gradient + (LEVEL * rows + row) * count + i, mask=inside, other=0.0)
    for level in tl.static_range(LEVEL + 1, LEVELS):
        g += tl.load(gradient + (level * rows + row) * count + i, mask=inside, other=0.0)
    return g


@triton.jit
def level_gradient_kernel(
    points,
    time,
    space,
    over_time,
    density_in,
    density_out,
    color_in,
    color_out,
    grad_density,
    grad_color,
    grad_space,
    grad_time,
    grad_density_in,
    grad_density_out,
    grad_color_in,
    grad_color_out,
    used,
    count,
    moves,
    size,
    moments,
    STEP: tl.constexpr,
    LEVEL: tl.constexpr,
    LEVELS: tl.constexpr,
    COLOR: tl.constexpr,
    ROOM: tl.constexpr,
    channels: tl.constexpr,
    width: tl.constexpr,
    CHANNELS: tl.constexpr,
    WIDTH: tl.constexpr,
    BLOCK: tl.constexpr,
):  # type: ignore[no-untyped-def]
    """Adds up the gradients of a level's planes and weights from those of raw densities and colors.

    A program takes every so manieth block of places, so that weights are added to memory once for each.
    """
    c, h = tl.arange(0, CHANNELS), tl.arange(0, WIDTH)
    xy, xt = size * size * channels, moments * size * channels
    first = _weights(density_in, channels, width, CHANNELS, WIDTH)
    second = _row(density_out, 0, width, WIDTH)
    grad_first = tl.zeros([CHANNELS, WIDTH], dtype=tl.float32)
    grad_second = tl.zeros([WIDTH], dtype=tl.float32)
    if COLOR:
        paint = _weights(color_in, channels, width, CHANNELS, WIDTH)
        red, green = _row(color_out, 0, width, WIDTH), _row(color_out, 1, width, WIDTH)
        blue = _row(color_out, 2, width, WIDTH)
        grad_paint = tl.zeros([CHANNELS, WIDTH], dtype=tl.float32)
        grad_red = tl.zeros([WIDTH], dtype=tl.float32)
        grad_green = tl.zeros([WIDTH], dtype=tl.float32)
        grad_blue = tl.zeros([WIDTH], dtype=tl.float32)
    there = tl.load(used) if ROOM else count
    blocks = tl.cdiv(there, BLOCK)
    for item in range(tl.program_id(0), blocks * moves, tl.num_programs(0)):
        move = item // blocks
        i = (item % blocks) * BLOCK + tl.arange(0, BLOCK)
        inside = i < there
        mask = inside[:, None] & (c < channels)[None, :]
        x, y, z, t = _place(points, time, i, inside, move, STEP)
        sx, sy, sz, st = _spot(x, size), _spot(y, size), _spot(z, size), _spot(t, moments)
        f_xy, f_xz, f_yz, f_xt, f_yt, f_zt = _features(
            space, over_time, sx, sy, sz, st, size, moments, channels, c, mask
        )
        in_space, in_time = f_xy * f_xz * f_yz, f_xt * f_yt * f_zt
        f = in_space * in_time

        g = _above(grad_density, moves, move, count, i, inside, LEVEL, LEVELS)
        hidden = _hidden(f, first)
        grad_second += tl.sum(hidden * g[:, None], axis=0)
        grad_hidden = tl.where(hidden > 0, g[:, None] * second[None, :], 0.0)
        grad_first += tl.dot(tl.trans(f), grad_hidden, input_precision="ieee")
        grad_f = tl.dot(grad_hidden, tl.trans(first), input_precision="ieee")
        if COLOR:  # noqa: SIM102
            if move == 0:
                r = _above(grad_color, 3, 0, count, i, inside, LEVEL, LEVELS)
                g = _above(grad_color, 3, 1, count, i, inside, LEVEL, LEVELS)
                b = _above(grad_color, 3, 2, count, i, inside, LEVEL, LEVELS)
                hidden = _hidden(f, paint)
                grad_red += tl.sum(hidden * r[:, None], axis=0)
                grad_green += tl.sum(hidden * g[:, None], axis=0)
                grad_blue += tl.sum(hidden * b[:, None], axis=0)
                grad_hidden = (
                    r[:, None] * red[None, :] + g[:, None] * green[None, :] + b[:, None] * blue[None, :]
                )
                grad_hidden = tl.where(hidden > 0, grad_hidden, 0.0)
                grad_paint += tl.dot(tl.trans(f), grad_hidden, input_precision="ieee")
                grad_f += tl.dot(grad_hidden, tl.trans(paint), input_precision="ieee")

        grad_in_space, grad_in_time = grad_f * in_time, grad_f * in_space
        _add(grad_space, sy, sx, size, channels, c, mask, grad_in_space * f_xz * f_yz)
        _add(grad_space + xy, sz, sx, size, channels, c, mask, grad_in_space * f_xy * f_yz)
        _add(grad_space + 2 * xy, sz, sy, size, channels, c, mask, grad_in_space * f_xy * f_xz)
        _add(grad_time, st, sx, size, channels, c, mask, grad_in_time * f_yt * f_zt)
        _add(grad_time + xt, st, sy, size, channels, c, mask, grad_in_time * f_xt * f_zt)
        _add(grad_time + 2 * xt, st, sz, size, channels, c, mask, grad_in_time * f_xt * f_yt)

    valid = (c < channels)[:, None] & (h < width)[None, :]
    place = h[None, :] * channels + c[:, None]
    tl.atomic_add(grad_density_in + place, grad_first, mask=valid, sem="relaxed")
    tl.atomic_add(grad_density_out + h, grad_second, mask=h < width, sem="relaxed")
    if COLOR:
        tl.atomic_add(grad_color_in + place, grad_paint, mask=valid, sem="relaxed")
        tl.atomic_add(grad_color_out + h, grad_red, mask=h < width, sem="relaxed")
        tl.atomic_add(grad_color_out + width + h, grad_green, mask=h < width, sem="relaxed")
        tl.atomic_add(grad_color_out + 2 * width + h, grad_blue, mask=h < width, sem="relaxed")
