"""Triton: splats on the picture of a camera (slice in time, EWA projection, color), and the gradient of that.

One thread a splat and view. Sources and formulas as in `cpu_project.h`: geometry in double, because needles
need it and memory takes longer; colors in float32.

A record is 12 numbers: x, y, l1, l2, k, opacity, limit, depth, red, green, blue, and which of these colors
are not clamped at 0, as a number with three bits. alpha = opacity 2^-p, p = (l1 dx + l2 dy)^2 + k dy^2, where
p <= limit. Of a splat that is not visible only x and y are written.
"""

from __future__ import annotations

import triton
import triton.language as tl

from vid4d.gaussians.raster.color_kernels import colors

RECORD = tl.constexpr(12)
NEAR = tl.constexpr(0.05)
LOW_PASS = tl.constexpr(0.1)
ALPHA_MIN = tl.constexpr(1 / 255)
COMPENSATION_MIN = tl.constexpr(2.5e-5)
JACOBIAN_MARGIN = tl.constexpr(1.3)
MARGINAL_CUT = tl.constexpr(0.05)


@triton.jit
def four(address, mask):
    """Four numbers in a row at each address, read in one go."""
    pointers = address[:, None] + tl.arange(0, 4)[None, :]
    pairs = tl.reshape(tl.load(pointers, mask=mask[:, None], other=0.0), [address.shape[0], 2, 2])
    even, odd = tl.split(pairs)
    a, c = tl.split(even)
    b, d = tl.split(odd)
    return a, b, c, d


@triton.jit
def store_four(address, a, b, c, d, mask):
    """Writes four numbers in a row at each address in one go."""
    pairs = tl.join(tl.join(a, c), tl.join(b, d))
    pointers = address[:, None] + tl.arange(0, 4)[None, :]
    tl.store(pointers, tl.reshape(pairs, [address.shape[0], 4]), mask=mask[:, None])


@triton.jit
def _entry(covariances, n, count, inside, INDEX: tl.constexpr):
    return tl.load(covariances + INDEX * count + n, mask=inside, other=0.0).to(tl.float64)


@triton.jit
def load_splat(means, covariances, opacities, n, count, inside, DIMS: tl.constexpr):
    """Mean, upper half of the covariance and opacity of splats, in double."""
    x = tl.load(means + n * DIMS, mask=inside, other=0.0).to(tl.float64)
    y = tl.load(means + n * DIMS + 1, mask=inside, other=0.0).to(tl.float64)
    z = tl.load(means + n * DIMS + 2, mask=inside, other=0.0).to(tl.float64)
    xx = _entry(covariances, n, count, inside, 0)
    xy = _entry(covariances, n, count, inside, 1)
    xz = _entry(covariances, n, count, inside, 2)
    yy = _entry(covariances, n, count, inside, DIMS + 1)
    yz = _entry(covariances, n, count, inside, DIMS + 2)
    zz = _entry(covariances, n, count, inside, 2 * DIMS + 2)
    if DIMS == 4:
        t = tl.load(means + n * 4 + 3, mask=inside, other=0.0).to(tl.float64)
        xt = _entry(covariances, n, count, inside, 3)
        yt = _entry(covariances, n, count, inside, 7)
        zt = _entry(covariances, n, count, inside, 11)
        tt = tl.where(inside, _entry(covariances, n, count, inside, 15), 1.0)
    else:
        t, xt, yt, zt, tt = 0 * x, 0 * x, 0 * x, 0 * x, 0 * x + 1
    opacity = tl.load(opacities + n, mask=inside, other=0.0).to(tl.float64)
    return x, y, z, t, xx, xy, xz, yy, yz, zz, xt, yt, zt, tt, opacity


@triton.jit
def time_from(t, time, CYCLIC: tl.constexpr):
    """time - t, in a loop the shorter way round, with ties as `torch.round` breaks them."""
    dt = time - t
    if CYCLIC:
        turns = tl.floor(dt + 0.5)
        odd = turns - 2 * tl.floor(turns * 0.5)
        dt -= turns - tl.where((turns - dt == 0.5) & (odd == 1), 1.0, 0.0)
    return dt


