"""The frustum volume as Efficient4D sees it: solids of all frames, averaged over time, seen from the ring."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from vid4d.cameras import Cameras
from vid4d.priors.base import DrawnViews, DrawRequest
from vid4d.priors.frustum.drawing import iterate_solids
from vid4d.priors.frustum.framing import network_pictures
from vid4d.priors.frustum.matter import BIAS
from vid4d.priors.frustum.network import FrustumConfig, FrustumVolume
from vid4d.priors.frustum.rendering import render_solid
from vid4d.priors.pictures import check_size
from vid4d.priors.smoothing import smoothing_matrix
from vid4d.priors.weights.eight_bit import read_pieces
from vid4d.priors.weights.files import config_from_json, fill
from vid4d.priors.weights.loaded import loaded_once

SHIPPED = Path(__file__).parents[1] / "data" / "frustum"

CONTRAST = 2.5
"""Of the silhouettes: a solid has edges, where a mean of volumes has a haze (docs/experiments.md)."""


@loaded_once
def load_frustum_volume(device: torch.device | str = "cpu", weights: Path = SHIPPED) -> FrustumVolume:
    """The network that ships with the package, or one that `vid4d train --stage frustum` made.

    weights: a folder of 8-bit pieces. Raises InputError where it holds none.
    """
    state, metadata = read_pieces(weights)
    network = FrustumVolume(config_from_json(FrustumConfig, metadata.get("config")))
    fill(network, state, weights)
    return network.eval().requires_grad_(False).to(device)


def load_matrix_prior(name: str, device: torch.device | str = "cpu") -> FrustumMatrixPrior:
    """As `priors.base.load_matrix_prior`."""
    return FrustumMatrixPrior(load_frustum_volume(device))


class FrustumMatrixPrior:
    """The frustum volume as a `MatrixPrior`.

    synchronous: average the volumes' tokens over time (2401.08742, section 3.2; `iterate_solids`).
    bias: added to the logits of occupancy.
    """

    def __init__(self, network: FrustumVolume, *, synchronous: bool = True, bias: float = BIAS) -> None:
        self.network, self.synchronous, self.bias = network.eval(), synchronous, bias
        self.image_size = 2 * network.config.image_size  # of which a window is cut

    def draw(
        self,
        frames: Float[Tensor, "t h w 4"],
        elevation: float,
        request: DrawRequest,
        *,
        cyclic: bool = False,
        generator: torch.Generator | None = None,
        progress: Callable[[int, int], object] | None = None,
    ) -> DrawnViews:
        """As `MatrixPrior.draw`. Deterministic: sampler, steps and generator do not matter."""
        check_size(frames, self.image_size)
        ring = Cameras.ring(size=self.network.config.image_size)
        return DrawnViews(self.views(frames, elevation, ring, cyclic=cyclic, progress=progress), ring)

    def views(
        self,
        frames: Float[Tensor, "t h w 4"],
        elevation: float,
        cameras: Cameras,
        *,
        cyclic: bool = False,
        progress: Callable[[int, int], object] | None = None,
    ) -> Float[Tensor, "v t p p 4"]:
        """Pictures from any cameras, on the CPU, as wide as the network's; else as `draw`."""
        config = self.network.config
        device = next(self.network.parameters()).device
        inputs = Cameras.orbit([0.0], elevation, size=config.image_size, device=device)
        framing, pictures = network_pictures(frames.to(device), config)
        averaging = smoothing_matrix(len(frames), cyclic).to(pictures) if self.synchronous else None
        total, views = 2 * len(frames), []
        solids = iterate_solids(
            self.network,
            pictures,
            torch.deg2rad(inputs.elevation).expand(len(frames)),
            averaging=averaging,
            progress=progress and (lambda done: progress(done, total)),
        )
        for i, solid in enumerate(solids):
            view = render_solid(
                solid,
                inputs,
                cameras.to(device),
                config,
                framing=framing[i : i + 1],
                size=config.image_size,
                bias=self.bias,
                contrast=CONTRAST,
            )
            views.append(view[0].cpu())
            if progress:
                progress(len(frames) + i + 1, total)
        return torch.stack(views, 1)
