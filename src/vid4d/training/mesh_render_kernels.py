"""Scan conversion of `mesh_render` in one Triton kernel: a program per triangle and view.

The plain way lists every scanline and every pixel of every triangle in memory; here they stay in registers,
and what is written is one atomic maximum a pixel. Coverage follows the same arithmetic, so that the same
pixels are covered.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from jaxtyping import Float, Int
from torch import Tensor

from vid4d import kernels
from vid4d.training.meshes import MeshBatch


@triton.jit
def _widen(left, right, px, py, qx, qy, y):
    """Where an edge crosses rows of pixel centers, taken into the rows' first and last places."""
    crosses = (py <= y) != (qy <= y)
    dy = tl.where(crosses, qy - py, 1.0)
    x = px + (y - py) / dy * (qx - px)
    return tl.where(crosses, tl.minimum(left, x), left), tl.where(crosses, tl.maximum(right, x), right)


@triton.jit
def nearest_kernel(
    corner,
    inverse,
    face,
    view,
    has_alpha,
    uv,
    texture_start,
    texture_size,
    texels,
    keys,
    SIZE: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """Takes one triangle of one view into the keys of the pixels that it covers."""
    i = tl.program_id(0).to(tl.int64)
    px, py = tl.load(corner + i * 6), tl.load(corner + i * 6 + 1)
    qx, qy = tl.load(corner + i * 6 + 2), tl.load(corner + i * 6 + 3)
    rx, ry = tl.load(corner + i * 6 + 4), tl.load(corner + i * 6 + 5)
    low = tl.minimum(tl.minimum(py, qy), ry)
    high = tl.maximum(tl.maximum(py, qy), ry)
    first = tl.minimum(tl.maximum(tl.ceil(low - 0.5), 0.0), SIZE).to(tl.int32)
    last = tl.minimum(tl.maximum(tl.ceil(high - 0.5), 0.0), SIZE).to(tl.int32)
    area = (qx - px) * (ry - py) - (qy - py) * (rx - px)
    area = tl.where(tl.abs(area) < 1e-12, 1e-12, area)
    ip, iq, ir = tl.load(inverse + i * 3), tl.load(inverse + i * 3 + 1), tl.load(inverse + i * 3 + 2)
    of = tl.load(face + i)
    base = tl.load(view + i) * SIZE
    transparent = tl.load(has_alpha + of).to(tl.int32) != 0
    for top in range(first, last, ROWS):
        row = top + tl.arange(0, ROWS)
        y = row + 0.5
        left = tl.full([ROWS], float("inf"), tl.float32)
        right = tl.full([ROWS], float("-inf"), tl.float32)
        left, right = _widen(left, right, px, py, qx, qy, y)
        left, right = _widen(left, right, qx, qy, rx, ry, y)
        left, right = _widen(left, right, rx, ry, px, py, y)
        begin = tl.minimum(tl.maximum(tl.ceil(left - 0.5), 0.0), SIZE).to(tl.int32)
        end = tl.minimum(tl.maximum(tl.ceil(right - 0.5), 0.0), SIZE).to(tl.int32)
        end = tl.where(row < last, end, 0)
        begin = tl.where(row < last, begin, SIZE)
        for start in range(tl.min(begin, 0), tl.max(end, 0), COLUMNS):
            column = start + tl.arange(0, COLUMNS)
            inside = (column[None, :] >= begin[:, None]) & (column[None, :] < end[:, None])
            x = (column + 0.5)[None, :]
            down = y[:, None]
            wq = ((x - px) * (ry - py) - (down - py) * (rx - px)) / area
            wr = ((qx - px) * (down - py) - (x - px) * (qy - py)) / area
            wp = tl.minimum(tl.maximum(1 - wq - wr, 0.0), 1.0)
            wq = tl.minimum(tl.maximum(wq, 0.0), 1.0)
            wr = tl.minimum(tl.maximum(wr, 0.0), 1.0)
            near = wp * ip + wq * iq + wr * ir
            if transparent:
                tp, tq, tr = wp * ip / near, wq * iq / near, wr * ir / near
                c = uv + of * 6
                u = tp * tl.load(c) + tq * tl.load(c + 2) + tr * tl.load(c + 4)
                v = tp * tl.load(c + 1) + tq * tl.load(c + 3) + tr * tl.load(c + 5)
                height = tl.load(texture_size + of * 2).to(tl.int32)
                width = tl.load(texture_size + of * 2 + 1).to(tl.int32)
                across = tl.minimum(tl.maximum((u * width).to(tl.int32), 0), width - 1)
                along = tl.minimum(tl.maximum((v * height).to(tl.int32), 0), height - 1)
                texel = tl.load(texture_start + of) + (along * width + across)
                inside &= tl.load(texels + texel * 4 + 3, mask=inside, other=0).to(tl.float32) / 255 > 0.5
            key = (near.to(tl.int32, bitcast=True).to(tl.int64) << 32) | i
            pixel = (base + row)[:, None] * SIZE + column[None, :]
            tl.atomic_max(keys + pixel, key, mask=inside)


def nearest(
    batch: MeshBatch,
    face: Int[Tensor, " n"],
    view: Int[Tensor, " n"],
    corner: Float[Tensor, "n 3 2"],
    inverse_depth: Float[Tensor, "n 3"],
    size: int,
    views: int,
    rows: int = 8,
    columns: int = 8,
) -> Int[Tensor, " p"]:
    """Keys of the nearest surface of every pixel: see `mesh_render.nearest_plain`.

    face, view, corner, inverse_depth: of `mesh_render.Instances`.
    """
    keys = torch.full((views * size * size,), -1, dtype=torch.int64, device=face.device)
    count = len(face)
    if count:
        kernels.on_device_of(
            keys,
            lambda: nearest_kernel[(count,)](
                corner.contiguous(),
                inverse_depth.contiguous(),
                face,
                view,
                batch.has_alpha,
                batch.uv,
                batch.texture_start,
                batch.texture_size,
                batch.texels,
                keys,
                size,
                rows,
                columns,
                num_warps=1,
            ),
        )
    return keys