@triton.jit
def pose_row(poses, view, ROW: tl.constexpr):
    """One row of a view's world to camera, in double."""
    p = poses + view * 16 + ROW * 4
    a, b, c, d = tl.load(p), tl.load(p + 1), tl.load(p + 2), tl.load(p + 3)
    return a.to(tl.float64), b.to(tl.float64), c.to(tl.float64), d.to(tl.float64)


@triton.jit
def slice_in_time(x, y, z, xx, xy, xz, yy, yz, zz, xt, yt, zt, tt, dt):
    """Mean and covariance in space of 4D Gaussians at dt from their own time, and the marginal there."""
    vx, vy, vz = xt / tt, yt / tt, zt / tt
    marginal = tl.exp(-0.5 * dt * dt / tt)
    x, y, z = x + vx * dt, y + vy * dt, z + vz * dt
    xx, xy, xz = xx - vx * xt, xy - vx * yt, xz - vx * zt
    yy, yz, zz = yy - vy * yt, yz - vy * zt, zz - vz * zt
    return x, y, z, xx, xy, xz, yy, yz, zz, marginal


@triton.jit
def to_camera(poses, view, x, y, z):
    """Camera coordinates of points."""
    a0, a1, a2, a3 = pose_row(poses, view, 0)
    b0, b1, b2, b3 = pose_row(poses, view, 1)
    c0, c1, c2, c3 = pose_row(poses, view, 2)
    u = a0 * x + a1 * y + a2 * z + a3
    v = b0 * x + b1 * y + b2 * z + b3
    w = c0 * x + c1 * y + c2 * z + c3
    return u, v, w


@triton.jit
def to_screen(poses, view, focal, u, v, w, half_x, half_y):
    """Two rows of the derivative of pixels by world coordinates, and the clamped slopes u / w, v / w."""
    a0, a1, a2, _ = pose_row(poses, view, 0)
    b0, b1, b2, _ = pose_row(poses, view, 1)
    c0, c1, c2, _ = pose_row(poses, view, 2)
    limit_x, limit_y = half_x * JACOBIAN_MARGIN / focal, half_y * JACOBIAN_MARGIN / focal
    sx = tl.minimum(tl.maximum(u / w, -limit_x), limit_x)
    sy = tl.minimum(tl.maximum(v / w, -limit_y), limit_y)
    scale = focal / w
    m0, m1, m2 = scale * (a0 - sx * c0), scale * (a1 - sx * c1), scale * (a2 - sx * c2)
    n0, n1, n2 = scale * (b0 - sy * c0), scale * (b1 - sy * c1), scale * (b2 - sy * c2)
    return m0, m1, m2, n0, n1, n2, sx, sy


@triton.jit
def apply(xx, xy, xz, yy, yz, zz, x, y, z):
    """A symmetric matrix times a vector."""
    return xx * x + xy * y + xz * z, xy * x + yy * y + yz * z, xz * x + yz * y + zz * z


@triton.jit
def from_camera(poses, view, x, y, z):
    """Unit directions from a camera to points, and the distance."""
    a0, a1, a2, a3 = pose_row(poses, view, 0)
    b0, b1, b2, b3 = pose_row(poses, view, 1)
    c0, c1, c2, c3 = pose_row(poses, view, 2)
    dx = x + (a0 * a3 + b0 * b3 + c0 * c3)
    dy = y + (a1 * a3 + b1 * b3 + c1 * c3)
    dz = z + (a2 * a3 + b2 * b3 + c2 * c3)
    distance = tl.maximum(tl.sqrt(dx * dx + dy * dy + dz * dz), 1e-12)
    return dx / distance, dy / distance, dz / distance, distance


