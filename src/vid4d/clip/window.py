"""The square window of a clip: one for all frames, or one that follows an object that crosses the picture.

A window that follows is as large in all frames and moves on the smoothest path that keeps the object inside,
so that how the outline jitters or a limb swings stays in the shape's own motion and never moves the window.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.sparse
import scipy.sparse.linalg
from jaxtyping import Float, UInt8

from vid4d.media.keying import mask_box

FOLLOW = 0.6
"""Share of the room for it that an object takes in a still window at least; a smaller one is followed."""

SLACK = 1.15
"""Side of the following window over the smallest that would do: room for a smooth path."""


@dataclass(frozen=True, eq=False)
class Windows:
    """Square windows of all frames, source pixels; they may reach beyond the picture.

    side: of all windows. centers: middle of each, x to the right and y down. extent: longer side of the
    object's bounding box where it is largest. follows: whether the windows move.
    """

    side: float
    centers: Float[np.ndarray, "t 2"]
    extent: float
    follows: bool

    def corner(self, frame: int) -> tuple[float, float, float]:
        """Left, top and side of a frame's window."""
        x, y = self.centers[frame]
        return float(x - self.side / 2), float(y - self.side / 2), self.side


def fit_windows(
    frames: Sequence[UInt8[np.ndarray, "h w 4"]],
    times: Float[np.ndarray, " t"],
    object_size: float,
    *,
    cyclic: bool = False,
    follow: str = "auto",
) -> Windows:
    """The windows of frames whose masks are not empty.

    object_size: share of the window's side that the object's longer side takes. follow: 'no', 'yes', or
    'auto': where the object takes less than FOLLOW of the room that a still window has for it.
    """
    boxes = np.array([mask_box(f[..., 3] > 127) for f in frames], np.float64)
    low, high = boxes[:, :2], boxes[:, 2:]
    extent = float((high - low).max())
    whole = float((high.max(0) - low.min(0)).max())
    if follow == "no" or (follow == "auto" and extent >= FOLLOW * whole):
        middle = (high.max(0) + low.min(0)) / 2
        return Windows(whole / object_size, np.tile(middle, (len(frames), 1)), extent, False)
    centers = smoothest_path(low, high, times, SLACK * extent, cyclic=cyclic)
    centers = centers.round(3)  # so that seconds of another origin give the same windows
    side = 2 * float(np.maximum(high - centers, centers - low).max()) / object_size
    return Windows(side, centers, extent, True)


def smoothest_path(
    low: Float[np.ndarray, "t 2"],
    high: Float[np.ndarray, "t 2"],
    times: Float[np.ndarray, " t"],
    side: float,
    *,
    cyclic: bool = False,
) -> Float[np.ndarray, "t 2"]:
    """Middles of windows of a side that hold all boxes, and bend as little as that allows.

    The middles of the boxes are smoothed by least squares with a penalty on second differences over time
    (Whittaker, 1923), as strong as the side permits.

    low, high: corners of the boxes, of which none is larger than the side. cyclic: the path closes.
    """
    middle = (low + high) / 2
    if len(times) < 3:
        return middle
    bends = _second_differences(times, cyclic)
    penalty, one = bends.T @ bends, scipy.sparse.identity(len(times), format="csc")
    for strength in np.logspace(8, -4, 37):
        path = np.asarray(scipy.sparse.linalg.spsolve((one + strength * penalty).tocsc(), middle))
        if 2 * np.maximum(high - path, path - low).max() <= side:
            return path
    return middle


def _second_differences(times: np.ndarray, cyclic: bool) -> scipy.sparse.csr_matrix:
    """Second divided differences, in steps of the mean time between frames."""
    n, step = len(times), float(np.diff(times).mean())
    gaps = np.append(np.diff(times), step) / step
    rows = range(n) if cyclic and n > 3 else range(1, n - 1)
    matrix = scipy.sparse.lil_matrix((len(rows), n))
    for row, i in enumerate(rows):
        before, after = gaps[i - 1], gaps[i]
        matrix[row, (i - 1) % n] += 2 / (before * (before + after))
        matrix[row, i] -= 2 / (before * after)
        matrix[row, (i + 1) % n] += 2 / (after * (before + after))
    return matrix.tocsr()
