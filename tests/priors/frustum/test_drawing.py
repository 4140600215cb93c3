"""What is read off the network: laws that hold for any weights."""

from __future__ import annotations

import torch
from tiny_frustum import TINY

from vid4d.priors.frustum.drawing import draw_solids
from vid4d.priors.frustum.network import FrustumVolume


def pictures() -> torch.Tensor:
    """A block left of the middle, over white."""
    picture = torch.ones(1, 4, TINY.image_size, TINY.image_size)
    picture[:, 3] = -1
    picture[:, :, 20:44, 14:30] = torch.rand(1, 4, 24, 16, generator=torch.Generator().manual_seed(0))
    picture[:, 3, 20:44, 14:30] = 1
    return picture


def test_the_mirror_image_has_the_mirrored_solid_whatever_the_weights() -> None:
    torch.manual_seed(0)
    network, picture, elevation = FrustumVolume(TINY).eval(), pictures(), torch.tensor([0.3])
    solid = draw_solids(network, picture, elevation)
    mirrored = draw_solids(network, picture.flip(3), elevation)
    torch.testing.assert_close(mirrored.logits, solid.logits.flip(4))
    torch.testing.assert_close(mirrored.color, solid.color.flip(4))
    torch.testing.assert_close(mirrored.elevation, solid.elevation)
    plain = network(picture, elevation)
    assert not torch.allclose(plain.logits, network(picture.flip(3), elevation).logits.flip(4), atol=1e-4)


def test_nothing_lies_outside_of_the_silhouette() -> None:
    torch.manual_seed(0)
    network = FrustumVolume(TINY).eval()
    solid = draw_solids(network, pictures(), torch.tensor([0.0]))
    assert float(solid.logits[..., TINY.volume_size // 2 + 2 :].max()) == -20, (
        "the block is left of the middle"
    )
    assert float(solid.logits.max()) > -20
