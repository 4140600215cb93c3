"""GLB: read back by hand, by trimesh and by Khronos' validator, and compared with the meshes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
from readers import Glb
from solids import ball_of_splats, ellipsoid, mesh_of

from vid4d.asset import Asset
from vid4d.export.formats import export
from vid4d.export.glb import glb_bytes, to_linear, to_y_up
from vid4d.export.options import ExportOptions
from vid4d.gaussians.metadata import AssetMetadata
from vid4d.meshing.mesh_sequence import MeshSequence

VALIDATE = """
const fs = require("fs");
require("gltf-validator").validateBytes(new Uint8Array(fs.readFileSync(process.argv[1])))
  .then((report) => console.log(JSON.stringify(report)));
"""


def validated(path: Path) -> dict:
    """The report of Khronos' validator; VID4D_NODE_MODULES is the folder it is installed in."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("no node on this machine: Khronos' validator cannot run")
    environment = dict(os.environ)
    if "VID4D_NODE_MODULES" in environment:
        environment["NODE_PATH"] = environment["VID4D_NODE_MODULES"]
    done = subprocess.run(
        [node, "-e", VALIDATE, str(path)], env=environment, capture_output=True, text=True, check=False
    )
    if "Cannot find module 'gltf-validator'" in done.stderr:
        pytest.skip("no gltf-validator: npm install it, and name its node_modules in VID4D_NODE_MODULES")
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def sequence() -> MeshSequence:
    """Three moments: at rest, moved by (0.1, 0.2, 0.3), and shrunk and darkened there."""
    radii = torch.tensor([0.3, 0.2, 0.1])
    mesh = mesh_of(lambda p: ellipsoid(p, torch.zeros(3), radii), faces=600, resolution=32)
    moved = mesh.moved(mesh.vertices + np.float32([0.1, 0.2, 0.3]))
    small = replace(mesh.moved(0.5 * moved.vertices), colors=0.5 * mesh.colors)
    return MeshSequence((0.0, 0.5, 1.0), (mesh, moved, small), distances=(0.0, 0.0, 0.0))


def test_morph_targets_are_the_moments(sequence):
    glb = Glb(glb_bytes(sequence, seconds=3.0))
    sampler = glb.json["animations"][0]["samplers"][0]
    times, weights = glb.array(sampler["input"]), glb.array(sampler["output"]).reshape(-1, 2)
    assert times.tolist() == [0.0, 1.5, 3.0]
    assert glb.json["animations"][0]["channels"][0]["target"] == {"node": 0, "path": "weights"}
    for mesh, weight in zip(sequence.meshes, weights, strict=True):
        there = glb.morphed(weight)
        assert np.allclose(there["POSITION"], to_y_up(mesh.vertices), atol=1e-6)
        assert np.allclose(there["NORMAL"], to_y_up(mesh.normals), atol=1e-5)
        assert np.allclose(there["COLOR_0"][:, :3], to_linear(mesh.colors), atol=1e-4)
        assert np.allclose(there["COLOR_0"][:, 3], 1, atol=1e-6)
    assert np.array_equal(
        glb.array(glb.json["meshes"][0]["primitives"][0]["indices"]).reshape(-1, 3), sequence.meshes[0].faces
    )
    assert glb.json["meshes"][0]["weights"] == [0, 0]


def test_a_loop_ends_where_it_began(sequence):
    loop = replace(sequence, times=(0.0, 1 / 3, 2 / 3))
    glb = Glb(glb_bytes(loop, seconds=3.0, cyclic=True))
    sampler = glb.json["animations"][0]["samplers"][0]
    assert np.allclose(glb.array(sampler["input"]), [0, 1, 2, 3])
    assert glb.array(sampler["output"]).reshape(-1, 2).tolist() == [[0, 0], [1, 0], [0, 1], [0, 0]]


def shown_at(glb: Glb, time: float) -> list[int]:
    """Nodes whose scale is 1."""
    shown = []
    for target, keys, scales, how in glb.samplers:
        if target["path"] == "scale":
            assert how == "STEP"
            if scales[max(0, int(np.searchsorted(keys, time, side="right")) - 1)].min() == 1:
                shown.append(target["node"])
    return shown


