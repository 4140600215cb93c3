"""Culling of splats that leave no trace in a picture of 8 bits."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from vid4d.gaussians.model import MARGINAL_CUT, Gaussians4D, marginal_of, time_from

FAINTEST = 1 / 255
"""Splats that are less opaque than this never leave a trace in 8 bits and are left out."""


@torch.no_grad()
def visibility_mask(gaussians: Gaussians4D, time: float | None = None) -> Bool[Tensor, " n"]:
    """Visibility mask: splats that are present and opaque enough at a time, or at any in [0, 1]."""
    nearest = gaussians.means[:, 3] if gaussians.cyclic else gaussians.means[:, 3].clamp(0, 1)
    return _is_visible(gaussians.marginal(nearest if time is None else time), gaussians.opacities)


@torch.no_grad()
def splats_over_time(gaussians: Gaussians4D, times: Sequence[float]) -> list[int]:
    """Number of visible splats at each of some times."""
    t, variance, opacities = gaussians.means[:, 3], gaussians.covariance4d()[:, 3, 3], gaussians.opacities
    marginals = (marginal_of(time_from(t, time, gaussians.cyclic), variance) for time in times)
    return [int(_is_visible(marginal, opacities).sum()) for marginal in marginals]


def _is_visible(marginal: Float[Tensor, " n"], opacities: Float[Tensor, " n"]) -> Bool[Tensor, " n"]:
    return (marginal >= MARGINAL_CUT) & (opacities * marginal >= FAINTEST)
