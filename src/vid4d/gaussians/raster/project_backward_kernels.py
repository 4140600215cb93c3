"""Triton: gradients of splats from the sums that tiles made of them; see `project_kernels`.

Each program owns a block of splats and adds up their tiles and views in a fixed order: no atomics, the same
bytes every time.
"""

from __future__ import annotations

import triton
import triton.language as tl

from vid4d.gaussians.raster.color_kernels import colors_backward
from vid4d.gaussians.raster.project_kernels import (
    COMPENSATION_MIN,
    LOW_PASS,
    RECORD,
    apply,
    four,
    from_camera,
    load_splat,
    pose_row,
    slice_in_time,
    time_from,
    to_camera,
    to_screen,
)

SUMS = tl.constexpr(12)
"""Numbers a tile writes for each of its splats; see `blend_backward_kernel`."""


@triton.jit
def tile_sums(sums, keys, ends, touched, i, visible, x, y, first_key, tiles, tiles_x, TILE: tl.constexpr):
    """Sums over the tiles of (view, splat) pairs i: of q, q dx, q dy, q dx^2, q dx dy, q dy^2 (dx and dy from
    the splat's mean), and of the weighted gradients of red, green, blue and depth.
    """
    zero = 0 * x
    s, sx, sy, sxx, sxy, syy = zero, zero, zero, zero, zero, zero
    red, green, blue, depth = zero, zero, zero, zero
    n_tiles = tl.where(visible, tl.load(touched + i, mask=visible, other=0), 0)
    start = tl.load(ends + i, mask=visible, other=0) - n_tiles
    for step in range(tl.max(n_tiles, axis=0)):
        more = step < n_tiles
        place = start + step
        m0, mx, my, mxx = four(sums + place * SUMS, more)
        mxy, myy, r, g = four(sums + place * SUMS + 4, more)
        b, d, _, _ = four(sums + place * SUMS + 8, more)
        tile = (tl.load(keys + place, mask=more, other=0).to(tl.int32) - first_key) % tiles
        dx = (tile % tiles_x) * TILE + TILE * 0.5 - x
        dy = (tile // tiles_x) * TILE + TILE * 0.5 - y
        s += m0
        sx += mx + dx * m0
        sy += my + dy * m0
        sxx += mxx + dx * (2 * mx + dx * m0)
        sxy += mxy + dx * my + dy * (mx + dx * m0)
        syy += myy + dy * (2 * my + dy * m0)
        red += r
        green += g
        blue += b
        depth += d
    return s, sx, sy, sxx, sxy, syy, red, green, blue, depth


@triton.jit
def _look(looks, field, x, y, z, dt, red, green, blue, inside, FOURIER: tl.constexpr):
    """Keeps what `sh_backward_kernel` needs of a view."""
    tl.store(looks, x, mask=inside)
    tl.store(looks + field, y, mask=inside)
    tl.store(looks + 2 * field, z, mask=inside)
    if FOURIER > 1:
        tl.store(looks + 3 * field, dt, mask=inside)
    tl.store(looks + 4 * field, red, mask=inside)
    tl.store(looks + 5 * field, green, mask=inside)
    tl.store(looks + 6 * field, blue, mask=inside)


@triton.jit
def _through_slice(
    gx, gy, gz, hxx, hxy, hxz, hyy, hyz, hzz, by_opacity, by_dt, opacity, xt, yt, zt, tt, dt, marginal
):
    """Gradients of xt, yt, zt (off the diagonal: twice that of either half), tt, t and the opacity."""
    vx, vy, vz = xt / tt, yt / tt, zt / tt
    ax, ay, az = apply(hxx, hxy, hxz, hyy, hyz, hzz, vx, vy, vz)
    by_marginal = by_opacity * opacity * marginal
    by_t = by_marginal * dt / tt - (vx * gx + vy * gy + vz * gz) - by_dt
    by_tt = by_marginal * 0.5 * dt * dt / (tt * tt) - (vx * gx + vy * gy + vz * gz) * dt / tt
    by_tt += vx * ax + vy * ay + vz * az
    by_xt, by_yt, by_zt = gx * dt / tt - 2 * ax, gy * dt / tt - 2 * ay, gz * dt / tt - 2 * az
    return by_xt, by_yt, by_zt, by_tt, by_t, by_opacity * marginal


@triton.jit(do_not_specialize=["count", "views"])
def splat_backward_kernel(
    means,
    covariances,
    opacities,
    sh,
    times,
    poses,
    focals,
    records,
    radii,
    touched,
    ends,
    keys,
    sums,
    grad_means,
    grad_covariances,
    grad_opacities,
    grad_screen,
    looks,
    count,
    views,
    width,
    height,
    period,
    first_key,
    tiles,
    tiles_x,
    DIMS: tl.constexpr,
    HARMONICS: tl.constexpr,
    FOURIER: tl.constexpr,
    CYCLIC: tl.constexpr,
    ANTIALIAS: tl.constexpr,
    TILE: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Gradients of a block's means, covariances (both halves), opacities and 2D means, and `looks` for
    `sh_backward_kernel`.

    touched, ends: of every (view, splat), how many tiles it has and where their sums end.
    """
    n = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = n < count
    half_x, half_y = width * 0.5, height * 0.5
    x4, y4, z4, t, xx4, xy4, xz4, yy4, yz4, zz4, xt, yt, zt, tt, opacity4 = load_splat(
        means, covariances, opacities, n, count, inside, DIMS
    )
    zero = tl.zeros([BLOCK], tl.float64)
    sum_x, sum_y, sum_z, sum_t = zero, zero, zero, zero
    sum_xx, sum_xy, sum_xz, sum_yy, sum_yz, sum_zz = zero, zero, zero, zero, zero, zero
    sum_xt, sum_yt, sum_zt, sum_tt, sum_opacity = zero, zero, zero, zero, zero
    field = views.to(tl.int64) * count
    d = tl.float32
    for view in range(views):
        i = n.to(tl.int64) + view * count
        visible = inside & (tl.load(radii + i, mask=inside, other=0.0) > 0)
        px, py, _, _ = four(records + i * RECORD, visible)
        _, record_opacity, _, _ = four(records + i * RECORD + 4, visible)
        _, _, _, open_colors = four(records + i * RECORD + 8, visible)
        s, sx, sy, sxx, sxy, syy, red, green, blue, by_depth = tile_sums(
            sums, keys, ends, touched, i, visible, px, py, first_key, tiles, tiles_x, TILE
        )

        # Forward, once more.
        focal = tl.load(focals + view).to(tl.float64)
        x, y, z, xx, xy, xz, yy, yz, zz = x4, y4, z4, xx4, xy4, xz4, yy4, yz4, zz4
        opacity, dt, marginal = opacity4, zero, zero + 1
        if DIMS == 4:
            dt = time_from(t, tl.load(times + view).to(tl.float64), CYCLIC)
            x, y, z, xx, xy, xz, yy, yz, zz, marginal = slice_in_time(
                x, y, z, xx, xy, xz, yy, yz, zz, xt, yt, zt, tt, dt
            )
            opacity *= marginal
        u, v, w = to_camera(poses, view, x, y, z)
        w = tl.where(visible, w, 1.0)
        m0, m1, m2, n0, n1, n2, slope_x, slope_y = to_screen(poses, view, focal, u, v, w, half_x, half_y)
        p0, p1, p2 = apply(xx, xy, xz, yy, yz, zz, m0, m1, m2)
        q0, q1, q2 = apply(xx, xy, xz, yy, yz, zz, n0, n1, n2)
        a, b = p0 * m0 + p1 * m1 + p2 * m2, p0 * n0 + p1 * n1 + p2 * n2
        c = q0 * n0 + q1 * n1 + q2 * n2
        low_a, low_c = a + LOW_PASS, c + LOW_PASS
        det = tl.where(visible, low_a * low_c - b * b, 1.0)

        # Conic A, B, C, the inverse of the 2D covariance: dL/dS = -Q G Q.
        conic_a, conic_b, conic_c = low_c / det, -b / det, low_a / det
        by_px, by_py = -(conic_a * sx + conic_b * sy), -(conic_b * sx + conic_c * sy)
        g0, g1, g2 = 0.5 * sxx, 0.5 * sxy, 0.5 * syy
        t00, t01 = conic_a * g0 + conic_b * g1, conic_a * g1 + conic_b * g2
        t10, t11 = conic_b * g0 + conic_c * g1, conic_b * g1 + conic_c * g2
        by_a, by_b = -(t00 * conic_a + t01 * conic_b), -(t00 * conic_b + t01 * conic_c)
        by_c = -(t10 * conic_b + t11 * conic_c)
        by_opacity = -s / tl.where(visible, record_opacity, 1.0).to(tl.float64)
        if ANTIALIAS:
            ratio = (a * c - b * b) / det
            compensation = tl.sqrt(tl.maximum(ratio, COMPENSATION_MIN))
            by_ratio = by_opacity * opacity * 0.5 / compensation / det
            by_ratio = tl.where(ratio >= COMPENSATION_MIN, by_ratio, 0.0)
            by_a += by_ratio * (c - ratio * low_c)
            by_c += by_ratio * (a - ratio * low_a)
            by_b -= by_ratio * b * (1 - ratio)  # half of it: b stands twice in the matrix
            by_opacity *= compensation

        # 2D covariance = M S M^T, M = J R.
        e0, e1, e2 = by_a * m0 + by_b * n0, by_a * m1 + by_b * n1, by_a * m2 + by_b * n2
        f0, f1, f2 = by_b * m0 + by_c * n0, by_b * m1 + by_c * n1, by_b * m2 + by_c * n2
        by_xx, by_yy, by_zz = m0 * e0 + n0 * f0, m1 * e1 + n1 * f1, m2 * e2 + n2 * f2
        by_xy, by_xz, by_yz = m0 * e1 + n0 * f1, m0 * e2 + n0 * f2, m1 * e2 + n1 * f2
        r00, r01, r02, _ = pose_row(poses, view, 0)
        r10, r11, r12, _ = pose_row(poses, view, 1)
        r20, r21, r22, _ = pose_row(poses, view, 2)
        mx0, mx1, mx2 = 2 * (by_a * p0 + by_b * q0), 2 * (by_a * p1 + by_b * q1), 2 * (by_a * p2 + by_b * q2)
        my0, my1, my2 = 2 * (by_b * p0 + by_c * q0), 2 * (by_b * p1 + by_c * q1), 2 * (by_b * p2 + by_c * q2)
        j00, j02 = mx0 * r00 + mx1 * r01 + mx2 * r02, mx0 * r20 + mx1 * r21 + mx2 * r22
        j11, j12 = my0 * r10 + my1 * r11 + my2 * r12, my0 * r20 + my1 * r21 + my2 * r22
        scale, over = focal / w, focal / (w * w)
        by_u, by_v = by_px * scale, by_py * scale
        by_w = by_depth - over * (by_px * u + by_py * v)
        by_w += over * (j02 * slope_x + j12 * slope_y - j00 - j11)
        free_x, free_y = u / w == slope_x, v / w == slope_y
        by_u -= tl.where(free_x, j02 * over, 0.0)
        by_v -= tl.where(free_y, j12 * over, 0.0)
        by_w += tl.where(free_x, j02 * over * slope_x, 0.0) + tl.where(free_y, j12 * over * slope_y, 0.0)
        by_x = r00 * by_u + r10 * by_v + r20 * by_w
        by_y = r01 * by_u + r11 * by_v + r21 * by_w
        by_z = r02 * by_u + r12 * by_v + r22 * by_w

        # Color.
        bits = open_colors.to(tl.int32)
        red = tl.where((bits & 1) > 0, red, 0.0)
        green = tl.where((bits & 2) > 0, green, 0.0)
        blue = tl.where((bits & 4) > 0, blue, 0.0)
        dx, dy, dz, distance = from_camera(poses, view, x, y, z)
        ux, uy, uz, short = dx.to(d), dy.to(d), dz.to(d), dt.to(d)
        by_dt = zero
        if HARMONICS * FOURIER > 1:
            gx, gy, gz, by_wave = colors_backward(
                sh, n, count, visible, ux, uy, uz, short, period, red, green, blue, HARMONICS, FOURIER
            )
            along = gx * dx + gy * dy + gz * dz
            by_x += (gx - along * dx) / distance
            by_y += (gy - along * dy) / distance
            by_z += (gz - along * dz) / distance
            by_dt = by_wave.to(tl.float64)
        ux, uy, uz = tl.where(visible, ux, 0.0), tl.where(visible, uy, 0.0), tl.where(visible, uz, 0.0)
        short = tl.where(visible, short, 0.0)
        _look(looks + i, field, ux, uy, uz, short, red, green, blue, inside, FOURIER)

        if DIMS == 4:
            by_xt, by_yt, by_zt, by_tt, by_t, by_opacity = _through_slice(
                by_x,
                by_y,
                by_z,
                by_xx,
                by_xy,
                by_xz,
                by_yy,
                by_yz,
                by_zz,
                by_opacity,
                by_dt,
                opacity4,
                xt,
                yt,
                zt,
                tt,
                dt,
                marginal,
            )
            sum_xt += tl.where(visible, by_xt, 0.0)
            sum_yt += tl.where(visible, by_yt, 0.0)
            sum_zt += tl.where(visible, by_zt, 0.0)
            sum_tt += tl.where(visible, by_tt, 0.0)
            sum_t += tl.where(visible, by_t, 0.0)
        sum_x += tl.where(visible, by_x, 0.0)
        sum_y += tl.where(visible, by_y, 0.0)
        sum_z += tl.where(visible, by_z, 0.0)
        sum_xx += tl.where(visible, by_xx, 0.0)
        sum_xy += tl.where(visible, by_xy, 0.0)
        sum_xz += tl.where(visible, by_xz, 0.0)
        sum_yy += tl.where(visible, by_yy, 0.0)
        sum_yz += tl.where(visible, by_yz, 0.0)
        sum_zz += tl.where(visible, by_zz, 0.0)
        sum_opacity += tl.where(visible, by_opacity, 0.0)
        tl.store(grad_screen + i * 2, tl.where(visible, by_px, 0.0).to(d), mask=inside)
        tl.store(grad_screen + i * 2 + 1, tl.where(visible, by_py, 0.0).to(d), mask=inside)

    out = grad_means + n * DIMS
    tl.store(out, sum_x.to(d), mask=inside)
    tl.store(out + 1, sum_y.to(d), mask=inside)
    tl.store(out + 2, sum_z.to(d), mask=inside)
    tl.store(grad_opacities + n, sum_opacity.to(d), mask=inside)
    out = grad_covariances + n
    tl.store(out, sum_xx.to(d), mask=inside)
    _both(out, count, 0, 1, sum_xy, inside, DIMS)
    _both(out, count, 0, 2, sum_xz, inside, DIMS)
    tl.store(out + (DIMS + 1) * count, sum_yy.to(d), mask=inside)
    _both(out, count, 1, 2, sum_yz, inside, DIMS)
    tl.store(out + (2 * DIMS + 2) * count, sum_zz.to(d), mask=inside)
    if DIMS == 4:
        tl.store(grad_means + n * DIMS + 3, sum_t.to(d), mask=inside)
        _both(out, count, 0, 3, 0.5 * sum_xt, inside, DIMS)
        _both(out, count, 1, 3, 0.5 * sum_yt, inside, DIMS)
        _both(out, count, 2, 3, 0.5 * sum_zt, inside, DIMS)
        tl.store(out + 15 * count, sum_tt.to(d), mask=inside)


@triton.jit
def _both(out, count, ROW: tl.constexpr, COLUMN: tl.constexpr, value, inside, DIMS: tl.constexpr):
    """Writes an entry of a symmetric matrix to both of its places."""
    value = value.to(tl.float32)
    tl.store(out + (ROW * DIMS + COLUMN) * count, value, mask=inside)
    tl.store(out + (COLUMN * DIMS + ROW) * count, value, mask=inside)
