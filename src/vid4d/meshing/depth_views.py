"""Pictures of an object from all around, with depths: how far points are from its surface, and their colors.

By a C kernel on the CPU where there is one, else by torch, to the same result.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import grid_sample

from vid4d.cameras import Cameras
from vid4d.gaussians.model import Gaussians3D
from vid4d.gaussians.raster import cpu, rasterize
from vid4d.gaussians.raster import views as in_c
from vid4d.media.images import unweighted
from vid4d.meshing.marching_cubes import MeshOptions

SEEN = 0.3
"""Alpha from which on a picture says something about the color of a surface."""
NOTHING = 1e-5
"""A view that counts less than this for a point because it sees it from the side is not asked."""
BLOCK = 1 << 16
"""Points that are colored at a time: few enough for the processor's cache."""


@dataclass(frozen=True)
class DepthViews:
    """Renders of an object from all around. colors: times alpha; depth: along the optical axis."""

    cameras: Cameras
    colors: Float[Tensor, "n h w 3"]
    alpha: Float[Tensor, "n h w"]
    depth: Float[Tensor, "n h w"]

    @classmethod
    def of(cls, splats: Gaussians3D, cameras: Cameras) -> DepthViews:
        """Renders of splats, in the size of the cameras."""
        rendered = rasterize(splats, cameras, background=0.0)
        return cls(cameras, rendered.color, rendered.alpha, rendered.depth)

    def first(self, count: int) -> DepthViews:
        """The first so many of them."""
        parts = (part[:count] for part in (self.colors, self.alpha, self.depth))
        return DepthViews(self.cameras[:count], *parts)


def signed_distances(
    views: DepthViews,
    points: Float[Tensor, "p 3"],
    voxel: float,
    options: MeshOptions,
    *,
    passing: DepthViews | None = None,
) -> Float[Tensor, " p"]:
    """Truncated signed distances at points, in voxels.

    passing: views whose rays say which points are empty; `views` where None.
    """
    reach = options.truncation * voxel
    hidden = options.hidden * voxel * options.resolution
    cameras, most = views.cameras, options.empty * len(views.cameras)
    if cpu.serves(points):
        numbers = {
            "reach": reach,
            "hidden": hidden,
            "voxel": voxel,
            "behind": options.behind,
            "min_alpha": options.min_alpha,
            "truncation": options.truncation,
            "most": most,
        }
        looked_through = (views if passing is None else passing).alpha
        return in_c.signed_distances(cameras, views.alpha, views.depth, looked_through, points, numbers)
    values = torch.full((len(points),), options.truncation, device=points.device)
    index = torch.arange(len(points), device=points.device)
    total, weight, passed = (torch.zeros(len(points), device=points.device) for _ in range(3))
    places = points.T.contiguous()
    layers = [views.alpha, views.depth * views.alpha, *([] if passing is None else [passing.alpha])]
    pictures = torch.stack(layers, 1)
    for view in range(len(cameras)):
        grid, z = _seen_from(cameras, view, places)
        alpha, depth, *other = grid_sample(
            pictures[view, None], grid, padding_mode="zeros", align_corners=False
        )[0, :, 0]
        is_empty = (other[0] if other else alpha) < options.min_alpha
        distance = unweighted(depth, alpha) - z
        view_weight = torch.where(distance < -reach, options.behind, 1.0)
        view_weight *= ~(is_empty | (distance < -hidden))
        passed += is_empty
        total += distance.clamp_(-reach, reach).mul_(view_weight)
        weight += view_weight
        if view % 6 == 5:  # those that are known to be empty need no more views
            kept = (passed <= most).nonzero()[:, 0]
            places, index = places[:, kept], index[kept]
            total, weight, passed = total[kept], weight[kept], passed[kept]
    distances = torch.where(weight > 0, total / weight.clamp(min=1), -reach) / voxel
    values[index] = torch.where(passed > most, options.truncation, distances)
    return values


