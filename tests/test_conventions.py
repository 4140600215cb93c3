"""Every conversion of docs/conventions.md: ours, Zero123's, SyncDreamer's, OpenGL's."""

from __future__ import annotations

import math
import runpy
from pathlib import Path

import numpy as np
import pytest
import torch
from reference import arrays

from vid4d.cameras import RING_DISTANCE, Cameras
from vid4d.conventions import axes, from_opengl, to_opengl, view_change

DOCS = Path(__file__).resolve().parents[1] / "docs"


def test_the_input_camera_sits_on_plus_x_and_looks_at_the_origin():
    camera = Cameras.orbit([0], 0)
    assert torch.allclose(camera.position, torch.tensor([[RING_DISTANCE, 0.0, 0.0]]), atol=1e-6)
    pixels, depth = camera.project(torch.zeros(1, 3))
    assert torch.allclose(pixels[0, 0], torch.tensor([128.0, 128.0]))
    assert depth.item() == pytest.approx(1.5)


def test_what_is_up_and_right_in_the_world_is_up_and_right_in_the_picture():
    """Seen from +x, +z is up (smaller row) and +y is on the right (larger column)."""
    camera = Cameras.orbit([0], 0)
    pixels, _ = camera.project(torch.tensor([[0.0, 0.0, 0.3], [0.0, 0.3, 0.0]]))
    up, right = pixels[0]
    assert up[1] == pytest.approx(128 - 280 * 0.3 / 1.5)
    assert up[0] == pytest.approx(128)
    assert right[0] == pytest.approx(128 + 280 * 0.3 / 1.5)


def test_a_growing_azimuth_moves_the_camera_to_its_own_right():
    camera, moved = Cameras.orbit([0], 0), Cameras.orbit([10], 0)
    in_camera = camera.rotation[0] @ (moved.position - camera.position)[0]
    assert in_camera[0] > 0.2  # x of the camera: right
    assert moved.position[0, 1] > 0  # +x turns towards +y
    assert torch.allclose(Cameras.orbit([90], 0).position, torch.tensor([[0, 1.5, 0.0]]), atol=1e-6)


def test_azimuth_and_elevation_are_read_back_from_poses():
    cameras = Cameras.orbit([0, 45, 190, 359], [-10, 0, 30, 60])
    assert torch.allclose(cameras.azimuth, torch.tensor([0.0, 45, 190, 359]), atol=1e-3)
    assert torch.allclose(cameras.elevation, torch.tensor([-10.0, 0, 30, 60]), atol=1e-3)


def test_rotations_are_proper():
    rotation = Cameras.orbit(range(0, 360, 30), 20).rotation
    assert torch.allclose(rotation @ rotation.transpose(1, 2), torch.eye(3).expand(12, 3, 3), atol=1e-6)
    assert torch.allclose(torch.linalg.det(rotation), torch.ones(12), atol=1e-5)


def test_field_of_view():
    camera = Cameras.ring(1, size=128)
    degrees = 2 * math.degrees(math.atan(camera.width / 2 / camera.focal.item()))
    assert degrees == pytest.approx(49.1, abs=0.05)


def test_the_ring_is_the_rig_of_syncdreamer():
    reference = arrays("schedules")
    ring = Cameras.ring(16, size=256)
    np.testing.assert_allclose(ring.world_to_camera[:, :3].numpy(), reference["poses"], atol=1e-5)
    np.testing.assert_allclose(ring.intrinsics.numpy(), reference["Ks"], atol=1e-4)
    theirs = np.rad2deg(reference["azimuth"]) % 360
    np.testing.assert_allclose(ring.azimuth.numpy(), theirs, atol=1e-3)


def test_the_pose_that_syncdreamer_is_told():
    reference = arrays("schedules")
    ring = Cameras.ring(16)
    for elevation, expected in zip(reference["elevation_rad"], reference["view_embed"], strict=True):
        of_input = torch.full((16,), math.degrees(elevation))
        np.testing.assert_allclose(
            view_change(ring.elevation, ring.azimuth, of_input).numpy(), expected, atol=1e-5
        )


def test_a_camera_that_rises_has_a_negative_polar_angle():
    """20 degrees up and a quarter turn to the right, from an input at 10 degrees."""
    pose = view_change(torch.tensor([30.0]), torch.tensor([90.0]), torch.tensor([10.0]), 0.5)
    assert torch.allclose(pose, torch.tensor([[-math.radians(20), 1.0, 0.0, 0.5]]), atol=1e-6)


