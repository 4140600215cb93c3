"""Textures: a mesh cut into charts that lie flat in a picture, and that picture painted, texel by texel."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int, UInt8

from vid4d.errors import missing_package
from vid4d.media.images import to_uint8
from vid4d.meshing.tsdf import Mesh, Paint


class Skin(NamedTuple):
    """A picture, sRGB, and where in it the vertices of a mesh lie: in [0, 1], from its upper left corner."""

    uv: Float[np.ndarray, "v 2"]
    picture: UInt8[np.ndarray, "s s 3"]


def check() -> None:
    """Raises InputError where xatlas is missing, before meshes are made for nothing."""
    if find_spec("xatlas") is None:
        raise missing_package("xatlas", "a texture")


def textured(mesh: Mesh, paint: Paint, size: int) -> tuple[Int[np.ndarray, " w"], Mesh, Skin]:
    """A mesh with a picture of size x size pixels.

    Along the borders of charts vertices stand several times: the first result says which vertex of the given
    mesh each of the w of the new one is.
    Raises InputError where `check` does.
    """
    check()
    origin, faces, uv = unwrap(mesh)
    cut = along(mesh, origin, faces)
    return origin, cut, Skin(uv, bake(cut, uv, paint, size))


def along(mesh: Mesh, origin: Int[np.ndarray, " w"], faces: Int[np.ndarray, "f 3"]) -> Mesh:
    """The mesh with its vertices standing where and as often as the charts of another moment want them."""
    return Mesh(mesh.vertices[origin], faces, mesh.normals[origin], mesh.colors[origin])


def unwrap(
    mesh: Mesh,
) -> tuple[Int[np.ndarray, " w"], Int[np.ndarray, "f 3"], Float[np.ndarray, "w 2"]]:
    """Charts by xatlas: which vertex each new one is, the triangles of new vertices, places in [0, 1]."""
    import xatlas

    atlas = xatlas.Atlas()
    atlas.add_mesh(mesh.vertices.astype(np.float32), mesh.faces.astype(np.uint32))
    packing = xatlas.PackOptions()
    packing.padding, packing.bilinear, packing.resolution = 3, True, 1024
    atlas.generate(xatlas.ChartOptions(), packing)
    origin, faces, uv = atlas[0]
    return origin.astype(np.int64), faces.astype(np.int64), uv.astype(np.float32)


def bake(
    mesh: Mesh, uv: Float[np.ndarray, "v 2"], paint: Paint, size: int
) -> UInt8[np.ndarray, "size size 3"]:
    """The picture; texels that no triangle covers get the color of the nearest that one does."""
    from scipy.ndimage import distance_transform_edt

    face, weight, texel = covered(uv[mesh.faces] * size, size)
    corners = mesh.faces[face]
    points = np.einsum("pk,pkd->pd", weight, mesh.vertices[corners]).astype(np.float32)
    normals = np.einsum("pk,pkd->pd", weight, mesh.normals[corners])
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
    picture = np.zeros((size * size, 3), np.float32)
    empty = np.ones(size * size, bool)
    picture[texel], empty[texel] = paint(points, normals.astype(np.float32)), False
    where = distance_transform_edt(empty.reshape(size, size), return_distances=False, return_indices=True)
    filled = picture.reshape(size, size, 3)[where[0], where[1]]
    return to_uint8(filled)


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
