"""Visibility of surfaces from a camera, by rendered depths."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Bool
from torch import Tensor

from vid4d.cameras import Cameras
from vid4d.gaussians.raster import SplatRender


def visible_from(
    camera: Cameras, shown: SplatRender, cameras: Cameras, renders: SplatRender, *, tolerance: float = 0.04
) -> Bool[Tensor, "v h w"]:
    """Mask of the pixels of `renders` whose surface `camera` sees.

    shown: what `camera`, a single one, shows. A pixel has a surface where its alpha is above one half. Two
    surfaces are the same whose depths for `camera` are at most `tolerance` (world units) apart.
    """
    origin, direction = cameras.rays()
    points = origin[:, None, None] + renders.depth[..., None] * direction
    pixels, depth = camera.project(points.flatten(0, 2))
    size = torch.tensor([camera.width, camera.height], device=pixels.device)
    where = (pixels[0] / size * 2 - 1).view(1, 1, -1, 2)
    maps = torch.stack([shown.depth, shown.alpha], 1)
    nearest, alpha = F.grid_sample(maps, where, mode="nearest", align_corners=False).view(
        2, *renders.depth.shape
    )
    same = (depth.view(renders.depth.shape) - nearest).abs() <= tolerance
    return same & (alpha > 0.5) & (renders.alpha > 0.5)
