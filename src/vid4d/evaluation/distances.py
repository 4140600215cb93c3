"""Distances of moving meshes: CD-3D, CD-4D and motion, as ActionMesh (2601.16148) names them.

Points are drawn evenly over both surfaces. CD-3D: Chamfer distance after the best similarity of each moment
by itself: shape. CD-4D: after that of the first moment, kept: shape and where it goes. Motion: likewise, with
partners kept from the first moment: whether the right places move. ActionMesh's own numbers differ: it draws
100,000 points, and its alignment may stretch each axis by itself and starts from 24 directions.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from vid4d.meshing.glb_file import Surface
from vid4d.metrics.chamfer import align, apply, chamfer, motion_distance, points_at, sample_surface

POINTS = 10_000
SEED = 0

Cloud = Float[np.ndarray, "_ 3"]


def mesh_distances(judged: Sequence[list[Surface]], truth: Sequence[list[Surface]]) -> dict[str, float]:
    """cd_3d, cd_4d and, where both keep their faces over time, cd_motion; world units, means over moments."""
    rng = np.random.default_rng(SEED)
    ours, true = (_clouds(one, rng) for one in (judged, truth))
    fixed = align(ours[0], true[0])
    followed = [apply(fixed, p) for p in ours]
    result = {
        "cd_3d": _mean([chamfer(apply(align(p, q), p), q) for p, q in zip(ours, true, strict=True)]),
        "cd_4d": _mean([chamfer(p, q) for p, q in zip(followed, true, strict=True)]),
    }
    if tracked(judged) and tracked(truth):
        result["cd_motion"] = motion_distance(followed, true)
    return result


def tracked(every: Sequence[list[Surface]]) -> bool:
    """Whether all moments have the same faces, so that a vertex is one place of the object."""
    first = every[0]
    return all(
        len(one) == len(first)
        and all(
            len(a.vertices) == len(b.vertices) and np.array_equal(a.faces, b.faces)
            for a, b in zip(one, first, strict=True)
        )
        for one in every[1:]
    )


def _clouds(every: Sequence[list[Surface]], rng: np.random.Generator) -> list[Cloud]:
    """Points of every moment; of meshes that are tracked the same places at all moments."""
    joined = [_joined(one) for one in every]
    if tracked(every):
        chosen = sample_surface(*joined[0], POINTS, rng)
        return [points_at(*mesh, *chosen) for mesh in joined]
    return [points_at(*mesh, *sample_surface(*mesh, POINTS, rng)) for mesh in joined]


def _joined(surfaces: list[Surface]) -> tuple[np.ndarray, np.ndarray]:
    """Vertices and faces of all parts."""
    starts = np.cumsum([0, *(len(s.vertices) for s in surfaces)])[:-1]
    faces = [s.faces + start for s, start in zip(surfaces, starts, strict=True)]
    return np.concatenate([s.vertices for s in surfaces]), np.concatenate(faces)


def _mean(values: list[float]) -> float:
    return float(np.mean(values))
