"""Silhouettes of carved voxels: pieces that no view needs."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from vid4d.cameras import Cameras

NEEDED = 0.1
"""Share of a piece's silhouette that it must cover alone, in some view, to be there for a reason."""


def silhouettes(points: Float[Tensor, "p 3"], cameras: Cameras, *, grown: int = 1) -> Bool[Tensor, "v h w"]:
    """Pixels in which some of the points lie, grown by so many: points are the centres of voxels."""
    v, h, w = len(cameras), cameras.height, cameras.width
    seen = torch.zeros(v, h * w, device=points.device)
    for i in range(v):
        pixels, depth = cameras[i].project(points)
        x, y = pixels[0].floor().long().unbind(-1)
        inside = (depth[0] > 0) & (x >= 0) & (x < w) & (y >= 0) & (y < h)
        seen[i, (y * w + x)[inside]] = 1
    return F.max_pool2d(seen.view(v, 1, h, w), 2 * grown + 1, 1, grown)[:, 0] > 0


def without_phantoms(
    occupied: Bool[Tensor, "r r r"], cameras: Cameras, half_extent: float
) -> Bool[Tensor, "r r r"]:
    """Takes away the pieces of a visual hull that no view needs: the rest covers their silhouettes in all.

    Few views carve phantoms where rays through different parts of an object cross in empty space. Pieces
    go from the smallest on; the largest stays, as does whatever some view cannot explain without.
    """
    from scipy import ndimage

    labels, count = ndimage.label(occupied.cpu().numpy(), structure=[[[1] * 3] * 3] * 3)
    if count < 2:
        return occupied
    labels = torch.from_numpy(labels).to(occupied.device)
    sizes = labels.flatten().bincount(minlength=count + 1)[1:]
    size = 2 * half_extent / occupied.shape[0]
    kept = occupied
    for piece in (sizes.argsort(stable=True)[:-1] + 1).tolist():
        mine = labels == piece
        shape, rest = (
            silhouettes((where.nonzero() + 0.5) * size - half_extent, cameras)
            for where in (mine, kept & ~mine)
        )
        alone = (shape & ~rest).sum((1, 2)) / shape.sum((1, 2)).clamp(min=1)
        if bool((alone < NEEDED).all()):
            kept = kept & ~mine
    return kept
