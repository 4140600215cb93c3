"""One topology over time: surfaces are followed, rigid motion is exact, and giving up is said aloud."""

from __future__ import annotations

import json
import logging
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.sparse import csr_array
from solids import ball_of_splats, ellipsoid, mesh_of, surface_of, torus

from vid4d.asset import Asset
from vid4d.cameras import Cameras
from vid4d.errors import InputError
from vid4d.export.filmed import Filmed, clip_of
from vid4d.export.meshes import mesh_times
from vid4d.export.options import ExportOptions
from vid4d.gaussians.metadata import AssetMetadata
from vid4d.meshing.deformation import (
    Adam,
    DeformationGraph,
    Pairs,
    TrackOptions,
    moved_by,
    rotation_gradient,
    rotations,
)
from vid4d.meshing.marching_cubes import MeshOptions
from vid4d.meshing.mesh_sequence import key_moment, mesh_sequence, steps_of
from vid4d.meshing.surface import Marks, centre_of, colors_at, surface_distance
from vid4d.meshing.tsdf import mesh_at

FEW = TrackOptions(nodes=120, steps=80, n_correspondence_updates=16, points=800)
TIMES = (0.0, 0.5, 1.0)


def growing(time: float):  # type: ignore[no-untyped-def]
    """An ellipsoid, dark below and bright above, that moves along y and stretches along z."""
    centre, radii = torch.tensor([0.0, 0.3 * (time - 0.5), 0.0]), torch.tensor([0.2, 0.15, 0.15 + 0.1 * time])
    shade = lambda p: (0.5 + p[:, 2:] / radii[2] * 0.4).expand(-1, 3)  # noqa: E731
    return surface_of(lambda p: ellipsoid(p, centre, radii), resolution=40, color=shade)


@pytest.fixture(scope="module")
def sequence():  # type: ignore[no-untyped-def]
    reports: list[int] = []
    sequence = mesh_sequence(growing, TIMES, 1500, FEW, report=reports.append)
    assert reports == [1, 3, 5, 6, 7, 8]
    assert steps_of(3) == 8
    return sequence


def test_a_moving_surface_is_followed(sequence):
    assert sequence.tracked
    assert max(sequence.distances) < 0.015
    first, middle, last = sequence.meshes
    assert np.array_equal(first.faces, middle.faces)
    assert np.array_equal(first.faces, last.faces)
    for mesh, time in zip(sequence.meshes, TIMES, strict=True):
        assert np.allclose(mesh.vertices.mean(0)[1], 0.3 * (time - 0.5), atol=0.012)
        assert np.ptp(mesh.vertices[:, 2]) == pytest.approx(2 * (0.15 + 0.1 * time), abs=0.02)


def test_vertices_stay_at_their_place_of_the_object(sequence):
    """Moved back and scaled, the last mesh is the first: nothing slid far along the surface."""
    first, _, last = sequence.meshes
    back = (last.vertices - [0, 0.3, 0]) * [1, 1, 0.15 / 0.25]
    off = np.linalg.norm(back - first.vertices, axis=1)
    assert np.median(off) < 0.02
    assert np.quantile(off, 0.95) < 0.06


def test_colors_and_normals_are_those_of_the_moment(sequence):
    for mesh, time in zip(sequence.meshes, TIMES, strict=True):
        true = 0.5 + mesh.vertices[:, 2] / (0.15 + 0.1 * time) * 0.4
        assert np.abs(mesh.colors[:, 0] - true).mean() < 0.02
        outward = (mesh.vertices - [0, 0.3 * (time - 0.5), 0]) / (0.2, 0.15, 0.15 + 0.1 * time)
        assert ((mesh.normals * outward).sum(1) > 0).mean() > 0.99


