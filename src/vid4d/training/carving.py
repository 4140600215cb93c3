"""True occupancy of drawn objects by space carving: no closed meshes are needed.

Depth maps from all around are rendered without color. A point is empty where any of them sees it in front of
the first surface; what no view can see into counts as solid. The smallest distance behind a first surface,
measured along the views' axes, makes the occupancy soft at the boundary, so that it holds more than a bit.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from vid4d.cameras import Cameras
from vid4d.training.mesh_render import render_depth
from vid4d.training.meshes import MeshBatch


def carving_cameras(size: int, device: torch.device | str | None = None) -> Cameras:
    """22 cameras around the object: the horizon, from above, some from below, and both poles."""
    azimuth = (
        [45.0 * i for i in range(8)] + [22.5 + 45.0 * i for i in range(8)] + [90.0 * i for i in range(4)]
    )
    elevation = [0.0] * 8 + [42.0] * 8 + [-42.0] * 4
    return Cameras.orbit([*azimuth, 0.0, 0.0], [*elevation, 88.0, -88.0], size=size, device=device)


@torch.no_grad()
def depth_maps(batch: MeshBatch, cameras: Cameras) -> Float[Tensor, "n v s s"]:
    """Depths along the optical axes of every object from every camera, infinite where there is nothing.

    Each entry is the nearest of four neighboring pixels (s = width - 1): lookups then do not wear edges off.
    """
    n, v = batch.objects, len(cameras)
    device = batch.vertices.device
    every = cameras[torch.arange(v, device=device).repeat(n)]
    depth = render_depth(batch, every, torch.arange(n, device=device).repeat_interleave(v))
    return -F.max_pool2d(-depth.unflatten(0, (n, v)), 2, 1)


@torch.no_grad()
def depth_behind(
    depth: Float[Tensor, "n v s s"],
    cameras: Cameras,
    points: Float[Tensor, "p 3"],
    to_world: Float[Tensor, "n 3 4"],
) -> Float[Tensor, "n p"]:
    """Distance of points behind the first surface, the least over the views; negative in front of it.

    points: the same for all objects, in axes of their own; to_world: from these to the world, per object.

    The plain way; `carving_kernels.depth_behind` is the same on a GPU.
    """
    size = cameras.width
    points = torch.einsum("nij,pj->npi", to_world[..., :3], points) + to_world[:, None, :, 3]
    least = torch.full(points.shape[:2], torch.inf, device=points.device)
    for i in range(len(cameras)):
        camera = cameras[i]
        local = points @ camera.rotation[0].T + camera.translation[0]
        pixel = local[..., :2] / local[..., 2:] * camera.focal[0] + (size - 1) / 2
        column, row = pixel.floor().long().clamp(0, size - 2).unbind(-1)
        surface = depth[:, i].flatten(1).gather(1, row * (size - 1) + column)
        least = torch.minimum(least, local[..., 2] - surface)
    return least


def soft_occupancy(behind: Float[Tensor, "n p"], voxel: float) -> Float[Tensor, "n p"]:
    """Occupancy in [0, 1], 1/2 at the surface: a ramp as wide as a voxel."""
    return (behind / voxel + 0.5).clamp(0, 1)
