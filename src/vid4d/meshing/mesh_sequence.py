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

from vid4d.errors import InputError
from vid4d.meshing.deformation import DeformationGraph, TrackOptions, displace_to_surface
from vid4d.meshing.surface import Marks, Surface, colors_at, surface_distance
from vid4d.meshing.tsdf import Mesh

log = logging.getLogger("vid4d.export")

HANDLE = 0.05
"""What a handle (parts that touch make one) counts against a key, in shares of the largest surface."""
FAR = 0.035
"""World units: where one moment's surface is farther than this from the next one's, steps are halved."""
COMPARED = 3000
"""Marks of a surface by which that is measured."""


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
    source: Callable[[float], Surface],
    times: Sequence[float],
    faces: int,
    options: TrackOptions | None = None,
    *,
    report: Callable[[int], object] = lambda done: None,
) -> MeshSequence:
    """Meshes of a source (the surface of a clip time) at times, of at most so many faces, carried as far as
    that succeeds.

    Says in the log where it does not. On its way from a moment to one that is FAR a mesh is carried to the
    surface half way between them, which halves the steps. report: called with the work done, of `steps_of`.
    """
    options = options or TrackOptions()
    surfaces: list[Surface] = []
    between: list[Marks | None] = []
    for i, time in enumerate(times):
        surfaces.append(source(time))
        if i > 0:
            far = gap(surfaces[i - 1].marks, surfaces[i].marks) > FAR
            between.append(_or_none(source, (times[i - 1] + time) / 2) if far else None)
        report(2 * i + 1)
    if len(surfaces) == 1:
        return MeshSequence(tuple(times), (surfaces[0].mesh(faces),))
    parts = carry(surfaces, between, faces, options, report=lambda done: report(2 * len(surfaces) - 1 + done))
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


def _or_none(source: Callable[[float], Surface], time: float) -> Marks | None:
    """Half way between two moments an asset may be too faint for a surface."""
    try:
        return source(time).marks
    except InputError:
        return None


def gap(a: Marks, b: Marks) -> float:
    """The 98th percentile of the distance from marks of one surface to those of the other, world units.

    Of both directions the larger.
    """
    from scipy.spatial import cKDTree

    ways = (cKDTree(one.points).query(other.points[:COMPARED])[0] for one, other in ((a, b), (b, a)))
    return max(float(np.quantile(way, 0.98)) for way in ways)


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
    surfaces: Sequence[Surface],
    between: Sequence[Marks | None],
    faces: int,
    options: TrackOptions,
    *,
    report: Callable[[int], object] = lambda done: None,
) -> list[Part]:
    """As few parts as it takes, in the order of time.

    between: the surfaces half way from each moment to the next, where there are some. faces: at most so many
    of a mesh. report: called with the number of moments done.
    """
    size = max(float(np.linalg.norm(np.ptp(surface.vertices, axis=0))) for surface in surfaces)
    left: list[tuple[int, int]] = [(0, len(surfaces))]
    parts: list[Part] = []
    while left:
        begin, end = left.pop()
        done = sum(len(part.meshes) for part in parts)
        key = begin + key_moment(surfaces[begin:end])
        graph = DeformationGraph.on(surfaces[key].mesh(faces), options)
        found: dict[int, tuple[Mesh, float]] = {key: (graph.mesh, 0.0)}
        report(done + 1)
        for way in (range(key + 1, end), range(key - 1, begin - 1, -1)):
            stops = [(i, between[min(i, i - way.step)], surfaces[i].marks) for i in way]
            for i, carried in _carried(graph, stops, options):
                distance = surface_distance(carried, surfaces[i]) / size
                if distance > options.threshold:
                    break
                colors = colors_at(carried.vertices, carried.normals, surfaces[i].marks)
                found[i] = replace(carried, colors=colors), distance
                report(done + len(found))
        moments = sorted(found)
        carried_meshes, distances = zip(*(found[i] for i in moments), strict=True)
        parts.append(Part(moments[0], key, carried_meshes, distances))
        left += [some for some in ((begin, moments[0]), (moments[-1] + 1, end)) if some[0] < some[1]]
    return sorted(parts, key=lambda part: part.begin)


def _carried(
    graph: DeformationGraph, way: list[tuple[int, Marks | None, Marks]], options: TrackOptions
) -> Iterator[tuple[int, Mesh]]:
    """The graph's mesh at one moment after the other.

    way: of each moment its index, the surface half way to it, and its own. A step begins with some of the
    motion of the one before.
    """
    pose = graph.rest()
    motion = np.zeros_like(pose)  # of half a step
    for i, half_way, surface in way:
        halves = [surface] if half_way is None else [half_way, surface]
        for target in halves:
            share = 2 / len(halves)
            fitted = graph.fit(pose + share * options.momentum * motion, target, options)
            motion, pose = (fitted - pose) / share, fitted
        deformed = graph.mesh.moved(graph.deform(pose))
        yield i, graph.mesh.moved(displace_to_surface(deformed, surface))


def key_moment(surfaces: Sequence[Surface]) -> int:
    """The moment whose mesh is carried to the others.

    Parts that touch cannot be parted, so the one with the fewest handles and the most surface, but near the
    middle where that makes little difference.
    """
    area = np.array([surface.area for surface in surfaces])
    handles = np.array([surface.handles for surface in surfaces])
    middle = 1 - np.abs(np.linspace(-1, 1, len(surfaces)))
    return int(np.argmax(area / area.max() + 0.1 * middle - HANDLE * handles))