def test_what_changes_its_topology_keeps_a_mesh_per_moment_and_says_so(caplog):
    def source(time: float):  # type: ignore[no-untyped-def]
        far = torch.tensor([0.0, 0.0, 0.2])
        if time == 1:
            return surface_of(lambda p: torus(p, 0.35, 0.08), resolution=40)
        return surface_of(lambda p: (p - far).norm(dim=1) - 0.1, resolution=40)

    with caplog.at_level(logging.WARNING, "vid4d.export"):
        sequence = mesh_sequence(source, (0.0, 1.0), 1500, replace(FEW, steps=20, n_correspondence_updates=4))
    assert not sequence.tracked
    assert (sequence.starts, sequence.keys) == ((0, 1), (0, 1))
    assert sequence.distances == (0, 0)
    assert "the mesh is made anew at time 1.00" in caplog.text
    assert np.ptp(sequence.meshes[1].vertices[:, 0]) == pytest.approx(0.86, abs=0.02)


def test_only_where_the_topology_changes_is_the_mesh_made_anew():
    """A ball that moves for three moments, then a ring that moves for two: two parts, each with its faces."""

    def source(time: float):  # type: ignore[no-untyped-def]
        shift = torch.tensor([0.0, 0.05 * time, 0.0])
        if time > 2.5:
            return surface_of(lambda p: torus(p - shift, 0.35, 0.08), resolution=40)
        return surface_of(lambda p: (p - shift).norm(dim=1) - 0.2, resolution=40)

    sequence = mesh_sequence(source, (0.0, 1.0, 2.0, 3.0, 4.0), 1500, FEW)
    assert sequence.starts == (0, 3)
    assert [list(part) for part in sequence.parts] == [[0, 1, 2], [3, 4]]
    assert all(key in part for key, part in zip(sequence.keys, sequence.parts, strict=True))
    assert max(sequence.distances) < FEW.threshold
    for part in sequence.parts:
        assert all(np.array_equal(sequence.meshes[i].faces, sequence.meshes[part[0]].faces) for i in part)


def test_where_there_is_no_surface_half_way_steps_are_whole():
    def source(time: float):  # type: ignore[no-untyped-def]
        if time == 0.5:
            raise InputError("too faint")
        return surface_of(lambda p: (p - 0.1 * time).norm(dim=1) - 0.2, resolution=32)

    sequence = mesh_sequence(source, (0.0, 1.0), 1500, FEW)
    assert sequence.tracked
    moved = sequence.meshes[1]
    assert np.allclose(centre_of(moved.vertices, moved.faces), 0.1, atol=0.01)


def test_the_key_has_its_parts_apart():
    """A ring has a handle, a broken ring has none, though it has a little less of a surface."""

    def broken(p):  # type: ignore[no-untyped-def]
        gap = torch.where(p[:, 0] > 0, 0.04 - p[:, 1].abs(), torch.full_like(p[:, 0], -1.0))
        return torch.maximum(torus(p, 0.3, 0.06), gap)

    ring, split = (surface_of(shape, resolution=64) for shape in (lambda p: torus(p, 0.3, 0.06), broken))
    assert (ring.handles, split.handles) == (1, 0)
    assert key_moment([ring, split, ring]) == 1


def test_one_moment_is_one_mesh():
    sequence = mesh_sequence(growing, (0.5,), 1500, FEW)
    assert len(sequence.meshes) == 1
    assert sequence.distances == ()


def test_rotations_are_those_of_the_exponential():
    vectors = torch.tensor([[0.3, -1.2, 0.5], [0.0, 0.0, 1e-7], [2.0, 1.0, 0.0]], dtype=torch.float64)
    for vector, got in zip(vectors, rotations(vectors.numpy()), strict=True):
        x, y, z = vector.tolist()
        cross = torch.tensor([[0, -z, y], [z, 0, -x], [-y, x, 0]], dtype=torch.float64)
        np.testing.assert_allclose(got, torch.linalg.matrix_exp(cross), atol=1e-9)


