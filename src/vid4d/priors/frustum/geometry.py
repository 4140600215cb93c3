"""The view frustum of an input camera: its voxels, its coordinates, and pictures of what is in it."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from vid4d.cameras import RING_DISTANCE, Cameras
from vid4d.images import straight
from vid4d.priors.frustum.network import FrustumConfig, Solid

REACH = 0.65
"""Rays are sampled at depths within this distance of RING_DISTANCE, world units."""

LAYER = 0.02
"""Thickness (world units) of matter whose alpha is its occupancy."""


def frustum_points(config: FrustumConfig, device: torch.device | str | None = None) -> Float[Tensor, "p 3"]:
    """Voxel centers in the input camera's axes (x right, y down, z forward), depth slowest, column last."""
    n = config.volume_size
    z, v, u = torch.meshgrid(*[(torch.arange(n, device=device) + 0.5) / n] * 3, indexing="ij")
    depth = config.near + z * (config.far - config.near)
    width = config.slope * depth
    return torch.stack([(u - 0.5) * width, (v - 0.5) * width, depth], -1).reshape(-1, 3)


def to_frustum(
    points: Float[Tensor, "b ... 3"], inputs: Cameras, config: FrustumConfig
) -> Float[Tensor, "b ... 3"]:
    """World points in the frustum's coordinates, in [-1, 1]: column, row, depth (for `grid_sample`).

    inputs: the input camera of each of the b solids.
    """
    shape = points.shape
    x, y, z = points.flatten(1, -2).unbind(-1)
    pose = inputs.world_to_camera[:, :3, :, None]
    u, v, w = (m[:, 0] * x + m[:, 1] * y + m[:, 2] * z + m[:, 3] for m in pose.unbind(1))
    scale = 2 / config.slope / w.clamp(min=1e-3)
    depth = (w - config.near) * (2 / (config.far - config.near)) - 1
    return torch.stack([u * scale, v * scale, depth], -1).view(shape)


def sampled(volume: Float[Tensor, "b c d h w"], at: Float[Tensor, "b p 3"]) -> Float[Tensor, "b p c"]:
    """Trilinear samples at frustum coordinates; zero outside."""
    found = F.grid_sample(volume, at[:, None, None], mode="bilinear", align_corners=False)
    return found[:, :, 0, 0].transpose(1, 2)


def march_points(cameras: Cameras, pixels: int, samples: int) -> Float[Tensor, "n s p 3"]:
    """World points along the rays of all pixels (p = pixels^2), `samples` of depth within REACH."""
    origin, direction = cameras.resized(pixels).rays()
    depth = RING_DISTANCE + REACH * (2 * (torch.arange(samples, device=origin.device) + 0.5) / samples - 1)
    return origin[:, None, None] + depth[:, None, None] * direction.flatten(1, 2)[:, None]


def alpha_along(occupancy: Float[Tensor, "*samples"], step: float) -> Float[Tensor, "*samples"]:
    """Alpha of every sample of a ray. step: world units between samples."""
    return 1 - (1 - occupancy.clamp(0, 0.999)) ** (step / LAYER)


def within_silhouette(
    solid: Solid, alpha: Float[Tensor, "b h w"], *, empty: float = -20.0, threshold: float = 0.02
) -> Solid:
    """The solid without what lies outside of the cone of its own picture's silhouette.

    alpha: of the picture at the volume's columns (`FrustumVolume.columns`), in [0, 1].
    """
    cone = F.max_pool2d(alpha[:, None], 3, 1, 1) > threshold
    return solid._replace(logits=torch.where(cone[:, :, None], solid.logits.float(), empty))


@torch.no_grad()
def render_solid(
    solid: Solid,
    inputs: Cameras,
    cameras: Cameras,
    config: FrustumConfig,
    *,
    size: int = 128,
    samples: int = 112,
    sharpness: float = 3.0,
    bias: float = 0.0,
) -> Float[Tensor, "b v h w 4"]:
    """Straight-alpha RGBA of b solids from the same v cameras.

    inputs: the input camera of each solid. size: pixels. samples: per ray. bias, sharpness: added to the
    logits, and what they are multiplied by then: a sharp boundary where the network is in doubt.
    """
    points = march_points(cameras, size, samples)
    rows = []
    for i in range(len(solid.logits)):
        occupancy = torch.sigmoid((solid.logits[i : i + 1].float() + bias) * sharpness)
        color = solid.color[i : i + 1].float() * 0.5 + 0.5
        views = []
        for part in points:
            at = to_frustum(part[None], inputs[i], config)[:, None]
            alpha = alpha_along(F.grid_sample(occupancy, at, align_corners=False)[0, 0], 2 * REACH / samples)[
                0
            ]
            through = torch.cumprod(1 - alpha, 0)
            weight = alpha * torch.cat([torch.ones_like(alpha[:1]), through[:-1]])
            values = F.grid_sample(color, at, align_corners=False, padding_mode="border")[0, :, 0]
            total = weight.sum(0).clamp(max=1)
            rgba = straight(torch.cat([(values * weight).sum(1), total[None]]), 0)
            views.append(rgba.T.reshape(size, size, 4))
        rows.append(torch.stack(views))
    return torch.stack(rows)
