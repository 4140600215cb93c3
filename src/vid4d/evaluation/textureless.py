"""Renders without texture: normals as colors, to judge geometry by eye."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from vid4d.cameras import Cameras

SOLID = 0.5
"""Alpha from which on a pixel shows a surface."""


def normal_pictures(
    depth: Float[Tensor, "v h w"], alpha: Float[Tensor, "v h w"], cameras: Cameras
) -> Float[Tensor, "v h w 3"]:
    """Normals of what depth maps show, as colors over white: red to the camera's right, green up, blue
    towards the camera, each from -1 (0) to 1 (1).

    From differences of neighbouring points of the surface; depth as in `vid4d.metrics.surface_points`.
    """
    origin, direction = cameras.rays()
    solid = (alpha > SOLID) & depth.isfinite() & (depth > 0)
    points = origin[:, None, None] + depth.where(solid, 1.0)[..., None] * direction
    right, down = _along(points, solid, 2), _along(points, solid, 1)
    normal = torch.nn.functional.normalize(torch.linalg.cross(down, right), dim=-1)
    away = (normal * direction).sum(-1, keepdim=True) > 0
    normal = torch.where(away, -normal, normal)
    seen = torch.einsum("vij,vhwj->vhwi", cameras.rotation, normal) * torch.tensor([1.0, -1.0, -1.0])
    return torch.where(solid[..., None], seen / 2 + 0.5, 1.0)


def _along(
    points: Float[Tensor, "v h w 3"], solid: Bool[Tensor, "v h w"], dim: int
) -> Float[Tensor, "v h w 3"]:
    """How the surface runs from pixel to pixel; one-sided at borders, nothing where there is no neighbour."""
    after, before = points.roll(-1, dim), points.roll(1, dim)
    has_after, has_before = solid.roll(-1, dim), solid.roll(1, dim)
    last = torch.arange(points.shape[dim]).view([-1 if d == dim else 1 for d in range(3)])
    has_after = has_after & (last < points.shape[dim] - 1)
    has_before = has_before & (last > 0)
    forward = torch.where(has_after[..., None], after - points, 0.0)
    backward = torch.where(has_before[..., None], points - before, 0.0)
    return forward + backward
