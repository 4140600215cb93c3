"""Meshes of many moments, with fixed topology where that is possible.

The mesh of one moment, the key, is deformed to the others (`vid4d.meshing.deformation`). How far the deformed
surface is from the true one is measured at every moment; where it is too far anywhere, every moment keeps its
own mesh.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float

from vid4d.compute.randomness import seed_generator
from vid4d.meshing.deformation import DeformationGraph, TrackOptions, displace_to_surface
from vid4d.meshing.tsdf import Mesh

log = logging.getLogger("vid4d.export")


@dataclass(frozen=True)
class MeshSequence:
    """Meshes at clip times in [0, 1].

    tracked: they share their faces; vertex i is the same place of the object in all of them.
    distances: of the tracked surface from that of each moment (`surface_distance`), as shares of the object's
    diagonal; also where it was too far, and tracking was given up. Empty where it was not tried.
    """

    times: tuple[float, ...]
    meshes: tuple[Mesh, ...]
    tracked: bool
    distances: tuple[float, ...] = ()


def mesh_sequence(
    source: Callable[[float], Mesh],
    times: Sequence[float],
    options: TrackOptions | None = None,
    *,
    report: Callable[[int], object] = lambda done: None,
) -> MeshSequence:
    """Meshes of a source (the mesh of a clip time) at times, tracked where that succeeds.

    Warns in the log where it does not. report: called with the number of meshes made, and then of those
    tracked on top of them.
    """
    options = options or TrackOptions()
    meshes = []
    for i, time in enumerate(times):
        meshes.append(source(time))
        report(i + 1)
    if len(meshes) == 1:
        return MeshSequence(tuple(times), tuple(meshes), tracked=True)
    tracked, distances = track(meshes, options, report=lambda done: report(len(meshes) + done))
    worst = int(np.argmax(distances))
    if distances[worst] > options.threshold:
        log.warning(
            "every moment has a mesh of its own: one that is deformed to all would be %.1f%% of the object's "
            "size away at time %.2f, more than %.1f%%",
            *(100 * distances[worst], times[worst], 100 * options.threshold),
        )
        return MeshSequence(tuple(times), tuple(meshes), False, distances)
    return MeshSequence(tuple(times), tracked, True, distances)


def track(
    meshes: Sequence[Mesh], options: TrackOptions, *, report: Callable[[int], object] = lambda done: None
) -> tuple[tuple[Mesh, ...], tuple[float, ...]]:
    """One mesh deformed to all moments, and its `surface_distance` at each over the object's diagonal."""
    size = max(float(np.linalg.norm(np.ptp(mesh.vertices, axis=0))) for mesh in meshes)
    key = key_moment(meshes)
    graph = DeformationGraph.on(meshes[key], options)
    moved: dict[int, np.ndarray] = {key: meshes[key].vertices}
    for way in (range(key + 1, len(meshes)), range(key - 1, -1, -1)):
        pose = graph.rest()
        for i in way:
            pose = graph.fit(pose, meshes[i], options)
            moved[i] = displace_to_surface(meshes[key].moved(graph.deform(pose)), meshes[i])
            report(len(moved))
    tracked = [meshes[key].moved(moved[i]) for i in range(len(meshes))]
    distances = tuple(surface_distance(a, b) / size for a, b in zip(tracked, meshes, strict=True))
    painted = [replace(a, colors=colors_from(a, b)) for a, b in zip(tracked, meshes, strict=True)]
    return tuple(painted), distances


def key_moment(meshes: Sequence[Mesh]) -> int:
    """The moment whose mesh is deformed to the others: parts that touch cannot be parted, so the one with the
    most surface, but near the middle where that makes little difference."""
    area = np.array([_area(mesh) for mesh in meshes])
    middle = 1 - np.abs(np.linspace(-1, 1, len(meshes)))
    return int(np.argmax(area / area.max() + 0.1 * middle))


def _area(mesh: Mesh) -> float:
    a, b, c = (mesh.vertices[mesh.faces[:, k]] for k in range(3))
    return float(np.linalg.norm(np.cross(b - a, c - a), axis=1).sum() / 2)


def surface_distance(a: Mesh, b: Mesh) -> float:
    """The 95th percentile of the distance from a point on one surface to the other surface, world units.

    Of both directions the larger, between points spread evenly over the surfaces.
    """
    from scipy.spatial import cKDTree

    one, other = _spread(a), _spread(b)
    forward = cKDTree(other).query(one[::10])[0]
    backward = cKDTree(one).query(other[::10])[0]
    return float(max(np.quantile(forward, 0.95), np.quantile(backward, 0.95)))


def _spread(mesh: Mesh, count: int = 40_000) -> Float[np.ndarray, "p 3"]:
    """Points on a surface, evenly by area and in random order."""
    corners = mesh.vertices[mesh.faces].astype(np.float64)
    area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
    random = seed_generator(0)
    faces = torch.multinomial(torch.from_numpy(area), count, replacement=True, generator=random).numpy()
    first, along = torch.rand(2, count, 1, generator=random, dtype=torch.float64).numpy()
    root = np.sqrt(first)
    p, q, r = corners[faces].transpose(1, 0, 2)
    return (1 - root) * p + root * (1 - along) * q + root * along * r


def colors_from(mesh: Mesh, true: Mesh, spread: float = 0.02) -> Float[np.ndarray, "v 3"]:
    """Colors of a mesh's vertices from the closest ones of another that face the same way.

    spread: what a difference in unit normals counts, in world units.
    """
    from scipy.spatial import cKDTree

    tree = cKDTree(np.concatenate([true.vertices, spread * true.normals], 1))
    return true.colors[tree.query(np.concatenate([mesh.vertices, spread * mesh.normals], 1))[1]]
