"""Bars around the picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from boxes import folder_of, moving

from vid4d.clip.bars import cut_bars
from vid4d.clip.clip import read_clip


def barred(top: int, bottom: int, left: int, right: int, color: int = 0) -> list[np.ndarray]:
    """Opaque pictures of a moving box before a bright gradient, with bars."""
    result = []
    for rgba in moving(6):
        h, w = rgba.shape[:2]
        ground = np.broadcast_to(np.linspace(150, 200, w)[None, :, None], (h, w, 3))
        rgb = np.where(rgba[..., 3:] > 0, rgba[..., :3], ground)
        rgb[:top] = rgb[h - bottom :] = rgb[:, :left] = rgb[:, w - right :] = color
        result.append(np.dstack([rgb, np.full((h, w), 255)]).astype(np.uint8))
    return result


@pytest.mark.parametrize("sides", [(10, 10, 0, 0), (0, 0, 3, 3), (8, 0, 0, 0), (6, 6, 5, 4)])
@pytest.mark.parametrize("color", [0, 255])
def test_bars_are_cut_off_with_the_row_beside_them(sides: tuple[int, int, int, int], color: int) -> None:
    frames, said, corner = cut_bars(barred(*sides, color=color))
    top, bottom, left, right = (n + 1 if n else 0 for n in sides)
    assert frames[0].shape == (80 - top - bottom, 96 - left - right, 4)
    assert said is not None
    assert corner == (left, top)
    for n, side in zip((top, bottom, left, right), ("top", "bottom", "left", "right"), strict=True):
        assert (f"{n} pixels at the {side}" in said) == bool(n)


def test_what_is_no_bar_stays() -> None:
    """A background of one color, frames with transparency; no bar reaches further than its shortest row."""
    ground = np.full((80, 96, 4), 255, np.uint8)
    plain = [np.where(b[..., 3:] > 0, b, ground) for b in moving(6)]
    cut = [p.copy() for p in barred(10, 10, 0, 0)]
    cut[3][5:20, 40:60, :3] = (200, 30, 30)  # the object reaches into what is dark elsewhere
    for case, end in ((plain, 80), (moving(6), 80), (cut, 69)):
        frames, said, _ = cut_bars(case)
        assert len(frames[0]) == end
        assert (said is None) == (end == 80)


def test_a_fade_from_black_hides_no_bar() -> None:
    frames = barred(10, 10, 0, 0)
    dark = [frames[0] * np.array([0, 0, 0, 1], np.uint8), *frames]
    assert cut_bars(dark)[0][0].shape[0] == 58


def test_a_clip_with_bars_becomes_the_clip_without(tmp_path: Path) -> None:
    from boxes import on_white

    pictures = [on_white(p) for p in moving(6)]
    black = [np.pad(p, ((14, 14), (0, 0), (0, 0))) for p in pictures]
    plain = read_clip(folder_of(tmp_path / "a", pictures))
    barred_clip = read_clip(folder_of(tmp_path / "b", black))
    a, b = plain.frames[..., 3] > 0.5, barred_clip.frames[..., 3] > 0.5
    assert (a & b).sum() / (a | b).sum() > 0.97
    assert (
        "bars or edges of one color are cut off: 15 pixels at the top, 15 pixels at the bottom"
        in barred_clip.warnings
    )
