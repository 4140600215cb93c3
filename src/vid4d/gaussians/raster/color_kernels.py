"""Triton: colors of splats from spherical harmonics and Fourier terms, and the gradient of the coefficients.

One thread a splat, in float32. Coefficients are stored number by number: (K F 3, n). `sh.py` has the plain
form and the constants' source.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def harmonic(J: tl.constexpr, x, y, z):
    """Basis function J at unit directions."""
    if J == 0:
        value = 0.28209479177387814 + 0 * x
    elif J == 1:
        value = -0.4886025119029199 * y
    elif J == 2:
        value = 0.4886025119029199 * z
    elif J == 3:
        value = -0.4886025119029199 * x
    elif J == 4:
        value = 1.0925484305920792 * x * y
    elif J == 5:
        value = -1.0925484305920792 * y * z
    elif J == 6:
        value = 0.31539156525252005 * (2 * z * z - x * x - y * y)
    elif J == 7:
        value = -1.0925484305920792 * x * z
    elif J == 8:
        value = 0.5462742152960396 * (x * x - y * y)
    elif J == 9:
        value = -0.5900435899266435 * y * (3 * x * x - y * y)
    elif J == 10:
        value = 2.890611442640554 * x * y * z
    elif J == 11:
        value = -0.4570457994644658 * y * (4 * z * z - x * x - y * y)
    elif J == 12:
        value = 0.3731763325901154 * z * (2 * z * z - 3 * x * x - 3 * y * y)
    elif J == 13:
        value = -0.4570457994644658 * x * (4 * z * z - x * x - y * y)
    elif J == 14:
        value = 1.445305721320277 * z * (x * x - y * y)
    else:
        value = -0.5900435899266435 * x * (x * x - 3 * y * y)
    return value


@triton.jit
def harmonic_gradient(J: tl.constexpr, x, y, z):
    """Derivatives of basis function J with respect to x, y and z."""
    dx, dy, dz = 0 * x, 0 * x, 0 * x
    if J == 1:
        dy = -0.4886025119029199 + 0 * x
    elif J == 2:
        dz = 0.4886025119029199 + 0 * x
    elif J == 3:
        dx = -0.4886025119029199 + 0 * x
    elif J == 4:
        dx, dy = 1.0925484305920792 * y, 1.0925484305920792 * x
    elif J == 5:
        dy, dz = -1.0925484305920792 * z, -1.0925484305920792 * y
    elif J == 6:
        dx, dy = -0.6307831305050401 * x, -0.6307831305050401 * y
        dz = 1.2615662610100802 * z
    elif J == 7:
        dx, dz = -1.0925484305920792 * z, -1.0925484305920792 * x
    elif J == 8:
        dx, dy = 1.0925484305920792 * x, -1.0925484305920792 * y
    elif J == 9:
        dx, dy = -3.540261539559861 * x * y, -1.7701307697799304 * (x * x - y * y)
    elif J == 10:
        dx, dy = 2.890611442640554 * y * z, 2.890611442640554 * x * z
        dz = 2.890611442640554 * x * y
    elif J == 11:
        dx = 0.9140915989289315 * x * y
        dy = -0.4570457994644658 * (4 * z * z - x * x - 3 * y * y)
        dz = -3.6563663957157262 * y * z
    elif J == 12:
        dx, dy = -2.2390579955406924 * x * z, -2.2390579955406924 * y * z
        dz = 1.1195289977703462 * (2 * z * z - x * x - y * y)
    elif J == 13:
        dx = -0.4570457994644658 * (4 * z * z - 3 * x * x - y * y)
        dy = 0.9140915989289315 * x * y
        dz = -3.6563663957157262 * x * z
    elif J == 14:
        dx, dy = 2.890611442640554 * x * z, -2.890611442640554 * y * z
        dz = 1.445305721320277 * (x * x - y * y)
    elif J == 15:
        dx, dy = -1.7701307697799304 * (x * x - y * y), 3.540261539559861 * x * y
    return dx, dy, dz


@triton.jit
def colors(sh, n, count, needed, x, y, z, dt, period, HARMONICS: tl.constexpr, FOURIER: tl.constexpr):
    """0.5 + the sum of coefficients, basis functions and waves, for red, green and blue; not clamped."""
    red, green, blue = 0.5 + 0 * x, 0.5 + 0 * x, 0.5 + 0 * x
    for k in tl.static_range(FOURIER):
        wave = tl.cos((6.283185307179586 / period * k) * dt)
        for j in tl.static_range(HARMONICS):
            weight = harmonic(j, x, y, z)
            if k > 0:
                weight *= wave
            at = sh + (j * FOURIER + k) * 3 * count + n
            red += weight * tl.load(at, mask=needed, other=0.0)
            green += weight * tl.load(at + count, mask=needed, other=0.0)
            blue += weight * tl.load(at + 2 * count, mask=needed, other=0.0)
    return red, green, blue


@triton.jit
def colors_backward(
    sh,
    n,
    count,
    needed,
    x,
    y,
    z,
    dt,
    period,
    red,
    green,
    blue,
    HARMONICS: tl.constexpr,
    FOURIER: tl.constexpr,
):
    """Gradients of the unit direction and of dt, from those of the colors."""
    dx, dy, dz, by_time = 0 * x, 0 * x, 0 * x, 0 * x
    for k in tl.static_range(FOURIER):
        frequency = 6.283185307179586 / period * k
        wave, slope = tl.cos(frequency * dt), -frequency * tl.sin(frequency * dt)
        for j in tl.static_range(HARMONICS):
            if j + k > 0:  # the constant term depends on nothing
                at = sh + (j * FOURIER + k) * 3 * count + n
                along = red * tl.load(at, mask=needed, other=0.0)
                along += green * tl.load(at + count, mask=needed, other=0.0)
                along += blue * tl.load(at + 2 * count, mask=needed, other=0.0)
                jx, jy, jz = harmonic_gradient(j, x, y, z)
                if k > 0:
                    by_time += along * slope * harmonic(j, x, y, z)
                    along *= wave
                dx += along * jx
                dy += along * jy
                dz += along * jz
    return dx, dy, dz, by_time


@triton.jit(do_not_specialize=["count", "views"])
def sh_backward_kernel(
    looks,
    grad_sh,
    count,
    views,
    period,
    HARMONICS: tl.constexpr,
    FOURIER: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Gradients of one Fourier term's coefficients: sums over the views, in their order.

    looks: (7, views, count), written by `splat_backward_kernel`: direction, dt, gradient of the color; all 0
    where a splat is not visible.
    """
    n = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    term = tl.program_id(1)
    inside = n < count
    field = views.to(tl.int64) * count
    frequency = 6.283185307179586 / period * term
    for j in tl.static_range(HARMONICS):
        red = tl.zeros([BLOCK], tl.float32)
        green = tl.zeros([BLOCK], tl.float32)
        blue = tl.zeros([BLOCK], tl.float32)
        at = looks + n
        for _ in range(views):
            x = tl.load(at, mask=inside, other=0.0)
            y = tl.load(at + field, mask=inside, other=0.0)
            z = tl.load(at + 2 * field, mask=inside, other=0.0)
            weight = harmonic(j, x, y, z)
            if FOURIER > 1:
                weight *= tl.cos(frequency * tl.load(at + 3 * field, mask=inside, other=0.0))
            red += weight * tl.load(at + 4 * field, mask=inside, other=0.0)
            green += weight * tl.load(at + 5 * field, mask=inside, other=0.0)
            blue += weight * tl.load(at + 6 * field, mask=inside, other=0.0)
            at += count
        out = grad_sh + (j * FOURIER + term).to(tl.int64) * 3 * count + n
        tl.store(out, red, mask=inside)
        tl.store(out + count, green, mask=inside)
        tl.store(out + 2 * count, blue, mask=inside)
