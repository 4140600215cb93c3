"""Ray marching through a cascade field: selection of samples, and compositing.

Lengths along rays are those of the box (half its edge is 1). The samples that are left of a ray are added up
in a row of a dense table: exact, in a fixed order, and without loops.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from vid4d.dynerf.field import CascadeField
from vid4d.dynerf.occupancy import BOX_DIAGONAL, OccupancyGrid


class Rays(NamedTuple):
    """Origins and unit directions in the box, times of the field, and shifts in steps (in [0, 1))."""

    origin: Float[Tensor, "r 3"]
    direction: Float[Tensor, "r 3"]
    time: Float[Tensor, " r"]
    shift: Float[Tensor, " r"]

    def at(self, index: slice | Int[Tensor, " k"]) -> Rays:
        return Rays(*(x[index] for x in self))


@dataclass(frozen=True)
class MarchConfig:
    """Sampling of rays.

    samples: along the box's diagonal. chunk: samples for which the field's intermediate values are held at
        once; a quarter of that with normals, which need four times the memory.
    table: steps of rays that are tested against the grid at once. early_stop: samples behind which less light
        than this comes through at every level are left out; 0 keeps all. normals: whether to compute them.
    """

    samples: int = 256
    chunk: int = 1 << 21
    table: int = 1 << 24
    early_stop: float = 1e-4
    normals: bool = False

    @property
    def step(self) -> float:
        """Distance between samples, in the field's coordinates."""
        return BOX_DIAGONAL / self.samples

    @property
    def block(self) -> int:
        """Rays that fit into a table."""
        return max(1, self.table // (self.samples + 1))


class Marched(NamedTuple):
    """Composited rays of every level, and the m samples that made them (sorted by ray).

    value: color (3), alpha, alpha * mean length, and where asked for the mean normal (3) of every ray.
    rays: how many have samples. used: how many of the m there are, where room for m was set aside; both are
    known to the device alone then.
    """

    value: Float[Tensor, "levels c r"]
    points: Float[Tensor, "m 3"]
    time: Float[Tensor, " m"]
    direction: Float[Tensor, "m 3"]
    weight: Float[Tensor, "levels m"]
    normal: Float[Tensor, "levels 3 m"] | None
    rays: int | Int[Tensor, ""]
    used: Int[Tensor, "1"] | None = None


def intersect(
    origin: Float[Tensor, "r 3"], direction: Float[Tensor, "r 3"], bounds: Float[Tensor, "2 3"]
) -> tuple[Float[Tensor, " r"], Float[Tensor, " r"]]:
    """Intersection of rays with a box: lengths of entry and exit, in units of `direction`.

    Rays with enter > leave miss it.
    """
    safe = torch.where(direction.abs() < 1e-9, 1e-9, direction)
    lower, upper = (bounds[0] - origin) / safe, (bounds[1] - origin) / safe
    enter = torch.minimum(lower, upper).amax(-1).clamp(min=0)
    return enter, torch.maximum(lower, upper).amin(-1)


def march(
    field: CascadeField,
    rays: Rays,
    grid: OccupancyGrid | None,
    config: MarchConfig,
    room: int | None = None,
) -> Marched:
    """Ray marching: samples found, the field evaluated there, and composited.

    room: for so many samples, as `count_samples` tells at most, so that nothing waits for the device.
    """
    if field.is_fused:
        return _march_fused(field, rays, grid, config, room)
    if room is not None:
        raise ValueError("only the kernels of a field on a graphics card leave room for samples")
    samples = []
    for i in range(0, len(rays.time), config.block):
        ray, length, rank = find_samples(field, rays.at(slice(i, i + config.block)), grid, config)
        samples.append((ray + i, length, rank))
    ray, length, rank = (torch.cat(x) for x in zip(*samples, strict=True))
    direction, time = rays.direction[ray], rays.time[ray]
    points = rays.origin[ray] + length[:, None] * direction
    density, features = _query_field(field, points, time, config)

    hit, row = torch.unique_consecutive(ray, return_inverse=True)
    columns = int(rank.max()) + 1 if len(ray) else 1
    slot = row * columns + rank

    def table(x: Float[Tensor, "... m"]) -> Float[Tensor, "... hit columns"]:
        empty = x.new_zeros(*x.shape[:-1], len(hit) * columns)
        return empty.index_copy(-1, slot, x).unflatten(-1, (len(hit), columns))

    depth = table(density * config.step)
    weight = torch.exp(depth - depth.cumsum(-1)) * -torch.expm1(-depth)
    mean = (weight[:, None] * table(features)).sum(-1)
    far = (weight * table(length)).sum(-1)
    value = torch.cat([mean[:, :3], weight.sum(-1)[:, None], far[:, None], mean[:, 3:]], 1)
    everywhere = value.new_zeros(*value.shape[:2], len(rays.time)).index_copy(-1, hit, value)
    normal = features[:, 3:] if config.normals else None
    return Marched(everywhere, points, time, direction, weight.flatten(1)[:, slot], normal, len(hit))


def _march_fused(
    field: CascadeField, rays: Rays, grid: OccupancyGrid | None, config: MarchConfig, room: int | None
) -> Marched:
    """Ray marching by kernels, samples packed instead of in tables."""
    from vid4d.dynerf import march_fused as fused

    packed = fused.find_samples(
        fused.RaysThrough(*rays, grid, config.step), field.density, config.early_stop, room
    )
    density, features = _query_field(field, packed.points, packed.time, config, packed.used)
    value, weight = fused.composite(density, features, packed, config.step)
    normal = features[:, 3:] if config.normals else None
    return Marched(
        value, packed.points, packed.time, packed.direction, weight, normal, packed.rays, packed.used
    )


@torch.no_grad()
def count_samples(rays: Rays, grid: OccupancyGrid | None, config: MarchConfig) -> int:
    """Samples in occupied cells, hidden ones too: the room that `march` needs at most. Waits for the device.

    For a field that `is_fused`.
    """
    from vid4d.dynerf import march_fused as fused

    return int(fused.RaysThrough(*rays, grid, config.step).count().sum())


@torch.no_grad()
def find_samples(
    field: CascadeField, rays: Rays, grid: OccupancyGrid | None, config: MarchConfig
) -> tuple[Int[Tensor, " m"], Float[Tensor, " m"], Int[Tensor, " m"]]:
    """Samples in occupied cells that are not hidden: ray, length along it, number on it.

    Waits for the device four times, however many rays there are.
    """
    box = rays.origin.new_ones(2, 3)
    box[0] = -1
    enter, leave = nearest, farthest = intersect(rays.origin, rays.direction, box)
    if grid is not None:
        nearest, farthest = intersect(rays.origin, rays.direction, grid.bounds.to(box))
    hit = (farthest > nearest).nonzero()[:, 0]
    if len(hit) == 0:
        return hit, enter[:0], hit
    rays, enter, leave = rays.at(hit), enter[hit], leave[hit]
    nearest, farthest = nearest[hit], farthest[hit]

    steps = int((farthest - nearest).max() / config.step) + 2
    first = ((nearest - enter) / config.step).floor()[:, None]
    number = first + torch.arange(steps, device=hit.device) + rays.shift[:, None]
    length = enter[:, None] + number * config.step
    keep = length < leave[:, None]
    if grid is not None:
        keep &= grid.at(rays.origin[:, None] + length[..., None] * rays.direction[:, None])
    row, column = keep.nonzero(as_tuple=True)
    if config.early_stop > 0:
        points = rays.origin[row] + length[row, column, None] * rays.direction[row]
        depth = length.new_zeros(len(field), *keep.shape)
        for i in range(0, len(row), config.chunk):
            part = slice(i, i + config.chunk)
            density = field.density(points[part], rays.time[row[part]])
            depth[:, row[part], column[part]] = density * config.step
        before = depth.cumsum(-1) - depth
        keep &= before.amin(0) < -math.log(config.early_stop)
        row, column = keep.nonzero(as_tuple=True)
    rank = keep.cumsum(1)[row, column] - 1
    return hit[row], length[row, column], rank


def _query_field(
    field: CascadeField,
    points: Float[Tensor, "m 3"],
    time: Float[Tensor, " m"],
    config: MarchConfig,
    used: Int[Tensor, "1"] | None = None,
) -> tuple[Float[Tensor, "levels m"], Float[Tensor, "levels c m"]]:
    """Field values at samples: density, and color in [0, 1] joined with the normal where asked for.

    In chunks where there is much to compute and much is kept of it: then each is computed once more for its
    gradient.
    """

    known = {} if used is None else {"used": used}

    def query(points: Tensor, time: Tensor) -> tuple[Tensor, Tensor]:
        values = field.sample(points, time, normals=config.normals, **known)
        color = values.color.transpose(1, 2).sigmoid()
        if values.normal is None:
            return values.density, color
        return values.density, torch.cat([color, values.normal.transpose(1, 2)], 1)

    chunk = max(1, config.chunk // 4) if config.normals else config.chunk
    if field.is_fused or len(points) <= chunk:
        return query(points, time)
    parts = zip(points.split(chunk), time.split(chunk), strict=True)
    if torch.is_grad_enabled():
        results = [checkpoint(query, *x, use_reentrant=False, preserve_rng_state=False) for x in parts]
    else:
        results = [query(*x) for x in parts]
    return torch.cat([x[0] for x in results], -1), torch.cat([x[1] for x in results], -1)
