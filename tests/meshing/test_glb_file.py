"""GLB files: ours, trimesh's, and ones made by hand for what glTF says of nodes, morphs, skins and keys."""

from __future__ import annotations

import json
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trimesh
from mesh_shapes import CORNERS, CUBE_FACES

from vid4d.cameras import Cameras
from vid4d.errors import InputError
from vid4d.evaluation.distances import mesh_distances, tracked
from vid4d.evaluation.evaluate import evaluate
from vid4d.evaluation.meshes import MeshSequence
from vid4d.evaluation.placement import Placement
from vid4d.evaluation.protocol import PROTOCOLS
from vid4d.evaluation.seen import Moments
from vid4d.export.glb import glb_bytes
from vid4d.meshing.glb_file import Glb
from vid4d.meshing.marching_cubes import vertex_normals
from vid4d.meshing.mesh_sequence import MeshSequence as Exported
from vid4d.meshing.tsdf import Mesh
from vid4d.runs.progress import Progress

KINDS = {"f": 5126, "u": 5125}
WIDTHS = {1: "SCALAR", 2: "VEC2", 3: "VEC3", 4: "VEC4", 16: "MAT4"}
TRIANGLE = np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0]])


class Made:
    """A GLB by hand: arrays become accessors, the rest is JSON."""

    def __init__(self, **document: Any) -> None:
        self.json = {"asset": {"version": "2.0"}, "accessors": [], "bufferViews": [], **document}
        self.buffer = b""

    def array(self, values: Any) -> int:
        table = np.asarray(values)
        table = table.astype("<u4" if table.dtype.kind in "iu" else "<f4")
        flat = table.reshape(len(table), -1)
        self.json["bufferViews"].append(
            {"buffer": 0, "byteOffset": len(self.buffer), "byteLength": table.nbytes}
        )
        self.buffer += table.tobytes()
        self.json["accessors"].append(
            {
                "bufferView": len(self.json["bufferViews"]) - 1,
                "componentType": KINDS[table.dtype.kind],
                "count": len(table),
                "type": WIDTHS[flat.shape[1]],
            }
        )
        return len(self.json["accessors"]) - 1

    def write(self, path: Path) -> Path:
        text = json.dumps(self.json | {"buffers": [{"byteLength": len(self.buffer)}]}).encode()
        text += b" " * (-len(text) % 4)
        head = struct.pack("<4sII", b"glTF", 2, 28 + len(text) + len(self.buffer))
        parts = struct.pack("<I4s", len(text), b"JSON") + text
        path.write_bytes(head + parts + struct.pack("<I4s", len(self.buffer), b"BIN\0") + self.buffer)
        return path


def moving(path: Path, target: str, keys: list[float], values: Any, how: str, **node: Any) -> Glb:
    made = Made(nodes=[{"mesh": 0, **node}], scenes=[{"nodes": [0]}], scene=0)
    made.json["meshes"] = [{"primitives": [{"attributes": {"POSITION": made.array(TRIANGLE)}}]}]
    sampler = {"input": made.array(np.array(keys)), "output": made.array(values), "interpolation": how}
    channel = {"sampler": 0, "target": {"node": 0, "path": target}}
    made.json["animations"] = [{"samplers": [sampler], "channels": [channel]}]
    return Glb(made.write(path))


def where(glb: Glb, seconds: float) -> np.ndarray:
    """Vertices in the file's axes."""
    (surface,) = glb.at(seconds)
    return surface.vertices[:, [1, 2, 0]]


def box_sequence(cyclic: bool = False) -> Exported:
    """A blue box that moves along x, 4 moments."""
    meshes = []
    for i in range(4):
        points = CORNERS.astype(np.float64) * (0.2, 0.3, 0.1) + (0.1 * i, 0, 0)
        meshes.append(
            Mesh(points, CUBE_FACES, vertex_normals(points, CUBE_FACES), np.tile([0, 0.2, 0.8], (8, 1)))
        )
    return Exported((0, 0.25, 0.5, 0.75) if cyclic else (0, 1 / 3, 2 / 3, 1), tuple(meshes))


def test_what_we_export_comes_back(tmp_path):
    sequence = box_sequence()
    path = tmp_path / "box.glb"
    path.write_bytes(glb_bytes(sequence, seconds=1.5))
    glb = Glb(path)
    assert glb.seconds == 1.5
    for time, mesh in zip(sequence.times, sequence.meshes, strict=True):
        (surface,) = glb.at(time * 1.5)
        np.testing.assert_allclose(surface.vertices, mesh.vertices, atol=1e-6)
        np.testing.assert_array_equal(surface.faces, mesh.faces)
        np.testing.assert_allclose(surface.colors, mesh.colors, atol=1e-3)
    (between,) = glb.at(0.25)
    assert between.vertices[:, 0].mean() == pytest.approx(0.05)


