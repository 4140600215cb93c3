"""The checkerboard that stands for transparency is a background; other patterns are none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from boxes import folder_of

from vid4d.clip.checker import NOTE, find_board
from vid4d.clip.clip import read_clip

H, W = 120, 160
LIGHT, DARK = 255, 204


def board(side: float, x: float = 0.0, y: float = 0.0) -> np.ndarray:
    """Grey, height x width: squares, a corner of one at x, y; each pixel the mean of 4 x 4 points."""
    v, u = (np.mgrid[: 4 * H, : 4 * W] + 0.5) / 4
    squares = (np.floor((u - x) / side) + np.floor((v - y) / side)) % 2
    grey = LIGHT - (LIGHT - DARK) * squares
    return grey.reshape(H, 4, W, 4).mean((1, 3))


def opaque(grey: np.ndarray) -> np.ndarray:
    return np.dstack([np.repeat(np.rint(grey)[..., None], 3, -1), np.full(grey.shape, 255)]).astype(np.uint8)


def ringed(picture: np.ndarray, i: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """With a red frame around a gap of 40 x 36 pixels, and a light patch in its side; and its mask."""
    result, mask = picture.copy(), np.zeros((H, W), bool)
    mask[24:96, 30 + i : 120 + i] = True
    mask[42:78, 60 + i : 100 + i] = False
    result[mask, :3] = (200, 50, 40)
    result[84:92, 40 + i : 52 + i, :3] = LIGHT
    return result, mask


@pytest.mark.parametrize(("side", "x", "y"), [(8, 0, 0), (12, 5, 3), (7.5, 2.3, 4.1), (20, 11, 17)])
def test_what_is_the_board_gets_one_color(side: float, x: float, y: float) -> None:
    picture, mask = ringed(opaque(board(side, x, y)))
    found = find_board(picture)
    assert found is not None
    assert sorted(found.levels[:, 0].tolist()) == pytest.approx([DARK, LIGHT], abs=1)
    painted = found.painted(picture)
    is_ground = (painted[..., :3] == np.rint(found.color).astype(np.uint8)).all(-1)
    assert (is_ground == ~mask).mean() > 0.995
    assert np.array_equal(painted[mask], picture[mask])


def test_other_patterns_are_none() -> None:
    rng = np.random.default_rng(0)
    stripes = np.where(np.arange(W) // 8 % 2, LIGHT, DARK)[None].repeat(H, 0)
    bricks = np.where((np.arange(W)[None] // 16 + np.arange(H)[:, None] // 5) % 3 > 0, LIGHT, DARK)
    noise = rng.choice([LIGHT, DARK], (H, W))
    for grey in (stripes, bricks, noise, np.full((H, W), LIGHT)):
        assert find_board(opaque(grey.astype(float))) is None
    colored = opaque(board(8))
    colored[colored[..., 0] < 230, :3] = (200, 40, 40)
    assert find_board(colored) is None
    clear = opaque(board(8))
    clear[5, 5, 3] = 0
    assert find_board(clear) is None


def test_a_clip_before_one_is_cut_out(tmp_path: Path) -> None:
    drawn = [ringed(opaque(board(10, 3, 6)), 2 * i) for i in range(6)]
    clip = read_clip(folder_of(tmp_path / "f", [p[..., :3] for p, _ in drawn]), frames=0, cyclic=False)
    assert NOTE in clip.warnings
    assert clip.matting_confidence > 0.9
    share = [(f[..., 3] > 0.5).mean() * clip.window[2] ** 2 for f in clip.frames]  # type: ignore[index]
    assert share == pytest.approx([m.sum() for _, m in drawn], rel=0.03)
