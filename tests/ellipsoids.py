"""An analytic moving object: two colored ellipsoids, ray-traced, one at rest and one that moves along y."""

from __future__ import annotations

import torch
from torch import Tensor

from vid4d.cameras import Cameras
from vid4d.matrix.matrix import ImageMatrix

RADII = torch.tensor([[0.25, 0.15, 0.2], [0.1, 0.1, 0.1]])
COLORS = torch.tensor([[0.8, 0.3, 0.2], [0.2, 0.4, 0.9]])


def centres(time: float) -> Tensor:
    return torch.tensor([[0.0, 0.0, -0.1], [0.0, -0.2 + 0.4 * time, 0.25]])


def picture(cameras: Cameras, time: float, supersample: int = 3) -> Tensor:
    """Straight-alpha RGBA (n, h, w, 4) at a clip time."""
    size = cameras.width
    origin, direction = cameras.resized(size * supersample).rays()
    best = torch.full(direction.shape[:3], torch.inf)
    color = torch.zeros(*direction.shape[:3], 3)
    for centre, radii, rgb in zip(centres(time), RADII, COLORS, strict=True):
        o = ((origin - centre) / radii)[:, None, None]
        d = direction / radii
        a, b, c = (d * d).sum(-1), (o * d).sum(-1), (o * o).sum(-1) - 1
        root = b * b - a * c
        depth = torch.where(root > 0, (-b - root.clamp(min=0).sqrt()) / a, torch.inf)
        point = origin[:, None, None] + depth.nan_to_num(posinf=0)[..., None] * direction
        normal = torch.nn.functional.normalize((point - centre) / radii**2, dim=-1)
        shade = rgb * (0.75 + 0.25 * normal[..., 2:])
        nearer = depth < best
        color, best = torch.where(nearer[..., None], shade, color), torch.where(nearer, depth, best)
    alpha = (best < torch.inf).float()[..., None]
    flat = torch.cat([color * alpha, alpha], -1)
    flat = flat.view(len(cameras), size, supersample, size, supersample, 4).mean((2, 4))
    return torch.cat([flat[..., :3] / flat[..., 3:].clamp(min=1e-6), flat[..., 3:]], -1)


def matrix(views: int = 12, frames: int = 3, size: int = 48) -> ImageMatrix:
    cameras = Cameras.ring(views, size=size)
    times = torch.linspace(0, 1, frames) if frames > 1 else torch.zeros(1)
    images = torch.stack([picture(cameras, float(t)) for t in times], 1)
    return ImageMatrix(images, cameras, times)