def test_keys_linear_step_and_cubic(tmp_path):
    path, ends = tmp_path / "a.glb", [[0.0, 0, 0], [2, 0, 0]]
    linear = moving(path, "translation", [1.0, 3.0], ends, "LINEAR")
    found = [where(linear, s)[0, 0] for s in (0, 1, 1.5, 3, 9)]
    assert found == [0, 0, 0.5, 2, 2]
    step = moving(path, "translation", [1.0, 3.0], ends, "STEP")
    assert [where(step, s)[0, 0] for s in (0, 2.9, 3)] == [0, 0, 2]
    flat = np.zeros((2, 3, 3))
    flat[1, 1, 0] = 2
    cubic = moving(path, "translation", [1.0, 3.0], flat.reshape(6, 3), "CUBICSPLINE")
    assert where(cubic, 2.0)[0, 0] == pytest.approx(1)
    assert where(cubic, 1.5)[0, 0] == pytest.approx(2 * (3 * 0.25**2 - 2 * 0.25**3)), "flat at both ends"


def test_rotations_go_the_shorter_way_round(tmp_path):
    """From 0 to 90 degrees about z; the second quaternion is given with the other sign."""
    half = 0.5**0.5
    glb = moving(tmp_path / "a.glb", "rotation", [0.0, 1.0], [[0, 0, 0, 1], [0, 0, -half, -half]], "LINEAR")
    np.testing.assert_allclose(where(glb, 1.0)[1], [0, 1, 0], atol=1e-6)
    np.testing.assert_allclose(where(glb, 0.5)[1], [half, half, 0], atol=1e-6)
    np.testing.assert_allclose(where(glb, 1 / 3)[1], [3**0.5 / 2, 0.5, 0], atol=1e-6)


def test_nodes_hand_their_pose_down_and_skins_bend(tmp_path):
    """A joint below a moved node bends the second vertex; the mesh node's own pose does not count."""
    made = Made(
        nodes=[
            {"mesh": 0, "skin": 0, "translation": [9, 9, 9]},
            {"translation": [0, 0, 1], "children": [2]},
            {"scale": [2, 2, 2]},
        ],
        scenes=[{"nodes": [0, 1]}],
    )
    attributes = {
        "POSITION": made.array(TRIANGLE),
        "JOINTS_0": made.array(np.array([[0, 0, 0, 0], [1, 0, 0, 0], [0, 1, 0, 0]])),
        "WEIGHTS_0": made.array([[1.0, 0, 0, 0], [1, 0, 0, 0], [0.5, 0.5, 0, 0]]),
    }
    made.json["meshes"] = [{"primitives": [{"attributes": attributes}]}]
    made.json["skins"] = [{"joints": [1, 2]}]
    found = where(Glb(made.write(tmp_path / "a.glb")), 0.0)
    np.testing.assert_allclose(found, [[0, 0, 1], [2, 0, 1], [0, 1.5, 1]])


def test_what_trimesh_writes_is_drawn_as_it_is(tmp_path):
    """A red and a green box, y up: green above."""
    scene = trimesh.Scene()
    for color, height in (((255, 0, 0, 255), 0.0), ((0, 255, 0, 255), 0.3)):
        box = trimesh.creation.box((0.4, 0.2, 0.4))
        box.visual.face_colors = color
        scene.add_geometry(box, transform=trimesh.transformations.translation_matrix((0, height, 0)))
    scene.export(tmp_path / "boxes.glb")
    seen = MeshSequence([tmp_path / "boxes.glb"]).seen(Cameras.orbit([0.0], 0.0, size=64), Moments(1))
    picture = seen.rgba[0, 0]
    assert seen.depth is not None
    assert seen.depth[0, 0, 32, 32] == pytest.approx(1.3, abs=1e-3)
    assert picture[32, 32].tolist() == [255, 0, 0, 255]
    assert picture[32 - round(0.3 / 1.3 * 70), 32].tolist() == [0, 255, 0, 255]
    assert picture[60, 32, 3] == 0


def test_distances_of_a_mesh_from_itself_and_from_one_that_stands_still(tmp_path):
    (tmp_path / "moves.glb").write_bytes(glb_bytes(box_sequence(), seconds=1.0))
    still = Exported((0.0,), box_sequence().meshes[:1])
    (tmp_path / "still.glb").write_bytes(glb_bytes(still, seconds=0.0))
    moments = Moments(4)
    moves, stays = (MeshSequence([tmp_path / f"{n}.glb"]).surfaces(moments) for n in ("moves", "still"))
    assert tracked(moves)
    same = mesh_distances(moves, moves)
    floor = same["cd_3d"]
    assert floor < 0.02, "two samples of one surface"
    other = mesh_distances(stays, moves)
    assert other["cd_3d"] == pytest.approx(floor, abs=0.002), "the shape is right"
    assert other["cd_4d"] > 3 * floor
    mean_shift = np.mean([0, 0.1, 0.2, 0.3])
    assert other["cd_motion"] == pytest.approx(2 * mean_shift, abs=0.02)


