"""Meshes of many moments, with one topology for as long as that is true.

The mesh of one moment, the key, is carried to the others (`vid4d.meshing.deformation`). How far the carried
surface is from a moment's own is measured; where it is too far, the topology has changed, and another key
takes over there.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float

from vid4d.compute.randomness import seed_generator
from vid4d.errors import InputError
from vid4d.meshing.deformation import DeformationGraph, TrackOptions, displace_to_surface
from vid4d.meshing.tsdf import Mesh

log = logging.getLogger("vid4d.export")

HANDLE = 0.05
"""What a handle (parts that touch make one) counts against a key, in shares of the largest surface."""


@dataclass(frozen=True)
class MeshSequence:
    """Meshes at clip times in [0, 1].

    starts: where parts begin, rising from 0; the meshes of a part share their faces, and vertex i is the same
    place of the object in all of them. keys: the moment of each part whose mesh was carried to the others.
    distances: of the carried surface from that of each moment (`surface_distance`), as shares of the object's
    diagonal. Empty where there is one moment alone.
    """

    times: tuple[float, ...]
    meshes: tuple[Mesh, ...]
    starts: tuple[int, ...] = (0,)
    keys: tuple[int, ...] = (0,)
    distances: tuple[float, ...] = ()

    @property
    def parts(self) -> tuple[range, ...]:
        """The moments of each part."""
        ends = (*self.starts[1:], len(self.meshes))
        return tuple(range(a, b) for a, b in zip(self.starts, ends, strict=True))

    @property
    def tracked(self) -> bool:
        """All meshes share their faces."""
        return len(self.starts) == 1


def mesh_sequence(
    source: Callable[[float], Mesh],
    times: Sequence[float],
    options: TrackOptions | None = None,
    *,
    report: Callable[[int], object] = lambda done: None,
) -> MeshSequence:
    """Meshes of a source (the mesh of a clip time) at times, carried as far as that succeeds.

    Says in the log where it does not. On its way from a moment to the next a mesh is carried to the surface
    half way between them, which halves the steps. report: called with the work done, of `steps_of`.
    """
    options = options or TrackOptions()
    meshes: list[Mesh] = []
    between: list[Mesh | None] = []
    for i, time in enumerate(times):
        if i > 0:
            between.append(_or_none(source, (times[i - 1] + time) / 2))
        meshes.append(source(time))
        report(2 * i + 1)
    if len(meshes) == 1:
        return MeshSequence(tuple(times), tuple(meshes))
    parts = carry(meshes, options, between, report=lambda done: report(2 * len(meshes) - 1 + done))
    if len(parts) > 1:
        told = ", ".join(f"{times[part.begin]:.2f}" for part in parts[1:])
        log.warning(
            "the mesh is made anew at time %s: carried there it would be more than %.1f%% of the "
            "object's size away from the surface",
            told,
            100 * options.threshold,
        )
    return MeshSequence(
        tuple(times),
        tuple(mesh for part in parts for mesh in part.meshes),
        tuple(part.begin for part in parts),
        tuple(part.key for part in parts),
        tuple(distance for part in parts for distance in part.distances),
    )


def _or_none(source: Callable[[float], Mesh], time: float) -> Mesh | None:
    """Half way between two moments an asset may be too faint for a surface."""
    try:
        return source(time)
    except InputError:
        return None


def steps_of(moments: int) -> int:
    """Work of a `mesh_sequence` of so many moments: meshes made and meshes carried."""
    return 3 * moments - 1 if moments > 1 else 1


@dataclass(frozen=True)
class Part:
    """Moments with one topology, from `begin` on. key: the moment whose mesh it is. Else as in
    `MeshSequence`."""

    begin: int
    key: int
    meshes: tuple[Mesh, ...]
    distances: tuple[float, ...]


def carry(
    meshes: Sequence[Mesh],
    options: TrackOptions,
    between: Sequence[Mesh | None],
    *,
    report: Callable[[int], object] = lambda done: None,
) -> list[Part]:
    """As few parts as it takes, in the order of time.

    between: the surfaces half way from each moment to the next, where there are some. report: called with
    the number of moments done.
    """
    size = max(float(np.linalg.norm(np.ptp(mesh.vertices, axis=0))) for mesh in meshes)
    left: list[tuple[int, int]] = [(0, len(meshes))]
    parts: list[Part] = []
    while left:
        begin, end = left.pop()
        done = sum(len(part.meshes) for part in parts)
        key = begin + key_moment(meshes[begin:end])
        graph = DeformationGraph.on(meshes[key], options)
        found: dict[int, tuple[Mesh, float]] = {key: (meshes[key], 0.0)}
        report(done + 1)
        for way in (range(key + 1, end), range(key - 1, begin - 1, -1)):
            stops = [(i, between[min(i, i - way.step)], meshes[i]) for i in way]
            for i, carried in _carried(graph, stops, options):
                distance = surface_distance(carried, meshes[i]) / size
                if distance > options.threshold:
                    break
                found[i] = replace(carried, colors=colors_from(carried, meshes[i])), distance
                report(done + len(found))
        moments = sorted(found)
        carried_meshes, distances = zip(*(found[i] for i in moments), strict=True)
        parts.append(Part(moments[0], key, carried_meshes, distances))
        left += [some for some in ((begin, moments[0]), (moments[-1] + 1, end)) if some[0] < some[1]]
    return sorted(parts, key=lambda part: part.begin)


def _carried(
    graph: DeformationGraph, way: list[tuple[int, Mesh | None, Mesh]], options: TrackOptions
) -> Iterator[tuple[int, Mesh]]:
    """The graph's mesh at one moment after the other.

    way: of each moment its index, the surface half way to it, and its own. A step begins with some of the
    motion of the one before.
    """
    pose = graph.rest()
    motion = torch.zeros_like(pose)
    for i, half_way, surface in way:
        for target in (half_way, surface):
            if target is None:
                motion = torch.zeros_like(pose)  # that of half a step says little about a whole one
                continue
            fitted = graph.fit(pose + options.momentum * motion, target, options)
            motion, pose = fitted - pose, fitted
        deformed = graph.mesh.moved(graph.deform(pose))
        yield i, graph.mesh.moved(displace_to_surface(deformed, surface))


def key_moment(meshes: Sequence[Mesh]) -> int:
    """The moment whose mesh is carried to the others.

    Parts that touch cannot be parted, so the one with the fewest handles and the most surface, but near the
    middle where that makes little difference.
    """
    area = np.array([_area(mesh) for mesh in meshes])
    handles = np.array([_handles(mesh) for mesh in meshes])
    middle = 1 - np.abs(np.linspace(-1, 1, len(meshes)))
    return int(np.argmax(area / area.max() + 0.1 * middle - HANDLE * handles))


def _handles(mesh: Mesh) -> float:
    """The genus of a closed surface in one piece (Euler)."""
    edges = np.sort(mesh.faces[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), 1)
    count = len(np.unique(edges[:, 0] * len(mesh.vertices) + edges[:, 1]))
    return 1 - (len(np.unique(mesh.faces)) - count + len(mesh.faces)) / 2


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
