"""Solids whose volumes, areas and colors are known, as densities and as splats."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from vid4d.gaussians.model import Gaussians4D
from vid4d.gaussians.sh import from_rgb
from vid4d.meshing.dynerf_mesh import field_of_density
from vid4d.meshing.marching_cubes import MeshOptions, surface_from_field
from vid4d.meshing.surface import Surface
from vid4d.meshing.tsdf import Mesh, simplified

INSIDE = 1000.0
"""Density of a solid, per world unit; it falls off by e over 0.01 across its surface."""


def solid(distance: Tensor) -> Tensor:
    """Density of a signed distance."""
    return 10.0 * torch.exp((-distance / 0.01).clamp(-8, math.log(INSIDE / 10)))


def ellipsoid(points: Tensor, centre: Tensor, radii: Tensor) -> Tensor:
    """About the signed distance."""
    scaled = ((points - centre) / radii).norm(dim=1)
    return (scaled - 1) * radii.min()


def box(points: Tensor, half: Tensor) -> Tensor:
    out = points.abs() - half
    return out.clamp(min=0).norm(dim=1) + out.amax(1).clamp(max=0)


def torus(points: Tensor, ring: float, tube: float) -> Tensor:
    return torch.hypot(points[:, :2].norm(dim=1) - ring, points[:, 2]) - tube


def color_of_place(points: Tensor) -> Tensor:
    return (points + 0.5).clamp(0, 1)


def mesh_of(distance, *, faces: int = 3000, resolution: int = 56, color=color_of_place, **options) -> Mesh:  # type: ignore[no-untyped-def]
    """The mesh of a signed distance function."""
    chosen = MeshOptions(faces=faces, resolution=resolution, **options)
    low, high = torch.full((3,), -0.55), torch.full((3,), 0.55)
    field = field_of_density(lambda p: solid(distance(p)), low, high, level=10.0, resolution=resolution)
    surface = surface_from_field(field, chosen)
    return simplified(*surface, lambda p, _: color(torch.from_numpy(p)).clamp(0, 1).numpy(), chosen.faces)


def surface_of(distance, *, resolution: int = 56, color=color_of_place) -> Surface:  # type: ignore[no-untyped-def]
    """The surface of a signed distance function."""
    mesh = mesh_of(distance, faces=10**9, resolution=resolution, color=color)
    return Surface.of(mesh.vertices, mesh.faces, lambda p, _: color(torch.from_numpy(p)).clamp(0, 1).numpy())


def ball_of_splats(
    radius: float = 0.3, count: int = 3000, sigma: float = 0.01, velocity: float = 0.0
) -> Gaussians4D:
    """A ball, red in front (+x), green on +y, blue on top, that moves along y (world units per clip).

    Its centre passes the origin at time 0.5.
    """
    i = torch.arange(count) + 0.5
    polar, turn = torch.acos(1 - 2 * i / count), math.pi * (1 + 5**0.5) * i
    unit = torch.stack([turn.cos() * polar.sin(), turn.sin() * polar.sin(), polar.cos()], -1)
    parts = []
    for time in (0.0, 0.5, 1.0) if velocity else (0.5,):
        centre = torch.tensor([0.0, velocity * (time - 0.5), 0.0])
        means = torch.cat([centre + radius * unit, torch.full((count, 1), time)], 1)
        scales = torch.tensor([sigma, sigma, sigma, 0.1 if velocity else 10.0]).log().repeat(count, 1)
        still = torch.tensor([1.0, 0, 0, 0]).repeat(count, 1)
        colors = from_rgb(unit * 0.45 + 0.5)[:, None, None]
        parts.append(Gaussians4D(means, scales, still, still.clone(), torch.full((count,), 4.0), colors))
    return Gaussians4D.cat(parts)
