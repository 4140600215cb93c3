"""Finished objects of other tools: read, turned to the first frame, carried by the clip's motion."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from clips import disc
from tiny_frustum import ship, slab
from tiny_runs import EFFICIENT as TINY

from vid4d import api
from vid4d.cameras import Cameras
from vid4d.conventions import axes
from vid4d.errors import InputError
from vid4d.export.glb import glb_bytes
from vid4d.gaussians.motion import MotionConfig, rendered
from vid4d.gaussians.sh import from_rgb, to_rgb
from vid4d.matrix.io import load_matrix
from vid4d.meshing.glb_file import Glb, Surface
from vid4d.meshing.marching_cubes import vertex_normals
from vid4d.meshing.mesh_sequence import MeshSequence
from vid4d.meshing.tsdf import Mesh
from vid4d.methods import canonical, carried, efficient4d
from vid4d.methods.canonical import around, fitted, in_colors_of, read_canonical, splats_on
from vid4d.runs.progress import Progress
from vid4d.settings import Settings

CORNERS = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], float)
SQUARES = ((0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3))
FACES = np.array([f for a, b, c, d in SQUARES for f in ((a, b, c), (a, c, d))])


def arrow(scale: float = 3.0) -> Mesh:
    """A red box that is long in x, a blue one on top of its +x end: no two sides look alike."""
    long = CORNERS * (0.5, 0.18, 0.15)
    tower = CORNERS * (0.15, 0.12, 0.2) + (0.35, 0.06, 0.3)
    vertices = np.concatenate([long, tower]).astype(np.float32) * scale + np.float32(7)
    faces = np.concatenate([FACES, FACES + 8])
    colors = np.repeat([[0.8, 0.2, 0.1], [0.1, 0.3, 0.9]], 8, 0)
    return Mesh(vertices, faces, vertex_normals(vertices, faces), colors)


def write_glb(path: Path, mesh: Mesh) -> Path:
    path.write_bytes(glb_bytes(MeshSequence((0.0,), (mesh,)), seconds=1.0, cyclic=False))
    return path


@pytest.fixture(autouse=True)
def few(monkeypatch):
    monkeypatch.setattr(canonical, "SPLATS", 2500)


@pytest.fixture(scope="module")
def glb(tmp_path_factory) -> Path:
    return write_glb(tmp_path_factory.mktemp("given") / "arrow.glb", arrow())


def shown(splats, turn: float, scale: float = 0.6, elevation: float = 10.0) -> torch.Tensor:
    """A picture of the object turned by degrees."""
    rotation = around(turn) * scale
    moved = type(splats)(
        splats.means @ rotation.T, rotation @ splats.covariances @ rotation.T, splats.opacities, splats.sh
    )
    return rendered([moved], Cameras.orbit([0.0], elevation, size=96))[0, 0]


def test_a_mesh_becomes_splats_on_its_surface(glb):
    splats = splats_on(Glb(glb).at(0.0), glb, 3000)
    low, high = splats.means.amin(0), splats.means.amax(0)
    assert float((high - low).max()) == pytest.approx(1.0, abs=0.03), "a unit long"
    torch.testing.assert_close((high + low)[:2] / 2, torch.zeros(2), atol=0.02, rtol=0)
    red, blue = (to_rgb(splats.sh[:, 0])[:, c] > 0.5 for c in (0, 2))
    assert bool((red ^ blue).all())
    assert float(splats.means[blue, 0].mean()) > 0.2
    assert float(splats.means[blue, 2].mean()) > float(splats.means[red, 2].mean())


def test_what_lies_inside_is_left_out():
    outer, inner = arrow(1.0), CORNERS * 0.1
    surfaces = [
        Surface((CORNERS * 0.5), FACES, np.full((8, 3), 0.5)),
        Surface(inner, FACES, np.tile([1.0, 0, 0], (8, 1))),
    ]
    splats = splats_on(surfaces, Path("box.glb"), 6000)
    assert float(to_rgb(splats.sh[:, 0])[:, 0].max()) < 0.6
    assert outer.faces.max() == 15


@pytest.mark.parametrize("turn", [0.0, 130.0])
def test_the_azimuth_is_found(glb, turn):
    splats, which = read_canonical(glb)
    found = fitted(splats, which, shown(splats, turn), 10.0)
    assert abs((found.azimuth - turn + 180) % 360 - 180) < 5
    assert found.overlap > 0.9
    assert found.up == "z-up"


def test_an_azimuth_that_is_told_is_taken(glb):
    splats, which = read_canonical(glb)
    told = fitted(splats, which, shown(splats, 130.0), 10.0, azimuth=40.0)
    assert told.azimuth == 40.0
    assert told.overlap < fitted(splats, which, shown(splats, 130.0), 10.0).overlap


def test_axes_of_splats_of_other_tools_are_found(glb):
    splats, _ = read_canonical(glb)
    picture, turn = shown(splats, 60.0), axes("y-down")
    theirs = type(splats)(
        splats.means @ turn.T, turn @ splats.covariances @ turn.T, splats.opacities, splats.sh
    )
    found = fitted(theirs, ("z-up", "y-up", "y-down"), picture, 10.0)
    assert found.up == "y-down"
    assert found.overlap > 0.9


def test_colors_become_those_of_the_clip(glb):
    splats, _ = read_canonical(glb)
    picture = shown(splats, 0.0)
    picture[..., :3] = picture[..., :3] * 0.5 + 0.1
    placed = fitted(splats, ("z-up",), picture, 10.0, azimuth=0.0).splats
    lit = to_rgb(in_colors_of(placed, picture, 10.0).sh[:, 0])
    expected = to_rgb(splats.sh[:, 0]) * 0.5 + 0.1
    assert float((lit - expected).abs().mean()) < 0.06
    assert torch.equal(from_rgb(lit).isfinite(), torch.ones_like(lit, dtype=torch.bool))


def no_faces(path: Path) -> None:
    """A GLB whose only triangle has no area."""
    document = {
        "asset": {"version": "2.0"},
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0}],
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0}}]}],
        "accessors": [{"bufferView": 0, "componentType": 5126, "count": 3, "type": "VEC3"}],
        "bufferViews": [{"buffer": 0, "byteLength": 36}],
        "buffers": [{"byteLength": 36}],
    }
    text = json.dumps(document).encode()
    text += b" " * (-len(text) % 4)
    chunks = struct.pack("<I4s", len(text), b"JSON") + text + struct.pack("<I4s", 36, b"BIN\0") + bytes(36)
    path.write_bytes(struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks)


@pytest.fixture
def tiny(monkeypatch):
    monkeypatch.setitem(efficient4d.PRESETS, "draft", TINY)
    monkeypatch.setattr(carried, "MOTION", MotionConfig(nodes=24, steps=25, rigid_steps=10, size=32))
    monkeypatch.setattr(carried, "SIZE", 64)
    ship(monkeypatch, slab())


def chosen(clip: Path, **settings) -> Settings:
    return Settings(clip=str(clip), preset="draft", device="cpu", cyclic="no", elevation=10.0, **settings)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("nowhere.glb", "there is no"),
        ("flat.glb", "no faces with an area"),
        ("text.glb", "text.glb is no"),
        ("object.obj", "a .glb, or a .ply"),
        ("folder", "is no run folder"),
    ],
)
def test_what_is_no_object_is_refused_before_anything_is_left(tiny, tmp_path, name, told):
    no_faces(tmp_path / "flat.glb")
    (tmp_path / "text.glb").write_text("no mesh at all, only words")
    (tmp_path / "object.obj").write_text("v 0 0 0")
    (tmp_path / "folder").mkdir()
    settings = chosen(disc(tmp_path / "disc", 3), canonical=str(tmp_path / name))
    with pytest.raises(InputError, match=told):
        api.make_matrix(settings, out=tmp_path / "a", resume=False, progress=Progress(quiet=True))
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"canonical_azimuth": 90.0}, "it belongs to --canonical"),
        ({"canonical": "a.glb", "method": "consistent4d"}, "--canonical has no effect"),
        ({"canonical": "a.glb", "canonical_azimuth": float("nan")}, "give degrees"),
        ({"canonical": "a.glb", "refine": True}, "knows the clip alone"),
    ],
)
def test_settings_that_do_not_go_together(settings, told):
    with pytest.raises(InputError, match=told):
        api.resolved(Settings(clip="a.mp4", **settings))


def test_a_sphere_takes_on_the_discs_motion(tiny, tmp_path):
    """The clip's disc rises; so does the sphere, seen from behind, where no frame shows it."""
    corners = CORNERS[FACES]
    for _ in range(2):
        half = (corners + np.roll(corners, 1, 1)) / 2
        parts = [np.stack([corners[:, i], half[:, i], half[:, (i + 1) % 3]], 1) for i in range(3)]
        corners = np.concatenate([*parts, half])
    unit = corners.reshape(-1, 3) / np.linalg.norm(corners.reshape(-1, 3), axis=1, keepdims=True)
    unit, faces = unit.astype(np.float32), np.arange(len(unit)).reshape(-1, 3)
    sphere = Mesh(unit, faces, unit, np.full((len(unit), 3), 0.4))
    settings = chosen(disc(tmp_path / "disc", 3), canonical=str(write_glb(tmp_path / "a.glb", sphere)))
    root = api.make_matrix(settings, out=tmp_path / "a", resume=False, progress=Progress(quiet=True))
    assert "fits the first frame when it is turned by" in (root / "log.txt").read_text()
    matrix = load_matrix(root / "matrix")
    torch.testing.assert_close(matrix.times, torch.tensor([0.0, 0.5, 1.0]))
    assert matrix.confidence is None
    behind = matrix.images[8, ..., 3]
    height = (behind * torch.arange(behind.shape[1])[:, None]).sum((1, 2)) / behind.sum((1, 2))
    assert height[0] > height[1] + 2 > height[2] + 4
