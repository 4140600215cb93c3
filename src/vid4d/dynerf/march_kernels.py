"""Triton kernels of ray marching: samples of rays, where they end, and how they add up, with the gradient.

A program works on one ray, SAMPLES of its samples at a time. Samples of all rays lie behind one another:
those of a ray begin at `starts` and are `counts` many. Everything is in float32.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def _between(origin, direction, low, high):  # type: ignore[no-untyped-def]
    """Lengths at which a ray enters and leaves the slab between two planes perpendicular to an axis."""
    safe = tl.where(tl.abs(direction) < 1e-9, 1e-9, direction)
    a, b = (low - origin) / safe, (high - origin) / safe
    return tl.minimum(a, b), tl.maximum(a, b)


@triton.jit
def _cell(u, resolution):  # type: ignore[no-untyped-def]
    x = tl.minimum(tl.maximum((u + 1.0) * (resolution * 0.5), 0.0), resolution - 1.0)
    return x.to(tl.int32)


@triton.jit
def samples_kernel(
    origin,
    direction,
    time,
    shift,
    bounds,
    occupied,
    starts,
    counts,
    points,
    times,
    directions,
    lengths,
    resolution,
    step,
    HAS_GRID: tl.constexpr,
    FILL: tl.constexpr,
    SAMPLES: tl.constexpr,
):  # type: ignore[no-untyped-def]
    """Samples of a ray in occupied cells, as in `march.find_samples`.

    Counts them, or with FILL writes the first `counts` of them.
    """
    ray = tl.program_id(0)
    ox, oy, oz = tl.load(origin + ray * 3), tl.load(origin + ray * 3 + 1), tl.load(origin + ray * 3 + 2)
    dx = tl.load(direction + ray * 3)
    dy = tl.load(direction + ray * 3 + 1)
    dz = tl.load(direction + ray * 3 + 2)
    x0, x1 = _between(ox, dx, -1.0, 1.0)
    y0, y1 = _between(oy, dy, -1.0, 1.0)
    z0, z1 = _between(oz, dz, -1.0, 1.0)
    enter = tl.maximum(tl.maximum(tl.maximum(x0, y0), z0), 0.0)
    leave = tl.minimum(tl.minimum(x1, y1), z1)
    nearest, farthest = enter, leave
    if HAS_GRID:
        x0, x1 = _between(ox, dx, tl.load(bounds), tl.load(bounds + 3))
        y0, y1 = _between(oy, dy, tl.load(bounds + 1), tl.load(bounds + 4))
        z0, z1 = _between(oz, dz, tl.load(bounds + 2), tl.load(bounds + 5))
        nearest = tl.maximum(tl.maximum(tl.maximum(x0, y0), z0), 0.0)
        farthest = tl.minimum(tl.minimum(x1, y1), z1)
    first = tl.floor((nearest - enter) / step) + tl.load(shift + ray)
    steps = tl.where(farthest > nearest, ((farthest - nearest) / step).to(tl.int32) + 2, 0)
    n_kept = 0
    if FILL:
        most, start = tl.load(counts + ray), tl.load(starts + ray)
        steps = tl.where(most > 0, steps, 0)
        at = tl.load(time + ray)
    for i in range(0, steps, SAMPLES):
        k = i + tl.arange(0, SAMPLES)
        length = enter + (first + k.to(tl.float32)) * step
        x, y, z = ox + length * dx, oy + length * dy, oz + length * dz
        keep = (k < steps) & (length < leave)
        if HAS_GRID:
            cell = (_cell(x, resolution) * resolution + _cell(y, resolution)) * resolution
            keep = keep & (tl.load(occupied + cell + _cell(z, resolution), mask=keep, other=0) != 0)
        here = keep.to(tl.int32)
        if FILL:
            rank = n_kept + tl.cumsum(here, axis=0) - 1
            keep = keep & (rank < most)
            offset = start + rank
            tl.store(points + offset * 3, x, mask=keep)
            tl.store(points + offset * 3 + 1, y, mask=keep)
            tl.store(points + offset * 3 + 2, z, mask=keep)
            tl.store(directions + offset * 3, dx + x * 0.0, mask=keep)
            tl.store(directions + offset * 3 + 1, dy + x * 0.0, mask=keep)
            tl.store(directions + offset * 3 + 2, dz + x * 0.0, mask=keep)
            tl.store(times + offset, at + x * 0.0, mask=keep)
            tl.store(lengths + offset, length, mask=keep)
        n_kept += tl.sum(here, axis=0)
    if not FILL:
        tl.store(counts + ray, n_kept)


@triton.jit
def visible_kernel(
    density,
    starts,
    counts,
    kept,
    samples,
    step,
    most,
    LEVELS: tl.constexpr,
    SAMPLES: tl.constexpr,
):  # type: ignore[no-untyped-def]
    """Number of samples of a ray that have an optical depth below `most` before them, at any level."""
    ray = tl.program_id(0)
    start, count = tl.load(starts + ray), tl.load(counts + ray)
    n_visible = 0
    for level in tl.static_range(LEVELS):
        before, n_clear = 0.0, 0
        for i in range(0, count, SAMPLES):
            k = i + tl.arange(0, SAMPLES)
            depth = tl.load(density + level * samples + start + k, mask=k < count, other=0.0) * step
            ahead = before + tl.cumsum(depth, axis=0) - depth
            n_clear += tl.sum(((k < count) & (ahead < most)).to(tl.int32), axis=0)
            before += tl.sum(depth, axis=0)
        n_visible = tl.maximum(n_visible, n_clear)
    tl.store(kept + ray, n_visible)


@triton.jit
def _weights(density, offset, inside, before, step):  # type: ignore[no-untyped-def]
    """Optical depths of samples, the light that is left after them, and their shares of the pixel."""
    depth = tl.load(density + offset, mask=inside, other=0.0) * step
    depth = tl.minimum(depth, 64.0)  # leaves 1e-28 of the light; larger ones are inexact below
    ahead = tl.maximum(before + tl.cumsum(depth, axis=0) - depth, before)
    thin = depth * (1.0 - depth * (0.5 - depth * (1.0 / 6.0)))  # 1 - exp(-depth) where that is inexact
    alpha = tl.where(depth < 0.01, thin, 1.0 - tl.exp(-depth))
    return depth, tl.exp(-(ahead + depth)), tl.exp(-ahead) * alpha


@triton.jit
def composite_kernel(
    density,
    features,
    lengths,
    starts,
    counts,
    value,
    weight,
    rays,
    samples,
    step,
    FEATURES: tl.constexpr,
    SAMPLES: tl.constexpr,
):  # type: ignore[no-untyped-def]
    """Composites a ray at a level: color (3), alpha, alpha * mean length, then the other features."""
    ray, level = tl.program_id(0), tl.program_id(1)
    start, count = tl.load(starts + ray), tl.load(counts + ray)
    f = tl.arange(0, 8)
    mean = tl.zeros([8], dtype=tl.float32)
    before, alpha, far = 0.0, 0.0, 0.0
    for i in range(0, count, SAMPLES):
        k = i + tl.arange(0, SAMPLES)
        inside = k < count
        offset = level * samples + start + k
        depth, _after, share = _weights(density, offset, inside, before, step)
        tl.store(weight + offset, share, mask=inside)
        mask = (f < FEATURES)[:, None] & inside[None, :]
        row = features + (level * FEATURES + f)[:, None] * samples + start + k[None, :]
        mean += tl.sum(tl.load(row, mask=mask, other=0.0) * share[None, :], axis=1)
        alpha += tl.sum(share, axis=0)
        far += tl.sum(share * tl.load(lengths + start + k, mask=inside, other=0.0), axis=0)
        before += tl.sum(depth, axis=0)
    out = value + level * (FEATURES + 2) * rays + ray
    tl.store(out + (f + tl.where(f < 3, 0, 2)) * rays, mean, mask=f < FEATURES)
    tl.store(out + 3 * rays, alpha)
    tl.store(out + 4 * rays, far)


@triton.jit
def composite_gradient_kernel(
    density,
    features,
    lengths,
    starts,
    counts,
    grad_value,
    grad_weight,
    grad_density,
    grad_features,
    rays,
    samples,
    step,
    FEATURES: tl.constexpr,
    SAMPLES: tl.constexpr,
):  # type: ignore[no-untyped-def]
    """The gradient of `composite_kernel`, of its weights, too.

    The first turn over the ray adds up gradient * weight, of which the second subtracts what lies before and
    at a sample: what is left is behind it.
    """
    ray, level = tl.program_id(0), tl.program_id(1)
    start, count = tl.load(starts + ray), tl.load(counts + ray)
    f = tl.arange(0, 8)
    ray_grad = grad_value + level * (FEATURES + 2) * rays + ray
    grad_mean = tl.load(ray_grad + (f + tl.where(f < 3, 0, 2)) * rays, mask=f < FEATURES, other=0.0)
    grad_alpha, grad_far = tl.load(ray_grad + 3 * rays), tl.load(ray_grad + 4 * rays)
    behind = 0.0
    for turn in tl.static_range(2):
        before = 0.0
        for i in range(0, count, SAMPLES):
            k = i + tl.arange(0, SAMPLES)
            inside = k < count
            offset = level * samples + start + k
            depth, after, share = _weights(density, offset, inside, before, step)
            mask = (f < FEATURES)[:, None] & inside[None, :]
            row = (level * FEATURES + f)[:, None] * samples + start + k[None, :]
            feature = tl.load(features + row, mask=mask, other=0.0)
            g = tl.sum(feature * grad_mean[:, None], axis=0) + grad_alpha
            g += grad_far * tl.load(lengths + start + k, mask=inside, other=0.0)
            g += tl.load(grad_weight + offset, mask=inside, other=0.0)
            part = tl.where(inside, g * share, 0.0)
            if turn == 0:
                behind += tl.sum(part, axis=0)
            else:
                grad_depth = g * after - (behind - tl.cumsum(part, axis=0))
                tl.store(grad_density + offset, grad_depth * step, mask=inside)
                tl.store(grad_features + row, grad_mean[:, None] * share[None, :], mask=mask)
                behind -= tl.sum(part, axis=0)
            before += tl.sum(depth, axis=0)
