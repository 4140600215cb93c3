"""Pictures of a cascade field: color, alpha, depth and normals of every level (Consistent4D, 2311.02848).

Rays are sampled at even steps, 256 along the box's diagonal, shifted as a whole by a random part of a step
while training. Samples in empty cells of the occupancy grid are left out, and those that nothing of any level
shines through to. `march` holds the details.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from vid4d.cameras import Cameras
from vid4d.dynerf.field import CascadeField
from vid4d.dynerf.march import MarchConfig, Rays, count_samples, march
from vid4d.dynerf.occupancy import OccupancyGrid, uniform_noise
from vid4d.media.images import unweighted


@dataclass(frozen=True)
class Samples:
    """The samples that made a rendering, sorted by ray; regularisers look at them.

    points, time: in the field's coordinates. direction: of the ray, unit length. weight: the sample's share
    of its pixel at this level. normal: unit normals of this level, None where not rendered. rays: how many
    the samples belong to. used: how many of the m there are, where room for m was set aside; both are known
    to the device alone then.
    """

    points: Float[Tensor, "m 3"]
    time: Float[Tensor, " m"]
    direction: Float[Tensor, "m 3"]
    weight: Float[Tensor, " m"]
    normal: Float[Tensor, "m 3"] | None
    rays: int | Int[Tensor, ""]
    used: Int[Tensor, "1"] | None = None


@dataclass(frozen=True)
class Rendering:
    """Pictures of one level of the cascade.

    color: over the background. alpha: in [0, 1]. depth: of what is seen, along the optical axis, world
    units, 0 where nothing is. normal: mean normal in the world, weighted like color (so never longer than
    the alpha); None where not asked for.
    """

    color: Float[Tensor, "n h w 3"]
    alpha: Float[Tensor, "n h w"]
    depth: Float[Tensor, "n h w"]
    normal: Float[Tensor, "n h w 3"] | None
    samples: Samples | None

    def premultiplied(self, background: Tensor | float = 1.0) -> Float[Tensor, "n h w 4"]:
        """RGBA with premultiplied color, from the background that it was rendered over."""
        alpha = self.alpha[..., None]
        return torch.cat([self.color - shining_through(alpha, background), alpha], -1)


def shining_through(alpha: Float[Tensor, "*n 1"], background: Tensor | float) -> Float[Tensor, "*n c"]:
    """The background's share of a color. background: a grey level (c = 1) or a color (3,), in [0, 1]."""
    if isinstance(background, Tensor):
        background = background.to(alpha)
    return (1 - alpha) * background  # a number travels with the kernel: nothing waits for the device


def render_field(
    field: CascadeField,
    cameras: Cameras,
    times: Float[Tensor, " n"] | Sequence[float] | float,
    *,
    levels: Literal["all", "last"] = "all",
    grid: OccupancyGrid | None = None,
    generator: torch.Generator | None = None,
    background: Tensor | float = 1.0,
    normals: bool = False,
    samples: int = 256,
    early_stop: float = 1e-4,
    chunk: int = 1 << 21,
    shift: Float[Tensor, " r"] | None = None,
    room: int | None = None,
) -> list[Rendering]:
    """Pictures of the field seen by cameras of the world, coarse to fine; of the last level only, if asked.

    times: of the clip, in [0, 1], one for each camera or one for all. grid: where to look, all if None.
    generator: draws the shifts of the samples; without one they lie in the middle of their steps.
    background: a grey level or a color (3,), in [0, 1]. samples: along the box's diagonal.
    early_stop: samples behind which less light than this comes through at every level are left out; 0: none.
    chunk: samples for which the field's intermediate values are held at once, 1.6 kB each with two levels
    (with normals 6.6 kB, so four times fewer); where there are more, each chunk is computed once more for its
    gradient. Kernels of our own hold no such values and take all samples at once.

    shift: of each ray's samples, instead of the generator's. room: for so many samples, as `samples_of` tells
    at most, in a rendering with gradients that waits for no device.

    With gradients, each rendering has its samples; without, memory is bounded whatever the pictures' size.
    """
    config = MarchConfig(samples, chunk, early_stop=early_stop, normals=normals)
    n, h, w = len(cameras), cameras.height, cameras.width
    with torch.autocast(field.device.type, enabled=False):
        if shift is None and generator is not None:
            shift = uniform_noise((n * h * w,), generator, field.device)
        rays, stretch = _rays(field, cameras, times, shift)
        if torch.is_grad_enabled():
            marched = march(field, rays, grid, config, room)
            value = marched.value
        else:
            blocks = [rays.at(slice(i, i + config.block)) for i in range(0, len(stretch), config.block)]
            value = torch.cat([march(field, block, grid, config).value for block in blocks], -1)
        alpha = value[:, 3]
        color = value[:, :3] + shining_through(alpha[..., None], background).mT
        depth = unweighted(value[:, 4], alpha) * (field.config.radius / stretch)

    renderings = []
    for k in range(len(field)) if levels == "all" else [len(field) - 1]:
        made_of = None
        if torch.is_grad_enabled():
            normal = None if marched.normal is None else marched.normal[k].T
            made_of = Samples(
                marched.points,
                marched.time,
                marched.direction,
                marched.weight[k],
                normal,
                marched.rays,
                marched.used,
            )
        renderings.append(
            Rendering(
                color[k].T.unflatten(0, (n, h, w)),
                alpha[k].view(n, h, w),
                depth[k].view(n, h, w),
                value[k, 5:8].T.unflatten(0, (n, h, w)) if normals else None,
                made_of,
            )
        )
    return renderings


