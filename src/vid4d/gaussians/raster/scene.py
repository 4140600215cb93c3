"""What a call of our own rasterisers says besides the splats: cameras, times, background; no gradients."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

from vid4d.cameras import Cameras
from vid4d.gaussians.model import Gaussians3D, Gaussians4D


def plain(x: Tensor) -> Tensor:
    """Detached, float32, contiguous: as kernels read it."""
    return x.detach().to(torch.float32).contiguous()


@dataclass(frozen=True)
class Scene:
    """Inputs without a gradient, on the splats' device. times: None for splats that do not move."""

    times: Float[Tensor, " v"] | None
    poses: Float[Tensor, "v 4 4"]
    focals: Float[Tensor, " v"]
    background: Float[Tensor, "v 3"]
    width: int
    height: int
    antialias: bool
    period: float
    cyclic: bool


S = TypeVar("S", bound=Scene)


def scene_of(
    kind: type[S],
    splats: Gaussians3D | Gaussians4D,
    times: Tensor | None,
    cameras: Cameras,
    background: Tensor,
    antialias: bool,
) -> S:
    """What `vid4d.gaussians.raster.Backend.render` is given, as a kind of scene."""
    device = splats.means.device
    period, cyclic = (splats.period, splats.cyclic) if isinstance(splats, Gaussians4D) else (1.0, False)
    return kind(
        None if times is None else plain(times),
        plain(cameras.world_to_camera.to(device)),
        plain(cameras.focal.to(device)),
        plain(background),
        cameras.width,
        cameras.height,
        antialias,
        period,
        cyclic,
    )
