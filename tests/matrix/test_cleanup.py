"""Cleaning of drawn pictures: crumbs go, outlines become straight, what is whole stays."""

from __future__ import annotations

import torch

from vid4d.matrix.cleanup import remove_small_components


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
