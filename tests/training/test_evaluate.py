"""Held-out clips: their settings, their shapes, and that input and matrix show the same object."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from mesh_shapes import CORNERS, CUBE_FACES, box, mesh, moving_box

from vid4d.cameras import Cameras
from vid4d.metrics import surface_points
from vid4d.training.evaluate import HELD_OUT, clip_setting, true_clips
from vid4d.training.meshes import MeshBank, read_models


def test_settings_are_fixed_and_stay_in_range() -> None:
    assert clip_setting(0) == (30.0, -5.0)
    azimuth, elevation = clip_setting(3)
    assert azimuth == pytest.approx((30 + 3 * 137.508) % 360)
    assert elevation == pytest.approx(-5 + 51 % 40)
    settings = [clip_setting(i) for i in range(40)]
    assert all(0 <= a < 360 and -5 <= e < 35 for a, e in settings)
    assert len({round(e, 6) for _, e in settings}) == 40


def test_clips_have_their_shapes_and_show_one_object() -> None:
    bank = MeshBank([moving_box(40), box((0, 0, 0), (0.03, 0.03, 0.3), (0, 255, 0), "still")])
    _, elevation = clip_setting(0)
    extra = Cameras.orbit([0.0, 22.5], torch.tensor([elevation, 30.0]), size=32)
    moving, still = true_clips(bank, frames=8, size=32, extra=extra)
    assert (moving.name, still.name) == ("moving", "still")
    assert (moving.elevation, still.elevation) == (clip_setting(0)[1], clip_setting(1)[1])
    assert moving.frames.shape == (8, 32, 32, 4)
    assert moving.matrix.shape == (18, 8, 32, 32, 4)
    assert still.frames.shape == (1, 32, 32, 4)
    assert moving.depth.shape == moving.matrix.shape[:-1]
    torch.testing.assert_close(moving.depth.isfinite(), moving.matrix[..., 3] > 0)
    torch.testing.assert_close(moving.matrix[16], moving.frames)  # the input camera again
    torch.testing.assert_close(moving.matrix[17], moving.matrix[1])  # the ring's second view again
    alpha = moving.frames[..., 3]
    assert float((alpha[0] - alpha[-1]).abs().max()) == 1
    rows = (still.frames[0, ..., 3] > 0.3).nonzero()[:, 0]
    assert int(rows.max() - rows.min()) + 1 == pytest.approx(200 / 256 * 32, abs=1)


def test_depth_is_that_of_the_surface() -> None:
    """A flat plate, seen from the equator and from the ring: every point of it lies in one plane."""
    plate = box((0, 0, 0), (0.3, 0.3, 0.002), name="plate")
    clip = next(iter(true_clips(MeshBank([plate]), frames=1, size=32)))
    points = surface_points(clip.depth[:, 0], clip.matrix[:, 0, ..., 3], Cameras.ring(size=32))
    for side in points:
        assert len(side) > 50
        assert np.ptp(side[:, 2]) < 0.03, "half a pixel, 0.02, seen at 30 degrees"


def test_held_out_models_are_among_those_for_training_and_not_trained_on(shared_dir: Path) -> None:
    models = read_models(shared_dir / "assets" / "train", list(HELD_OUT))
    assert [m.name for m in models] == list(HELD_OUT)
    assert len(HELD_OUT) == 8


def test_models_are_turned_by_the_settings_azimuth() -> None:
    """Red on +x and blue on -x, turned by 30 degrees: red is right of blue at azimuth 0, left of it at 45."""
    places = np.concatenate([CORNERS * 0.08 + (0.3, 0, 0), CORNERS * 0.08 - (0.3, 0, 0)])
    marks = mesh(places, np.concatenate([CUBE_FACES, CUBE_FACES + 8]))
    marks.texture = np.array([[(255, 0, 0, 255), (0, 0, 255, 255)]], np.uint8)
    marks.uv = np.array([(0.25, 0.5), (0.75, 0.5)], np.float32)
    marks.uv_faces = np.repeat([0, 1], 12)[:, None].repeat(3, 1)
    matrix = next(iter(true_clips(MeshBank([marks]), frames=1, size=64))).matrix

    def column(view: int, channel: int) -> float:
        picture = matrix[view, 0]
        shown = (picture[..., channel] > 0.3) & (picture[..., 3] > 0.5)
        return float(shown.nonzero()[:, 1].float().mean())

    assert column(0, 0) > column(0, 2) + 5
    assert column(2, 0) < column(2, 2) - 2
