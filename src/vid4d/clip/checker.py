"""The checkerboard that programs draw for transparency, where it was filmed or exported with the object.

It is no plain background, but known to the pixel once its squares are: what equals it is painted in one color
and the rest is a clip before a plain background.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, UInt8
from scipy import ndimage

from vid4d.clip.source import Derived, Source

BORDER = 0.06
"""Share of the picture's shorter side at whose border the board is looked for."""
APART, GREY = 8.0, 12.0
"""8-bit steps between the two levels, at least, and between their channels, at most."""
SMALLEST = 3.0
"""Pixels of a square's side, at least."""
EXPLAINED = 0.9
"""Share of the border's pixels that are the board's, at least."""
BOTH = 0.2
"""Share of either level in a gap of the object through which the board is seen, at least."""
NOTE = (
    "the checkerboard that stands for transparency is taken for the background it is: the same exported with "
    "real transparency (PNG, WebM, ProRes 4444) has sharper edges"
)


@dataclass(frozen=True, eq=False)
class Board:
    """squares: of one of the two levels, for every pixel. edge: pixels beside another square.

    levels: of squares that are not and are, 8-bit RGB.
    """

    squares: Bool[np.ndarray, "h w"]
    edge: Bool[np.ndarray, "h w"]
    levels: Float[np.ndarray, "2 3"]

    @property
    def color(self) -> Float[np.ndarray, " 3"]:
        """What it is painted in: the level in the middle."""
        return self.levels.mean(0)

    def equals(self, picture: UInt8[np.ndarray, "h w c"]) -> Bool[np.ndarray, "h w"]:
        """Pixels that are the board's; at the edges of squares anything between the levels is."""
        colors = picture[..., :3].astype(np.float32)
        allowed = 0.35 * float(np.abs(self.levels[1] - self.levels[0]).max()) + 3
        same = np.abs(colors - self.levels[self.squares.astype(int)]).max(-1) <= allowed
        low, high = self.levels.min(0) - allowed, self.levels.max(0) + allowed
        return same | (self.edge & ((colors >= low) & (colors <= high)).all(-1))

    def painted(self, picture: UInt8[np.ndarray, "h w 4"]) -> UInt8[np.ndarray, "h w 4"]:
        """The picture with one color for the board: what hangs together with the border, and gaps."""
        labels, count = ndimage.label(self.equals(picture))
        if not count:
            return picture
        inner = ndimage.binary_erosion(labels > 0) & ~self.edge
        numbers = np.arange(count + 1)
        squares, others = (
            ndimage.sum_labels(inner & which, labels, numbers) for which in (self.squares, ~self.squares)
        )
        shown = np.minimum(squares, others) > BOTH * np.maximum(squares + others, 1)
        rim = np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])
        shown[rim] = True
        shown[0] = False
        result = picture.copy()
        result[shown[labels], :3] = np.rint(self.color)
        return result


def find_board(picture: UInt8[np.ndarray, "h w 4"]) -> Board | None:
    """The checkerboard at the border of an opaque picture; None where there is none."""
    h, w = picture.shape[:2]
    rim = int(max(4, BORDER * min(h, w)))
    if min(h, w) < 4 * rim or picture[..., 3].min() < 255:
        return None
    border = np.ones((h, w), bool)
    border[rim:-rim, rim:-rim] = False
    colors = picture[..., :3].astype(np.float32)
    light = colors.mean(-1)
    level = (np.quantile(light[border], 0.1) + np.quantile(light[border], 0.9)) / 2
    bright = light > level
    columns = _lines(np.concatenate([light[:rim], light[-rim:]]))
    rows = _lines(np.concatenate([light[:, :rim], light[:, -rim:]], 1).T)
    if columns is None or rows is None or not 0.3 < bright[border].mean() < 0.7:
        return None
    across, down = (np.floor((np.arange(n) + 0.5 - x) / k) for n, (x, k) in ((w, columns), (h, rows)))
    squares = (across[None] + down[:, None]) % 2 > 0.5
    if (squares == bright)[border].mean() < 0.5:
        squares = ~squares
    levels = np.stack([np.median(colors[border & (squares == which)], 0) for which in (False, True)])
    if np.abs(levels[1] - levels[0]).min() < APART or np.ptp(levels, 1).max() > GREY:
        return None
    edge = ndimage.maximum_filter(squares, 3) != ndimage.minimum_filter(squares, 3)
    board = Board(squares, edge, levels)
    return board if board.equals(picture)[border].mean() >= EXPLAINED else None


def _lines(light: Float[np.ndarray, "r n"]) -> tuple[float, float] | None:
    """Place of a line between squares, and their side, in pixels along the second axis."""
    steps = np.abs(np.diff(light, axis=1)).mean(0)
    smooth = ndimage.gaussian_filter1d(steps, 1.0, mode="constant")
    peak = (smooth == ndimage.maximum_filter1d(smooth, 3)) & (smooth > 0.5 * np.quantile(smooth, 0.98))
    near = ndimage.uniform_filter1d(steps, 3, mode="constant") * 3
    middle = np.arange(len(steps)) + ndimage.correlate1d(steps, [-1.0, 0, 1.0], mode="constant") / np.maximum(
        near, 1e-6
    )
    lines = middle[peak] + 1.0
    if len(lines) < 4 or (side := float(np.median(np.diff(lines)))) < SMALLEST:
        return None
    number = np.rint((lines - lines[0]) / side)
    side, first = np.polyfit(number, lines, 1)
    off = np.abs(first + side * number - lines)
    return (float(first), float(side)) if np.median(off) < 0.75 and side >= SMALLEST else None


class Checkerless(Derived):
    """A source whose board is painted in one color."""

    def __init__(self, source: Source, board: Board) -> None:
        super().__init__(source)
        self._board = board

    @property
    def notes(self) -> tuple[str, ...]:
        """Those of the source, and that the board is left out."""
        return (*self._source.notes, NOTE)

    def made_of(self, frame: UInt8[np.ndarray, "h w 4"]) -> UInt8[np.ndarray, "h w 4"]:
        """The frame, painted, if it has the board's size."""
        return self._board.painted(frame) if frame.shape[:2] == self._board.squares.shape else frame


def without_checkerboard(source: Source) -> Source:
    """The source, its checkerboard painted in one color where its first frame has one."""
    board = None if source.has_alpha else find_board(next(iter(source.read([0]))))
    return source if board is None else Checkerless(source, board)
