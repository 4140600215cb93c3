"""Triangles from a signed field on a grid: marching cubes, one closed part, smoothing, fewer faces."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from torch import Tensor

from vid4d.errors import InputError, missing_package

log = logging.getLogger("vid4d.export")

DROPPED = 0.05
"""Share of the volume above which it is said that parts beside the largest one were dropped."""


class NoSurface(InputError):
    """A field that is negative nowhere."""


@dataclass(frozen=True)
class MeshOptions:
    """Options of meshing.

    faces: at most so many triangles. resolution: voxels along the longest edge of the object's bounds.
    views, size: depth maps rendered around the splats, and their width in pixels.
    solidity: for the depth maps every splat counts as so many in one place, so that rays end near the front
    of surfaces that are made of faint splats. min_alpha: a ray with less opacity than this passed by.
    empty: share of the views that must look past a voxel for it to be empty whatever the others say.
    truncation: of the signed distance, in voxels. hidden: how far behind a surface a view still says
    "inside", in longest edges of the object, and behind: how much that counts. Depth from faint splats lies
    too deep, and this weighs against it.
    blur: standard deviation of the Gaussian filter on the field, in voxels, against frayed surfaces.
    smoothing: rounds of Taubin's filter on the mesh.
    sharpness: power of the cosine between normal and view by which views are weighted for the colors.
    """

    faces: int = 20_000
    resolution: int = 96
    views: int = 48
    size: int = 256
    solidity: float = 4.0
    min_alpha: float = 0.5
    empty: float = 0.1
    truncation: float = 4.0
    hidden: float = 0.15
    behind: float = 0.4
    blur: float = 0.7
    smoothing: int = 6
    sharpness: float = 4.0

    def __post_init__(self) -> None:
        if self.faces < 4:
            raise InputError(f"a mesh of {self.faces} faces cannot be made: choose 4 or more with --faces")


@dataclass(frozen=True)
class Field:
    """A signed field on a grid: negative inside, positive outside, the surface at 0.

    values: (x, y, z), about world units over `voxel` near the surface. origin: of the first voxel's centre.
    voxel: edge in world units.
    """

    values: Float[Tensor, "x y z"]
    origin: Float[Tensor, " 3"]
    voxel: float


def surface_from_field(
    field: Field, options: MeshOptions
) -> tuple[Float[np.ndarray, "v 3"], Int[np.ndarray, "f 3"]]:
    """Vertices and faces of the field's largest part: marching cubes, smoothed.

    It is closed: hollows that cannot be seen from outside are filled. Raises NoSurface where there is none.
    """
    from scipy import ndimage

    try:
        from skimage.measure import marching_cubes
    except ImportError as error:
        raise missing_package("scikit-image", "a mesh") from error
    values = field.values.float().cpu().numpy()
    if options.blur > 0:
        values = ndimage.gaussian_filter(values, options.blur, mode="nearest")
    values = _one_part(np.pad(values, 1, constant_values=1.0))
    vertices, faces, _, _ = marching_cubes(values, 0.0, gradient_direction="descent", allow_degenerate=False)
    vertices, faces = _largest(vertices, faces)
    vertices = _taubin(vertices, faces, options.smoothing)
    origin = field.origin.cpu().numpy()
    return (origin + (vertices - 1) * field.voxel).astype(np.float32), faces.astype(np.int64)


def _one_part(values: Float[np.ndarray, "x y z"]) -> Float[np.ndarray, "x y z"]:
    """The field with its largest part alone, without hollows, and positive at the border."""
    from scipy import ndimage

    values = values.copy()
    for axis in range(3):
        for side in (0, -1):
            border = np.moveaxis(values, axis, 0)[side]
            np.maximum(border, 1e-3, out=border)
    parts, count = ndimage.label(values < 0)
    if count == 0:
        raise NoSurface("nothing is solid enough for a surface: export it as splats")
    sizes = np.bincount(parts.ravel())[1:]
    largest = int(sizes.argmax())
    if 1 - sizes[largest] / sizes.sum() > DROPPED:
        share = 1 - sizes[largest] / sizes.sum()
        log.warning(
            "the mesh is the largest of %d parts; %.0f%% of the volume is dropped", count, 100 * share
        )
    small = 1e-3
    values[(parts != largest + 1) & (values < 0)] = small
    outside, _ = ndimage.label(values >= 0, structure=np.ones((3, 3, 3)))
    hollow = (values >= 0) & (outside != outside[0, 0, 0])
    values[hollow] = -small
    values[values == 0] = small
    return values


def _largest(vertices: np.ndarray, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The connected part with the most faces, without vertices that no face has."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    i, j = faces[:, [0, 1]].T.ravel(), faces[:, [1, 2]].T.ravel()
    edges = coo_array((np.ones(len(i), np.int8), (i, j)), shape=(len(vertices), len(vertices)))
    _, part = connected_components(edges, directed=False)
    of_face = part[faces[:, 0]]
    faces = faces[of_face == np.bincount(of_face).argmax()]
    used = np.zeros(len(vertices), bool)
    used[faces] = True
    return vertices[used], (used.cumsum() - 1)[faces]


def adjacency(faces: np.ndarray, count: int):  # type: ignore[no-untyped-def]
    """Sparse matrix with 1 where two vertices share an edge."""
    from scipy.sparse import coo_array

    i, j = faces[:, [0, 1, 2]].ravel(), faces[:, [1, 2, 0]].ravel()
    matrix = coo_array((np.ones(2 * len(i)), (np.r_[i, j], np.r_[j, i])), shape=(count, count)).tocsr()
    matrix.data[:] = 1
    return matrix


def _taubin(vertices: np.ndarray, faces: np.ndarray, rounds: int) -> np.ndarray:
    """Smoothing that does not shrink (Taubin 1995): lambda 0.5, mu -0.53."""
    mean = adjacency(faces, len(vertices)).astype(np.float32)
    mean.data /= np.repeat(np.diff(mean.indptr), np.diff(mean.indptr))
    points = vertices.astype(np.float32)
    for _ in range(rounds):
        for step in (0.5, -0.53):
            points = (1 - step) * points + step * (mean @ points)
    return points


def simplify(
    vertices: Float[np.ndarray, "v 3"], faces: Int[np.ndarray, "f 3"], count: int
) -> tuple[Float[np.ndarray, "w 3"], Int[np.ndarray, "g 3"]]:
    """Simplification to at most `count` faces by quadric error edge collapse (Garland and Heckbert 1997)."""
    try:
        import fast_simplification
    except ImportError as error:
        raise missing_package("fast-simplification", "simplifying a mesh") from error
    # Its thresholds are absolute: units of the voxel, of which edges of marching cubes have about 0.9.
    unit = float(np.linalg.norm(vertices[faces[:, 0]] - vertices[faces[:, 1]], axis=1).mean()) / 0.9
    points, triangles = fast_simplification.simplify(
        (vertices / unit).astype(np.float32), faces.astype(np.int32), target_count=count
    )[:2]
    degenerate = (triangles == triangles[:, [1, 2, 0]]).any(1)
    points, triangles = _largest(np.asarray(points, np.float64) * unit, triangles[~degenerate])
    return points.astype(np.float32), triangles.astype(np.int64)


def vertex_normals(
    vertices: Float[np.ndarray, "v 3"], faces: Int[np.ndarray, "f 3"]
) -> Float[np.ndarray, "v 3"]:
    """Unit normals, the mean of the faces' weighted by their area; where that is nothing, up."""
    across, count = face_normals(vertices, faces), len(vertices)
    total = np.stack(
        [sum(np.bincount(faces[:, k], along, count) for k in range(3)) for along in across], axis=1
    )
    length = np.sqrt((total * total).sum(1, keepdims=True))
    return np.where(length > 1e-20, total / np.maximum(length, 1e-20), [0.0, 0.0, 1.0]).astype(np.float32)


def face_normals(
    vertices: Float[np.ndarray, "v 3"], faces: Int[np.ndarray, "f 3"]
) -> Float[np.ndarray, "3 f"]:
    """Normals of faces, twice their area long; coordinates come first."""
    places = vertices.T.astype(np.float64)
    a, b, c = (places[:, faces[:, k]] for k in range(3))
    (x, y, z), (u, v, w) = b - a, c - a
    return np.stack([y * w - z * v, z * u - x * w, x * v - y * u])
