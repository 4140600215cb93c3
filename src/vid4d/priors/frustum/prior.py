"""The frustum volume as Efficient4D sees it: solids of all frames, averaged over time, seen from the ring."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from vid4d.cameras import Cameras
from vid4d.matrix.matrix import TrustedView
from vid4d.priors.base import DrawnViews, DrawRequest
from vid4d.priors.frustum.drawing import iterate_solids
from vid4d.priors.frustum.framing import network_pictures
from vid4d.priors.frustum.fusing import Reading, fuse, registered
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
        moments = self.draw_each(frames, elevation, request, cyclic=cyclic, progress=progress)
        return DrawnViews(torch.stack(list(moments), 1), self.cameras)

    @property
    def cameras(self) -> Cameras:
        """Of the views that it draws."""
        return Cameras.ring(size=self.network.config.image_size)

    def draw_each(
        self,
        frames: Float[Tensor, "t h w 4"],
        elevation: float,
        request: DrawRequest,
        *,
        cyclic: bool = False,
        first: int = 0,
        progress: Callable[[int, int], object] | None = None,
    ) -> Iterator[Float[Tensor, "v p p 4"]]:
        """As `SequentialPrior.draw_each`."""
        check_size(frames, self.image_size)
        return self.each_moment(
            frames, elevation, self.cameras, also=request.also, cyclic=cyclic, first=first, progress=progress
        )

    def views(
        self,
        frames: Float[Tensor, "t h w 4"],
        elevation: float,
        cameras: Cameras,
        *,
        also: Sequence[TrustedView] = (),
        cyclic: bool = False,
        progress: Callable[[int, int], object] | None = None,
    ) -> Float[Tensor, "v t p p 4"]:
        """Pictures from any cameras, on the CPU, as wide as the network's; else as `draw`.

        also: what other cameras saw at the times of the frames; their solids are fused with the clip's.
        """
        moments = self.each_moment(frames, elevation, cameras, also=also, cyclic=cyclic, progress=progress)
        return torch.stack(list(moments), 1)

    def each_moment(
        self,
        frames: Float[Tensor, "t h w 4"],
        elevation: float,
        cameras: Cameras,
        *,
        also: Sequence[TrustedView] = (),
        cyclic: bool = False,
        first: int = 0,
        progress: Callable[[int, int], object] | None = None,
    ) -> Iterator[Float[Tensor, "v p p 4"]]:
        """The pictures of `views`, frame by frame from `first` on. Few solids are held at a time, with `also`
        all of them."""
        config = self.network.config
        device = next(self.network.parameters()).device
        inputs = Cameras.orbit([0.0], elevation, size=config.image_size, device=device)
        seen = [(frames, inputs), *((v.images, v.camera.resized(config.image_size).to(device)) for v in also)]
        sides_of_each = len(seen) + 1
        total, done = sides_of_each * len(frames), sides_of_each * first

        def step(_: int = 0) -> None:
            nonlocal done
            done = min(done + 1, total)  # some neighbours before the first are seen again
            if progress:
                progress(done, total)

        cameras = cameras.to(device)
        sides: Sequence[Iterable[Reading]] = [self._read(*pair, cyclic, first, step) for pair in seen]
        if also:
            sides = registered([list(side) for side in sides], config)
        for readings in zip(*sides, strict=True):
            view = render_solid(
                readings[0].solid if len(readings) == 1 else fuse(readings, config),
                inputs,
                cameras,
                config,
                framing=readings[0].framing,
                size=config.image_size,
                bias=self.bias,
                contrast=CONTRAST,
            )
            step()
            yield view[0].cpu()

    def _read(
        self,
        frames: Float[Tensor, "t h w 4"],
        camera: Cameras,
        cyclic: bool,
        first: int,
        progress: Callable[[int], object],
    ) -> Iterator[Reading]:
        """The solids of one camera's frames, one after the other."""
        config = self.network.config
        framing, pictures = network_pictures(frames.to(camera.focal.device), config)
        averaging = smoothing_matrix(len(frames), cyclic).to(pictures) if self.synchronous else None
        elevation = torch.deg2rad(camera.elevation).expand(len(frames))
        solids = iterate_solids(
            self.network, pictures, elevation, averaging=averaging, first=first, progress=progress
        )
        for i, solid in enumerate(solids, first):
            alpha = self.network.columns(pictures[i : i + 1])[:, 3] / 2 + 0.5
            yield Reading(solid, alpha, camera, framing[i : i + 1])
