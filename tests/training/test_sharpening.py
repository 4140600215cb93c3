"""What the sharpener learns from: pictures spoiled as fits spoil them, of which nothing else is changed."""

from __future__ import annotations

import torch

from vid4d.enhance.sharpener import SHIPPED, Sharpener, SharpenerConfig, load_sharpener, sharpened
from vid4d.metrics import psnr
from vid4d.training.sharpening import bent, blurred, cropped, displacements, spoiled


def picture() -> torch.Tensor:
    """A dark square with a bright one in it, over white."""
    image = torch.ones(1, 3, 64, 64)
    image[..., 16:48, 16:48] = torch.tensor([0.3, 0.2, 0.1])[:, None, None]
    image[..., 26:38, 26:38] = torch.tensor([0.9, 0.6, 0.2])[:, None, None]
    return image


def test_fields_of_nothing_and_of_whole_pixels():
    still = torch.zeros(1, 64, 64, 2)
    torch.testing.assert_close(bent(picture(), still), picture(), atol=1e-5, rtol=0)
    left = still.clone()
    left[..., 0] = 2 * 3 / 64  # a field says where a pixel comes from
    torch.testing.assert_close(bent(picture(), left), picture().roll(-3, -1), atol=1e-4, rtol=0)


def test_fields_are_as_wide_as_asked():
    torch.manual_seed(0)
    field = displacements(64, 32, torch.full((64,), 2.0), 5) * 32 / 2
    assert 1.2 < float(field.std()) < 2.2


def test_a_blur_keeps_what_is_even_and_the_sum():
    even = torch.full((2, 3, 20, 20), 0.4)
    torch.testing.assert_close(blurred(even, torch.tensor([0.5, 2.0])), even)
    point = torch.zeros(1, 3, 31, 31)
    point[..., 15, 15] = 1
    spread = blurred(point, torch.tensor([1.5]))
    torch.testing.assert_close(spread.sum((2, 3)), torch.ones(1, 3))
    offset = torch.arange(31.0) - 15
    assert abs(float((spread[0, 0].sum(0) * offset.square()).sum()) - 1.5**2) < 0.02


def test_spoiling_moves_nothing_on_average():
    torch.manual_seed(0)
    mean = torch.stack([spoiled(picture()) for _ in range(60)]).mean(0)
    offset = torch.arange(64.0)
    for dim in (2, 3):
        weight = (1 - mean).sum((0, 1, 5 - dim))
        assert abs(float((weight * offset).sum() / weight.sum()) - 31.5) < 0.2
    assert float(spoiled(picture())[..., :4, :4].min()) > 0.999


def test_crops_are_parts_of_their_pictures():
    torch.manual_seed(0)
    image = torch.arange(64.0 * 64).view(1, 1, 64, 64).expand(2, 3, 64, 64)
    parts = cropped(image, 8)
    assert parts.shape == (2, 3, 8, 8)
    assert (parts.diff(dim=-1) == 1).all()
    assert (parts.diff(dim=-2) == 64).all()


def test_a_new_sharpener_changes_nothing():
    assert torch.equal(Sharpener(SharpenerConfig(8, 1))(picture()), picture())


def test_the_shipped_one_makes_a_blurred_picture_likelier():
    assert SHIPPED.stat().st_size < 2 << 20
    model = load_sharpener()
    for sigma in (1.0, 2.0):
        blurry = blurred(picture(), torch.tensor([sigma]))
        made = sharpened(model, blurry)
        gain = psnr(made.movedim(1, -1), picture().movedim(1, -1)) - psnr(
            blurry.movedim(1, -1), picture().movedim(1, -1)
        )
        assert float(gain) > 1.0
    torch.testing.assert_close(
        sharpened(model, torch.ones(1, 3, 32, 32)), torch.ones(1, 3, 32, 32), atol=0.02, rtol=0
    )