def test_a_placed_mesh_is_its_truth_again(tmp_path):
    sequence = box_sequence()
    (tmp_path / "true.glb").write_bytes(glb_bytes(sequence, seconds=1.0))
    turned = [m.vertices[:, [1, 0, 2]] * (2, -2, 2) for m in sequence.meshes]  # a quarter clockwise, doubled
    meshes = [
        Mesh(p, m.faces, vertex_normals(p, m.faces), m.colors)
        for p, m in zip(turned, sequence.meshes, strict=True)
    ]
    (tmp_path / "theirs.glb").write_bytes(glb_bytes(Exported(sequence.times, tuple(meshes)), seconds=3.0))
    with Progress(quiet=True) as progress:
        result = evaluate(
            tmp_path / "theirs.glb",
            tmp_path / "true.glb",
            replace(PROTOCOLS["strict"], size=64, first=2),
            placement=Placement("z", 90.0, 0.5),
            device="cpu",
            stage=progress.stage,
        )
    mean = result.mean
    assert mean["iou"] is not None
    assert mean["iou"] > 0.999
    assert mean["f_score"] == 1
    assert mean["psnr"] is not None
    assert mean["psnr"] > 40
    assert mean["cd_motion"] is not None
    assert mean["cd_motion"] < 0.04


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda b: b[:-40], "ends before its meshes do"),
        (lambda b: b"glTG" + b[4:], "is no GLB file"),
        (lambda b: b[:30], "no whole GLB file"),
        (lambda b: b.replace(b'"mode":4', b'"mode":1'), "no triangles"),
        (lambda b: b.replace(b'"count": 3', b'"count":-3'), "array of -3 entries"),
        (lambda b: b[:-36] + np.float32("inf").tobytes() + b[-32:], "infinity in POSITION"),
        (lambda b: b.replace(b'"nodes": [0]', b'"nodes": [7]'), "no whole GLB file"),
    ],
)
def test_files_that_are_none_are_refused(tmp_path, change, said):
    made = Made(nodes=[{"mesh": 0}], scenes=[{"nodes": [0]}])
    primitive = {"mode": 4, "attributes": {"POSITION": made.array(TRIANGLE)}}
    made.json["meshes"] = [{"primitives": [primitive]}]
    path = made.write(tmp_path / "a.glb")
    path.write_bytes(change(path.read_bytes().replace(b'"mode": 4', b'"mode":4 ')))
    with pytest.raises(InputError, match=said):
        Glb(path)


def test_a_scene_of_thousands_of_meshes_is_refused(tmp_path):
    made = Made(nodes=[{"mesh": 0}] * 501, scenes=[{"nodes": list(range(501))}])
    made.json["meshes"] = [{"primitives": [{"attributes": {"POSITION": made.array(TRIANGLE)}}]}]
    with pytest.raises(InputError, match="shows 501 meshes, more than 500: join them first"):
        Glb(made.write(tmp_path / "a.glb"))


@pytest.mark.parametrize(
    ("keys", "values"),
    [
        ([0.0, 1.0], [(0, 0, 0, 1), (0, 0, 0, 0)]),
        ([0.0, 1.0], [(0, 0, 0, 1), (np.nan, 0, 0, 1)]),
        ([0.0, np.nan], [(0, 0, 0, 1), (0, 0, 0, 1)]),
        ([0.0, 2.0, 1.0], [(0, 0, 0, 1), (0, 1, 0, 0), (0, 0, 0, 1)]),
    ],
)
def test_what_is_wrong_at_a_later_moment_is_refused_as_at_the_first(tmp_path, keys, values):
    with pytest.raises(InputError, match=r"a\.glb is"):
        moving(tmp_path / "a.glb", "rotation", keys, np.array(values), "LINEAR").at(keys[-1])


@pytest.mark.parametrize("spoilt", ["faces", "color", "uv"])
def test_faces_and_colors_that_cannot_be_are_refused(tmp_path, spoilt):
    made = Made(nodes=[{"mesh": 0}], scenes=[{"nodes": [0]}])
    primitive = {"attributes": {"POSITION": made.array(TRIANGLE)}, "indices": made.array([0, 1, 2])}
    if spoilt == "faces":
        made.json["accessors"][primitive["indices"]] |= {"componentType": 5122, "count": 6}  # 0 0 1 0 2 0
        made.buffer = made.buffer[:-2] + np.array(-900, "<i2").tobytes()
    if spoilt == "color":
        made.json["materials"] = [{"pbrMetallicRoughness": {"baseColorFactor": [float("nan"), 0, 0, 1]}}]
        primitive["material"] = 0
    if spoilt == "uv":
        primitive["attributes"]["TEXCOORD_0"] = made.array(np.full((3, 2), np.nan))
    made.json["meshes"] = [{"primitives": [primitive]}]
    with pytest.raises(InputError, match=r"a\.glb has"):
        Glb(made.write(tmp_path / "a.glb"))
