"""Distances of moving points, by hand; alignments that are known."""

from __future__ import annotations

import numpy as np
import pytest

from vid4d.metrics.chamfer import align, apply, chamfer, motion_distance, points_at, sample_surface

SQUARE = np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [1, 1, 0]])


def test_equal_sets_are_nowhere_apart_and_both_ways_are_added() -> None:
    assert chamfer(SQUARE, SQUARE) == 0
    assert chamfer(SQUARE, SQUARE + np.array([0, 0, 0.25])) == pytest.approx(0.5)
    assert chamfer(SQUARE[:1], SQUARE[:2]) == pytest.approx(0 + 0.5), "one way 0, the other (0 + 1) / 2"


def test_a_surface_that_slides_over_itself_moves_wrongly() -> None:
    """Corners swap places: every moment looks the same, and half of the time each point is 1 away."""
    swapped = SQUARE[[1, 0, 3, 2]]
    assert chamfer(SQUARE, swapped) == 0
    assert motion_distance([SQUARE, SQUARE], [SQUARE, SQUARE]) == 0
    assert motion_distance([SQUARE, swapped], [SQUARE, SQUARE]) == pytest.approx(2 * (0 + 1) / 2)


def test_a_known_similarity_is_found() -> None:
    points = np.random.default_rng(0).normal(size=(500, 3)) * (0.3, 0.2, 0.1)
    a = np.radians(12)
    turn = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    known = np.concatenate([1.1 * turn, [[0.03], [-0.02], [0.01]]], 1)
    found = align(points, apply(known, points))
    np.testing.assert_allclose(found, known, atol=1e-6)
    np.testing.assert_allclose(align(points, points), np.eye(3, 4), atol=1e-9)


def test_points_lie_evenly_on_the_surface() -> None:
    """Of two triangles, one three times as large, a quarter of the points lie on the smaller one."""
    vertices = np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1.0], [3, 0, 1], [0, 1, 1]])
    faces = np.array([[0, 1, 2], [3, 4, 5]])
    chosen, weights = sample_surface(vertices, faces, 20_000, np.random.default_rng(1))
    assert (chosen == 0).mean() == pytest.approx(0.25, abs=0.01)
    np.testing.assert_allclose(weights.sum(1), 1)
    points = points_at(vertices, faces, chosen, weights)
    np.testing.assert_allclose(points[chosen == 0].mean(0), [1 / 3, 1 / 3, 0], atol=0.01)
    np.testing.assert_allclose(points[:, 2], chosen, atol=1e-12)
    with pytest.raises(ValueError, match="without area"):
        sample_surface(vertices, faces[:, [0, 0, 0]], 5, np.random.default_rng(0))
