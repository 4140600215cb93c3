"""The contact sheet: rows, columns, and what stands where."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from toys import jumping_ball

from vid4d.cameras import Cameras
from vid4d.render import render_asset
from vid4d.report.contact import GAP, LABEL, draw_sheet, pick, write_contact

TOP = LABEL // 4


@pytest.mark.parametrize(
    ("count", "most", "picked"), [(3, 8, [0, 1, 2]), (9, 3, [0, 4, 8]), (32, 2, [0, 31]), (1, 8, [0])]
)
def test_first_and_last_are_picked(count, most, picked):
    assert pick(count, most) == picked


def cell(sheet: Image.Image, row: int, column: int, size: int) -> np.ndarray:
    x, y = LABEL + column * (size + GAP), TOP + row * (size + GAP)
    return np.asarray(sheet.crop((x, y, x + size, y + size))).astype(np.float32) / 255


def test_cells_are_renders_and_input_frames(tmp_path):
    ball, size = jumping_ball(60), 32
    frames = torch.zeros(3, 40, 40, 4)
    frames[..., :3] = torch.tensor([1.0, 0.0, 0.0])
    frames[1, ..., 3] = 1  # the second is red, the others are empty
    camera = Cameras.orbit([0.0], 10.0, size=40)
    write_contact(
        tmp_path / "c.png",
        ball,
        input_images=frames,
        input_times=torch.tensor([0.0, 0.5, 1.0]),
        input_camera=camera,
        elevation=30.0,
        views=4,
        cell=size,
    )
    sheet = Image.open(tmp_path / "c.png")
    assert sheet.size == (LABEL + 3 * (size + GAP), TOP + 6 * (size + GAP))
    assert np.abs(cell(sheet, 0, 1, size) - [1, 0, 0]).max() < 0.01
    assert cell(sheet, 0, 0, size).min() == 1
    expected = render_asset(ball, camera.resized(size), 0.5, background=1.0)[0].numpy()
    assert np.abs(cell(sheet, 1, 1, size) - expected).max() < 0.01
    side = render_asset(ball, Cameras.orbit([270.0], 30.0, size=size), 1.0, background=1.0)[0].numpy()
    assert np.abs(cell(sheet, 5, 2, size) - side).max() < 0.01
    labels = np.asarray(sheet.crop((0, TOP, LABEL - 4, sheet.height)))
    assert (labels < 128).any()


def test_the_clips_camera_and_azimuth_0_are_one_row_where_they_are_one(tmp_path):
    frames, times = torch.zeros(2, 8, 8, 4), torch.tensor([0.0, 1.0])
    for distance, rows in ((1.5, 3), (1.7, 4)):
        write_contact(
            tmp_path / "c.png",
            jumping_ball(20),
            input_images=frames,
            input_times=times,
            input_camera=Cameras.orbit([0.0], 12.0, distance=distance, size=8),
            elevation=12.0,
            views=2,
            cell=16,
        )
        assert Image.open(tmp_path / "c.png").height == TOP + rows * (16 + GAP)


def test_without_an_input_there_are_only_views(tmp_path):
    write_contact(tmp_path / "c.png", jumping_ball(40), views=2, times=3, cell=16)
    assert Image.open(tmp_path / "c.png").size == (LABEL + 3 * (16 + GAP), TOP + 2 * (16 + GAP))


def test_missing_pictures_stay_white():
    sheet = draw_sheet([("a", "", [None, np.zeros((8, 8, 3))])], ["0", "1"], 8)
    assert cell(sheet, 0, 0, 8).min() == 1
    assert cell(sheet, 0, 1, 8).max() == 0