@torch.no_grad()
def colors_of(
    views: DepthViews,
    vertices: Float[np.ndarray, "v 3"],
    normals: Float[np.ndarray, "v 3"],
    *,
    tolerance: float,
    sharpness: float = 4.0,
    weights: Float[Tensor, " n"] | None = None,
) -> tuple[Float[np.ndarray, "v 3"], Float[np.ndarray, " v"]]:
    """Colors of points on a surface (sRGB), from the views that see them, and the sum of what those count.

    A view counts where the point is not hidden (its depth is at most `tolerance` behind what is seen there),
    by alpha, by the cosine between normal and view to the power of `sharpness`, and by `weights` (of views
    with more than 1 the cosine itself counts). What no view sees is black and counts 0, see `filled`.
    """
    device, cameras = views.alpha.device, views.cameras
    every = torch.cat(
        [torch.as_tensor(part, dtype=torch.float32, device=device) for part in (vertices, normals)], 1
    )
    trust = [1.0] * len(cameras) if weights is None else weights.tolist()
    power = [sharpness if count <= 1 else 1.0 for count in trust]
    least = torch.tensor([NOTHING ** (1 / p) for p in power], device=device)[:, None]
    if cpu.serves(views.alpha):
        shown = {"alpha": views.alpha, "depth": views.depth, "color": views.colors}
        counts = {"trust": torch.tensor(trust), "power": torch.tensor(power), "least": least[:, 0]}
        limits = {"tolerance": tolerance, "seen_alpha": SEEN}
        places, normal = every.split(3, 1)
        found, sums = in_c.colors_of(cameras, shown, places, normal, counts, limits)
        return found.numpy(), sums.numpy()
    depths = torch.stack([views.alpha, views.depth * views.alpha], 1)
    pictures = views.colors.movedim(3, 1).contiguous()
    colors, seen = [], []
    for block in every.split(BLOCK):
        places, normal = block.T.contiguous().split(3)
        facing = cameras.position @ normal - (normal * places).sum(0)
        away = cameras.position.square().sum(1)[:, None] - 2 * cameras.position @ places
        facing /= (away + places.square().sum(0)).clamp_(min=1e-24).sqrt_()
        total, sums = torch.zeros_like(places), torch.zeros_like(places[0])
        for view, front in enumerate((facing > least).unbind(0)):
            some = front.nonzero()[:, 0]
            grid, z = _seen_from(cameras, view, places[:, some])
            (alpha, depth), color = (
                grid_sample(picture[None], grid, padding_mode="zeros", align_corners=False)[0, :, 0]
                for picture in (depths[view], pictures[view])
            )
            visible = (z - unweighted(depth, alpha) < tolerance) & (alpha > SEEN)
            # torch has fast powers of 2 and 1/2, and slow ones of 4
            sharp = (facing[view, some] ** (power[view] / 2)).square()
            weight = torch.where(visible, trust[view] * alpha * sharp, 0)
            total.index_add_(1, some, weight * unweighted(color, alpha).clamp(0, 1))
            sums.index_add_(0, some, weight)
        colors.append((total / sums.clamp(min=1e-12)).T)
        seen.append(sums)
    return torch.cat(colors).cpu().numpy(), torch.cat(seen).cpu().numpy()


def _seen_from(
    cameras: Cameras, view: int, places: Float[Tensor, "3 p"]
) -> tuple[Float[Tensor, "1 1 p 2"], Float[Tensor, " p"]]:
    """Points in a square view as `grid_sample` counts its pixels, from -1 to 1, and their depths.

    Coordinates come first: products of few rows are many times as fast as of few columns.
    """
    x, y, z = torch.addmm(cameras.translation[view][:, None], cameras.rotation[view], places)
    scale = 2 * cameras.focal[view] / cameras.width / z
    return torch.stack([x * scale, y * scale], 1)[None, None], z
