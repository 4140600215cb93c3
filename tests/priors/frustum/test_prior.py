"""The frustum volume as a matrix prior: laws that hold for any weights, and the weights that ship."""

from __future__ import annotations

import pytest
import torch
from tiny_frustum import TINY

from vid4d.errors import InputError
from vid4d.priors.base import DrawRequest
from vid4d.priors.frustum.network import FrustumVolume
from vid4d.priors.frustum.prior import FrustumMatrixPrior, load_frustum_volume

REQUEST = DrawRequest()


def clip(count: int, size: int = 2 * TINY.image_size) -> torch.Tensor:
    """Frames of a block that moves down."""
    frames = torch.zeros(count, size, size, 4)
    for i in range(count):
        frames[i, size // 3 + i : size // 2 + 4 + i, size // 3 : size // 2 + 6] = torch.tensor(
            [1.0, 0.4, 0.0, 1.0]
        )
    return frames


@pytest.fixture(scope="module")
def network() -> FrustumVolume:
    torch.manual_seed(0)
    return FrustumVolume(TINY)


def test_one_picture_per_view_and_frame(network: FrustumVolume) -> None:
    done: list[tuple[int, int]] = []
    prior = FrustumMatrixPrior(network)
    views = prior.draw(clip(3), 10.0, REQUEST, progress=lambda i, n: done.append((i, n)))
    assert views.images.shape == (16, 3, TINY.image_size, TINY.image_size, 4)
    assert len(views.cameras) == 16
    assert float(views.images.min()) >= 0
    assert float(views.images.max()) <= 1
    assert done == [(i + 1, 6) for i in range(6)]


def test_a_thing_that_does_not_move_looks_the_same_with_and_without_averaging(network: FrustumVolume) -> None:
    still = clip(1).expand(4, -1, -1, -1).contiguous()
    averaged = FrustumMatrixPrior(network).draw(still, 10.0, REQUEST, cyclic=True).images
    alone = FrustumMatrixPrior(network, synchronous=False).draw(still, 10.0, REQUEST).images
    torch.testing.assert_close(averaged, alone, atol=2e-4, rtol=0)


def test_frames_of_another_size_are_refused(network: FrustumVolume) -> None:
    with pytest.raises(InputError, match="32x32 pixels"):
        FrustumMatrixPrior(network).draw(clip(1, 32), 10.0, REQUEST)


def test_the_shipped_weights_make_a_ball_of_a_disk() -> None:
    """From behind a ball is as wide as from the front, and as red."""
    prior = FrustumMatrixPrior(load_frustum_volume())
    y, x = torch.meshgrid(*[torch.arange(256) / 2 - 63.75] * 2, indexing="ij")
    shade = 0.6 + 0.4 * (-(x + 2 * y) / 120).clamp(-1, 1)
    frame = torch.stack([shade, 0.2 * shade, 0.2 * shade, ((x**2 + y**2) < 40**2).float()], -1)[None]
    images = prior.draw(frame, 20.0, REQUEST).images[:, 0]
    area = (images[..., 3] > 0.5).sum((1, 2)) / (3.1416 * 40**2)
    assert float(area.min()) > 0.6
    assert float(area.max()) < 1.35
    behind = images[8][images[8, ..., 3] > 0.5]
    assert float(behind[:, 0].mean()) > 0.4
    assert float(behind[:, 1].mean()) < 0.3
