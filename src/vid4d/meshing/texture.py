"""Textures: a mesh cut into charts that lie flat in a picture, and that picture painted, texel by texel."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int, UInt8

from vid4d.errors import missing_package
from vid4d.media.images import to_uint8
from vid4d.meshing.tsdf import Mesh, Paint, filled

MAX_COST = 3.0
"""Of growing a chart, as xatlas counts it; with its own 2 a rough surface has more charts, which lie less
densely and take twice the time to merge."""


class Chart(NamedTuple):
    """A mesh cut open along the borders of what lies flat: there vertices stand several times.

    origin: the mesh's vertex that each is. faces: of the cut vertices, in the mesh's order. uv: where they
    lie in the picture, in [0, 1] from its upper left corner.
    """

    origin: Int[np.ndarray, " w"]
    faces: Int[np.ndarray, "f 3"]
    uv: Float[np.ndarray, "w 2"]

    def cut(self, mesh: Mesh) -> Mesh:
        """A mesh of the same topology, at whatever moment, cut like this."""
        return Mesh(
            mesh.vertices[self.origin], self.faces, mesh.normals[self.origin], mesh.colors[self.origin]
        )


class Skin(NamedTuple):
    """A picture (sRGB), and a chart for each topology that is painted in it."""

    charts: tuple[Chart, ...]
    picture: UInt8[np.ndarray, "s s 3"]


class Coat(NamedTuple):
    """What a texture is painted from: a moment's mesh, its colors, and how much they count beside others."""

    mesh: Mesh
    paint: Paint
    share: float = 1.0


def check() -> None:
    """Raises InputError where xatlas is missing, before meshes are made for nothing."""
    if find_spec("xatlas") is None:
        raise missing_package("xatlas", "a texture")


def textured(parts: Sequence[Sequence[Coat]], size: int) -> Skin:
    """One picture of size x size pixels for some topologies; of each the coats, the first says how it is cut.

    Raises InputError where `check` does.
    """
    check()
    charts = unwrap([coats[0].mesh for coats in parts])
    return Skin(charts, bake(charts, parts, size))


def unwrap(meshes: Sequence[Mesh]) -> tuple[Chart, ...]:
    """Charts by xatlas, all in one picture."""
    import xatlas

    atlas = xatlas.Atlas()
    for mesh in meshes:
        atlas.add_mesh(mesh.vertices.astype(np.float32), mesh.faces.astype(np.uint32))
    packing = xatlas.PackOptions()
    packing.padding, packing.bilinear, packing.resolution = 3, True, 1024
    cutting = xatlas.ChartOptions()
    cutting.max_cost = MAX_COST
    atlas.generate(cutting, packing)
    parts = (atlas[i] for i in range(len(meshes)))
    return tuple(Chart(o.astype(np.int64), f.astype(np.int64), uv.astype(np.float32)) for o, f, uv in parts)


def bake(
    charts: Sequence[Chart], parts: Sequence[Sequence[Coat]], size: int
) -> UInt8[np.ndarray, "size size 3"]:
    """The picture: coats averaged by what they count and how well they saw the place.

    Texels of which no coat saw anything have the color of the nearest place of the surface that one did;
    those outside of the charts that of the nearest texel.
    """
    from scipy.ndimage import distance_transform_edt

    picture, empty = np.zeros((size * size, 3), np.float32), np.ones(size * size, bool)
    for chart, coats in zip(charts, parts, strict=True):
        face, weight, texel = covered(chart.uv[chart.faces] * size, size)
        total, seen, places = np.zeros((len(texel), 3)), np.zeros(len(texel)), []
        for mesh, paint, share in coats:
            corners = mesh.faces[face]
            places.append(np.einsum("pk,pkd->pd", weight, mesh.vertices[corners]).astype(np.float32))
            normals = np.einsum("pk,pkd->pd", weight, mesh.normals[corners])
            normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
            colors, sight = paint(places[-1], normals.astype(np.float32))
            total += share * sight[:, None] * colors
            seen += share * sight
        picture[texel] = filled(places[0], total / np.maximum(seen, 1e-12)[:, None], seen)
        empty[texel] = False
    where = distance_transform_edt(empty.reshape(size, size), return_distances=False, return_indices=True)
    return to_uint8(picture.reshape(size, size, 3)[where[0], where[1]])


def covered(
    corners: Float[np.ndarray, "f 3 2"], size: int
) -> tuple[Int[np.ndarray, " p"], Float[np.ndarray, "p 3"], Int[np.ndarray, " p"]]:
    """Texels whose centres lie in triangles (in texels): of which, with which weights of its corners, which.

    A texel is named by row * size + column, and comes once.
    """
    low = np.floor(corners.min(1) - 0.5).clip(0, size - 1).astype(np.int64)
    high = np.ceil(corners.max(1) - 0.5).clip(0, size - 1).astype(np.int64)
    width, height = (high - low + 1).T
    count = width * height
    face = np.repeat(np.arange(len(corners)), count)
    number = np.arange(len(face)) - np.repeat(count.cumsum() - count, count)
    column, row = low[face, 0] + number % width[face], low[face, 1] + number // width[face]
    toward = corners[face] - (np.stack([column, row], 1) + 0.5)[:, None]
    a, b, c = toward.transpose(1, 2, 0)
    parts = np.stack([_cross(b, c), _cross(c, a), _cross(a, b)], 1)
    total = parts.sum(1)
    with np.errstate(divide="ignore", invalid="ignore"):
        weight = parts / total[:, None]
    inside = (np.abs(total) > 1e-9) & (weight >= -1e-6).all(1)
    texel, first = np.unique((row * size + column)[inside], return_index=True)
    chosen = np.flatnonzero(inside)[first]
    return face[chosen], weight[chosen], texel


def _cross(a: np.ndarray | Sequence[np.ndarray], b: np.ndarray | Sequence[np.ndarray]) -> np.ndarray:
    return a[0] * b[1] - a[1] * b[0]
