"""Quality measures: of pictures, of surfaces seen in depth maps, of assets against truth."""

from vid4d.metrics.pictures import (
    color_psnr,
    half_transparent,
    mask_iou,
    motion,
    psnr,
    sharpness,
    ssim,
    temporal_consistency,
)
from vid4d.metrics.sides import Sides, compare, surface_scores
from vid4d.metrics.surfaces import f_scores, loose_pieces, surface_points

__all__ = [
    "Sides",
    "color_psnr",
    "compare",
    "f_scores",
    "half_transparent",
    "loose_pieces",
    "mask_iou",
    "motion",
    "psnr",
    "sharpness",
    "ssim",
    "surface_points",
    "surface_scores",
    "temporal_consistency",
]
