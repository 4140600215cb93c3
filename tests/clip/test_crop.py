"""The crop: one for the whole clip, without fringes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from boxes import box, folder_of

from vid4d.clip.clip import read_clip
from vid4d.clip.crop import crop


def test_one_crop_for_the_whole_clip(tmp_path: Path) -> None:
    """The union over the frames is centred and spans 200 of 256 pixels; motion and size survive."""
    pictures = [box(10, 30, 10, 10), box(60, 30, 20, 20)]
    clip = read_clip(folder_of(tmp_path / "f", pictures))
    masks: np.ndarray = clip.frames[..., 3] > 0.5
    rows, columns = np.nonzero(masks.any((0, 2)))[0], np.nonzero(masks.any((0, 1)))[0]
    assert columns[-1] + 1 - columns[0] == pytest.approx(200, abs=1)
    assert (columns[0] + columns[-1] + 1) / 2 == pytest.approx(128, abs=1)
    assert (rows[0] + rows[-1] + 1) / 2 == pytest.approx(128, abs=1)
    areas = (clip.frames[..., 3] > 0.5).sum((1, 2))
    assert areas[1] / areas[0] == pytest.approx(4, rel=0.1)
    small = read_clip(tmp_path / "f", size=64, object_size=0.5)
    columns = np.nonzero((small.frames[..., 3] > 0.5).any((0, 1)))[0]
    assert columns[-1] + 1 - columns[0] == pytest.approx(32, abs=1)


@pytest.mark.parametrize("side", [40.0, 300.7])
def test_resampling_makes_no_fringe(side: float) -> None:
    picture = np.zeros((100, 100, 4), np.uint8)
    picture[..., :3] = (0, 255, 0)  # what lies under full transparency must not show
    picture[31:68, 33:70] = (255, 0, 128, 255)
    out = crop(picture, (50 - side / 2, 50.3 - side / 2, side), 96)
    visible = out[..., 3] > 0.01
    assert np.abs(out[visible][:, :3] - np.array([1, 0, 128 / 255])).max() < 1e-3
    scale = 96 / side
    assert out[..., 3].sum() == pytest.approx(min(37 * scale, 96) ** 2, rel=0.02)
    assert (out[~visible][:, 3]).max(initial=0) < 0.01
