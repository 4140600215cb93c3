"""A part of the picture is looked at as if it were all, and places stay those of the source."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from boxes import box, folder_of, on_white
from command_line import refused, run

from vid4d.clip.bars import cut_bars
from vid4d.clip.clip import read_clip
from vid4d.errors import InputError

RED, BLUE = (200, 40, 40), (40, 40, 200)


def desktop(x: int) -> np.ndarray:
    """A window of 96 x 80 pixels that shows two boxes, on a desktop of squares; its corner is at (60, 40)."""
    inner = on_white(np.maximum(box(x, 40, 24, 20, RED), box(x + 30, 10, 14, 14, BLUE)))
    u, v = np.arange(200) // 7 % 3, np.arange(160) // 9 % 3
    picture = np.repeat(60 + 45 * (u + v[:, None])[..., None], 3, -1).astype(np.uint8)
    h, w = inner.shape[:2]
    picture[38 : 42 + h, 58 : 62 + w] = 90
    picture[40 : 40 + h, 60 : 60 + w] = inner
    return picture


def test_a_window_on_a_desktop_is_all_that_is_looked_at(tmp_path: Path) -> None:
    pictures = [desktop(4 + 2 * i) for i in range(4)]
    whole = read_clip(folder_of(tmp_path / "all", pictures), frames=0, crop="60,40,156,120")
    alone = read_clip(folder_of(tmp_path / "part", [p[40:120, 60:156] for p in pictures]), frames=0)
    assert np.array_equal(whole.frames, alone.frames)
    assert whole.window is not None
    assert alone.window is not None
    assert whole.window == pytest.approx(np.add(alone.window, (60, 40, 0)))
    found = read_clip(tmp_path / "all", frames=0)
    assert any("only 62,42,154,118 is looked at" in w for w in found.warnings)
    assert found.object_pixels == whole.object_pixels


def test_clicks_beside_it_are_pixels_of_the_source(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "f", [desktop(4 + 2 * i) for i in range(4)])
    clip = read_clip(folder, frames=0, crop="60,40,156,120", click=("74,90",))
    assert clip.object_pixels == pytest.approx(24, abs=1)
    with pytest.raises(InputError, match=r"nothing lies there.*the largest lies in 64,80,88,100"):
        read_clip(folder, frames=0, crop="60,40,156,120", click=("150,110",))


def test_what_holds_nothing_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = folder_of(tmp_path / "f", [desktop(4)])
    out = tmp_path / "out"
    of_this = " of a picture of 200 x 160"
    for crop, of in (("10,10,20,100", ""), ("190,0,400,160", of_this), ("90,90,50,50", "")):
        said = refused(capsys, "prepare", folder, "--out", out, "--crop", crop)
        assert f"holds less than 16 pixels{of};" in said
    assert "give pixels of the source as X0,Y0,X1,Y1, for example 120,80,480,320" in refused(
        capsys, "prepare", folder, "--out", out, "--crop", "a"
    )
    assert run("prepare", folder, "--out", out, "--size", 32, "--crop", "60,40,156,400", "--keep") == 0


def test_bars_are_counted_in_pixels_of_the_source() -> None:
    picture = np.full((60, 80, 4), 255, np.uint8)
    picture[..., 0] = np.linspace(60, 200, 80)
    picture[:10] = (0, 0, 0, 255)
    assert cut_bars([picture] * 2, 2.5)[1] == "bars or edges of one color are cut off: 28 pixels at the top"
