"""A triangle mesh of one moment: the depths of splats, rendered from all around and fused.

Every mesh comes out of a signed field on a voxel grid (`marching_cubes.surface_from_field`); where that field
comes from is a separate matter: here from depth maps around the splats (`tsdf_fuse`), in `dynerf_mesh` from a
density.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from vid4d.cameras import RING_DISTANCE, Cameras
from vid4d.errors import InputError
from vid4d.gaussians.model import Gaussians3D, Gaussians4D
from vid4d.meshing.depth_views import DepthViews, colors_of, signed_distances
from vid4d.meshing.marching_cubes import (
    Field,
    MeshOptions,
    NoSurface,
    simplify,
    surface_from_field,
    vertex_normals,
)

FAINT = 0.05
"""Splats that are less opaque than this do not count for the bounds."""
REACH = 2.0
"""Standard deviations of a splat that count for the bounds."""
CUBE = 0.75
"""Half the edge of the cube that the bounds are cut to: splats that strayed further are not the object."""
MARGIN = 3
"""Empty voxels around the object."""
NEAR = 1.0
"""Voxels: where coarse distances exceed this all around, the surface is not."""
UNSEEN = 1e-4
"""Of the sum of what views count: a point with less was not seen."""
TRUST = 20.0
"""Weight of a reference view in colors, against 1 for others."""

Paint = Callable[
    [Float[np.ndarray, "p 3"], Float[np.ndarray, "p 3"]],
    tuple[Float[np.ndarray, "p 3"], Float[np.ndarray, " p"]],
]
"""Colors (sRGB in [0, 1]) of points on a surface, with unit normals; and how well each was seen."""
Colors = Callable[[Float[np.ndarray, "p 3"], Float[np.ndarray, "p 3"]], Float[np.ndarray, "p 3"]]
"""Colors of points on a surface, with unit normals, those that nobody saw like their neighbours."""


@dataclass(frozen=True)
class Mesh:
    """Triangles in world units and axes (z up), counter-clockwise seen from outside.

    normals: unit, per vertex. colors: sRGB in [0, 1], per vertex.
    """

    vertices: Float[np.ndarray, "v 3"]
    faces: Int[np.ndarray, "f 3"]
    normals: Float[np.ndarray, "v 3"]
    colors: Float[np.ndarray, "v 3"]

    def moved(self, vertices: Float[np.ndarray, "v 3"]) -> Mesh:
        """Mesh with other vertex positions, the same triangles and colors."""
        return replace(self, vertices=vertices, normals=vertex_normals(vertices, self.faces))


@torch.no_grad()
def mesh_at(
    gaussians: Gaussians4D,
    time: float,
    options: MeshOptions | None = None,
    *,
    reference: Cameras | None = None,
) -> Mesh:
    """The mesh of 4D Gaussians at a clip time in [0, 1].

    reference: cameras from which the splats look best, the clip's own; what they see is colored by them.
    Raises InputError where nothing opaque enough to have a surface is there at that time.
    """
    options = options or MeshOptions()
    vertices, faces, colors = surface_of_splats(gaussians, time, options, reference=reference)
    return simplified(vertices, faces, colors, options.faces)


@torch.no_grad()
def surface_of_splats(
    gaussians: Gaussians4D,
    time: float,
    options: MeshOptions,
    *,
    reference: Cameras | None = None,
    exact: bool = True,
) -> tuple[Float[np.ndarray, "v 3"], Int[np.ndarray, "f 3"], Colors]:
    """Vertices and faces of the surface of `mesh_at` before it is simplified, and the colors of its points.

    exact: else colors are those of the solid splats that depths are drawn of, for which nothing has to be
    drawn again; good enough to recognise places by (0.2 to 0.7 dB worse).
    """
    splats, low, high = _visible_splats(gaussians, time)
    solid = replace(splats, opacities=1 - (1 - splats.opacities) ** options.solidity)
    cameras, weights = _around(low, high, options, reference)
    views = DepthViews.of(solid, cameras)
    field = tsdf_fuse(views.first(options.views), low, high, options)
    try:
        vertices, faces = surface_from_field(field, options)
    except NoSurface as error:
        raise InputError(
            f"the asset is too faint at time {time:.3g} to have a surface: export it as splats"
        ) from error
    paint = _paint(DepthViews.of(splats, cameras) if exact else views, weights, low, high, options)
    return vertices, faces, lambda points, normals: filled(points, *paint(points, normals))


def simplified(
    vertices: Float[np.ndarray, "v 3"], faces: Int[np.ndarray, "f 3"], colors: Colors, most: int
) -> Mesh:
    """The mesh of a surface with at most so many faces, colored at its vertices."""
    if len(faces) > most:
        vertices, faces = simplify(vertices, faces, most)
    normals = vertex_normals(vertices, faces)
    return Mesh(vertices, faces, normals, colors(vertices, normals))


@torch.no_grad()
def paint_of(
    gaussians: Gaussians4D, time: float, options: MeshOptions, *, reference: Cameras | None = None
) -> Paint:
    """Coloring function of surface points at a clip time, see `mesh_at` and `colors_of`."""
    splats, low, high = _visible_splats(gaussians, time)
    cameras, weights = _around(low, high, options, reference)
    return _paint(DepthViews.of(splats, cameras), weights, low, high, options)


def _visible_splats(
    gaussians: Gaussians4D, time: float
) -> tuple[Gaussians3D, Float[Tensor, " 3"], Float[Tensor, " 3"]]:
    """Splats of non-zero opacity at a clip time, and their `visible_bounds`."""
    splats = gaussians.at(time)
    splats = _select(splats, splats.opacities > 0)
    return splats, *visible_bounds(splats, time)


def _around(
    low: Float[Tensor, " 3"], high: Float[Tensor, " 3"], options: MeshOptions, reference: Cameras | None
) -> tuple[Cameras, Float[Tensor, " n"]]:
    """Cameras all around a box, and the reference's; with what each counts for colors."""
    cameras = fibonacci_cameras(low, high, options.views, options.size).to(low.device)
    if reference is not None:
        cameras = Cameras.cat(
            [cameras, replace(reference.resized(options.size), height=options.size).to(low.device)]
        )
    weights = torch.ones(len(cameras))
    weights[options.views :] = TRUST
    return cameras, weights


