"""Pictures of solids: rays are marched where there is matter, and colors looked up where it is met."""

from __future__ import annotations

from dataclasses import dataclass

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


Rays = tuple[Float[Tensor, " 3"], Float[Tensor, "r 3"]]
"""Origin of a camera's rays and their directions, of unit length along its axis."""


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

    def places(self, rays: Rays, distance: Float[Tensor, " 1"], samples: int) -> Float[Tensor, "1 s r 3"]:
        """Samples along rays, within REACH (of a window: its share) of a distance, in frustum coordinates."""
        origin, direction = rays
        reach = REACH * (1.0 if self.framing is None else self.framing.scale)
        depth = reach * (2 * (torch.arange(samples, device=origin.device) + 0.5) / samples - 1) + distance
        points = origin + depth[:, None, None] * direction
        return to_frustum(points[None], self.inputs, self.config, self.framing)

    def shows(self, rays: Rays, distance: Float[Tensor, " 1"], samples: int) -> Bool[Tensor, " r"]:
        """Rays that come near anything."""
        at = self.places(rays, distance, samples)
        return F.grid_sample(self.thick, at[:, None], align_corners=False)[0, 0, 0].amax(0) > FAINT

    def render(self, rays: Rays, distance: Float[Tensor, " 1"], samples: int) -> Float[Tensor, "r 4"]:
        """Straight-alpha RGBA of rays."""
        at = self.places(rays, distance, samples)
        occupancy = F.grid_sample(self.occupancy, at[:, None], align_corners=False)[0, 0, 0]
        alpha = alpha_along(occupancy, 2 * REACH / samples)
        through = torch.cumprod(1 - alpha, 0)
        weight = alpha * torch.cat([torch.ones_like(alpha[:1]), through[:-1]])
        sample, ray = (weight > FAINT).nonzero(as_tuple=True)
        share = weight[sample, ray, None]
        met = at[:, sample, ray][:, None, None]
        values = F.grid_sample(self.color, met, align_corners=False, padding_mode="border")[0, :, 0, 0].T
        sums = torch.zeros(at.shape[2], 4, device=at.device)
        sums.index_add_(0, ray, torch.cat([values * share, share], 1))
        return torch.cat([straight(sums)[:, :3], weight.sum(0).clamp(max=1)[:, None]], 1)


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
    pictures = torch.zeros(len(solid.logits), len(cameras), size * size, 4, device=solid.logits.device)
    for i, solid_pictures in enumerate(pictures):
        occupancy = solid_occupancy(solid.logits[i : i + 1], bias)
        window = None if framing is None else framing[i : i + 1]
        color = solid.color[i : i + 1].float() * 0.5 + 0.5
        thick = F.max_pool3d(occupancy, 3, 1, 1)
        marcher = _Marcher(occupancy, thick, color, inputs[i], window, config)
        distance = cameras.project(_middle(inputs[i], window))[1]
        for v, picture in enumerate(solid_pictures):
            near = marcher.shows((origin[v], rough[v].flatten(0, 1)), distance[v], samples // 2)
            coarse = near.view(1, 1, size // COARSE, -1).float()
            shown = F.interpolate(F.max_pool2d(coarse, 3, 1, 1), (size, size), mode="nearest").flatten() > 0
            rays = fine[v].flatten(0, 1)[shown]
            if len(rays):
                picture[shown] = marcher.render((origin[v], rays), distance[v], samples)
    pictures[..., 3].sub_(0.5).mul_(contrast).add_(0.5).clamp_(0, 1)
    return pictures.unflatten(2, (size, size))
