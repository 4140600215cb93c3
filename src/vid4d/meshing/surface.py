"""Surfaces of moments in full detail: what a mesh is carried to, and what it is simplified from."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
import torch
from jaxtyping import Float, Int

from vid4d.compute.randomness import seed_generator
from vid4d.meshing.marching_cubes import face_normals, vertex_normals
from vid4d.meshing.tsdf import Colors, Mesh, simplified

MARKS = 12_000
"""Points of a surface that a mesh is compared with; about one a vertex of a mesh as it is exported."""
SPREAD = 40_000
"""Points by which the distance of two surfaces is measured."""


@dataclass(frozen=True)
class Marks:
    """Points on a surface, in world units, with unit normals and colors. centre: of the surface."""

    points: Float[np.ndarray, "p 3"]
    normals: Float[np.ndarray, "p 3"]
    colors: Float[np.ndarray, "p 3"]
    centre: Float[np.ndarray, " 3"]


@dataclass(frozen=True)
class Surface:
    """A closed surface of one moment as marching cubes made it, with far more faces than a mesh needs."""

    vertices: Float[np.ndarray, "v 3"]
    faces: Int[np.ndarray, "f 3"]
    marks: Marks

    @classmethod
    def of(cls, vertices: Float[np.ndarray, "v 3"], faces: Int[np.ndarray, "f 3"], colors: Colors) -> Surface:
        """Surface whose marks are some of its vertices, which lie evenly over it."""
        some = torch.randperm(len(vertices), generator=seed_generator(0))[:MARKS].numpy()
        points, normals = vertices[some], vertex_normals(vertices, faces)[some]
        marks = Marks(points, normals, colors(points, normals), centre_of(vertices, faces))
        return cls(vertices, faces.astype(np.int32), marks)

    def mesh(self, faces: int) -> Mesh:
        """The surface simplified to at most so many faces, in the colors of the marks."""
        colors = partial(colors_at, marks=self.marks)
        return simplified(self.vertices, self.faces.astype(np.int64), colors, faces)

    @cached_property
    def area(self) -> float:
        """World units squared."""
        return float(_areas(self.vertices, self.faces).sum())

    @property
    def handles(self) -> float:
        """The genus of the surface in one piece (Euler): each edge of a closed surface has two faces."""
        return 1 - (len(self.vertices) - len(self.faces) / 2) / 2


def colors_at(
    points: Float[np.ndarray, "p 3"], normals: Float[np.ndarray, "p 3"], marks: Marks, spread: float = 0.02
) -> Float[np.ndarray, "p 3"]:
    """Colors of points from the closest marks that face the same way.

    spread: what a difference in unit normals counts, in world units.
    """
    from scipy.spatial import cKDTree

    tree = cKDTree(np.concatenate([marks.points, spread * marks.normals], 1))
    return marks.colors[tree.query(np.concatenate([points, spread * normals], 1))[1]]


def centre_of(vertices: Float[np.ndarray, "v 3"], faces: Int[np.ndarray, "f 3"]) -> Float[np.ndarray, " 3"]:
    """Centroid of a surface."""
    area = _areas(vertices, faces)
    places = vertices.astype(np.float64)
    middle = (places[faces[:, 0]] + places[faces[:, 1]] + places[faces[:, 2]]) / 3
    return area @ middle / area.sum()


def surface_distance(a: Mesh | Surface, b: Mesh | Surface) -> float:
    """The 95th percentile of the distance from a point on one surface to the other surface, world units.

    Of both directions the larger, between points spread evenly over the surfaces.
    """
    from scipy.spatial import cKDTree

    one, other = _spread(a), _spread(b)
    forward = cKDTree(other).query(one[::10])[0]
    backward = cKDTree(one).query(other[::10])[0]
    return float(max(np.quantile(forward, 0.95), np.quantile(backward, 0.95)))


def _spread(surface: Mesh | Surface) -> Float[np.ndarray, "p 3"]:
    """Points on a surface, evenly by area and in random order."""
    random = seed_generator(0)
    area = torch.from_numpy(_areas(surface.vertices, surface.faces))
    chosen = torch.multinomial(area, SPREAD, replacement=True, generator=random).numpy()
    first, along = torch.rand(2, SPREAD, 1, generator=random, dtype=torch.float64).numpy()
    root = np.sqrt(first)
    p, q, r = (surface.vertices[surface.faces[chosen, k]].astype(np.float64) for k in range(3))
    return (1 - root) * p + root * (1 - along) * q + root * along * r


def _areas(vertices: np.ndarray, faces: np.ndarray) -> Float[np.ndarray, " f"]:
    return np.sqrt((face_normals(vertices, faces) ** 2).sum(0)) / 2
