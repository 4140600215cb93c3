"""Textures: which texels a triangle covers, what is painted there, and what a glb holds of it."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
import trimesh
from command_line import refused, run
from exported import ball_asset
from PIL import Image
from readers import Glb
from solids import color_of_place, ellipsoid, mesh_of

from vid4d.errors import InputError
from vid4d.export.glb import glb_bytes
from vid4d.meshing.mesh_sequence import MeshSequence
from vid4d.meshing.texture import Chart, Coat, bake, covered, textured, unwrap
from vid4d.meshing.tsdf import Mesh


def by_place(points: np.ndarray, normals: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Colors that say where a point is, seen equally well from everywhere."""
    import torch

    return color_of_place(torch.as_tensor(points)).numpy(), np.ones(len(points))


@pytest.fixture(scope="module")
def ball() -> Mesh:
    import torch

    return mesh_of(lambda p: ellipsoid(p, torch.zeros(3), torch.tensor([0.3, 0.25, 0.2])), faces=400)


def test_texels_of_a_triangle_by_hand():
    """Half of a square of four texels: centres on its long side belong to it."""
    corners = np.array([[[0.0, 0.0], [4.0, 0.0], [0.0, 4.0]]])
    face, weight, texel = covered(corners, 4)
    assert texel.tolist() == [0, 1, 2, 3, 4, 5, 6, 8, 9, 12]
    assert (face == 0).all()
    np.testing.assert_allclose(weight[0], [0.75, 0.125, 0.125])
    np.testing.assert_allclose(weight.sum(1), 1)
    _, again, same = covered(corners[:, ::-1], 4)
    assert same.tolist() == texel.tolist()
    np.testing.assert_allclose(again, weight[:, ::-1], atol=1e-12)
    assert len(covered(np.zeros((1, 3, 2)), 4)[0]) == 0  # a triangle without a surface


def test_a_square_is_painted_as_it_lies():
    """u runs along x and v down along -y; around it stands the color of its border."""
    vertices = np.array([[0, 1, 0], [1, 1, 0], [1, 0, 0], [0, 0, 0]], np.float32)
    faces = np.array([[0, 2, 1], [0, 3, 2]])
    mesh = Mesh(vertices, faces, np.tile(np.float32([0, 0, 1]), (4, 1)), np.zeros((4, 3), np.float32))
    uv = np.array([[0.25, 0.25], [0.75, 0.25], [0.75, 0.75], [0.25, 0.75]], np.float32)
    seen = []

    def paint(points, normals):
        seen.append(normals)
        return points, np.ones(len(points))

    picture = bake([Chart(np.arange(4), faces, uv)], [[Coat(mesh, paint)]], 8)
    np.testing.assert_allclose(seen[0], np.tile([0, 0, 1], (len(seen[0]), 1)), atol=1e-6)
    centres = (np.arange(4) + 0.5) / 4
    np.testing.assert_allclose(picture[2:6, 2:6, 0] / 255, np.tile(centres, (4, 1)), atol=3e-3)
    np.testing.assert_allclose(picture[2:6, 2:6, 1] / 255, np.tile(1 - centres, (4, 1)).T, atol=3e-3)
    assert (picture[0, 0] == picture[2, 2]).all()
    assert (picture[7, 3] == picture[5, 3]).all()


def test_charts_keep_the_surface(ball):
    [(origin, faces, uv)] = unwrap([ball])
    assert (origin[faces] == ball.faces).all()
    assert len(origin) == len(uv) > len(ball.vertices)
    assert set(origin.tolist()) == set(range(len(ball.vertices)))
    assert uv.min() >= 0
    assert uv.max() <= 1
    a, b, c = uv[faces].transpose(1, 2, 0).astype(np.float64)
    area = np.abs((b[0] - a[0]) * (c[1] - a[1]) - (c[0] - a[0]) * (b[1] - a[1])).sum() / 2
    assert 0.3 < area < 1  # charts fill the picture and do not all lie upon each other


def test_a_point_finds_its_color_in_the_picture(ball):
    skin = textured([[Coat(ball, by_place)]], 256)
    [chart] = skin.charts
    cut = chart.cut(ball)
    assert (cut.vertices == ball.vertices[chart.origin]).all()
    middle, uv = cut.vertices[cut.faces].mean(1), chart.uv[cut.faces].mean(1)
    x, y = np.minimum((uv * 256).astype(int), 255).T
    found = skin.picture[y, x] / 255
    assert np.abs(found - by_place(middle, middle)[0]).max() < 0.05


