"""Pictures of solids: rays are marched where there is matter, and colors looked up where it is met."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from vid4d.cameras import RING_DISTANCE, Cameras
from vid4d.media.images import straight
from vid4d.priors.frustum.framing import Framing
from vid4d.priors.frustum.geometry import REACH, to_frustum
from vid4d.priors.frustum.matter import alpha_along, solid_occupancy
from vid4d.priors.frustum.network import FrustumConfig, Solid

COARSE = 4
"""Pixels of a picture to one of the coarse picture that finds where there is anything."""

FAINT = 1 / 512
"""Occupancy that counts as nothing, and share of a ray's color that need not be looked up."""


TOGETHER = {"cuda": 4}
"""Views whose rays are marched at once, where it is more than one: a graphics card would wait for Python,
while a processor's caches hold no more."""


class Rays(NamedTuple):
    """Origins, directions of unit length along their camera's axis, and distances of the window's middle
    along it. o: 1 where all come from one camera, else r."""

    origin: Float[Tensor, "o 3"]
    direction: Float[Tensor, "r 3"]
    distance: Float[Tensor, " o"]


def _middle(inputs: Cameras, framing: Framing | None) -> Float[Tensor, "1 3"]:
    """World point that the window's middle shows at RING_DISTANCE."""
    at = torch.tensor([[0.0, 0.0, RING_DISTANCE]], device=inputs.focal.device)
    if framing is not None:
        at[:, :2] = framing.center * (inputs.width / inputs.focal[:, None] * RING_DISTANCE)
    return (at - inputs.translation) @ inputs.rotation[0]


@dataclass(frozen=True)
class _Marcher:
    """Rays through one solid. occupancy, color: in [0, 1]. thick: occupancy grown by a voxel."""

    occupancy: Float[Tensor, "1 1 d h w"]
    thick: Float[Tensor, "1 1 d h w"]
    color: Float[Tensor, "1 3 d h w"]
    inputs: Cameras
    framing: Framing | None
    config: FrustumConfig

    def places(self, rays: Rays, samples: int) -> Float[Tensor, "1 s r 3"]:
        """Samples along rays, within REACH (of a window: its share) of the middle, in frustum coordinates."""
        reach = REACH * (1.0 if self.framing is None else self.framing.scale)
        along = 2 * (torch.arange(samples, device=rays.origin.device) + 0.5) / samples - 1
        depth = (reach * along)[:, None] + rays.distance
        points = rays.origin + depth[..., None] * rays.direction
        return to_frustum(points[None], self.inputs, self.config, self.framing)

    def shows(self, rays: Rays, samples: int) -> Bool[Tensor, " r"]:
        """Rays that come near anything."""
        at = self.places(rays, samples)
        return F.grid_sample(self.thick, at[:, None], align_corners=False)[0, 0, 0].amax(0) > FAINT

    def render(self, rays: Rays, samples: int) -> Float[Tensor, "r 4"]:
        """Straight-alpha RGBA of rays."""
        at = self.places(rays, samples)
        occupancy = F.grid_sample(self.occupancy, at[:, None], align_corners=False)[0, 0, 0]
        alpha = alpha_along(occupancy, 2 * REACH / samples)
        through = torch.cumprod(1 - alpha, 0)
        weight = alpha * torch.cat([torch.ones_like(alpha[:1]), through[:-1]])
        sample, ray = (weight > FAINT).nonzero(as_tuple=True)
        order = torch.argsort(ray, stable=True)  # summed ray by ray, so the same on a card every time, too
        sample, ray = sample[order], ray[order]
        share = weight[sample, ray, None]
        met = at[:, sample, ray][:, None, None]
        values = F.grid_sample(self.color, met, align_corners=False, padding_mode="border")[0, :, 0, 0].T
        counts = (weight > FAINT).sum(0)
        sums = torch.segment_reduce(torch.cat([values * share, share], 1), "sum", lengths=counts, initial=0)
        return torch.cat([straight(sums)[:, :3], weight.sum(0).clamp(max=1)[:, None]], 1)


def _rays(
    origin: Float[Tensor, "v 3"],
    direction: Float[Tensor, "v h w 3"],
    distance: Float[Tensor, " v"],
    of: Bool[Tensor, " vhw"] | None = None,
) -> Rays:
    """Rays through all pixels of some views, or those of some of the pixels."""

    def picked(x: Tensor) -> Tensor:
        return x if of is None else x[of]

    if len(origin) > 1:
        shape = direction.shape[:-1]
        origin = picked(origin[:, None, None].expand(*shape, 3).reshape(-1, 3))
        distance = picked(distance[:, None, None].expand(shape).reshape(-1))
    return Rays(origin, picked(direction.reshape(-1, 3)), distance)


@torch.no_grad()
def render_solid(
    solid: Solid,
    inputs: Cameras,
    cameras: Cameras,
    config: FrustumConfig,
    *,
    framing: Framing | None = None,
    size: int = 128,
    samples: int = 112,
    bias: float = 0.0,
    contrast: float = 1.0,
) -> Float[Tensor, "b v h w 4"]:
    """Straight-alpha RGBA of b solids from the same v cameras.

    inputs: the input camera of each solid. framing: see `to_frustum`. size: pixels, a multiple of COARSE.
    samples: per ray. bias: added to the logits. contrast: of alpha around one half: sharp silhouettes.
    """
    origin, fine = cameras.resized(size).rays()
    rough = cameras.resized(size // COARSE).rays()[1]
    device = solid.logits.device
    pictures = torch.zeros(len(solid.logits), len(cameras), size, size, 4, device=device)
    for i, solid_pictures in enumerate(pictures):
        occupancy = solid_occupancy(solid.logits[i : i + 1], bias)
        window = None if framing is None else framing[i : i + 1]
        color = solid.color[i : i + 1].float() * 0.5 + 0.5
        thick = F.max_pool3d(occupancy, 3, 1, 1)
        marcher = _Marcher(occupancy, thick, color, inputs[i], window, config)
        distance = cameras.project(_middle(inputs[i], window))[1][:, 0]
        for views in torch.arange(len(cameras)).split(TOGETHER.get(device.type, 1)):
            some = slice(int(views[0]), int(views[-1]) + 1)
            near = marcher.shows(_rays(origin[some], rough[some], distance[some]), samples // 2)
            coarse = near.view(-1, 1, size // COARSE, size // COARSE).float()
            shown = F.interpolate(F.max_pool2d(coarse, 3, 1, 1), (size, size), mode="nearest")[:, 0] > 0
            rays = _rays(origin[some], fine[some], distance[some], shown.flatten())
            if len(rays.direction):
                solid_pictures[some][shown] = marcher.render(rays, samples)
    pictures[..., 3].sub_(0.5).mul_(contrast).add_(0.5).clamp_(0, 1)
    return pictures
