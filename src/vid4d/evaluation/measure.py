"""The numbers of one object: what was seen of it, held against the truth."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from vid4d.cameras import Cameras
from vid4d.evaluation.seen import Seen
from vid4d.metrics import Sides, compare, psnr, ssim, surface_scores
from vid4d.metrics.losses import SSIM_WINDOW
from vid4d.metrics.sides import MEASURES

NAMES = MEASURES | {"lpips": "LPIPS", "clip": "CLIP", "fvd": "FVD"}
NAMES |= {"cd_3d": "CD-3D", "cd_4d": "CD-4D", "cd_motion": "motion"}
"""Measures, and how tables name them."""

DIGITS = {"color": 2, "psnr": 2, "pieces": 2, "fvd": 2, "cd_3d": 4, "cd_4d": 4, "cd_motion": 4}
"""Decimals in tables, where not three."""

Numbers = dict[str, float]
"""By measure; those that do not exist (colors of nothing) are NaN."""


def view_numbers(judged: Seen, truth: Seen, cameras: Cameras, data_range: str = "1") -> list[Numbers]:
    """The measures of every view, means over its moments.

    data_range: of PSNR and SSIM, as `Protocol` has it.
    """
    surfaces = _surfaces(judged, truth, cameras)
    result = []
    for view in range(len(cameras)):
        ours, true = judged.side(view, cameras), truth.side(view, cameras)
        scores = compare(ours, true)
        if data_range == "pair":
            scores |= of_pairs(ours.on_white[0], true.on_white[0])
        means = {name: float(values.nanmean()) for name, values in scores.items()}
        if surfaces is not None:
            means["f_score"] = float(surfaces[view].mean())
        result.append({name: means[name] for name in NAMES if name in means})
    return result


def of_pairs(
    ours: Float[Tensor, "t h w 3"], true: Float[Tensor, "t h w 3"]
) -> dict[str, Float[Tensor, " t"]]:
    """PSNR and SSIM for the range that the pictures themselves span: torchmetrics' where no range is told.

    PSNR for that of the true picture, SSIM for the larger one of both, with mirrored borders; equal pictures
    give 100 dB and 1. Current versions of torchmetrics take a range of 3 for PSNR instead.
    """
    spans = [x.amax((1, 2, 3)) - x.amin((1, 2, 3)) for x in (ours, true)]
    known = spans[1].clamp(min=1e-6)[:, None, None, None]
    larger = torch.maximum(*spans).clamp(min=1e-6)[:, None, None, None]
    pads = [SSIM_WINDOW // 2] * 4
    mirrored = [F.pad((x / larger).movedim(-1, 1), pads, "reflect").movedim(1, -1) for x in (ours, true)]
    return {"psnr": psnr(ours / known, true / known), "ssim": ssim(*mirrored)}


def _surfaces(judged: Seen, truth: Seen, cameras: Cameras) -> Float[Tensor, "v t"] | None:
    """F-scores by view and moment, where both have depth: surfaces are what all views see together."""
    if judged.depth is None or truth.depth is None:
        return None
    columns = []
    for t in range(judged.shape[1]):
        sides = []
        for seen in (judged, truth):
            assert seen.depth is not None
            rgba = torch.from_numpy(seen.rgba[:, t : t + 1]).float() / 255
            sides.append(Sides(cameras, rgba, torch.from_numpy(seen.depth[:, t : t + 1])))
        columns.append(surface_scores(*sides))
    return torch.cat(columns, 1)


def mean_of(every: Iterable[Mapping[str, float]]) -> Numbers:
    """Means by measure, of those entries that have it; NaN counts as not there."""
    every = list(every)
    result = {}
    for name in NAMES:
        values = [e[name] for e in every if name in e and not math.isnan(e[name])]
        if any(name in e for e in every):
            result[name] = sum(values) / len(values) if values else math.nan
    return result
