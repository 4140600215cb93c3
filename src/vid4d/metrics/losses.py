"""Losses: SSIM, confidence-weighted photometric and mask loss of pictures; interpolation-driven consistency;
regularisers of normals.

All images are channels last, (..., h, w, c), in [0, 1]; leading dimensions are batch dimensions.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

Interpolate = Callable[
    [Float[Tensor, "b h w c"], Float[Tensor, "b h w c"], Float[Tensor, " b"]], Float[Tensor, "b h w c"]
]
"""A frame interpolator: the pictures between two batches of pictures, at shares in (0, 1) of the way.

Pictures are colors (c = 3), or RGBA with premultiplied color (c = 4).
"""

Middle = Callable[[Float[Tensor, "n h w c"], Float[Tensor, "n h w c"]], Float[Tensor, "n h w c"]]
"""A frame interpolator: the pictures half way between two batches of pictures, as for `Interpolate`."""

SSIM_WINDOW = 11
SSIM_SIGMA = 1.5
SSIM_CONSTANTS = _C1, _C2 = 0.01**2, 0.03**2


def ssim_taps() -> Float[Tensor, " k"]:
    """The window of SSIM in one dimension, float64."""
    radius = SSIM_WINDOW // 2
    taps = torch.exp(-(torch.arange(-radius, radius + 1, dtype=torch.float64) ** 2) / (2 * SSIM_SIGMA**2))
    return taps / taps.sum()


@lru_cache(maxsize=16)
def _blur_matrix(size: int, device: torch.device, dtype: torch.dtype) -> Float[Tensor, "n n"]:
    """The 1D Gaussian window with zero padding, as a banded matrix: blur(x) = matrix @ x.

    A product with this matrix is several times faster on a CPU than a depthwise convolution.
    """
    radius = SSIM_WINDOW // 2
    place = torch.arange(size)
    tap = place[None] - place[:, None] + radius
    inside = (tap >= 0) & (tap < SSIM_WINDOW)
    return torch.where(inside, ssim_taps()[tap.clamp(0, SSIM_WINDOW - 1)], 0.0).to(device, dtype)


def gaussian_blur(image: Float[Tensor, "... h w"]) -> Float[Tensor, "... h w"]:
    """The 11x11 Gaussian window of SSIM (sigma 1.5), zero beyond the border; channels first."""
    h, w = image.shape[-2:]
    return _blur_matrix(h, image.device, image.dtype) @ image @ _blur_matrix(w, image.device, image.dtype)


def ssim_map(a: Float[Tensor, "... h w c"], b: Float[Tensor, "... h w c"]) -> Float[Tensor, "... h w c"]:
    """Structural similarity per pixel and channel (Wang et al. 2004), differentiable in both images.

    11x11 Gaussian window, sigma 1.5, constants 0.01^2 and 0.03^2 for a range of 1, zero padding at the
    border: the variant of the 3D and 4D Gaussian splatting authors and of Efficient4D's confidence maps.
    """
    if a.shape != b.shape:
        raise ValueError(f"images of shapes {tuple(a.shape)} and {tuple(b.shape)} cannot be compared")
    x, y = a.movedim(-1, -3), b.movedim(-1, -3)
    if not y.requires_grad:
        return _Ssim.apply(x, y).movedim(-3, -1)
    return _ssim_terms(x, y)[0].movedim(-3, -1)


def _ssim_terms(x: Tensor, y: Tensor) -> tuple[Tensor, ...]:
    """SSIM, and the means and factors it is made of."""
    mean_x, mean_y, xx, yy, xy = gaussian_blur(torch.stack([x, y, x * x, y * y, x * y])).unbind(0)
    product, squares = mean_x * mean_y, mean_x * mean_x + mean_y * mean_y
    a1, a2 = 2 * product + _C1, 2 * (xy - product) + _C2
    b1, b2 = squares + _C1, xx + yy - squares + _C2
    return a1 * a2 / (b1 * b2), mean_x, mean_y, a1, a2, b1, b2


class _Ssim(torch.autograd.Function):
    """The gradient in the first image by hand: three blurs instead of the ten that autograd would do."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor) -> Tensor:
        ssim, mean_x, mean_y, a1, a2, b1, b2 = _ssim_terms(x, y)
        if ctx.needs_input_grad[0]:
            below = 1 / (b1 * b2)
            grad_xx = -ssim / b2
            grad_xy = 2 * a1 * below
            grad_mean = 2 * (mean_y * (a2 - a1) * below - mean_x * (ssim / b1 + grad_xx))
            ctx.save_for_backward(x, y, grad_mean, grad_xx, grad_xy)
        return ssim

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        x, y, grad_mean, grad_xx, grad_xy = ctx.saved_tensors
        mean, xx, xy = gaussian_blur(gradient * torch.stack([grad_mean, grad_xx, grad_xy])).unbind(0)
        return mean + 2 * x * xx + y * xy, None


