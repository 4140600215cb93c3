"""OBJ: numbered files, read back by trimesh."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest
import trimesh
from solids import ball_of_splats, mesh_of

from vid4d.asset import Asset
from vid4d.errors import InputError
from vid4d.export.formats import export
from vid4d.export.glb import to_y_up
from vid4d.export.obj import obj_text
from vid4d.export.options import ExportOptions
from vid4d.gaussians.metadata import AssetMetadata


def test_text_is_read_back(tmp_path):
    mesh = mesh_of(lambda p: p.norm(dim=1) - 0.3, faces=500, resolution=32)
    path = tmp_path / "a.obj"
    path.write_text(obj_text(mesh, ("two", "comments")))
    assert path.read_text().startswith("# two\n# comments\no object\nv ")
    read = trimesh.load(path, process=False, maintain_order=True)
    assert np.allclose(read.vertices, to_y_up(mesh.vertices), atol=1e-6)
    assert np.array_equal(read.faces, mesh.faces)
    assert np.allclose(read.vertex_normals, to_y_up(mesh.normals), atol=1e-3)
    assert np.abs(read.visual.vertex_colors[:, :3] / 255 - mesh.colors).max() < 0.005


@pytest.fixture
def asset(tmp_path):
    ball = ball_of_splats(radius=0.2, count=1000, sigma=0.014, velocity=0.3)
    return Asset(ball, AssetMetadata(seconds=2.0), tmp_path / "asset.safetensors")


def test_a_sequence_of_files_with_the_same_faces(asset, tmp_path):
    files = export(asset, "obj", tmp_path / "balls", ExportOptions(frames=2, faces=1000))
    assert [f.name for f in files] == [*(f"frame_{i:04}.obj" for i in range(2)), "times.json"]
    metadata = json.loads(files[-1].read_text())
    assert metadata["fps"] == 1
    assert metadata["same_faces"] is True
    assert [f["time"] for f in metadata["frames"]] == [0, 1]
    balls = [trimesh.load(f, process=False, maintain_order=True) for f in files[:-1]]
    for ball, x in zip(balls, (-0.15, 0.15), strict=True):
        assert ball.is_watertight
        assert np.array_equal(ball.faces, balls[0].faces)
        assert np.allclose(ball.center_mass, [x, 0, 0], atol=0.012)


def test_one_moment_is_one_file(asset, tmp_path):
    done = []
    options = ExportOptions(time=1.0, faces=1000, report=lambda *told: done.append(told))
    [path] = export(asset, "obj", tmp_path / "ball.obj", options)
    assert done == [(1, 1)]
    ball = trimesh.load(path)
    assert len(ball.faces) <= 1000
    assert np.allclose(ball.center_mass, [0.15, 0, 0], atol=0.01)
    front = ball.visual.vertex_colors[np.argmax(ball.vertices[:, 2])]
    assert front[0] > 200  # red is in front


@pytest.mark.parametrize(
    ("module", "package"),
    [("skimage.measure", "scikit-image"), ("fast_simplification", "fast-simplification")],
)
def test_a_missing_package_is_named_and_nothing_is_left(asset, tmp_path, monkeypatch, module, package):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(InputError, match=rf"needs {package}, which is not installed"):
        export(asset, "obj", tmp_path / "ball.obj", ExportOptions(time=0.5, faces=1000))
    assert list(tmp_path.iterdir()) == []
