"""The view frustum of an input camera: its voxels, its coordinates, and rays through it."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from vid4d.cameras import RING_DISTANCE, Cameras
from vid4d.priors.frustum.framing import Framing
from vid4d.priors.frustum.network import FrustumConfig, Solid

REACH = 0.65
"""Rays are sampled at depths within this distance of RING_DISTANCE, world units."""


def frustum_points(config: FrustumConfig, device: torch.device | str | None = None) -> Float[Tensor, "p 3"]:
    """Voxel centers in the input camera's axes (x right, y down, z forward), depth slowest, column last."""
    n = config.volume_size
    z, v, u = torch.meshgrid(*[(torch.arange(n, device=device) + 0.5) / n] * 3, indexing="ij")
    depth = config.near + z * (config.far - config.near)
    width = config.width_per_depth * depth
    return torch.stack([(u - 0.5) * width, (v - 0.5) * width, depth], -1).reshape(-1, 3)


def to_frustum(
    points: Float[Tensor, "b ... 3"],
    inputs: Cameras,
    config: FrustumConfig,
    framing: Framing | None = None,
) -> Float[Tensor, "b ... 3"]:
    """World points in the frustum's coordinates, in [-1, 1]: column, row, depth (for `grid_sample`).

    inputs: the input camera of each of the b solids. framing: the windows of its pictures that the network
    saw, the whole pictures where None. Columns are the windows' pixels, so that silhouettes hold exactly; the
    depth beyond RING_DISTANCE or before it is scaled as the window is.
    """
    shape = points.shape
    x, y, z = points.flatten(1, -2).unbind(-1)
    pose = inputs.world_to_camera[:, :3, :, None]
    u, v, w = (m[:, 0] * x + m[:, 1] * y + m[:, 2] * z + m[:, 3] for m in pose.unbind(1))
    scale = 2 / config.width_per_depth / w.clamp(min=1e-3)
    depth = (w - config.near) * (2 / (config.far - config.near)) - 1
    coordinates = torch.stack([u * scale, v * scale, depth], -1)
    if framing is not None:
        middle = F.pad(framing.center, (0, 1)) * (2 * config.image_size / config.crop)
        coordinates = (coordinates - middle[:, None]) / framing.scale
    return coordinates.view(shape)


def frustum_places(
    inputs: Cameras, config: FrustumConfig, framing: Framing | None = None
) -> Float[Tensor, "b n n n 3"]:
    """World points of all voxel centers, depth slowest, column last: what `to_frustum` turns back.

    inputs, framing: as for `to_frustum`.
    """
    n, device = config.volume_size, inputs.focal.device
    steps = 2 * (torch.arange(n, device=device) + 0.5) / n - 1
    z, y, x = torch.meshgrid(steps, steps, steps, indexing="ij")
    at = torch.stack([x, y, z], -1).expand(len(inputs), n, n, n, 3)
    if framing is not None:
        middle = F.pad(framing.center, (0, 1)) * (2 * config.image_size / config.crop)
        at = at * framing.scale + middle[:, None, None, None]
    depth = config.near + (at[..., 2] + 1) / 2 * (config.far - config.near)
    side = at[..., :2] * (config.width_per_depth / 2) * depth[..., None]
    seen = torch.cat([side, depth[..., None]], -1) - inputs.translation[:, None, None, None]
    return torch.einsum("bij,bdhwi->bdhwj", inputs.rotation, seen)


def sampled(volume: Float[Tensor, "b c d h w"], at: Float[Tensor, "b p 3"]) -> Float[Tensor, "b p c"]:
    """Trilinear samples at frustum coordinates; zero outside."""
    samples = F.grid_sample(volume, at[:, None, None], mode="bilinear", align_corners=False)
    return samples[:, :, 0, 0].transpose(1, 2)


def march_points(cameras: Cameras, pixels: int, samples: int) -> Float[Tensor, "n s p 3"]:
    """World points along the rays of all pixels (p = pixels^2), `samples` of depth within REACH."""
    origin, direction = cameras.resized(pixels).rays()
    depth = RING_DISTANCE + REACH * (2 * (torch.arange(samples, device=origin.device) + 0.5) / samples - 1)
    return origin[:, None, None] + depth[:, None, None] * direction.flatten(1, 2)[:, None]


def within_silhouette(
    solid: Solid, alpha: Float[Tensor, "b h w"], *, empty: float = -20.0, threshold: float = 0.02
) -> Solid:
    """The solid without what lies outside of the cone of its own picture's silhouette.

    alpha: of the picture at the volume's columns (`FrustumVolume.columns`), in [0, 1].
    """
    cone = F.max_pool2d(alpha[:, None], 3, 1, 1) > threshold
    return solid._replace(logits=torch.where(cone[:, :, None], solid.logits.float(), empty))
