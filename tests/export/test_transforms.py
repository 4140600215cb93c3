"""Cameras beside what is rendered: where points are in the pictures, and read back as an image matrix."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from command_line import refused, run
from exported import ball_asset
from PIL import Image

from vid4d.cameras import Cameras
from vid4d.errors import InputError
from vid4d.export.camera_path import plan
from vid4d.export.formats import export
from vid4d.export.options import ExportOptions
from vid4d.export.transforms import transforms
from vid4d.matrix.io import load_matrix

SIDE = 48


@pytest.fixture
def asset(tmp_path):
    return ball_asset(tmp_path, seconds=1.0)


def seen_at(entry: dict, shared: dict, point: list[float]) -> tuple[float, float]:
    """Pixel of a point of the world, by the file alone: OpenGL's camera looks along -z, y up."""
    to_world = np.array(entry["transform_matrix"])
    x, y, z = to_world[:3, :3].T @ (np.array(point) - to_world[:3, 3])
    about = shared | entry
    assert about["fl_x"] == pytest.approx(about["w"] / 2 / math.tan(about["camera_angle_x"] / 2))
    return about["cx"] + about["fl_x"] * x / -z, about["cy"] - about["fl_y"] * y / -z


def test_a_camera_in_front_is_worked_out_by_hand():
    content = transforms(Cameras.orbit([0.0, 90.0], 0.0, distance=2.0, size=100), [0.0, 0.5], ["a", "b"])
    front, left = content["frames"]
    expected = [[0, 0, 1, 2], [1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1]]
    np.testing.assert_allclose(front["transform_matrix"], expected, atol=1e-7)
    assert (front["file_path"], front["time"], left["time"]) == ("a", 0.0, 0.5)
    assert seen_at(front, content, [0, 0, 0]) == (50, 50)
    x, y = seen_at(front, content, [0, 0.2, 0.4])  # right and up, for a camera on +x
    assert (x > 55, y < 35) == (True, True)
    assert seen_at(left, content, [0.2, 0, 0])[0] < 45


def test_numbered_pictures_have_their_cameras_in_the_folder(asset):
    options = ExportOptions(frames=4, seconds=1.0, size=SIDE, transforms=True)
    *files, described = export(asset, "png", options=options)
    assert described.name == "transforms_train.json"
    content = json.loads(described.read_text())
    assert [f"./{f.stem}" for f in files] == [e["file_path"] for e in content["frames"]]
    assert [e["time"] for e in content["frames"]] == [0, 0.25, 0.5, 0.75]
    for file, entry in zip(files, content["frames"], strict=True):
        alpha = np.asarray(Image.open(file))[..., 3] / 255
        rows, columns = np.mgrid[:SIDE, :SIDE] + 0.5
        middle = (alpha * columns).sum() / alpha.sum(), (alpha * rows).sum() / alpha.sum()
        height = 0.2 * (2 * math.sin(math.pi * entry["time"]) - 1)  # of the ball
        assert seen_at(entry, content, [0, 0, height]) == pytest.approx(middle, abs=1.5)


def test_a_video_has_them_beside_it_also_where_a_path_changes_the_angle(asset, tmp_path):
    path = tmp_path / "path.json"
    path.write_text(json.dumps({"seconds": 1, "keys": [{"fov": 30}, {"fov": 60, "azimuth": 90}]}))
    options = ExportOptions(cameras=path, fps=4.0, size=SIDE, transforms=True)
    video, described = export(asset, "webp", tmp_path / "a.webp", options)
    assert (video.name, described.name) == ("a.webp", "a_transforms.json")
    content = json.loads(described.read_text())
    assert content["fps"] == 4
    assert [(e["file_path"], e["frame"]) for e in content["frames"]] == [("a.webp", i) for i in range(4)]
    angles = [math.degrees(e["camera_angle_x"]) for e in content["frames"]]
    assert angles[0] == pytest.approx(30, abs=1e-3)
    assert angles == sorted(angles)
    assert "fl_x" not in content
    with pytest.raises(InputError, match="--view both"):
        export(asset, "gif", options=ExportOptions(view="both", transforms=True))


def test_stills_of_all_sides_and_moments_are_an_image_matrix(asset, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    given = ("--elevation", "12.5", "--azimuth", "0", "120", "240", "--time", "0", "0.5", "--size", SIDE)
    assert run("render", ".", *given, "--transparent", "--transforms", "--out", "sides") == 0
    matrix = load_matrix(Path("sides"))
    assert matrix.images.shape == (3, 2, SIDE, SIDE, 4)
    assert matrix.times.tolist() == [0, 1]
    expected = Cameras.orbit([0.0, 120.0, 240.0], 12.5, size=SIDE)
    torch.testing.assert_close(matrix.cameras.world_to_camera, expected.world_to_camera, atol=1e-5, rtol=0)
    torch.testing.assert_close(matrix.cameras.focal, expected.focal)
    truth = asset.render(expected, [0.5] * 3)
    assert float((matrix.images[:, 1] - truth).abs().max()) < 0.01


def test_an_orbit_and_a_single_still_have_them_beside(asset, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run("render", ".", "--out", "a.png", "--size", SIDE, "--transforms") == 0
    assert len(json.loads(Path("a_transforms.json").read_text())["frames"]) == 1
    assert run("render", ".", "--out", "b.mp4", "--size", SIDE, "--seconds", "0.5", "--transforms") == 0
    content = json.loads(Path("b_transforms.json").read_text())
    shots = plan(asset, ExportOptions(seconds=0.5, size=SIDE))
    assert len(content["frames"]) == len(shots) == 12
    Path("b.mp4").unlink()
    assert "b_transforms.json exists" in refused(
        capsys, "render", ".", "--out", "b.mp4", "--size", SIDE, "--transforms"
    )
    assert not Path("b.mp4").exists()
