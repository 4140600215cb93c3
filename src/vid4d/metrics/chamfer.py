"""Distances of moving surfaces as points: Chamfer at every moment, over time, and of what moves together."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

Points = Float[np.ndarray, "_ 3"]

ICP_ROUNDS = 40
ICP_STILL = 1e-7
"""World units: rounds end where the mean distance changes by less."""


def chamfer(a: Points, b: Points) -> float:
    """Mean distance to the nearest point of the other set, both ways added up; not squared, world units."""
    return float(_nearest(a, b)[0].mean() + _nearest(b, a)[0].mean())


def motion_distance(moving: Sequence[Points], truth: Sequence[Points]) -> float:
    """How far matched points drift apart, mean over time, both ways added up; world units.

    Each point's partner is the nearest one at the first moment and stays that; point i is the same place of
    the object at all moments. Zero where a thing equals its truth, and large where its surface is right but
    slides over it.
    """
    total = 0.0
    for some, others in ((moving, truth), (truth, moving)):
        partner = _nearest(some[0], others[0])[1]
        steps = [np.linalg.norm(s - o[partner], axis=1).mean() for s, o in zip(some, others, strict=True)]
        total += float(np.mean(steps))
    return total


def align(a: Points, b: Points) -> Float[np.ndarray, "3 4"]:
    """The similarity (rotation, one scale, shift) that brings a onto b by iterated closest points from where
    it is (Besl and McKay 1992; Umeyama 1991), partners taken both ways so that scale does not shrink.

    Finds the nearest optimum only: things that are turned around are to be placed before.
    """
    found = np.eye(3, 4)
    before = np.inf
    for _ in range(ICP_ROUNDS):
        moved = apply(found, a)
        (there, to), (back, fro) = _nearest(moved, b), _nearest(b, moved)
        error = float(there.mean() + back.mean())
        if before - error < ICP_STILL:
            break
        before, best = error, found
        found = _similarity(np.concatenate([a, a[fro]]), np.concatenate([b[to], b]))
    return best


def apply(transform: Float[np.ndarray, "3 4"], points: Points) -> Points:
    """Points under an affine map."""
    return points @ transform[:, :3].T + transform[:, 3]


def _similarity(a: Points, b: Points) -> Float[np.ndarray, "3 4"]:
    """Least squares, of pairs (Umeyama 1991, equations 40 to 42)."""
    mean_a, mean_b = a.mean(0), b.mean(0)
    x, y = a - mean_a, b - mean_b
    u, d, vt = np.linalg.svd(y.T @ x / len(a))
    sign = np.array([1, 1, np.sign(np.linalg.det(u) * np.linalg.det(vt))])
    rotation = (u * sign) @ vt
    variance = (x**2).sum(1).mean()
    scale = float((d * sign).sum() / variance) if variance > 0 else 1.0
    return np.concatenate([scale * rotation, (mean_b - scale * rotation @ mean_a)[:, None]], 1)


def _nearest(a: Points, b: Points) -> tuple[Float[np.ndarray, " _"], Int[np.ndarray, " _"]]:
    """For each point of a the distance to the nearest one of b, and which that is."""
    from scipy.spatial import cKDTree

    distance, index = cKDTree(b).query(a)
    return distance, index


def sample_surface(
    vertices: Float[np.ndarray, "v 3"], faces: Int[np.ndarray, "f 3"], count: int, rng: np.random.Generator
) -> tuple[Int[np.ndarray, " n"], Float[np.ndarray, "n 3"]]:
    """Points drawn evenly over a surface: the face of each, and its weights for that face's corners."""
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    area = np.linalg.norm(np.cross(b - a, c - a), axis=1)
    if not area.sum() > 0:
        raise ValueError("a surface without area has no points")
    chosen = rng.choice(len(faces), count, p=area / area.sum())
    u, v = rng.random((2, count))
    root = np.sqrt(u)
    return chosen, np.stack([1 - root, root * (1 - v), root * v], 1)


def points_at(
    vertices: Float[np.ndarray, "v 3"],
    faces: Int[np.ndarray, "f 3"],
    chosen: Int[np.ndarray, " n"],
    weights: Float[np.ndarray, "n 3"],
) -> Float[np.ndarray, "n 3"]:
    """The points of `sample_surface` on another pose of the same faces."""
    return np.einsum("nk,nkd->nd", weights, vertices[faces[chosen]])
