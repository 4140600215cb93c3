"""Pictures over backgrounds, averaged, and in 8 bits: numbers worked by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from vid4d.media.images import (
    over,
    over_white,
    over_white_uint8,
    premultiplied,
    resized,
    side_by_side,
    straight,
    to_uint8,
    unweighted,
)


def test_half_transparent_red_over_backgrounds():
    red = torch.tensor([1.0, 0.0, 0.0, 0.5])
    assert over_white(red).tolist() == [1.0, 0.5, 0.5]
    assert over(red, 0.0).tolist() == [0.5, 0.0, 0.0]
    assert over(red.numpy(), np.array([0.0, 1.0, 0.0])).tolist() == [0.5, 0.5, 0.0]
    assert over_white_uint8(np.array([[[255, 0, 0, 128]]], np.uint8)).tolist() == [[[255, 127, 127]]]


def test_premultiplied_along_any_axis():
    rgba = torch.rand(2, 4, 3, generator=torch.Generator().manual_seed(0))
    assert torch.equal(premultiplied(rgba, 1), premultiplied(rgba.movedim(1, -1)).movedim(-1, 1))


def test_straight_undoes_premultiplied():
    rgba = torch.rand(2, 4, 3, generator=torch.Generator().manual_seed(0))
    rgba[0, 3] = 1e-5
    torch.testing.assert_close(straight(premultiplied(rgba, 1), 1), rgba)
    array = rgba.movedim(1, -1).numpy()
    np.testing.assert_allclose(straight(premultiplied(array)), array, rtol=1e-5)
    assert straight(torch.zeros(4)).tolist() == straight(np.zeros(4)).tolist() == [0, 0, 0, 0]


def test_unweighted_means_by_hand_and_their_gradient():
    depth, alpha = torch.tensor([1.5, 0.0]), torch.tensor([0.5, 0.0], requires_grad=True)
    means = unweighted(depth, alpha)
    assert means.tolist() == [3.0, 0.0]
    means.sum().backward()
    assert alpha.grad is not None
    assert alpha.grad.tolist() == [-6.0, 0.0]


@pytest.mark.parametrize("shape", [(4, 4, 4), (2, 3, 4, 8, 4)])
def test_resized_pictures_keep_proportions_and_what_they_show(shape):
    images = torch.rand(shape, generator=torch.Generator().manual_seed(1))
    small = resized(images, shape[-2] // 2)
    assert small.shape == (*shape[:-3], shape[-3] // 2, shape[-2] // 2, 4)
    for a, b in ((premultiplied(images), premultiplied(small)), (images[..., 3:], small[..., 3:])):
        torch.testing.assert_close(a.mean((-3, -2)), b.mean((-3, -2)))


def test_eight_bits_are_rounded_and_clipped():
    values = [-1.0, 0.0, 0.499 / 255, 0.501 / 255, 1.0, 2.0]
    for picture in (np.array(values), torch.tensor(values, requires_grad=True)):
        assert to_uint8(picture).tolist() == [0, 0, 0, 1, 255, 255]
        assert to_uint8(picture).dtype == np.uint8


@pytest.mark.parametrize("kind", [np.uint8, np.float32])
def test_a_sheet_by_hand(kind):
    white = 255 if kind == np.uint8 else 1
    pictures = np.arange(3, dtype=kind).reshape(3, 1, 1, 1).repeat(2, 2)
    assert side_by_side(pictures, 2)[..., 0].tolist() == [[0, 0, 1, 1], [2, 2, white, white]]
    assert side_by_side(torch.from_numpy(pictures), 8)[..., 0].tolist() == [[0, 0, 1, 1, 2, 2]]
