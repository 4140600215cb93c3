"""Pictures that hold a clip's frames in equal cells: recognised, taken apart, and not seen where none are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from boxes import H, W, box, circling, folder_of, moving, on_white, refuse
from command_line import refused, run
from PIL import Image

from vid4d.clip.clip import read_clip
from vid4d.clip.sheet import grid_of, read_grid
from vid4d.errors import InputError


def sheet(pictures: list[np.ndarray], columns: int) -> np.ndarray:
    """Pictures in rows; empty where none is left."""
    rows = -(-len(pictures) // columns)
    cells = [*pictures, *[np.zeros_like(pictures[0])] * (rows * columns - len(pictures))]
    return np.vstack([np.hstack(cells[r * columns : (r + 1) * columns]) for r in range(rows)])


def saved(file: Path, picture: np.ndarray) -> Path:
    Image.fromarray(picture).save(file)
    return file


@pytest.mark.parametrize("columns", [1, 3, 4, 7])
@pytest.mark.parametrize("plain", [False, True])
def test_cells_are_the_frames(tmp_path: Path, columns: int, plain: bool) -> None:
    frames = moving(7)
    picture = sheet(frames, columns)
    file = saved(tmp_path / "s.png", on_white(picture) if plain else picture)
    rows = -(-7 // columns)
    refuse(rf"a sheet of {columns} x {rows} pictures of 96 x 80: give --sheet {columns}x{rows} if", file)
    clip = read_clip(file, frames=0, sheet=f"{columns}x{rows}", fps=12)
    alone = folder_of(tmp_path / "f", [on_white(f) if plain else f for f in frames])
    truth = read_clip(alone, frames=0, fps=12)
    assert clip.seconds == truth.seconds == pytest.approx(0.5)
    assert np.abs(clip.frames - truth.frames).max() < 0.02
    assert clip.window == pytest.approx(truth.window)


def test_a_border_around_the_cells_is_cropped_first(tmp_path: Path) -> None:
    """A grey title of 30 rows above two rows of cells."""
    cells = on_white(sheet(circling(6, closed=False), 3))
    file = saved(tmp_path / "s.png", np.vstack([np.full((30, 3 * W, 3), 90, np.uint8), cells]))
    clip = read_clip(file, frames=0, sheet="3x2", crop=f"0,30,{3 * W},{30 + 2 * H}")
    assert len(clip) == 6
    refuse("288 x 190 pixels cannot be parted into 4 x 4 equal cells", file, sheet="4x4")


def test_no_sheet_is_seen_in_other_pictures() -> None:
    size = (2 * W, 2 * H)
    alike = sheet([box(30)] * 4, 2)
    assert grid_of(alike, size) == (2, 2)
    assert grid_of(sheet([box(30)] * 2, 2), (2 * W, H)) is None  # a pair
    others = {
        "another color": sheet([box(30), box(30), box(30, color=(40, 40, 200)), box(30)], 2),
        "another size": sheet([box(30), box(30), box(30, w=40, h=40), box(30)], 2),
        "one lacks in the middle": sheet([box(30), np.zeros_like(box(30)), box(30), box(30)], 2),
        "one thing": np.kron(box(30), np.ones((2, 2, 1), np.uint8)),
        "nothing": np.zeros_like(alike),
    }
    across = alike.copy()
    across[30:40, 40:140] = (200, 40, 40, 255)
    for name, picture in {**others, "across a border": across}.items():
        assert grid_of(picture, size) is None, name
    assert grid_of(alike, (2 * W + 1, 2 * H)) is None  # no cells of whole pixels


def test_one_picture_all_the_same(tmp_path: Path) -> None:
    file = saved(tmp_path / "s.png", sheet([box(30)] * 4, 2))
    assert len(read_clip(file, sheet="1x1")) == 1
    chosen = read_clip(file, click=("40,40",))
    assert chosen.object_pixels == pytest.approx(20, abs=1)


def test_words_for_what_cannot_be(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = folder_of(tmp_path / "f", moving(3))
    assert "the clip has 3 frames, and a sheet is one picture" in refused(
        capsys, "prepare", folder, "--sheet", "4x2"
    )
    assert "give columns and rows of the sheet's cells, for example 4x2" in refused(
        capsys, "prepare", folder, "--sheet", "4"
    )
    file = saved(tmp_path / "s.png", sheet(moving(4), 2))
    assert run("prepare", file, "--out", tmp_path / "out", "--size", 32, "--sheet", "2x2") == 0


def test_grids_are_read() -> None:
    assert read_grid(" 12X3") == (12, 3)
    for text in ("0x2", "axb", "100x2", "2x2x2"):
        with pytest.raises(InputError, match="--sheet"):
            read_grid(text)
