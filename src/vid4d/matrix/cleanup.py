"""Cleaning of the pictures that a prior draws, before anything is fitted to them."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


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
