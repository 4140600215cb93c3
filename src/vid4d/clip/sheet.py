"""Sheets: one picture that holds the frames of a clip in equal cells, as games have them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Bool, UInt8

from vid4d.clip.source import Source
from vid4d.errors import InputError
from vid4d.media.keying import mask_box
from vid4d.media.video import shrink

LEAST = 16
"""Pixels of a cell's shorter side, at least."""
FEWEST = 3
"""Cells of what is taken for a sheet, at least: two things beside each other are a pair."""
MOST = 64
"""Cells in a row or column, at most."""
ALIKE = 0.6
"""Width, height and area of the object in a cell over their medians, at least; at most one over it."""
SAME_COLOR = 40.0
"""Distance of an object's mean color from the median of all, 8-bit steps a channel, at most."""
BARE = 4
"""Difference of the levels in a cell, at most, where nothing is in it."""


class Sheet:
    """A source whose frames are the cells of one picture, row by row; empty ones at the end are left out."""

    def __init__(self, source: Source, grid: str, fps: float) -> None:
        """grid: 'CxR', columns and rows. Raises InputError for anything else, and where they do not fit."""
        columns, rows = read_grid(grid)
        if len(source.times) > 1:
            raise InputError(
                f"--sheet {grid}: the clip has {len(source.times)} frames, and a sheet is one picture that "
                "holds them: leave it out"
            )
        picture = next(iter(source.read([0])))
        h, w = picture.shape[:2]
        if w % columns or h % rows or min(w // columns, h // rows) < LEAST:
            raise InputError(
                f"--sheet {grid}: {w} x {h} pixels cannot be parted into {columns} x {rows} equal cells of "
                f"{LEAST} pixels or more: cut the picture to its cells with --crop, or give other numbers"
            )
        self._source, self._columns = source, columns
        self._cell = h // rows, w // columns
        cells = [self._part(picture, i) for i in range(columns * rows)]
        while len(cells) > 1 and _is_bare(cells[-1]):
            cells.pop()
        self.times = np.arange(len(cells)) / fps
        self.duration = len(cells) / fps
        self.has_alpha = source.has_alpha

    @property
    def notes(self) -> tuple[str, ...]:
        """Those of the picture."""
        return self._source.notes

    def _part(self, picture: UInt8[np.ndarray, "h w 4"], i: int) -> UInt8[np.ndarray, "h2 w2 4"]:
        (row, column), (h, w) = divmod(i, self._columns), self._cell
        return np.ascontiguousarray(picture[row * h : (row + 1) * h, column * w : (column + 1) * w])

    def read(
        self, indices: Sequence[int], max_side: int | None = None
    ) -> Iterator[UInt8[np.ndarray, "h w 4"]]:
        """As of `Source`."""
        picture = next(iter(self._source.read([0])))
        for i in indices:
            yield shrink(self._part(picture, i), max_side)


def read_grid(text: str) -> tuple[int, int]:
    """Columns and rows of 'CxR'. Raises InputError for anything else."""
    found = re.fullmatch(r"([1-9]\d?)\s*[xX]\s*([1-9]\d?)", text.strip())
    if found is None:
        raise InputError(f"--sheet {text}: give columns and rows of the sheet's cells, for example 4x2")
    return int(found[1]), int(found[2])


def grid_of(cut: UInt8[np.ndarray, "h w 4"], size: tuple[int, int]) -> tuple[int, int] | None:
    """Columns and rows of a sheet that a picture without background shows; None where it shows none.

    Its cells are equal, no object lies across their borders, and objects are alike in size and color; the
    last row may end early. Of several such grids the one with most cells. size: width and height in pixels.
    """
    mask = cut[..., 3] > 127
    if not mask.any():
        return None
    columns = [n for n in range(1, MOST + 1) if _parts(mask.max(0), n, size[0])]
    rows = [n for n in range(1, MOST + 1) if _parts(mask.max(1), n, size[1])]
    grids = sorted(((c, r) for c in columns for r in rows if c * r >= FEWEST), key=lambda g: -g[0] * g[1])
    return next((g for g in grids if _alike(cut, mask, *g)), None)


def _parts(shown: Bool[np.ndarray, " n"], count: int, size: int) -> bool:
    """Whether so many equal cells of whole pixels have nothing along their borders."""
    if size % count or size // count < LEAST:
        return False
    borders = np.rint(np.arange(1, count) * len(shown) / count).astype(int)
    return not (shown[borders - 1] | shown[borders]).any()


def _alike(cut: UInt8[np.ndarray, "h w 4"], mask: Bool[np.ndarray, "h w"], columns: int, rows: int) -> bool:
    """Whether all cells but some at the end hold an object, of about the same size and color."""
    y = np.rint(np.linspace(0, mask.shape[0], rows + 1)).astype(int)
    x = np.rint(np.linspace(0, mask.shape[1], columns + 1)).astype(int)
    cells = [(slice(y[r], y[r + 1]), slice(x[c], x[c + 1])) for r in range(rows) for c in range(columns)]
    filled = [bool(mask[cell].any()) for cell in cells]
    count = sum(filled)
    if count < FEWEST or count <= columns * (rows - 1) or not all(filled[:count]):
        return False
    sizes, colors = [], []
    for cell in cells[:count]:
        inside = mask[cell]
        left, top, right, bottom = mask_box(inside)
        sizes.append((right - left, bottom - top, inside.sum()))
        colors.append(cut[cell][inside][:, :3].mean(0))
    ratio = np.array(sizes) / np.median(sizes, 0)
    apart = np.abs(np.array(colors) - np.median(colors, 0)).max()
    return bool(ratio.min() >= ALIKE and ratio.max() <= 1 / ALIKE and apart <= SAME_COLOR)


def _is_bare(cell: UInt8[np.ndarray, "h w 4"]) -> bool:
    return not cell[..., 3].any() or int(np.ptp(cell.reshape(-1, 4).astype(np.int16), axis=0).max()) <= BARE
