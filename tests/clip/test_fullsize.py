"""Small objects in large pictures keep their pixels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vid4d.clip.clip import read_clip
from vid4d.clip.crop import crop

HEIGHT, WIDTH, RADIUS = 960, 2560, 60
"""Of the source, 2.5 times what clips are judged on."""
PLACES = (1100, 1120, 1140)


def striped(x: int) -> np.ndarray:
    """A disc with stripes of two pixels, which shrinking would make one grey; RGBA."""
    v, u = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    alpha = np.clip(RADIUS + 0.5 - np.hypot(u - x, v - 700), 0, 1)
    bright = np.where((u - x) // 2 % 2 == 0, 190, 40)
    return np.dstack([bright, bright // 2, bright // 4, np.rint(255 * alpha)]).astype(np.uint8)


def clip_of(folder: Path, *, plain: bool, bars: int = 0) -> Path:
    folder.mkdir()
    for i, x in enumerate(PLACES):
        rgba = striped(x)
        if plain:
            alpha = rgba[..., 3:] / 255
            ground = np.linspace(200, 240, WIDTH)[None, :, None]
            rgb = np.rint(alpha * rgba[..., :3] + (1 - alpha) * ground)
            if bars:
                rgb[:bars] = rgb[-bars:] = 0
            rgba = np.dstack([rgb, np.full((HEIGHT, WIDTH), 255)]).astype(np.uint8)
        Image.fromarray(rgba).save(folder / f"{i}.png", compress_level=1)
    return folder


@pytest.mark.parametrize("kind", ["alpha", "plain", "bars"])
def test_stripes_of_two_pixels_are_seen(tmp_path: Path, kind: str) -> None:
    folder = clip_of(tmp_path / "clip", plain=kind != "alpha", bars=100 if kind == "bars" else 0)
    clip = read_clip(folder, size=160, frames=0, follow="no")
    # the window holds all three discs: 160 pixels wide, and is 160 / (200 / 256) = 204.8 pixels large
    assert clip.object_pixels == pytest.approx(2 * RADIUS, abs=6)
    for frame, x in zip(clip.frames, PLACES, strict=True):
        inside = frame[..., 3] > 0.99
        assert inside.sum() == pytest.approx(np.pi * (RADIUS * 160 / 204.8) ** 2, rel=0.06)
        # what a window at the same place shows of the source itself
        rows, columns = np.nonzero(frame[..., 3] > 0.5)
        middle = (columns.min() + columns.max() + 1) / 2, (rows.min() + rows.max() + 1) / 2
        scale = 2 * RADIUS / (columns.max() + 1 - columns.min())
        left, top = x - middle[0] * scale, 700 - middle[1] * scale
        truth = crop(striped(x), (left, top, 160 * scale), 160)
        assert frame[inside][:, 0].std() > 0.8 * truth[inside][:, 0].std() > 0.1
    assert clip.frames.dtype == np.float32


def test_what_was_left_out_stays_out(tmp_path: Path) -> None:
    """A caption that never moves, in the shrunk pictures as at full size."""
    folder = clip_of(tmp_path / "clip", plain=False)
    for i in range(3, 6):
        Image.fromarray(striped(1100 + 20 * i)).save(folder / f"{i}.png", compress_level=1)
    for file in folder.iterdir():
        rgba = np.array(Image.open(file))
        rgba[800:812, 1000:1300] = (255, 255, 255, 255)
        Image.fromarray(rgba).save(file, compress_level=1)
    clip = read_clip(folder, size=300, frames=0, follow="no")
    assert any("stands still" in w for w in clip.warnings)
    bottom = np.nonzero((clip.frames[..., 3] > 0.1).any((0, 2)))[0].max()
    top = np.nonzero((clip.frames[..., 3] > 0.1).any((0, 2)))[0].min()
    left = np.nonzero((clip.frames[..., 3] > 0.1).any((0, 1)))[0]
    assert (bottom - top) / (left.max() - left.min()) == pytest.approx(120 / 220, abs=0.02)


def test_what_held_the_object_does_not_come_back(tmp_path: Path) -> None:
    """A blue stick from below is left out of the windows of full size, too."""
    folder = tmp_path / "held"
    folder.mkdir()
    for i, x in enumerate(PLACES):
        rgba = striped(x)
        alpha = rgba[..., 3:] / 255
        rgb = np.rint(alpha * rgba[..., :3] + (1 - alpha) * 220).astype(np.uint8)
        rgb[740:, x - 14 : x + 14] = (60, 90, 220)
        Image.fromarray(rgb).save(folder / f"{i}.png", compress_level=1)
    clip = read_clip(folder, size=160, frames=0, follow="no", held=True)
    for frame in clip.frames:
        seen = frame[..., 3] > 0.5
        blue = seen & (frame[..., 2] > frame[..., 0] + 0.1)
        assert blue.sum() < 0.025 * seen.sum()
        assert seen.sum() == pytest.approx(np.pi * (RADIUS * 160 / 204.8) ** 2 - 20 * 22, rel=0.08)
