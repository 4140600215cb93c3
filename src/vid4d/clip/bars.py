"""Bars around a picture (letterbox, pillarbox, the thin edge of captures): found and cut off."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt8

from vid4d.clip.spool import Mapped

FLAT = 14  # distance from the bar's color, 8-bit steps, of its pixels
STEP = 24  # distance from it of the picture beside a bar
MOST = 0.4  # share of the picture that one bar may take


def cut_bars(
    frames: Sequence[UInt8[np.ndarray, "h w 4"]], shrunk: float = 1.0
) -> tuple[Sequence[UInt8[np.ndarray, "h2 w2 4"]], str | None, tuple[int, int]]:
    """Frames without rows and columns of one color at their sides, a sentence about these, and their corner.

    A bar is of one color in all frames, and ends at once, along the whole side. A background of one color
    has no such end. Frames with transparency are left as they are. shrunk: how many times smaller the frames
    are than the source, whose pixels the sentence counts.
    """
    sample = [frames[i] for i in np.linspace(0, len(frames) - 1, min(len(frames), 16)).round().astype(int)]
    if any((f[..., 3] < 255).any() for f in sample):
        return frames, None, (0, 0)
    pictures = np.stack([f[..., :3] for f in sample])
    top, bottom = _bar(pictures), _bar(pictures[:, ::-1])
    inner = pictures[:, top : pictures.shape[1] - bottom].swapaxes(1, 2)
    left, right = _bar(inner), _bar(inner[:, ::-1])
    if not any((top, bottom, left, right)):
        return frames, None, (0, 0)
    h, w = pictures.shape[1:3]
    sides = {"top": top, "bottom": bottom, "left": left, "right": right}
    said = ", ".join(f"{round(shrunk * n)} pixels at the {side}" for side, n in sides.items() if n)
    cut = Mapped(frames, lambda f: f[top : h - bottom, left : w - right])
    return cut, f"bars or edges of one color are cut off: {said}", (left, top)


def _bar(pictures: UInt8[np.ndarray, "t h w 3"]) -> int:
    """Rows of a bar at the top, with the blurred ones where it ends; 0 where there is none."""
    h = pictures.shape[1]
    color = np.median(pictures[:, 0].reshape(-1, 3), 0)
    thick = 0
    for row in range(int(MOST * h) + 4):
        distance = np.abs(pictures[:, min(row, h - 1)].astype(np.float32) - color).max(-1)
        if (distance <= FLAT).mean(-1).min() >= 0.99:
            if row != thick:  # flat again after another color: stripes, no bar
                return 0
            thick += 1
        elif thick == 0 or thick > MOST * h or row > thick + 2:
            return 0
        elif np.median((distance >= STEP).mean(-1)) >= 0.8:
            return row + 1  # the first row of the picture is ringing of compressed video
    return 0