def photometric_loss(
    render: Float[Tensor, "... h w c"],
    target: Float[Tensor, "... h w c"],
    confidence: Float[Tensor, "... h w"] | None = None,
    *,
    ssim_weight: float = 0.2,
) -> Float[Tensor, ""]:
    """0.8 L1 + 0.2 (1 - SSIM), each pixel weighted by its confidence, averaged over all pixels.

    The confidence-aware loss of Efficient4D (2401.08742, section 3.3) over the base loss of 3D Gaussian
    splatting. confidence None means 1 everywhere. Not divided by the mean confidence: an image that is
    trusted less weighs less.
    """
    error = (1 - ssim_weight) * (render - target).abs().mean(-1)
    if ssim_weight > 0:
        error = error + ssim_weight * (1 - ssim_map(render, target).mean(-1))
    if confidence is not None:
        error = error * confidence
    return error.mean()


def mask_loss(alpha: Float[Tensor, "... h w"], mask: Float[Tensor, "... h w"]) -> Float[Tensor, ""]:
    """Mean squared error between rendered opacity and mask (the mask term of Consistent4D, 2311.02848)."""
    return (alpha - mask).square().mean()


def interpolation_consistency(
    run: Float[Tensor, "... n h w c"], interpolate: Interpolate, *, middle_only: bool = False
) -> Float[Tensor, ""]:
    """Interpolation consistency loss: inner pictures of a run against an interpolator's between its ends.

    run: n pictures in even steps of time, or of a camera's way around the object; of whatever renderer.
    Colors (c = 3), or RGBA with premultiplied color (c = 4), which interpolators that were made for objects
    without background, like the shipped one, need to do well. Mean squared error of the colors (over white)
    of the n - 2 inner pictures, which alone get a gradient: what they are interpolated from and the
    interpolator get none. middle_only: for interpolators that find nothing but the middle (RIFE 3.x): each
    inner picture is expected half way between the farthest two that lie evenly around it.
    Raises ValueError for runs without inner pictures.

    Source: Consistent4D (2311.02848), section 3.3, interpolation-driven consistency loss.
    """
    n, *shape = run.shape[-4:]
    if n < 3:
        raise ValueError(f"a run of {n} pictures has none between its ends: use three or more")
    runs = run.reshape(-1, n, *shape)
    inner = torch.arange(1, n - 1, device=run.device)
    share, left, right = inner / (n - 1), inner * 0, inner * 0 + n - 1
    if middle_only:
        reach = torch.minimum(inner, n - 1 - inner)
        share, left, right = torch.full_like(share, 0.5), inner - reach, inner + reach
    with torch.no_grad():
        first, last = runs[:, left].flatten(0, 1), runs[:, right].flatten(0, 1)
        between = interpolate(first, last, share.repeat(len(runs)))
    error = runs[:, 1:-1].flatten(0, 1) - between.detach()
    if shape[-1] == 4:
        error = error[..., :3] - error[..., 3:]
    return error.square().mean()


def normal_smoothness_loss(
    normal: Float[Tensor, "... 3"], nearby: Float[Tensor, "... 3"]
) -> Float[Tensor, ""]:
    """Mean absolute difference of normals and normals a little aside (Consistent4D, 2311.02848, code)."""
    return (normal - nearby).abs().mean()


def orientation_loss(
    normal: Float[Tensor, "... m 3"],
    direction: Float[Tensor, "m 3"],
    weight: Float[Tensor, "... m"],
    rays: float | Float[Tensor, ""],
) -> Float[Tensor, ""]:
    """Penalty on visible normals that face away: sum of weight * max(0, normal . direction)^2, per ray.

    direction: of the ray of each sample. weight: share of the sample in its pixel, gets no gradient.
    rays: how many the samples belong to; where only every n-th sample is given, the n-th part of that.
    Leading dimensions are summed.

    Source: Ref-NeRF (2112.03907), section 4, equation 11.
    """
    away = (normal * direction).sum(-1).clamp(min=0)
    return (weight.detach() * away.square()).sum() / torch.as_tensor(rays).clamp(min=1e-9)
