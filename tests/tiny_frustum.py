"""The smallest frustum volume that has all its parts."""

import torch

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


def tiny_frustum() -> FrustumVolume:
    """With random weights, the same each time."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return FrustumVolume(TINY).eval().requires_grad_(False)