def _paint(
    views: DepthViews,
    weights: Float[Tensor, " n"],
    low: Float[Tensor, " 3"],
    high: Float[Tensor, " 3"],
    options: MeshOptions,
) -> Paint:
    tolerance = 1.5 * float((high - low).max()) / options.resolution
    return partial(colors_of, views, tolerance=tolerance, sharpness=options.sharpness, weights=weights)


def _select(splats: Gaussians3D, keep: Tensor) -> Gaussians3D:
    return Gaussians3D(splats.means[keep], splats.covariances[keep], splats.opacities[keep], splats.sh[keep])


def visible_bounds(splats: Gaussians3D, time: float) -> tuple[Float[Tensor, " 3"], Float[Tensor, " 3"]]:
    """Lowest and highest corner of what is visible of the splats, cut to the cube of CUBE."""
    visible = splats.opacities >= FAINT
    if not bool(visible.any()):
        raise InputError(f"the asset is empty at time {time:.3g}: choose another time")
    means = splats.means[visible]
    spread = REACH * splats.covariances[visible].diagonal(dim1=1, dim2=2).clamp(min=0).sqrt()
    low, high = (means - spread).amin(0).clamp(min=-CUBE), (means + spread).amax(0).clamp(max=CUBE)
    if not bool((high > low).all()):
        raise InputError(f"the asset lies outside of its cube at time {time:.3g}: it cannot be meshed")
    return low, high