@triton.jit(do_not_specialize=["count"])
def project_kernel(
    means,
    covariances,
    opacities,
    sh,
    times,
    poses,
    focals,
    records,
    radii,
    depths,
    count,
    width,
    height,
    period,
    DIMS: tl.constexpr,
    HARMONICS: tl.constexpr,
    FOURIER: tl.constexpr,
    CYCLIC: tl.constexpr,
    ANTIALIAS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Records of a block of splats in one view, half the longer sides of their boxes, and sorting depths.

    covariances: (DIMS^2, count). sh: (K F 3, count). radii: 0 where a splat is not visible. depths: infinite
    there.
    """
    view = tl.program_id(1)
    n = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = n < count
    half_x, half_y = width * 0.5, height * 0.5
    focal = tl.load(focals + view).to(tl.float64)
    x, y, z, t, xx, xy, xz, yy, yz, zz, xt, yt, zt, tt, opacity = load_splat(
        means, covariances, opacities, n, count, inside, DIMS
    )
    visible = inside
    dt = 0 * x
    if DIMS == 4:
        dt = time_from(t, tl.load(times + view).to(tl.float64), CYCLIC)
        x, y, z, xx, xy, xz, yy, yz, zz, marginal = slice_in_time(
            x, y, z, xx, xy, xz, yy, yz, zz, xt, yt, zt, tt, dt
        )
        visible &= marginal >= MARGINAL_CUT
        opacity *= marginal
    u, v, w = to_camera(poses, view, x, y, z)
    visible &= (opacity > 0) & (w > NEAR)
    w = tl.where(visible, w, 1.0)
    m0, m1, m2, n0, n1, n2, _, _ = to_screen(poses, view, focal, u, v, w, half_x, half_y)
    h0, h1, h2 = apply(xx, xy, xz, yy, yz, zz, m0, m1, m2)
    a, b = h0 * m0 + h1 * m1 + h2 * m2, h0 * n0 + h1 * n1 + h2 * n2
    h0, h1, h2 = apply(xx, xy, xz, yy, yz, zz, n0, n1, n2)
    c = h0 * n0 + h1 * n1 + h2 * n2
    low_a, low_c = a + LOW_PASS, c + LOW_PASS
    det = low_a * low_c - b * b
    visible &= (det > 0) & (low_a > 0) & (det < 1e30)
    det = tl.where(visible, det, 1.0)
    if ANTIALIAS:
        opacity *= tl.sqrt(tl.maximum((a * c - b * b) / det, COMPENSATION_MIN))
    visible &= opacity >= ALPHA_MIN
    reach = 2 * tl.log(tl.where(visible, opacity / ALPHA_MIN, 1.0))
    px, py = focal * u / w + half_x, focal * v / w + half_y
    extent_x = tl.sqrt(reach * tl.where(visible, low_a, 1.0))
    extent_y = tl.sqrt(reach * tl.where(visible, low_c, 1.0))
    left, right = tl.ceil(px - extent_x - 0.5), tl.floor(px + extent_x - 0.5)
    top, bottom = tl.ceil(py - extent_y - 0.5), tl.floor(py + extent_y - 0.5)
    visible &= (left <= right) & (left < width) & (right >= 0)
    visible &= (top <= bottom) & (top < height) & (bottom >= 0)

    dx, dy, dz, _ = from_camera(poses, view, x, y, z)
    r, g, bl = colors(
        sh,
        n,
        count,
        visible,
        dx.to(tl.float32),
        dy.to(tl.float32),
        dz.to(tl.float32),
        dt.to(tl.float32),
        period,
        HARMONICS,
        FOURIER,
    )
    open_colors = tl.where(r >= 0, 1.0, 0.0) + tl.where(g >= 0, 2.0, 0.0) + tl.where(bl >= 0, 4.0, 0.0)

    i = view.to(tl.int64) * count + n
    out = records + i * RECORD
    # Half the squared distance in units of log 2: 0.5 / log 2 = 0.72...
    l1, l2 = tl.sqrt(0.7213475204444817 * low_c / det), -b * tl.sqrt(0.7213475204444817 / (low_c * det))
    d = tl.float32
    px, py = tl.where(visible, px, 0.0), tl.where(visible, py, 0.0)
    store_four(out, px.to(d), py.to(d), l1.to(d), l2.to(d), inside)
    k = 0.7213475204444817 / low_c
    limit = 0.7213475204444817 * reach
    store_four(out + 4, k.to(d), opacity.to(d), limit.to(d), w.to(d), visible)
    store_four(out + 8, tl.maximum(r, 0.0), tl.maximum(g, 0.0), tl.maximum(bl, 0.0), open_colors, visible)
    extent = tl.where(visible, tl.maximum(extent_x, extent_y), 0.0)
    tl.store(radii + i, extent.to(d), mask=inside)
    tl.store(depths + i, tl.where(visible, w.to(d), float("inf")), mask=inside)
