"""A triangle mesh of a volume at one moment: marching cubes on a density, such as that of a DyNeRF."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import normalize

from vid4d.cameras import Cameras
from vid4d.dynerf import CascadeField, OccupancyGrid
from vid4d.dynerf.march import MarchConfig, Rays, march
from vid4d.errors import InputError
from vid4d.media.images import unweighted
from vid4d.meshing.depth_views import SEEN
from vid4d.meshing.marching_cubes import Field, MeshOptions, NoSurface, surface_from_field
from vid4d.meshing.tsdf import TRUST, Colors, Mesh, simplified

LEVEL = 8.0
"""Density per world unit where the surface of a DyNeRF is, about where its silhouettes end.

What is thin, or has not been trained for long, is not much denser.
"""
CHUNK = 1 << 17
"""Points at which a density or a color is asked for at a time."""
AHEAD = 2.0
"""Voxels before the surface, where the rays begin that look for its color."""

Density = Callable[[Float[Tensor, "p 3"]], Float[Tensor, " p"]]


@torch.no_grad()
def mesh_of_dynerf(
    dynerf: CascadeField,
    time: float,
    options: MeshOptions | None = None,
    *,
    grid: OccupancyGrid | None = None,
    level: float = LEVEL,
    reference: Cameras | None = None,
) -> Mesh:
    """The mesh of a DyNeRF's finest level at a clip time in [0, 1].

    grid: where to look, everywhere if None. level: density of the surface, per world unit.
    Colors are what rays see that meet the surface head-on; where `reference`, a camera from which the DyNeRF
    looks best, the clip's own, sees the surface, they are mostly what it sees.
    Raises InputError where nothing is as dense as that.
    """
    options = options or MeshOptions()
    surface = surface_of_dynerf(dynerf, time, options, grid=grid, level=level, reference=reference)
    return simplified(*surface, options.faces)


@torch.no_grad()
def surface_of_dynerf(
    dynerf: CascadeField,
    time: float,
    options: MeshOptions,
    *,
    grid: OccupancyGrid | None = None,
    level: float = LEVEL,
    reference: Cameras | None = None,
) -> tuple[Float[np.ndarray, "v 3"], Int[np.ndarray, "f 3"], Colors]:
    """Vertices and faces of the surface of `mesh_of_dynerf` before it is simplified, and the colors of its
    points."""
    radius, device = dynerf.config.radius, dynerf.device
    moment = float(dynerf.time_coordinate(torch.tensor(time)))
    low, high = (torch.full((3,), side * radius, device=device) for side in (-1.0, 1.0))
    if grid is not None:
        low, high = grid.bounds.to(device) * radius

    def density(points: Float[Tensor, "p 3"]) -> Float[Tensor, " p"]:
        occupied = (
            torch.ones_like(points[:, 0], dtype=torch.bool) if grid is None else grid.at(points / radius)
        )
        values = torch.zeros_like(points[:, 0])
        values[occupied] = (dynerf.density(points[occupied] / radius, moment)[-1] / radius).to(values)
        return values

    try:
        rough = field_of_density(density, low, high, level=level, resolution=options.resolution // 2)
        low, high = box_of(rough)
        field = field_of_density(density, low, high, level=level, resolution=options.resolution)
        vertices, faces = surface_from_field(field, options)
    except NoSurface as error:
        raise InputError(
            f"the DyNeRF is too faint at time {time:.3g} to have a surface: choose --surface splats"
        ) from error
    seen = partial(colors_of_dynerf, dynerf, grid, moment, voxel=field.voxel, reference=reference)
    return vertices, faces, seen


@torch.no_grad()
def field_of_density(
    density: Density,
    low: Float[Tensor, " 3"],
    high: Float[Tensor, " 3"],
    *,
    level: float,
    resolution: int,
) -> Field:
    """A density (per world unit) in a box of the world, inside where it exceeds `level`.

    resolution: voxels along the longest edge. The field is the logarithm of level over density: where
    densities fall off steeply, its zero lies between the voxels where it should. Raises NoSurface for a box
    without volume.
    """
    if not bool((high > low).all()):
        raise NoSurface("nothing is solid enough for a surface: export it as splats")
    voxel = float((high - low).max()) / resolution
    shape = [max(1, round(float(edge) / voxel)) for edge in high - low]
    axes = [low[k] + (torch.arange(shape[k], device=low.device) + 0.5) * voxel for k in range(3)]
    points = torch.cartesian_prod(*axes)
    values = torch.cat([density(some).flatten() for some in points.split(CHUNK)])
    logarithm = math.log(level) - values.clamp(min=1e-6 * level).log()
    return Field(logarithm.clamp(-3, 3).view(shape), low + 0.5 * voxel, voxel)


def box_of(field: Field) -> tuple[Float[Tensor, " 3"], Float[Tensor, " 3"]]:
    """Lowest and highest corner of what is inside of a field of a density, with two voxels around it.

    A quarter of the surface's density is enough, for thin parts may lie between the voxels. Raises NoSurface
    where there is nothing.
    """
    inside = (field.values < math.log(4)).nonzero()
    if len(inside) == 0:
        raise NoSurface("nothing is solid enough for a surface: export it as splats")
    return (
        field.origin + (inside.amin(0) - 2.5) * field.voxel,
        field.origin + (inside.amax(0) + 2.5) * field.voxel,
    )


@torch.no_grad()
def colors_of_dynerf(
    dynerf: CascadeField,
    grid: OccupancyGrid | None,
    moment: float,
    vertices: Float[np.ndarray, "v 3"],
    normals: Float[np.ndarray, "v 3"],
    *,
    voxel: float,
    reference: Cameras | None = None,
) -> Float[np.ndarray, "v 3"]:
    """Colors (sRGB) of points on a surface of a DyNeRF, see `mesh_of_dynerf`. moment: in the field's time.

    A density without a sharp edge has its color behind its surface, so rays are followed until they are
    opaque. What the reference camera sees counts by the cosine between normal and view and by its opacity,
    unless it is seen more than one and a half voxels before the point.
    """
    points = torch.as_tensor(vertices, dtype=dynerf.dtype, device=dynerf.device)
    normal = torch.as_tensor(normals, dtype=dynerf.dtype, device=dynerf.device)
    rendered, opacity, _ = _surface_seen(dynerf, grid, moment, points + AHEAD * voxel * normal, -normal)
    field_color = dynerf.sample(points / dynerf.config.radius, moment).color[-1].sigmoid()
    few = (1 - opacity[:, None]).clamp(min=0)
    colors = rendered + few * field_color
    if reference is not None:
        eye = reference.position[0].to(points)
        facing = (normal * normalize(eye - points, dim=1)).sum(1).clamp(min=0)
        some = (facing > 0).nonzero()[:, 0]
        away = points[some] - eye
        rendered, opacity, depth = _surface_seen(
            dynerf, grid, moment, eye.expand_as(away), normalize(away, dim=1)
        )
        visible = (away.norm(dim=1) - depth < 1.5 * voxel) & (opacity > SEEN)
        weight = torch.where(visible, TRUST * opacity * facing[some], 0)[:, None]
        colors[some] = (colors[some] + weight * unweighted(rendered, opacity[:, None])) / (1 + weight)
    return colors.clamp(0, 1).cpu().numpy().astype(np.float32)


def _surface_seen(
    dynerf: CascadeField,
    grid: OccupancyGrid | None,
    moment: float,
    origins: Float[Tensor, "r 3"],
    directions: Float[Tensor, "r 3"],
) -> tuple[Float[Tensor, "r 3"], Float[Tensor, " r"], Float[Tensor, " r"]]:
    """Rendered rays (world) at the finest level: premultiplied color, alpha, distance."""
    radius, config = dynerf.config.radius, MarchConfig(chunk=CHUNK, early_stop=0.01)
    times, shifts = (torch.full_like(origins[:, 0], value) for value in (moment, 0.5))
    rays = Rays(origins / radius, directions, times, shifts)
    blocks = [rays.at(slice(i, i + config.block)) for i in range(0, len(times), config.block)]
    value = torch.cat([march(dynerf, block, grid, config).value[-1] for block in blocks], -1)
    return value[:3].T, value[3], radius * unweighted(value[4], value[3])
