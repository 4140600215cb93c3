"""What is read off the network: laws that hold for any weights."""

from __future__ import annotations

import torch
from tiny_frustum import TINY

from vid4d.priors.frustum.drawing import draw_solids, iterate_solids
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


def moving(count: int) -> torch.Tensor:
    """Pictures of the block, a little further down in each."""
    return torch.cat([pictures().roll(3 * i, 2) for i in range(count)])


def test_volume_tokens_are_averaged_over_time_and_the_rest_is_each_frames_own(monkeypatch) -> None:
    torch.manual_seed(0)
    network, frames, angle = FrustumVolume(TINY).eval(), moving(3), torch.full((3,), 0.2)
    for parameter in network.joint_blocks.parameters():  # outputs of a new block are nothing
        torch.nn.init.normal_(parameter, std=0.05)
    weights = torch.tensor([[0.5, 0.25, 0.25], [0.0, 1.0, 0.0], [0.1, 0.2, 0.7]])
    seen: list[tuple[torch.Tensor, ...]] = []
    voxels = network.voxels
    monkeypatch.setattr(network, "voxels", lambda *inputs: seen.append(inputs) or voxels(*inputs))
    list(iterate_solids(network, frames, angle))
    own = seen[::2]  # every second one is of a mirror image
    seen.clear()
    list(iterate_solids(network, frames, angle, averaging=weights))
    for i, inputs in enumerate(seen[::2]):
        expected = sum(weights[i, j] * own[j][2] for j in range(3))
        torch.testing.assert_close(inputs[2], expected)
        for kept in (0, 1, 3):
            assert torch.equal(inputs[kept], own[i][kept])
    assert not torch.allclose(own[0][2], own[2][2], atol=1e-3)


def test_the_identity_averages_nothing() -> None:
    torch.manual_seed(0)
    network, frames, angle = FrustumVolume(TINY).eval(), moving(2), torch.zeros(2)
    plain = draw_solids(network, frames, angle)
    same = list(iterate_solids(network, frames, angle, averaging=torch.eye(2)))
    assert torch.equal(plain.logits, torch.cat([s.logits for s in same]))
    assert torch.equal(plain.color, torch.cat([s.color for s in same]))