def test_moments_are_averaged_by_share_and_sight(ball):
    """A key that is grey and sees the upper half alone; another moment, white, that counts a third of it."""

    def key(points, normals):
        return np.full_like(points, 0.4), (points[:, 2] > 0).astype(float)

    def other(points, normals):
        return np.ones_like(points), np.ones(len(points))

    moved = ball.moved(ball.vertices + np.float32([0, 0, 1]))
    skin = textured([[Coat(ball, key), Coat(moved, other, 1 / 3)]], 128)
    [chart] = skin.charts
    middle, uv = ball.vertices[ball.faces].mean(1), chart.uv[chart.faces].mean(1)
    x, y = np.minimum((uv * 128).astype(int), 127).T
    found = skin.picture[y, x, 0] / 255
    assert np.allclose(found[middle[:, 2] > 0.05], (0.4 + 1 / 3) / (1 + 1 / 3), atol=0.01)
    assert np.allclose(found[middle[:, 2] < -0.05], 1, atol=0.01)


def test_what_no_moment_sees_takes_the_nearest_color(ball):
    def upper(points, normals):
        return np.full_like(points, 0.4), (points[:, 2] > 0).astype(float)

    picture = textured([[Coat(ball, upper)]], 64).picture
    assert np.allclose(picture / 255, 0.4, atol=0.01)


def test_two_topologies_share_a_picture(ball):
    """Their charts lie beside each other: each finds its own color."""
    coats = [[Coat(ball, lambda p, n, c=c: (np.full_like(p, c), np.ones(len(p))))] for c in (0.2, 0.8)]
    skin = textured(coats, 256)
    for chart, color in zip(skin.charts, (0.2, 0.8), strict=True):
        x, y = np.minimum((chart.uv[chart.faces].mean(1) * 256).astype(int), 255).T
        assert np.allclose(skin.picture[y, x] / 255, color, atol=0.01)


def test_glb_with_a_texture(ball):
    """One picture for all moments of a mesh that moves, no colors of vertices; read by hand and trimesh."""
    skin = textured([[Coat(ball, by_place)]], 64)
    moved = ball.moved(ball.vertices + np.float32([0.1, 0, 0]))
    data = glb_bytes(MeshSequence((0.0, 1.0), (ball, moved)), seconds=1.0, skin=skin)
    glb = Glb(data)
    primitive = glb.json["meshes"][0]["primitives"][0]
    assert set(primitive["attributes"]) == {"POSITION", "NORMAL", "TEXCOORD_0"}
    assert [set(target) for target in primitive["targets"]] == [{"POSITION", "NORMAL"}]
    np.testing.assert_array_equal(glb.array(primitive["attributes"]["TEXCOORD_0"]), skin.charts[0].uv)
    assert len(glb.json["images"]) == len(glb.json["materials"]) == 1
    loaded = trimesh.load(BytesIO(data), file_type="glb", force="mesh")
    picture = np.asarray(loaded.visual.material.baseColorTexture.convert("RGB"))
    np.testing.assert_array_equal(picture, skin.picture)

    both = textured([[Coat(ball, by_place)], [Coat(moved, by_place)]], 64)
    anew = Glb(glb_bytes(MeshSequence((0.0, 1.0), (ball, moved), (0, 1), (0, 1)), seconds=1.0, skin=both))
    assert len(anew.json["images"]) == len(anew.json["materials"]) == 1
    for mesh, chart in zip(anew.json["meshes"], both.charts, strict=True):
        [primitive] = mesh["primitives"]
        np.testing.assert_array_equal(anew.array(primitive["attributes"]["TEXCOORD_0"]), chart.uv)


def test_through_the_command(tmp_path, capsys):
    asset = ball_asset(tmp_path)
    out = tmp_path / "ball.glb"
    options = ("--frames", 2, "--faces", 300, "--out", out)
    assert run("export", asset.path, "--to", "glb", "--texture", 64, *options) == 0
    glb = Glb(out.read_bytes())
    view = glb.json["bufferViews"][glb.json["images"][0]["bufferView"]]
    begin = view.get("byteOffset", 0)
    picture = Image.open(BytesIO(bytes(glb.buffer[begin : begin + view["byteLength"]])))
    assert picture.size == (64, 64)
    capsys.readouterr()
    for to, size, told in (
        ("glb", 4, "choose 16 to 8192"),
        ("obj", 64, "no effect on obj: leave it out; usd, usdz, glb take"),
    ):
        place = tmp_path / (f"none.{to}" if to == "glb" else "none")
        said = refused(capsys, "export", asset.path, "--to", to, "--texture", size, "--out", place)
        assert told in said
        assert not place.exists()


def test_without_xatlas(ball, monkeypatch):
    monkeypatch.setattr("vid4d.meshing.texture.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"\[export\]"):
        textured([[Coat(ball, by_place)]], 64)
