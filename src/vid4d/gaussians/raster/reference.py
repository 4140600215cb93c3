"""The oracle: splatting in plain torch, every splat at every pixel. Any device, any float dtype.

Slow on purpose: it is meant to be read and compared with. The pictures are made in chunks of pixels that are
computed again in the backward pass, so memory stays bounded.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from vid4d.cameras import Cameras
from vid4d.gaussians import raster, sh
from vid4d.gaussians.model import Gaussians3D, Gaussians4D
from vid4d.gaussians.raster.room import EntryRoom

CHUNK = 1 << 22
"""Splats times pixels that are held in memory at once."""


@dataclass(frozen=True)
class Projected:
    """Splats on the picture of one camera; conic: (a, b, c) of d = a dx^2 + 2 b dx dy + c dy^2."""

    means2d: Float[Tensor, "n 2"]
    conic: Float[Tensor, "n 3"]
    opacities: Float[Tensor, " n"]
    colors: Float[Tensor, "n 3"]
    depths: Float[Tensor, " n"]
    radii: Float[Tensor, " n"]


def render(
    splats: Gaussians3D | Gaussians4D,
    times: Tensor | None,
    cameras: Cameras,
    background: Float[Tensor, "v 3"],
    antialias: bool,
    room: EntryRoom | None = None,
) -> raster.SplatRender:
    """Renders in plain torch; see `vid4d.gaussians.raster.Backend`."""
    like = splats.means
    v, n, h, w = len(cameras), len(splats), cameras.height, cameras.width
    tracked = torch.is_grad_enabled() and any(
        t.requires_grad for t in vars(splats).values() if isinstance(t, Tensor)
    )
    screen = (
        torch.zeros(v, n, 2, dtype=like.dtype, device=like.device, requires_grad=True) if tracked else None
    )
    parts = []
    for i in range(v):
        if isinstance(splats, Gaussians4D):
            assert times is not None
            current = splats.at(times[i])
        else:
            current = splats
        projected = project(current, cameras[i], antialias, None if screen is None else screen[i])
        picture = _blend(projected, h, w)
        parts.append((picture, projected.means2d.detach(), projected.radii.detach()))
    picture = torch.stack([p[0] for p in parts]) if parts else like.new_zeros(0, h, w, 5)
    color = picture[..., :3] + (1 - picture[..., 3:4]) * background[:, None, None]
    means2d = torch.stack([p[1] for p in parts]) if parts else like.new_zeros(0, n, 2)
    radii = torch.stack([p[2] for p in parts]) if parts else like.new_zeros(0, n)
    # Alpha is either 0 or at least ALPHA_MIN, so the clamp acts only where the sum is 0 as well.
    depth = picture[..., 4] / picture[..., 3].clamp(min=raster.ALPHA_MIN / 2)
    return raster.SplatRender(color, picture[..., 3], depth, means2d, radii, screen)


def project(
    splats: Gaussians3D, camera: Cameras, antialias: bool, offset: Float[Tensor, "n 2"] | None = None
) -> Projected:
    """EWA projection to one camera (Zwicker 2001, equations 23 to 31). offset is added to the 2D means."""
    like = splats.means
    rotation = camera.rotation[0].to(like.device, like.dtype)
    position = camera.position[0].to(like.device, like.dtype)
    focal = camera.focal[0].to(like.device, like.dtype)
    half = like.new_tensor([camera.width / 2, camera.height / 2])

    x, y, z = (splats.means @ rotation.T + camera.translation[0].to(like.device, like.dtype)).unbind(-1)
    in_front = z > raster.NEAR
    z = torch.where(in_front, z, 1)
    means2d = focal * torch.stack([x, y], -1) / z[:, None] + half
    if offset is not None:
        means2d = means2d + offset

    limit = raster.JACOBIAN_MARGIN * half / focal
    slope_x, slope_y = (x / z).clamp(-limit[0], limit[0]), (y / z).clamp(-limit[1], limit[1])
    zero = torch.zeros_like(z)
    row_x = torch.stack([focal / z, zero, -focal * slope_x / z], -1)
    row_y = torch.stack([zero, focal / z, -focal * slope_y / z], -1)
    to_screen = torch.stack([row_x, row_y], 1) @ rotation
    covariance = to_screen @ splats.covariances @ to_screen.transpose(1, 2)
    a, c = covariance[:, 0, 0], covariance[:, 1, 1]
    b = (covariance[:, 0, 1] + covariance[:, 1, 0]) / 2
    det = a * c - b * b
    a, c = a + raster.LOW_PASS, c + raster.LOW_PASS
    det_low = a * c - b * b
    solid = in_front & (det_low > 0)
    det_low = torch.where(solid, det_low, 1)
    opacities = splats.opacities
    if antialias:
        opacities = opacities * (det / det_low).clamp(min=raster.COMPENSATION_MIN).sqrt()
    conic = torch.stack([c, -b, a], -1) / det_low[:, None]

    # Pixels where alpha >= ALPHA_MIN lie in this box.
    reach = 2 * (opacities / raster.ALPHA_MIN).clamp(min=1e-12).log()
    extent = (reach.clamp(min=0)[:, None] * torch.stack([a, c], -1).clamp(min=0)).sqrt()
    low = (means2d - extent - 0.5).ceil()
    high = (means2d + extent - 0.5).floor()
    size = means2d.new_tensor([camera.width, camera.height])
    on_screen = ((low <= high) & (low < size) & (high >= 0)).all(-1)
    visible = solid & (reach >= 0) & on_screen & (splats.opacities > 0)
    radii = torch.where(visible, extent.amax(-1), 0)
    return Projected(means2d, conic, opacities, sh.evaluate(splats.sh, splats.means, position), z, radii)


def _blend(splats: Projected, height: int, width: int) -> Float[Tensor, "h w 5"]:
    """Color times alpha, alpha, depth times weight, over nothing."""
    order = splats.depths.argsort(stable=True)
    order = order[splats.radii[order] > 0]
    features = torch.cat([splats.colors, torch.ones_like(splats.depths)[:, None], splats.depths[:, None]], -1)
    inputs = (splats.means2d[order], splats.conic[order], splats.opacities[order], features[order])
    device, dtype = splats.means2d.device, splats.means2d.dtype
    rows, columns = torch.arange(height, device=device), torch.arange(width, device=device)
    y, x = torch.meshgrid(rows, columns, indexing="ij")
    pixels = torch.stack([x, y], -1).reshape(-1, 2).to(dtype) + 0.5
    step = max(1, CHUNK // max(1, len(order)))
    chunks = [checkpoint(_blend_pixels, *inputs, p, use_reentrant=False) for p in pixels.split(step)]
    return torch.cat(chunks).reshape(height, width, 5)


def _blend_pixels(
    means2d: Float[Tensor, "m 2"],
    conic: Float[Tensor, "m 3"],
    opacities: Float[Tensor, " m"],
    features: Float[Tensor, "m 5"],
    pixels: Float[Tensor, "p 2"],
) -> Float[Tensor, "p 5"]:
    dx, dy = (pixels[:, None] - means2d).unbind(-1)
    a, b, c = conic.unbind(-1)
    distance = a * dx * dx + 2 * b * dx * dy + c * dy * dy
    alpha = opacities * (-0.5 * distance).exp()
    alpha = torch.where(alpha >= raster.ALPHA_MIN, alpha.clamp(max=raster.ALPHA_MAX), 0)
    before = (1 - alpha).cumprod(-1)
    before = torch.cat([torch.ones_like(before[:, :1]), before], -1)[:, :-1]
    alpha = torch.where(before >= raster.TRANSMITTANCE_MIN, alpha, 0)
    return (alpha * before) @ features
