"""How far the clip's camera looks down, guessed from its frames."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from vid4d.priors.frustum.framing import network_pictures
from vid4d.priors.frustum.network import FrustumVolume

RANGE = (-10.0, 40.0)
"""Degrees that the network has learned from."""


class ElevationGuess(NamedTuple):
    """degrees: of the camera above the object's horizon. spread: standard deviation of the frames' guesses,
    degrees; None for a single frame, which has nothing to disagree with."""

    degrees: float
    spread: float | None


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