def test_gradients_of_rotations_and_rigidity():
    """Against steps of a hundred thousandth, from a pose that turns and bends, and from rest."""
    graph = DeformationGraph.on(growing(0.0).mesh(300), replace(FEW, nodes=12))
    numbers = np.random.default_rng(0)
    toward = numbers.standard_normal((12, 3, 3))
    for size in (0.0, 0.8):
        pose = size * numbers.standard_normal((12, 6))

        def loss(pose: np.ndarray) -> float:
            turns = rotations(pose[:, :3])
            return float((toward * turns).sum()) + graph.rigidity(pose, turns)[0]

        _, by_turn, by_shift = graph.rigidity(pose, rotations(pose[:, :3]))
        got = np.concatenate([rotation_gradient(pose[:, :3], toward + by_turn), by_shift], 1)
        for at in np.ndindex(3, 6):
            step = np.zeros_like(pose)
            step[at] = 1e-5
            assert (loss(pose + step) - loss(pose - step)) / 2e-5 == pytest.approx(got[at], abs=2e-5)


def test_a_graph_moves_rigidly_where_its_nodes_do():
    mesh = growing(0.0).mesh(1500)
    graph = DeformationGraph.on(mesh, FEW)
    assert np.allclose(graph.deform(graph.rest()), mesh.vertices, atol=1e-6)
    assert np.allclose(graph.weights.sum(1), 1, atol=1e-5)
    turn = np.array([0.2, 0.4, -0.3])
    matrix, shift = rotations(turn[None])[0], np.array([0.1, -0.2, 0.3])
    turned = graph.nodes @ matrix.T + shift - graph.nodes
    pose = np.concatenate([np.broadcast_to(turn, turned.shape), turned], 1)
    expected = mesh.vertices @ matrix.T + shift
    assert np.allclose(graph.deform(pose), expected, atol=1e-5)
    assert graph.rigidity(pose, rotations(pose[:, :3]))[0] < 1e-10
    pose = pose * np.random.default_rng(0).random((len(pose), 1))
    turns = rotations(pose[:, :3])
    assert graph.rigidity(pose, turns)[0] > 1e-5
    some = np.arange(0, len(mesh.vertices), 7)
    there = graph.deform(pose)[some].T
    pairs = Pairs(graph.influence(some), mesh.vertices[some].T, there, mesh.normals[some].T)
    error, slope = pairs.error(graph.motions(pose, turns), 0.1)
    assert error < 1e-9, "points are where the graph takes them"
    assert np.abs(slope).max() < 1e-5


def test_the_error_of_pairs_and_its_gradient():
    """Against the formula written out, with numbers that change at every place."""
    matrix = np.array([[1.0, 0, 2], [0, 0, 3], [0, 4, 0], [5, 0, 0]])
    generator = torch.Generator().manual_seed(0)
    motions = torch.randn(3, 12, dtype=torch.float64, generator=generator, requires_grad=True)
    rest, points, normals = torch.randn(3, 4, 3, dtype=torch.float64, generator=generator)
    blended = torch.from_numpy(matrix) @ motions
    there = (blended[:, :9].view(-1, 3, 3) * rest[:, None]).sum(2) + blended[:, 9:]
    np.testing.assert_allclose(moved_by(blended.detach().numpy(), rest.numpy()), there.detach())
    offset = there - points
    squared = (offset * normals).sum(1).square() + 0.1 * offset.square().sum(1)
    expected = (squared / (1 + squared / 0.7**2)).mean()
    pairs = Pairs(csr_array(matrix), *(x.T.numpy() for x in (rest, points, normals)))
    error, slope = pairs.error(motions.detach().numpy(), 0.7)
    assert error == pytest.approx(expected.item(), rel=1e-12)
    (gradient,) = torch.autograd.grad(expected, motions)
    np.testing.assert_allclose(slope, gradient, rtol=1e-9, atol=1e-12)


def test_our_adam_is_adam():
    ours, theirs = np.array([1.0, -2.0]), torch.tensor([1.0, -2.0], dtype=torch.float64, requires_grad=True)
    adam, other = Adam(ours), torch.optim.Adam([theirs], lr=0.1)
    for _ in range(20):
        theirs.grad = torch.tensor([1.0, 30.0]) * theirs.detach()
        adam.step(np.array([1.0, 30.0]) * ours, 0.1)
        other.step()
    np.testing.assert_allclose(ours, theirs.detach(), atol=1e-9)


