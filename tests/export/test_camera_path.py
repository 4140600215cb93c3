"""Where the camera is in a video."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from exported import ball_asset

from vid4d.cameras import Cameras
from vid4d.errors import InputError
from vid4d.export.camera_path import FOV, plan, read_path
from vid4d.export.options import ExportOptions


@pytest.fixture
def path(tmp_path):
    def write(*keys, **top):
        file = tmp_path / "path.json"
        file.write_text(json.dumps({"keys": list(keys), **top}))
        return file

    return write


def test_the_turntable_turns_once_and_the_clip_repeats(tmp_path):
    shots = plan(ball_asset(tmp_path, seconds=1.0), ExportOptions(fps=10, azimuth=30, elevation=20))
    assert len(shots) == 40  # four seconds at least
    (cameras,) = shots.views
    np.testing.assert_allclose(cameras.azimuth[[0, 10, 20]], [30, 120, 210], atol=1e-3)
    np.testing.assert_allclose(cameras.elevation, 20, atol=1e-3)
    np.testing.assert_allclose(shots.times[[0, 5, 10, 25]], [0, 0.5, 0, 0.5], atol=1e-5)


def test_a_fixed_camera_plays_the_clip_once(tmp_path):
    shots = plan(ball_asset(tmp_path, seconds=2.0), ExportOptions(fps=10, view="fixed", azimuth=90))
    assert len(shots) == 20
    np.testing.assert_allclose(shots.views[0].azimuth, 90, atol=1e-3)
    still = plan(ball_asset(tmp_path), ExportOptions(time=0.25, view="both"))
    assert set(still.times.tolist()) == {0.25}
    assert len(still.views) == 2


def test_frames_alone_keep_the_duration(tmp_path):
    shots = plan(ball_asset(tmp_path, seconds=1.0), ExportOptions(frames=8, seconds=2.0))
    assert (len(shots), shots.fps) == (8, 4)
    shots = plan(ball_asset(tmp_path, seconds=1.0), ExportOptions(frames=8, fps=2.0))
    assert (len(shots), shots.fps) == (8, 2)


def test_a_turntable_lasts_whole_repetitions_to_the_microsecond(tmp_path):
    """1.2 s four times are 4.8 s, and 24 frames a second would be 115.2 of them."""
    shots = plan(ball_asset(tmp_path, seconds=1.2), ExportOptions())
    assert len(shots) == 115
    assert len(shots) / shots.fps == pytest.approx(4.8, abs=1e-6)
    assert float(shots.times[-1]) == pytest.approx(1 - 4 / 115, abs=1e-5)  # then it starts again


def test_a_path_goes_through_its_keys(tmp_path, path):
    file = path(
        {"at": 0, "azimuth": 0, "elevation": 10, "distance": 2, "time": 0},
        {"at": 1, "azimuth": 90, "elevation": 30, "distance": 1.5, "fov": 30, "time": 0.5},
        {"at": 3, "azimuth": 540, "time": 2.25},
    )
    shots = plan(ball_asset(tmp_path), ExportOptions(cameras=file, fps=10))
    assert len(shots) == 30  # the last key's moment
    (cameras,) = shots.views
    np.testing.assert_allclose(cameras.azimuth[[0, 10]], [0, 90], atol=1e-3)
    np.testing.assert_allclose(cameras.elevation[[0, 10, 29]], [10, 30, 30], atol=1e-3)
    np.testing.assert_allclose(cameras.position.norm(dim=1)[[0, 10]], [2, 1.5], atol=1e-5)
    for i, fov in ((0, FOV), (10, 30)):
        assert float(cameras.focal[i]) == pytest.approx(256 / np.tan(np.radians(fov) / 2), rel=1e-4)
    np.testing.assert_allclose(shots.times[[0, 10]], [0, 0.5], atol=1e-5)
    assert ((shots.times >= 0) & (shots.times <= 1)).all()  # beyond the clip's end it starts again
    elevations = cameras.elevation
    assert elevations.max() < 30.001  # smooth, but without overshooting


def test_positions_are_the_same_as_angles(tmp_path, path):
    angles = Cameras.orbit([0.0, 350.0], [20.0, 40.0], distance=[1.5, 1.2])
    keys = [{"position": p.tolist()} for p in angles.position]
    shots = plan(ball_asset(tmp_path), ExportOptions(cameras=path(*keys, interpolation="linear"), fps=4))
    (cameras,) = shots.views
    assert len(shots) == 16  # no times: stretched over the usual duration
    assert torch.allclose(cameras.position[0], angles.position[0], atol=1e-5)
    assert float(cameras.azimuth[8]) == pytest.approx(355, abs=0.01)  # the short way round


def test_a_camera_looks_at_its_target(tmp_path, path):
    target = [0.1, -0.2, 0.3]
    keys = [{"position": [1.0, 1.0, 0.5], "target": target}, {"position": [0.0, 1.5, 0.9]}]
    shots = plan(ball_asset(tmp_path), ExportOptions(cameras=path(*keys, seconds=1), fps=8))
    (cameras,) = shots.views
    pixels, depth = cameras.project(torch.tensor([target]))
    np.testing.assert_allclose(pixels[:, 0], 256, atol=1e-2)
    assert (depth > 0).all()
    np.testing.assert_allclose(cameras.position[0], [1.0, 1.0, 0.5], atol=1e-5)


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ({}, "no list 'keys'"),
        ({"keys": []}, "no list 'keys'"),
        ({"keys": [{"azimut": 1}]}, "key 0 has unknown 'azimut'"),
        ({"keys": [{"azimuth": "left"}]}, "azimuth of key 0 is 'left'"),
        ({"keys": [{"elevation": 91}]}, "elevation of key 0 is 91"),
        ({"keys": [{"distance": float("nan")}]}, "NaN is no number"),
        ({"keys": [{"at": 1}, {"at": 1}]}, "must rise"),
        ({"keys": [{"at": 1}, {}]}, "give it to all or to none"),
        ({"keys": [{"time": 1}, {}]}, "give it to all or to none"),
        ({"keys": [{"position": [1, 2]}]}, "expected three numbers"),
        ({"keys": [{"position": [0, 0, 0]}]}, "on its target"),
        ({"keys": [{"position": [1, 0, 0], "azimuth": 3}]}, "give one of them"),
        ({"keys": [{}], "interpolation": "cubic"}, "expected 'smooth' or 'linear'"),
        ({"keys": [{}], "speed": 2}, "unknown 'speed'"),
    ],
)
def test_what_a_path_cannot_say(tmp_path, told, said):
    file = tmp_path / "path.json"
    file.write_text(json.dumps(told))
    with pytest.raises(InputError, match=said):
        read_path(file)


def test_a_path_that_is_no_json(tmp_path):
    (tmp_path / "path.json").write_text("keys: 1")
    with pytest.raises(InputError, match="not JSON"):
        read_path(tmp_path / "path.json")
