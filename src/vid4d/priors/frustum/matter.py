"""How matter in the view frustum stops light, what of the picture's color gets past, and thin parts of it."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

LAYER = 0.02
"""Thickness (world units) of matter whose alpha is its occupancy."""

BIAS = 1.0
"""Added to the logits of occupancy: the network is sparing where it is unsure (docs/experiments.md)."""

SHARPNESS = 3.0
"""What logits are multiplied by then: a boundary where the network is in doubt."""

BAND = 1
"""Voxels before and behind the likeliest depth of a thin part that are matter, too."""

SKIN = 4
"""Voxels below a surface that still count as seen: where it lies is not known better."""

BLUR = 9
"""Columns of the window that colors of hidden matter are averaged over, twice."""


def alpha_along(occupancy: Float[Tensor, "*samples"], step: float) -> Float[Tensor, "*samples"]:
    """Alpha of every sample of a ray. step: world units between samples."""
    return 1 - (1 - occupancy.clamp(0, 0.999)) ** (step / LAYER)


def stopped(alpha: Tensor, dim: int, *, keepdim: bool = False) -> Tensor:
    """Alpha of whole rays, whose samples lie along a dimension."""
    return 1 - (1 - alpha).prod(dim, keepdim=keepdim)


def visibility(logits: Float[Tensor, "b 1 d h w"], voxel: float) -> Float[Tensor, "b 1 d h w"]:
    """Share of the picture's light that reaches each voxel along its column, SKIN voxels deep into matter.

    logits: of occupancy; no gradient flows back to them. voxel: its depth, world units.
    """
    with torch.no_grad():
        passed = 1 - alpha_along(torch.sigmoid(logits.float()), voxel)
        depth = logits.shape[2]
        left = torch.cumprod(F.pad(passed, (0, 0, 0, 0, SKIN + 1, 0), value=1.0), 2)
        return left[:, :, :depth].to(logits.dtype)


def without_detail(columns: Float[Tensor, "b 4 h w"]) -> Float[Tensor, "b 3 h w"]:
    """Colors of the object averaged over their neighborhood within its silhouette.

    columns: RGBA over white in [-1, 1], as the network takes it; the white around the object does not bleed
    in. Where nothing of the object is near, the color is as it was.
    """
    color, alpha = columns[:, :3], columns[:, 3:] / 2 + 0.5
    weighted = torch.cat([color * alpha, alpha], 1)
    for _ in range(2):
        weighted = F.avg_pool2d(weighted, BLUR, 1, BLUR // 2)
    mass = weighted[:, 3:]
    return torch.where(mass > 1e-3, weighted[:, :3] / mass.clamp(min=1e-3), color)


def solid_occupancy(logits: Float[Tensor, "*shape"], bias: float = BIAS) -> Float[Tensor, "*shape"]:
    """Occupancy with the boundaries that pictures are drawn with. bias: added to the logits."""
    return torch.sigmoid((logits.float() + bias) * SHARPNESS)


def with_thin_parts(
    logits: Float[Tensor, "b 1 d h w"], alpha: Float[Tensor, "b h w"], voxel: float
) -> Float[Tensor, "b 1 d h w"]:
    """Logits with matter on every column where the picture shows something.

    The network is sure that there is an ear, and not how far away it is: its occupancy is spread over many
    voxels, each of which is more likely empty, and boundaries would make nothing of it. Such columns get
    matter where they and their neighbors expect most of it, 2 BAND + 1 voxels deep.

    alpha: of the picture at the columns, in [0, 1]. voxel: its depth, world units.
    """
    shown = alpha[:, None, None] > 0.5
    drawn = stopped(alpha_along(solid_occupancy(logits), voxel), 2, keepdim=True)
    likely = F.avg_pool3d(torch.sigmoid(logits.float() + BIAS) * shown, (3, 5, 5), 1, (1, 2, 2))
    middle = likely.argmax(2, keepdim=True)
    depth = torch.arange(logits.shape[2], device=logits.device).view(-1, 1, 1)
    band = shown & (drawn < 0.5) & ((depth - middle).abs() <= BAND)
    return torch.where(band, logits.clamp(min=0), logits)