def test_nodes_of_parts_that_only_come_near_each_other_do_not_share_vertices():
    """A broken ring: its two ends face each other over a gap."""

    def broken(p):  # type: ignore[no-untyped-def]
        gap = 0.03 - p[:, 1].abs()
        return torch.maximum(torus(p, 0.3, 0.06), torch.where(p[:, 0] > 0, gap, gap - 1))

    mesh = mesh_of(broken, faces=2500, resolution=64, blur=0.0, smoothing=0)
    graph = DeformationGraph.on(mesh, FEW)
    above = (mesh.vertices[:, 1] > 0.02) & (mesh.vertices[:, 0] > 0.2)
    nodes = graph.nodes[graph.vertex_nodes[above]]
    near_gap = nodes[..., 0] > 0.2
    assert (nodes[..., 1][near_gap] > 0).all()


def test_distance_of_two_balls():
    """Concentric, radii 0.2 and 0.25: 0.05 apart everywhere; and from itself 0."""
    a, b = (mesh_of(lambda p, r=r: p.norm(dim=1) - r, faces=2000, resolution=40) for r in (0.2, 0.25))
    assert surface_distance(a, b) == pytest.approx(0.05, abs=0.006)
    assert surface_distance(b, a) == surface_distance(a, b)
    assert surface_distance(a, a) == 0
    moved = a.moved(a.vertices + np.float32([0.03, 0, 0]))
    assert 0.02 < surface_distance(a, moved) < 0.032


def test_colors_come_from_the_side_that_faces_the_same_way():
    """Of a thin wall, white in front and black behind, the back stays black."""
    mesh = growing(0.5).mesh(1500)
    black = np.zeros_like(mesh.colors)
    sides = [(mesh.vertices, mesh.normals, black + 1), (mesh.vertices, -mesh.normals, black)]
    marks = Marks(*(np.concatenate(parts) for parts in zip(*sides, strict=True)), np.zeros(3))
    assert (colors_at(mesh.vertices, mesh.normals, marks) == 1).all()
    assert (colors_at(mesh.vertices, -mesh.normals, marks) == 0).all()


def test_a_surface_becomes_a_mesh_in_the_colors_of_its_marks():
    surface = growing(0.5)
    mesh = surface.mesh(500)
    assert len(mesh.faces) <= 500 < len(surface.faces)
    assert surface_distance(mesh, surface) < 0.01
    shade = 0.5 + mesh.vertices[:, 2] / 0.2 * 0.4
    assert np.abs(mesh.colors[:, 0] - shade).max() < 0.05
    np.testing.assert_allclose(surface.marks.centre, 0, atol=2e-3)


def test_steps_are_halved_only_where_surfaces_are_far_apart():
    """A ball that jumps once: one surface more is asked for, half way of the jump."""
    asked: list[float] = []

    def source(time: float):  # type: ignore[no-untyped-def]
        asked.append(time)
        shift = 0.1 * float(time > 1.2) + 0.005 * time
        return surface_of(lambda p: (p - torch.tensor([shift, 0, 0])).norm(dim=1) - 0.2, resolution=32)

    sequence = mesh_sequence(source, (0.0, 1.0, 2.0, 3.0), 800, FEW)
    assert sequence.tracked
    assert asked == [0.0, 1.0, 2.0, 1.5, 3.0]
    shifts = [centre_of(mesh.vertices, mesh.faces)[0] for mesh in sequence.meshes]
    np.testing.assert_allclose(shifts, [0, 0.005, 0.11, 0.115], atol=0.008)


