"""Elevation of the clip's camera, guessed from its frames."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from vid4d.priors.base import PRIORS, ElevationGuess
from vid4d.priors.frustum.framing import network_pictures
from vid4d.priors.frustum.network import FrustumVolume
from vid4d.priors.frustum.prior import load_frustum_volume
from vid4d.priors.precision import repeatable

RANGE = PRIORS["frustum"].elevations
"""Degrees that the network has learned from."""


@repeatable()
@torch.no_grad()
def guess_elevation(network: FrustumVolume, frames: Float[Tensor, "t h w 4"]) -> ElevationGuess:
    """The mean guess of a clip's frames and of their mirror images.

    frames: square, straight-alpha RGBA in [0, 1], of any size.
    """
    frames = frames.to(next(network.parameters()).device)
    _, pictures = network_pictures(frames, network.config)
    both = [network.encode(torch.cat([p, p.flip(3)]))[2].mean() for p in pictures.split(1)]
    guesses = torch.rad2deg(torch.stack(both).float())
    spread = float(guesses.std()) if len(guesses) > 1 else None
    return ElevationGuess(float(guesses.mean().clamp(*RANGE)), spread)


def guess_with_shipped(
    frames: Float[Tensor, "t h w 4"], device: torch.device | str = "cpu"
) -> ElevationGuess:
    """The guess of the network that ships with the package, as `priors.base.guess_elevation` asks for it."""
    return guess_elevation(load_frustum_volume(device), frames)
