"""Culling of splats that leave no trace in a picture of 8 bits."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

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


REACH = math.sqrt(-2 * math.log(MARGINAL_CUT))
"""Standard deviations in time after which a splat is not there any more."""


@dataclass(frozen=True)
class Spans:
    """When each splat is there, clip time: so that of a long asset only those are drawn that can be seen.

    begin, end: of splats whose marginal is not cut; of a loop they may lie outside of [0, 1].
    """

    begin: Float[Tensor, " n"]
    end: Float[Tensor, " n"]
    cyclic: bool

    @staticmethod
    @torch.no_grad()
    def of(gaussians: Gaussians4D) -> Spans:
        """Of all splats."""
        t, reach = gaussians.means[:, 3], REACH * 1.001 * gaussians.covariance4d()[:, 3, 3].sqrt()
        return Spans(t - reach, t + reach, gaussians.cyclic)

    def between(self, low: float, high: float) -> Bool[Tensor, " n"]:
        """Mask of the splats that are there at any time from low to high."""
        if not self.cyclic:
            return (self.begin <= high) & (self.end >= low)
        rounds = (self.end - low).floor()  # the last round in which a splat begins to be gone after low
        return (self.begin - rounds <= high) | (self.end - self.begin >= 1)

    def at(self, times: Float[Tensor, " k"]) -> Bool[Tensor, " n"]:
        """Mask of the splats that are there at any of some times."""
        return torch.stack([self.between(time, time) for time in times.tolist()]).any(0)


@torch.no_grad()
def splats_over_time(gaussians: Gaussians4D, times: Sequence[float]) -> list[int]:
    """Number of visible splats at each of some times."""
    t, variance, opacities = gaussians.means[:, 3], gaussians.covariance4d()[:, 3, 3], gaussians.opacities
    marginals = (marginal_of(time_from(t, time, gaussians.cyclic), variance) for time in times)
    return [int(_is_visible(marginal, opacities).sum()) for marginal in marginals]


def _is_visible(marginal: Float[Tensor, " n"], opacities: Float[Tensor, " n"]) -> Bool[Tensor, " n"]:
    return (marginal >= MARGINAL_CUT) & (opacities * marginal >= FAINTEST)
