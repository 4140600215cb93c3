"""Cleaning of drawn pictures: crumbs go, outlines become straight, what is whole stays."""

from __future__ import annotations

import torch

from vid4d.matrix.cleanup import remove_small_components, smooth_alpha


def test_small_islands_vanish_and_large_ones_stay() -> None:
    images = torch.zeros(1, 2, 32, 32, 4)
    images[0, 0, 4:20, 4:20] = 1.0  # 256 pixels
    images[0, 0, 24:28, 4:8] = 1.0  # 16 pixels: 5.8 %
    images[0, 0, 30, 30] = 1.0  # 1 pixel: 0.4 %
    images[0, 0, 4:20, 25:27, 3] = 0.05  # too faint to be an island
    images[0, 1, 0, 0] = 1.0  # alone, so all that there is
    cleaned = remove_small_components(images)
    expected = images.clone()
    expected[0, 0, 30, 30, 3] = 0
    expected[0, 0, 4:20, 25:27, 3] = 0
    assert torch.equal(cleaned, expected)
    assert images[0, 0, 30, 30, 3] == 1, "the input is left as it was"


def disc(radius: float, size: int = 64) -> torch.Tensor:
    axis = torch.arange(size) - size / 2 + 0.5
    return ((axis[:, None].square() + axis.square()).sqrt() < radius).float()


def test_fray_goes_and_the_area_stays() -> None:
    """A disc whose rim is noise: what comes out is closer to the disc."""
    true = disc(20.0)
    rim = disc(23.0) - disc(17.0)
    noise = torch.rand(64, 64, generator=torch.Generator().manual_seed(0)) > 0.5
    frayed = torch.where(rim > 0, noise.float(), true)
    image = torch.cat([torch.full((64, 64, 3), 0.3), frayed[..., None]], -1)[None, None]
    straight = smooth_alpha(image, 2.0)[0, 0, ..., 3]

    def wrong(alpha: torch.Tensor) -> float:
        return float((alpha - true).abs().sum() / true.sum())

    assert wrong(straight) < 0.5 * wrong(frayed)
    assert abs(float(straight.sum() / true.sum()) - 1) < 0.05


def test_whole_objects_stay_and_new_parts_take_the_colors_beside_them() -> None:
    image = torch.zeros(1, 1, 64, 64, 4)
    image[..., :3] = torch.tensor([0.9, 0.1, 0.2])
    image[0, 0, :, :, 3] = disc(20.0)
    image[0, 0, 31:33, 31:33, 3] = 0.0  # a hole that closes
    image[0, 0, 31:33, 31:33, :3] = 0.0
    straight = smooth_alpha(image, 2.0)[0, 0]
    assert straight[31:33, 31:33, 3].min() == 1
    assert (straight[31:33, 31:33, :3] - torch.tensor([0.9, 0.1, 0.2])).abs().max() < 1e-5
    assert straight[32, 20, 3] == 1, "inside"
    assert straight[32, 58, 3] == 0, "outside"
    iou = ((straight[..., 3] > 0.5) & (disc(20.0) > 0)).sum() / disc(20.0).sum()
    assert iou > 0.99