def _rays(
    field: CascadeField,
    cameras: Cameras,
    times: Float[Tensor, " n"] | Sequence[float] | float,
    shift: Float[Tensor, " r"] | None,
) -> tuple[Rays, Float[Tensor, " r"]]:
    """Rays of all pixels in the field's coordinates, and the lengths of their directions in the world."""
    n, h, w = len(cameras), cameras.height, cameras.width
    clip_times = torch.as_tensor(times, dtype=field.dtype, device=field.device).flatten()
    if len(clip_times) not in (1, n):
        raise ValueError(f"{len(clip_times)} times for {n} cameras: give one, or one for each")
    origin, direction = (x.to(field.dtype) for x in cameras.to(field.device).rays())
    direction = direction.reshape(-1, 3)
    stretch = direction.norm(dim=-1)
    rays = Rays(
        origin.repeat_interleave(h * w, 0) / field.config.radius,
        direction / stretch[:, None],
        field.time_coordinate(clip_times).expand(n).repeat_interleave(h * w),
        torch.full_like(stretch, 0.5) if shift is None else shift.to(stretch),
    )
    return rays, stretch


def samples_of(
    field: CascadeField,
    cameras: Cameras,
    times: Float[Tensor, " n"] | Sequence[float] | float,
    grid: OccupancyGrid,
    shift: Float[Tensor, " r"],
    samples: int = 256,
) -> int:
    """Samples that `render_field` takes at most with the same arguments. Waits for the device.

    For a field that `is_fused`.
    """
    rays, _ = _rays(field, cameras, times, shift)
    return count_samples(rays, grid, MarchConfig(samples))


def shade(
    rendering: Rendering,
    light: Float[Tensor, " 3"] | Sequence[float] = (1.0, 0.5, 1.0),
    *,
    ambient: float = 0.3,
    background: Tensor | float = 1.0,
) -> Float[Tensor, "n h w 3"]:
    """The shape without its colors: matt grey, lit from a direction of the world, over the background.

    Raises ValueError for a rendering without normals.
    """
    if rendering.normal is None:
        raise ValueError("the rendering has no normals: render with normals=True")
    normal, alpha = F.normalize(rendering.normal, dim=-1), rendering.alpha[..., None]
    toward = F.normalize(torch.as_tensor(light, dtype=normal.dtype, device=normal.device), dim=0)
    grey = ambient + (1 - ambient) * (normal @ toward).clamp(min=0)[..., None]
    return (grey * alpha + shining_through(alpha, background)).expand(*normal.shape)


def paint_normals(rendering: Rendering, *, background: Tensor | float = 1.0) -> Float[Tensor, "n h w 3"]:
    """Normals as colors: (x, y, z) from [-1, 1] to [0, 1] of red, green and blue, over the background.

    Raises ValueError for a rendering without normals.
    """
    if rendering.normal is None:
        raise ValueError("the rendering has no normals: render with normals=True")
    alpha = rendering.alpha[..., None]
    colors = F.normalize(rendering.normal, dim=-1) * 0.5 + 0.5
    return colors * alpha + shining_through(alpha, background)