def fibonacci_cameras(low: Float[Tensor, " 3"], high: Float[Tensor, " 3"], views: int, size: int) -> Cameras:
    """Cameras spread evenly over a sphere (a Fibonacci lattice) that have all of a box in view."""
    corners = torch.cartesian_prod(*torch.stack([low, high], 1).cpu())
    radius = float(corners.norm(dim=1).max())
    distance = max(RING_DISTANCE, 2 * radius)
    i = torch.arange(views) + 0.5
    elevation = torch.rad2deg(torch.asin(1 - 2 * i / views))
    azimuth = torch.rad2deg(math.pi * (1 + 5**0.5) * i) % 360
    focal = 0.97 * size / 2 * math.sqrt(distance**2 - radius**2) / radius
    return Cameras.orbit(azimuth, elevation, distance=distance, size=size, focal=focal)


def tsdf_fuse(
    views: DepthViews, low: Float[Tensor, " 3"], high: Float[Tensor, " 3"], options: MeshOptions
) -> Field:
    """Depth maps into one truncated signed distance (Curless and Levoy 1996, with space carving).

    A ray that passes by (less than `min_alpha`) says that its voxels are empty; a few such views suffice.
    What no view sees is inside, so that the surface is closed. See `MeshOptions` for how it is made robust.
    Every second voxel is computed first, and the others only where the surface may be near.
    """
    voxel = float((high - low).max()) / options.resolution
    origin = low - MARGIN * voxel
    half = [int(n) // 2 + 1 for n in ((high - low) / voxel).ceil().long() + 2 * MARGIN + 1]
    shape = [2 * n for n in half]
    axes = [origin[k] + voxel * torch.arange(shape[k], device=low.device) for k in range(3)]

    # What passes by a coarse voxel shall pass by the voxels around it, which are at most sqrt(3) away.
    closest = float(views.cameras.position.norm(dim=1).min()) - CUBE
    grown = math.ceil(3**0.5 * voxel * float(views.cameras.focal.max()) / closest)
    blunt = replace(views, alpha=highest_around(views.alpha, grown, (1, 2)))
    rough = signed_distances(
        views, torch.cartesian_prod(*(axis[::2] for axis in axes)), voxel, options, passing=blunt
    )
    rough = rough.view(half)
    lowest, highest = (sign * highest_around(sign * rough, 1, (0, 1, 2)) for sign in (-1, 1))
    near = (lowest < NEAR) & (highest > -NEAR)
    values, near = (part.repeat_interleave(2, 0) for part in (rough, near))
    values, near = (part.repeat_interleave(2, 1).repeat_interleave(2, 2) for part in (values, near))
    points = torch.stack([axis[k] for axis, k in zip(axes, near.nonzero(as_tuple=True), strict=True)], 1)
    values[near] = signed_distances(views, points, voxel, options)
    # Beyond a voxel from the surface the sizes of the two sides differ, and a filter would move it.
    return Field(values.clamp(-1, 1), origin, voxel)


def highest_around(values: Float[Tensor, "..."], reach: int, dims: Sequence[int]) -> Float[Tensor, "..."]:
    """The largest value within a square or cube of 2 reach + 1, along some dimensions.

    By doubling the width, which is several times as fast on a CPU as pooling.
    """
    for dim in dims:
        size = [reach if k == dim else count for k, count in enumerate(values.shape)]
        border = values.new_full(size, -math.inf)
        values, width = torch.cat([border, values, border], dim), 1
        while width < 2 * reach + 1:
            step = min(width, 2 * reach + 1 - width)
            left = values.shape[dim] - step
            values = torch.maximum(values.narrow(dim, 0, left), values.narrow(dim, step, left))
            width += step
    return values


def filled(
    points: Float[np.ndarray, "p 3"], colors: Float[np.ndarray, "p 3"], seen: Float[np.ndarray, " p"]
) -> Float[np.ndarray, "p 3"]:
    """Colors where points that were not seen have the color of the nearest that was."""
    colors, covered = colors.astype(np.float32), seen > UNSEEN
    if covered.any() and not covered.all():
        from scipy.spatial import cKDTree

        nearest = cKDTree(points[covered]).query(points[~covered])[1]
        colors[~covered] = colors[covered][nearest]
    return colors
