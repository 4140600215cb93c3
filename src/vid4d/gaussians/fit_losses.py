"""The loss of a step of a fit: all its pictures rendered in one call for each size, and compared.

For pictures that are known it is the confidence-aware loss of Efficient4D (2401.08742, section 3.3), with the
mask term of Consistent4D (2311.02848); for those between two frames a looser one, which is not in the papers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from vid4d.cameras import Cameras
from vid4d.gaussians.fit_config import FitConfig
from vid4d.gaussians.fit_pictures import Pictures
from vid4d.gaussians.model import Gaussians4D
from vid4d.gaussians.raster import SplatRender, cpu, rasterize_4d, ssim
from vid4d.gaussians.raster.room import EntryRoom
from vid4d.metrics.losses import photometric_loss


def render_together(
    gaussians: Gaussians4D, asked: Sequence[Pictures], room: EntryRoom | None = None
) -> list[SplatRender]:
    """Renders of the splats for each of those asked for: one call of the rasteriser for all of a size.

    room: as of `rasterize_4d`.
    """
    by_size: dict[tuple[int, int], list[int]] = {}
    for i, pictures in enumerate(asked):
        by_size.setdefault((pictures.cameras.width, pictures.cameras.height), []).append(i)
    renders: dict[int, SplatRender] = {}
    for places in by_size.values():
        members = [asked[i] for i in places]
        counts = [len(p.cameras) for p in members]
        together = rasterize_4d(
            gaussians,
            torch.cat([p.times for p in members]),
            Cameras.cat([p.cameras for p in members]),
            background=torch.cat([p.background.expand(len(p.cameras), 3) for p in members]),
            room=room,
        )
        renders |= zip(places, together.split(counts), strict=True)
    return [renders[i] for i in range(len(asked))]


def picture_loss(
    render: SplatRender, pictures: Pictures, config: FitConfig, *, with_ssim: bool
) -> Float[Tensor, ""]:
    """Weighted photometric and mask loss of some pictures.

    with_ssim: whether this is a step with SSIM, which stands for those without. It is taken in the object's
    windows alone, for there is nothing to see elsewhere.
    """
    c, color, rgb, confidence = config, render.color, pictures.rgb, pictures.confidence
    weights = 1 - c.ssim_weight, c.mask_weight
    loss = _Difference.apply(color, render.alpha, rgb, pictures.low, pictures.high, confidence, weights)
    windows = pictures.windows
    if with_ssim and windows is not None:
        share = windows.size**2 / (color.shape[1] * color.shape[2])
        color, rgb = windows.crop(color), windows.crop(rgb)
        if confidence is not None:
            confidence = windows.crop(confidence)
        if cpu.serves(color):
            structure = ssim.ssim_loss(color, rgb, confidence)
        else:
            structure = photometric_loss(color, rgb, confidence, ssim_weight=1)
        loss = loss + c.ssim_weight * c.ssim_every * share * structure
    return pictures.weight * loss


class _Difference(torch.autograd.Function):
    """Mean absolute difference of colors, weighted by confidence, plus mean square of what opacity is off.

    weights: of both. The gradient by hand goes over the pictures half as often as that of every operation.
    """

    @staticmethod
    def forward(
        ctx: Any,
        color: Float[Tensor, "b h w 3"],
        alpha: Float[Tensor, "b h w"],
        rgb: Float[Tensor, "b h w 3"],
        low: Float[Tensor, "b h w"],
        high: Float[Tensor, "b h w"],
        confidence: Float[Tensor, "b h w"] | None,
        weights: tuple[float, float],
    ) -> Float[Tensor, ""]:
        ctx.by_color, ctx.by_alpha = weights[0] / color.numel(), weights[1] / alpha.numel()
        difference, excess = color - rgb, alpha - alpha.clamp(low, high)
        error = difference.abs().sum(-1)
        if confidence is not None:
            error *= confidence
        ctx.save_for_backward(difference.sign_(), excess, confidence)
        return ctx.by_color * error.sum() + ctx.by_alpha * excess.square().sum()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Float[Tensor, ""]) -> tuple[Tensor | None, ...]:
        sign, excess, confidence = ctx.saved_tensors
        each = ctx.by_color * gradient
        by_color = sign * (each if confidence is None else (each * confidence)[..., None])
        return by_color, (2 * ctx.by_alpha * gradient) * excess, None, None, None, None, None