def test_meshes_of_their_own_are_shown_one_at_a_time(sequence):
    """Each as long as it is the nearest in time."""
    glb = Glb(glb_bytes(replace(sequence, starts=(0, 1, 2), keys=(0, 1, 2)), seconds=4.0))
    assert len(glb.json["meshes"]) == 3
    assert [node.get("scale") for node in glb.json["nodes"]] == [None, [0, 0, 0], [0, 0, 0]]
    for time, node in ((0.0, 0), (0.9, 0), (1.1, 1), (2.0, 1), (2.9, 1), (3.1, 2), (4.0, 2), (9.0, 2)):
        assert shown_at(glb, time) == [node]


def test_a_part_moves_until_another_takes_over(sequence):
    glb = Glb(glb_bytes(replace(sequence, starts=(0, 2), keys=(0, 2)), seconds=4.0))
    assert [len(m["primitives"][0].get("targets", [])) for m in glb.json["meshes"]] == [1, 0]
    assert [shown_at(glb, time) for time in (0.0, 2.0, 2.9, 3.1, 4.0)] == [[0], [0], [0], [1], [1]]
    for time, mesh in zip((0.0, 2.0, 4.0), sequence.meshes, strict=True):
        assert np.allclose(glb.at(time)[0], to_y_up(mesh.vertices), atol=1e-6)


def test_axes_turn_and_colors_become_linear():
    """The front (+x) is +z there, up (+z) is +y, and right stays right-handed."""
    x, y, z = to_y_up(np.eye(3))
    assert (x.tolist(), z.tolist()) == ([0, 0, 1], [0, 1, 0])
    assert np.allclose(np.cross(x, y), z)
    assert np.allclose(to_linear(np.array([0.0, 0.02, 0.5, 1.0])), [0, 0.001548, 0.214041, 1], atol=1e-6)


@pytest.mark.parametrize("kind", ["tracked", "of their own", "one"])
def test_the_validator_has_nothing_to_say(sequence, kind, tmp_path):
    if kind == "one":
        sequence = MeshSequence((0.5,), sequence.meshes[:1])
    if kind == "of their own":
        sequence = replace(sequence, starts=(0, 1, 2), keys=(0, 1, 2))
    path = tmp_path / "a.glb"
    path.write_bytes(glb_bytes(sequence, seconds=0.7))
    report = validated(path)
    assert report["issues"]["messages"] == []
    assert report["info"]["totalTriangleCount"] == len(sequence.meshes[0].faces) * (
        3 if kind == "of their own" else 1
    )
    assert report["info"]["hasMorphTargets"] == (kind == "tracked")
    assert report["info"]["animationCount"] == (0 if kind == "one" else 1)


def test_an_asset_is_read_back_by_trimesh(tmp_path):
    """A ball that moves along y: volume, place and colors at the beginning, motion in the morph targets."""
    ball = ball_of_splats(radius=0.2, count=1200, sigma=0.012, velocity=0.3)
    asset = Asset(ball, AssetMetadata(seconds=2.0), tmp_path / "asset.safetensors")
    done = []
    options = ExportOptions(frames=2, faces=1500, texture=0, report=lambda *told: done.append(told))
    [path] = export(asset, "glb", tmp_path / "ball.glb", options)
    assert done[-1] == (5, 5)
    scene = trimesh.load(path)
    [mesh] = scene.geometry.values()
    assert mesh.is_watertight
    assert mesh.volume == pytest.approx(4 / 3 * np.pi * 0.213**3, rel=0.1)
    assert np.allclose(mesh.center_mass, [-0.15, 0, 0], atol=0.01)  # our y is x there
    unit = (mesh.vertices - mesh.center_mass) / 0.215
    srgb = np.c_[unit[:, 2], unit[:, 0], unit[:, 1]] * 0.45 + 0.5
    assert np.abs(mesh.visual.vertex_attributes["color"][:, :3] / 65_535 - to_linear(srgb)).mean() < 0.04
    glb = Glb(path.read_bytes())
    first, last = (glb.morphed(np.array([weight]))["POSITION"] for weight in (0.0, 1.0))
    assert np.allclose(last.mean(0) - first.mean(0), [0.3, 0, 0], atol=0.015)
    assert glb.array(glb.json["animations"][0]["samplers"][0]["input"]).tolist() == [0, 2]
