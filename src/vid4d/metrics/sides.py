"""An asset against its truth: what both look like from the same cameras at the same moments."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from vid4d.cameras import Cameras
from vid4d.media.images import over_white
from vid4d.metrics.pictures import color_psnr, half_transparent, mask_iou, psnr, ssim
from vid4d.metrics.surfaces import f_scores, loose_pieces, surface_points

MEASURES = {
    "iou": "IoU",
    "f_score": "F-score",
    "half_transparent": "half transparent",
    "pieces": "loose pieces",
    "color": "color (dB)",
    "psnr": "PSNR (dB)",
    "ssim": "SSIM",
}
"""Measures of `compare` and how tables name them."""


@dataclass(frozen=True)
class Sides:
    """Renders of an object from V sides at T moments.

    rgba: straight alpha, in [0, 1]. depth: of the surface along the optical axis, world units, infinite or 0
    where there is none; None for pictures that nobody knows the depth of. white: colors over white, of
    pictures whose alpha was only guessed; None where `rgba` over white is that.
    """

    cameras: Cameras
    rgba: Float[Tensor, "v t h w 4"]
    depth: Float[Tensor, "v t h w"] | None = None
    white: Float[Tensor, "v t h w 3"] | None = None

    def __post_init__(self) -> None:
        if len(self.cameras) != len(self.rgba):
            raise ValueError(f"{len(self.cameras)} cameras cannot have seen {len(self.rgba)} sides")
        if self.depth is not None and self.depth.shape != self.rgba.shape[:-1]:
            raise ValueError(
                f"depth of shape {tuple(self.depth.shape)} is not that of pictures {tuple(self.rgba.shape)}"
            )

    @property
    def on_white(self) -> Float[Tensor, "v t h w 3"]:
        """Colors over white."""
        return over_white(self.rgba) if self.white is None else self.white


def compare(asset: Sides, truth: Sides) -> dict[str, Float[Tensor, "v t"]]:
    """All measures, for each side and moment. The cameras of both are the same.

    iou: of the masks at alpha 0.5. f_score: of the surfaces, see `f_scores`; left out where one has no depth.
    half_transparent: share of such pixels beyond the truth's share, so 0 is as crisp as the truth. pieces:
    loose pieces of the silhouette beyond the truth's; where the truth has more, 0, since what it has loose
    may just be missing. color: PSNR where both are solid, NaN where they never are. psnr, ssim: over white.
    """
    if asset.rgba.shape != truth.rgba.shape:
        raise ValueError(
            f"pictures of shapes {tuple(asset.rgba.shape)} and {tuple(truth.rgba.shape)} cannot be compared"
        )
    a, b = asset.rgba, truth.rgba
    alpha, true_alpha = a[..., 3], b[..., 3]
    white, true_white = asset.on_white, truth.on_white
    scores = {"iou": mask_iou(alpha, true_alpha)}
    if asset.depth is not None and truth.depth is not None:
        scores["f_score"] = surface_scores(asset, truth)
    scores["half_transparent"] = half_transparent(alpha) - half_transparent(true_alpha)
    scores["pieces"] = (loose_pieces(alpha) - loose_pieces(true_alpha)).clamp(min=0).float()
    scores["color"] = color_psnr(a, b)
    scores["psnr"] = psnr(white, true_white)
    scores["ssim"] = ssim(white, true_white)
    return scores


def surface_scores(asset: Sides, truth: Sides) -> Float[Tensor, "v t"]:
    """F-scores of what is solid, see `f_scores`. Both have depth."""
    if asset.depth is None or truth.depth is None:
        raise ValueError("surfaces cannot be compared without depth")
    columns = []
    for t in range(asset.rgba.shape[1]):
        points, true_points = (
            surface_points(s.depth[:, t], s.rgba[:, t, ..., 3], s.cameras)  # type: ignore[index]
            for s in (asset, truth)
        )
        columns.append(f_scores(points, true_points))
    return torch.from_numpy(np.stack(columns, 1)).float()