def test_what_a_camera_change_takes():
    """Numbers and tensors alike, full turns too; all of it stays on the cameras' device."""
    view = view_change(
        torch.tensor([30.0, -10.0]), torch.tensor([90.0, 180.0]), 10.0, torch.tensor([0.0, 0.5])
    )
    expected = torch.tensor([[-math.pi / 9, 1, 0, 0], [math.pi / 9, 0, -1, 0.5]])
    torch.testing.assert_close(view, expected, atol=1e-6, rtol=0)
    none = view_change(torch.tensor([25.0]), torch.tensor([0.0]), 25.0)
    torch.testing.assert_close(none, torch.tensor([[0.0, 0, 1, 0]]))
    turned = view_change(torch.tensor([25.0]), torch.tensor([360.0]), 25.0)
    torch.testing.assert_close(turned, none, atol=1e-6, rtol=0)
    elsewhere = torch.zeros(2, device="meta")
    assert view_change(elsewhere, elsewhere, 10.0).device.type == "meta"


def test_the_pose_that_zero123_is_told():
    """Its fixture's poses: unit circle in azimuth, and polar differences that our formula inverts."""
    for d_polar, sine, cosine, distance in arrays("schedules")["pose_T"][:, 0]:
        azimuth = math.degrees(math.atan2(sine, cosine))
        risen = -math.degrees(d_polar)
        pose = view_change(torch.tensor([risen]), torch.tensor([azimuth]), torch.tensor([0.0]))
        np.testing.assert_allclose(pose[0].numpy(), [d_polar, sine, cosine, distance], atol=1e-5)


def test_opengl_camera_to_world_by_hand():
    """From +x: right is +y, up is +z, backward is +x; the last column is the camera's place."""
    expected = torch.tensor([[0.0, 0, 1, 1.5], [1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1]])
    assert torch.allclose(to_opengl(Cameras.orbit([0], 0))[0], expected, atol=1e-6)


def test_opengl_and_back():
    cameras = Cameras.orbit([0, 70, 200], [-10, 20, 80], distance=2.0, size=64)
    back = from_opengl(to_opengl(cameras), cameras.focal, cameras.width, cameras.height)
    assert torch.allclose(back.world_to_camera, cameras.world_to_camera, atol=1e-6)
    rows = from_opengl(to_opengl(cameras)[:, :3].double(), cameras.focal, cameras.width, cameras.height)
    assert torch.allclose(rows.world_to_camera, cameras.world_to_camera, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "front", "up"), [("z-up", [1, 0, 0], [0, 0, 1]), ("y-up", [0, 0, 1], [0, 1, 0]),
                              ("y-down", [0, 0, -1], [0, -1, 0])]
)  # fmt: skip
def test_axes_of_other_worlds(name, front, up):
    """The camera of azimuth 0 looks along minus the front, and has the world's up above."""
    rotation = axes(name)
    camera = Cameras.orbit([0], 0)
    right, down, forward = (rotation @ row for row in camera.rotation[0])
    assert torch.allclose(forward, -torch.tensor(front).float(), atol=1e-6)
    assert torch.allclose(down, -torch.tensor(up).float(), atol=1e-6)
    if name != "z-up":
        assert torch.allclose(right, torch.tensor([1.0, 0, 0]), atol=1e-6)
    assert torch.linalg.det(rotation) == pytest.approx(1)


def test_rays_meet_the_points_whose_pixels_they_leave_from():
    cameras = Cameras.orbit([30, 200], [10, 40], size=32)
    origin, direction = cameras.rays()
    point = origin[1] + 1.3 * direction[1, 20, 7]
    pixels, depth = cameras.project(point[None])
    assert torch.allclose(pixels[1, 0], torch.tensor([7.5, 20.5]), atol=1e-3)
    assert depth[1, 0].item() == pytest.approx(1.3, abs=1e-4)


def test_the_picture_in_the_docs_is_drawn_by_these_cameras():
    drawn = runpy.run_path(str(DOCS / "make_conventions_picture.py"))["picture"]()
    assert (DOCS / "conventions.svg").read_text(encoding="utf-8") == drawn, (
        "run `python docs/make_conventions_picture.py`"
    )
