"""The smallest frustum volumes that have all their parts, and one of them as what the package ships."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from vid4d.priors.frustum import elevation, prior, score
from vid4d.priors.frustum.network import FrustumConfig, FrustumVolume

TINY = FrustumConfig(
    image_size=64,
    crop=48,
    volume_size=24,
    width=32,
    heads=2,
    picture_blocks=1,
    joint_blocks=1,
    stem=16,
    cells=8,
    cell_blocks=1,
)
QUICK = replace(TINY, image_size=32, crop=32, volume_size=16, gated=True, detail_stops=True)
"""Of what runs draw with in tests: pictures of 32 pixels."""


def tiny_frustum() -> FrustumVolume:
    """With random weights, the same each time."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return FrustumVolume(TINY).eval().requires_grad_(False)


class Slab(FrustumVolume):
    """A slab of what the picture shows, halfway down the volume, with what random weights add to it.

    share: of their part in logits and colors; none with 0.
    """

    share = 0.1

    def voxels(self, fine, picture_tokens, volume_tokens, picture):
        logits, color = super().voxels(fine, picture_tokens, volume_tokens, picture)
        depth = torch.linspace(-1, 1, logits.shape[2]).view(1, 1, -1, 1, 1)
        shown = self.columns(picture)[:, :, None]
        slab = torch.minimum((0.35 - depth.abs()) * 30, shown[:, 3:] * 5 - 1)
        return self.share * logits + slab, shown[:, :3] + self.share * (color - shown[:, :3])


def slab(share: float = Slab.share) -> FrustumVolume:
    """The same each time."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        volume = Slab(QUICK).eval().requires_grad_(False)
        for parameter in volume.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.02)
    volume.share = share
    return volume


def ship(monkeypatch: pytest.MonkeyPatch, network: FrustumVolume) -> None:
    """Makes a network the one that the package ships."""
    for module in (prior, score, elevation):
        monkeypatch.setattr(module, "load_frustum_volume", lambda device="cpu": network)
