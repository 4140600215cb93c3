"""What the tests of rasterisers share: backends, a camera, splats."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from vid4d.cameras import Cameras
from vid4d.gaussians import sh as harmonics
from vid4d.gaussians.model import Gaussians4D
from vid4d.gaussians.raster import available_backends

needs_kernel = pytest.mark.skipif("cpu" not in available_backends(), reason="no C compiler here")
BACKENDS = ["reference", pytest.param("cpu", marks=needs_kernel)]


def camera(size: int = 9, focal: float = 10.0, height: int | None = None) -> Cameras:
    """At (2, 0, 0), looking at the origin: depth 2 there, and one world unit is focal / 2 pixels."""
    one = Cameras.orbit([0.0], [0.0], distance=2.0, size=size, focal=focal)
    return replace(one, height=height or size)


def random_splats(
    n: int, degree: int = 3, fourier: int = 1, seed: int = 0, scale: float = -2.8, spread: float = 0.6
) -> Gaussians4D:
    g = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=g)

    means = torch.cat([0.25 * normal(n, 3), torch.rand(n, 1, generator=g)], 1)
    scales = torch.cat([scale + spread * normal(n, 3), -0.7 + 0.4 * normal(n, 1)], 1)
    sh = 0.3 * normal(n, harmonics.terms(degree), fourier, 3)
    return Gaussians4D(means, scales, normal(n, 4), normal(n, 4), 1.5 * normal(n), sh)