@pytest.fixture
def run(tmp_path):  # type: ignore[no-untyped-def]
    """A run folder that says how its clip was filmed: from 20 degrees above, 4 key frames."""
    camera = Cameras.orbit([0.0], 20.0, size=64)
    given = {
        "world_to_camera": camera.world_to_camera[0].tolist(),
        "focal": float(camera.focal[0]),
        "width": 64,
        "height": 64,
    }
    (tmp_path / "matrix").mkdir()
    filmed = {"camera": given, "times": [0.0, 1 / 3, 2 / 3, 1.0], "images": "input/{time}.png"}
    text = json.dumps({"views": [given], "images": "images/{time}.png", "input": filmed})
    (tmp_path / "matrix" / "cameras.json").write_text(text)
    return Asset(ball_of_splats(count=300), AssetMetadata(seconds=2.0), tmp_path / "asset.safetensors")


def test_the_run_knows_how_its_clip_was_filmed(run, caplog):
    filmed = clip_of(run)
    assert filmed is not None
    assert float(filmed.camera.elevation) == pytest.approx(20, abs=1e-3)
    assert filmed.times == (0.0, 1 / 3, 2 / 3, 1.0)
    assert clip_of(replace(run, path=run.root / "elsewhere" / "asset.safetensors")) is None
    assert not caplog.records
    (run.root / "frames").mkdir()
    told = {"times": [0, 1 / 3, 2 / 3, 1.0], "keys": [0, 2, 3], "seconds": 1, "cyclic": False}
    (run.root / "frames" / "clip.json").write_text(json.dumps(told))
    keyed = clip_of(run)
    assert keyed is not None
    assert keyed.times == (0.0, 2 / 3, 1.0)
    (run.root / "matrix" / "cameras.json").write_text('{"input": {"camera": {}}}')
    assert clip_of(run) is None
    assert "the clip's camera is not used" in caplog.text


@pytest.mark.parametrize(
    ("seconds", "frames", "count"), [(2.0, None, 19), (0.1, None, 4), (60.0, None, 46), (2.0, 7, 7)]
)
def test_key_frames_are_among_the_moments(run, seconds, frames, count):
    """3 spans between 4 key frames: 20 moments wanted are 18 spans, 2 are 3, 48 are 45."""
    asset = replace(run, metadata=AssetMetadata(seconds=seconds))
    plan = mesh_times(asset, clip_of(asset), ExportOptions(frames=frames))
    assert len(plan.times) == count
    assert plan.seconds == pytest.approx(seconds)
    if frames is None:
        assert all(np.abs(np.array(plan.times) - key).min() < 1e-9 for key in (0, 1 / 3, 2 / 3, 1))


def test_moments_of_loops_and_of_unknown_clips(run):
    loop = replace(run, gaussians=replace(run.gaussians, cyclic=True))
    filmed = Filmed(Cameras.orbit([0.0], 0.0), (0.0, 0.25, 0.5, 0.75))
    assert mesh_times(loop, filmed, ExportOptions()).times == tuple(i / 20 for i in range(20))
    assert len(mesh_times(run, None, ExportOptions()).times) == 20
    assert mesh_times(run, filmed, ExportOptions(time=0.3)).times == (0.3,)


def test_the_clips_own_view_counts_most_for_colors():
    """Splats that are black seen from -x, grey from the sides and white from +x: what a camera on -x sees
    becomes darker when it is trusted, and what it does not see stays as it was."""
    ball = ball_of_splats(count=1500)
    sh = torch.zeros(len(ball), 4, 1, 3)
    sh[:, 3] = 3.0
    shaded = replace(ball, sh=sh)
    options = MeshOptions(faces=10**6, resolution=32, views=24, size=64)
    camera = Cameras.orbit([180.0], 0.0, size=64)
    plain, reference = (mesh_at(shaded, 0.5, options, reference=c) for c in (None, camera))
    visible = (plain.normals[:, 0] < -0.5) & (plain.normals[:, 0] > -0.8)
    assert plain.colors[visible].mean() > 1.8 * reference.colors[visible].mean()
    unseen = plain.normals[:, 0] > 0.3
    assert np.allclose(plain.colors[unseen], reference.colors[unseen], atol=0.02)
