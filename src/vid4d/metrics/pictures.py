"""Measures of pictures: (..., h, w, c) tensors in [0, 1]; leading dimensions are kept in the result."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from vid4d.metrics.losses import SSIM_WINDOW, Middle, ssim_map


def psnr(a: Float[Tensor, "... h w c"], b: Float[Tensor, "... h w c"]) -> Float[Tensor, " ..."]:
    """Peak signal-to-noise ratio in dB per image, for a range of 1; equal images give 100 dB."""
    error = (a - b).square().mean((-3, -2, -1))
    return -10 * torch.log10(error.clamp(min=1e-10))


def ssim(a: Float[Tensor, "... h w c"], b: Float[Tensor, "... h w c"]) -> Float[Tensor, " ..."]:
    """Mean structural similarity per image, over the pixels whose 11x11 window lies inside the image.

    Equal to scikit-image's with `gaussian_weights=True, sigma=1.5, use_sample_covariance=False`.
    """
    r = SSIM_WINDOW // 2
    if min(a.shape[-3:-1]) < SSIM_WINDOW:
        raise ValueError(f"SSIM needs images of at least {SSIM_WINDOW} pixels, these have {tuple(a.shape)}")
    return ssim_map(a, b)[..., r:-r, r:-r, :].mean((-3, -2, -1))


def mask_iou(
    a: Float[Tensor, "... h w"], b: Float[Tensor, "... h w"], *, threshold: float = 0.5
) -> Float[Tensor, " ..."]:
    """Intersection over union of two masks per image; two empty masks give 1."""
    first, second = a > threshold, b > threshold
    union = (first | second).sum((-2, -1))
    return torch.where(union == 0, 1.0, (first & second).sum((-2, -1)) / union.clamp(min=1))


def half_transparent(alpha: Float[Tensor, "... h w"], *, faint: float = 0.1) -> Float[Tensor, " ..."]:
    """Share of an object's pixels (alpha above `faint`) that are not solid (alpha below 1 - faint).

    The outline of a solid thing has some, so compare with the truth's. Nothing at all gives 0.
    """
    mask = alpha > faint
    partial = (mask & (alpha < 1 - faint)).sum((-2, -1))
    return partial / mask.sum((-2, -1)).clamp(min=1)


def color_psnr(
    a: Float[Tensor, "... h w 4"], b: Float[Tensor, "... h w 4"], *, threshold: float = 0.5
) -> Float[Tensor, " ..."]:
    """PSNR of straight colors in dB where both pictures are solid (alpha above the threshold).

    NaN where they have no such pixel in common.
    """
    both = (a[..., 3] > threshold) & (b[..., 3] > threshold)
    error = (a[..., :3] - b[..., :3]).square().mean(-1) * both
    count = both.sum((-2, -1))
    mean = error.sum((-2, -1)) / count.clamp(min=1)
    return torch.where(count > 0, -10 * torch.log10(mean.clamp(min=1e-10)), float("nan"))


def sharpness(images: Float[Tensor, "... h w c"]) -> Float[Tensor, " ..."]:
    """Mean absolute difference of neighbouring pixels, to the right and below, per image."""
    right, below = (images.diff(dim=d).abs().mean((-3, -2, -1)) for d in (-2, -3))
    return right + below


def motion(frames: Float[Tensor, "... t h w c"]) -> Float[Tensor, " ..."]:
    """Mean absolute difference of neighbouring frames; 0 for a single one.

    Of a camera that stands still it is what moves, and what flickers: compare with the true frames'.
    """
    if frames.shape[-4] < 2:
        return frames.new_zeros(frames.shape[:-4])
    return frames.diff(dim=-4).abs().mean((-4, -3, -2, -1))


def temporal_consistency(
    images: Float[Tensor, "... t h w c"], middle: Middle, *, cyclic: bool = False
) -> Float[Tensor, " ..."]:
    """Mean PSNR in dB between each frame and the interpolation of its two neighbours, per view.

    Higher is steadier; compare with the value of the true images, since fast motion lowers it too.
    """
    lead, (t, *shape) = images.shape[:-4], images.shape[-4:]
    if t < 3:
        raise ValueError(f"temporal consistency needs at least 3 frames, got {t}")
    frames = images.flatten(0, -5) if lead else images[None]
    if cyclic:
        before, here, after = frames.roll(1, 1), frames, frames.roll(-1, 1)
    else:
        before, here, after = frames[:, :-2], frames[:, 1:-1], frames[:, 2:]
    predicted = middle(before.reshape(-1, *shape), after.reshape(-1, *shape)).reshape(here.shape)
    return psnr(predicted, here).mean(-1).reshape(lead)
