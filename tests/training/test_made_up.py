"""Made-up things: the same from the same number, whole, within their ball, moving, of every body."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from vid4d.cameras import Cameras
from vid4d.training.made_up.animals import snake
from vid4d.training.made_up.body import MIRROR, POSES, Body, Grid, Hinge, Part, along, turn
from vid4d.training.made_up.coats import texture
from vid4d.training.made_up.plants import flower, tree, vessel
from vid4d.training.made_up.things import PLANS, thing
from vid4d.training.mesh_render import fit_to_frame, render_meshes
from vid4d.training.meshes import MeshBank

SOME = 24


def hinge(pivot: tuple[float, float, float], axis: tuple[float, float, float]) -> Hinge:
    """One motion, a quarter turn to and fro."""
    return Hinge(np.array(pivot, float), np.array(axis, float), np.zeros(1), np.full(1, math.pi / 2))


def test_a_hinge_by_hand() -> None:
    part = Part(np.array([[1.0, 0.0, 0.0]]), 0, (hinge((0, 0, 0), (0, 0, 1)),))
    posed = part.posed(1)[:, 0]
    assert posed.shape == (POSES, 3)
    np.testing.assert_allclose(posed[0], [1, 0, 0], atol=1e-12)
    np.testing.assert_allclose(posed[POSES // 4], [0, 1, 0], atol=1e-12)  # sin is 1: turned by 90 degrees
    np.testing.assert_allclose(posed[3 * POSES // 4], [0, -1, 0], atol=1e-12)


def test_the_joint_of_a_part_comes_before_that_of_its_body() -> None:
    own, body = hinge((1, 0, 0), (0, 0, 1)), hinge((0, 0, 0), (0, 0, 1))
    posed = Part(np.array([[2.0, 0.0, 0.0]]), 0, (own, body)).posed(1)[POSES // 4, 0]
    # about (1, 0, 0) to (1, 1, 0), then about the origin to (-1, 1, 0)
    np.testing.assert_allclose(posed, [-1, 1, 0], atol=1e-12)


def test_a_mirrored_part_moves_as_a_mirror_image() -> None:
    part = Part(np.array([[0.3, 0.5, 0.2]]), 0, (hinge((0.1, 0.4, 0.1), (0.2, 0.5, 1.0)),))
    np.testing.assert_allclose(part.mirrored(0.0).posed(1), part.posed(1) * MIRROR, atol=1e-12)
    late = part.mirrored(0.25).posed(1)
    np.testing.assert_allclose(np.roll(late, -POSES // 4, 0), part.posed(1) * MIRROR, atol=1e-12)


def test_a_joint_in_the_middle_moves_both_sides_alike() -> None:
    middle = hinge((0.1, 0, 0.1), (0, 0, 1))
    assert middle.mirrored(0.5) is middle


def test_directions() -> None:
    for direction in ((0, 0, 1), (1, 0, 0), (0, 1, 0), (-0.3, 0.2, -0.9)):
        frame = along(direction)
        np.testing.assert_allclose(frame[:, 2], np.array(direction) / np.linalg.norm(direction), atol=1e-12)
        np.testing.assert_allclose(frame.T @ frame, np.eye(3), atol=1e-12)
        assert np.linalg.det(frame) == pytest.approx(1)
    np.testing.assert_allclose(turn("y", 90) @ [1, 0, 0], [0, 0, -1], atol=1e-12)  # the nose goes down


def test_a_surface_is_closed_and_has_its_volume() -> None:
    grid = Grid(24, 32)
    points, (faces, _) = grid.surface((0.2, 0.3, 0.5)), grid.faces()
    corners = points[faces]
    volume = np.linalg.det(corners).sum() / 6
    assert volume == pytest.approx(4 / 3 * math.pi * 0.2 * 0.3 * 0.5, rel=0.02)  # and faces look outwards
    uv_faces = grid.faces()[1]
    assert uv_faces.max() == len(grid.uv()) - 1
    assert faces.max() == len(points) - 1


def test_the_same_number_is_the_same_thing() -> None:
    first, again, other = thing(3), thing(3), thing(4)
    assert np.array_equal(first.poses, again.poses)
    assert np.array_equal(first.texture, again.texture)
    assert first.poses.shape != other.poses.shape or not np.array_equal(first.poses, other.poses)


@pytest.mark.parametrize(
    "plan", [p for p in PLANS if p not in (snake, flower, tree, vessel)], ids=lambda plan: plan.__name__
)
def test_every_body_has_two_sides(plan) -> None:  # type: ignore[no-untyped-def]
    """At rest, most of what is on the left is on the right as well."""
    for seed in range(4):
        body = Body(np.random.default_rng(seed), Grid(5, 6))
        plan(body)
        points = np.concatenate([part.points for part in body.parts])
        assert np.isfinite(points).all()
        left = points[points[:, 1] > 0.02]
        nearest = [np.linalg.norm(points * MIRROR - p, axis=1).min() for p in left[::7]]
        assert np.mean(np.array(nearest) < 0.05) > 0.8


@pytest.mark.parametrize("plan", [flower, tree, vessel])
def test_plants_and_vessels_stand_and_are_wide_in_all_directions(plan) -> None:  # type: ignore[no-untyped-def]
    for seed in range(6):
        body = Body(np.random.default_rng(seed), Grid(5, 6))
        plan(body)
        points = np.concatenate([part.points for part in body.parts])
        assert np.isfinite(points).all()
        wide, deep, _ = np.ptp(points, axis=0)
        assert 0.4 < wide / deep < 2.5


def test_things_move_within_their_ball_and_can_be_seen() -> None:
    things = [thing(i) for i in range(SOME)]
    for made in things:
        assert made.poses.shape[0] == 2 * POSES
        assert np.isfinite(made.poses).all()
        assert np.linalg.norm(made.poses, axis=2).max() == pytest.approx(0.5, abs=1e-5)
        assert np.abs(made.poses[0] - made.poses[POSES // 4]).max() > 0.002
        assert made.faces.max() < made.poses.shape[1]
        assert made.uv_faces.max() < len(made.uv)
        assert 0 <= made.uv.min() < made.uv.max() <= 1
    camera = Cameras.orbit([30.0] * SOME, 15.0, size=48)
    numbers = torch.arange(SOME)
    batch = fit_to_frame(MeshBank(things).batch(numbers, numbers % POSES), camera)
    alpha = render_meshes(batch, camera, numbers)[..., 3]
    assert float(alpha.mean((1, 2)).min()) > 0.03, "none is a thread or a speck"


def test_coats_differ_and_hold_a_tile_for_every_use() -> None:
    coats = [texture(np.random.default_rng(i)) for i in range(4)]
    assert all(coat.shape[0] == 7 * coat.shape[1] and coat.shape[2] == 4 for coat in coats)
    assert all((coat[..., 3] == 255).all() for coat in coats)
    assert len({tuple(coat[0, 0]) for coat in coats}) > 1
