"""Cleaning of the pictures that a prior draws, before anything is fitted to them."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from vid4d.media.images import premultiplied, straight


def remove_small_components(
    images: Float[Tensor, "v t h w 4"], share: float = 0.02
) -> Float[Tensor, "v t h w 4"]:
    """Makes islands transparent that are smaller than `share` of what a picture shows.

    The prior leaves crumbs beside objects; the fit would hang splats in mid-air for each.
    """
    from scipy import ndimage

    cleaned = images.clone()
    for picture in cleaned.flatten(0, 1):
        islands, count = ndimage.label(picture[..., 3].numpy() > 0.1, structure=[[1, 1, 1]] * 3)
        if count > 1:
            area = ndimage.sum_labels(picture[..., 3].numpy(), islands, range(count + 1))
            small = area < share * area[1:].sum()
            small[0] = True  # the faint rest, which belongs to no island
            picture[..., 3][torch.from_numpy(small[islands])] = 0
    return cleaned


def smooth_alpha(images: Float[Tensor, "v t h w 4"], width: float) -> Float[Tensor, "v t h w 4"]:
    """Straightens frayed outlines: alpha is blurred (Gaussian, `width` pixels) and made crisp again.

    Notches and threads narrower than about twice the width go. Where the object grows, it takes the colors
    of its neighbourhood; elsewhere colors stay. A width of 0 leaves everything as it is.
    """
    if width <= 0:
        return images
    from scipy import ndimage

    alpha = images[..., 3:]
    sigma = (0, 0, width, width, 0)
    blurred = straight(torch.from_numpy(ndimage.gaussian_filter(premultiplied(images).numpy(), sigma)))
    smoothed = ((blurred[..., 3:] - 0.5) * (2 * width) + 0.5).clamp(0, 1)
    color = torch.where(alpha > 0.5, images[..., :3], blurred[..., :3])
    return torch.cat([color, smoothed], -1)
