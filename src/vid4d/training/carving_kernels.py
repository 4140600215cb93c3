"""`carving.depth_behind` in one Triton kernel: a program per block of points, all views in a loop."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from jaxtyping import Float
from torch import Tensor

from vid4d.cameras import Cameras


@triton.jit
def carve_kernel(
    depth,
    pose,
    points,
    to_world,
    out,
    focal,
    count,
    VIEWS: tl.constexpr,
    SIZE: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Distances of a block of points behind the surface of one object, the least over its views."""
    thing = tl.program_id(0)
    index = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = index < count
    a = tl.load(points + index * 3, mask=inside, other=0.0)
    b = tl.load(points + index * 3 + 1, mask=inside, other=0.0)
    c = tl.load(points + index * 3 + 2, mask=inside, other=0.0)
    p = to_world + thing * 12
    x = tl.load(p) * a + tl.load(p + 1) * b + tl.load(p + 2) * c + tl.load(p + 3)
    y = tl.load(p + 4) * a + tl.load(p + 5) * b + tl.load(p + 6) * c + tl.load(p + 7)
    z = tl.load(p + 8) * a + tl.load(p + 9) * b + tl.load(p + 10) * c + tl.load(p + 11)
    least = tl.full([BLOCK], float("inf"), tl.float32)
    for view in range(VIEWS):
        m = pose + view * 16
        u = tl.load(m) * x + tl.load(m + 1) * y + tl.load(m + 2) * z + tl.load(m + 3)
        v = tl.load(m + 4) * x + tl.load(m + 5) * y + tl.load(m + 6) * z + tl.load(m + 7)
        w = tl.load(m + 8) * x + tl.load(m + 9) * y + tl.load(m + 10) * z + tl.load(m + 11)
        column = tl.floor(u / w * focal + (SIZE - 1) / 2).to(tl.int32)
        row = tl.floor(v / w * focal + (SIZE - 1) / 2).to(tl.int32)
        column = tl.minimum(tl.maximum(column, 0), SIZE - 2)
        row = tl.minimum(tl.maximum(row, 0), SIZE - 2)
        pixel = ((thing.to(tl.int64) * VIEWS + view) * (SIZE - 1) + row) * (SIZE - 1) + column
        least = tl.minimum(least, w - tl.load(depth + pixel, mask=inside, other=0.0))
    tl.store(out + thing.to(tl.int64) * count + index, least, mask=inside)


def depth_behind(
    depth: Float[Tensor, "n v s s"],
    cameras: Cameras,
    points: Float[Tensor, "p 3"],
    to_world: Float[Tensor, "n 3 4"],
    block: int = 512,
) -> Float[Tensor, "n p"]:
    """See `carving.depth_behind`; all cameras of one focal length."""
    n, views = depth.shape[:2]
    count = points.shape[0]
    out = torch.empty(n, count, device=points.device)
    pose = cameras.world_to_camera.contiguous()
    carve_kernel[(n, triton.cdiv(count, block))](
        depth.contiguous(),
        pose,
        points.contiguous(),
        to_world.contiguous(),
        out,
        float(cameras.focal[0]),
        count,
        views,
        cameras.width,
        block,
    )
    return out
