"""Mirror images on glossy tables: what lies below a row is the object above it, upside down and paler.

It is neither shadow nor object, and parts of it have edges as both do. A camera that looks along the table
sees object and image fold over one row of the picture; from further above they do not fold, and stay.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, UInt8

from vid4d.clip.shadows import blocks
from vid4d.clip.spool import Spool
from vid4d.media.images import over_white_uint8
from vid4d.media.keying import Background, around, smooth

SIDE = 240
"""Longer side of the copies on which the row is looked for."""
LOOKS = 5
"""Frames that are looked at, all of them for one row: a table stands still."""
DEPTH = 0.3
"""How far above and below the row, over the object's height."""
LEAST_ROWS = 6
"""Rows of these copies that this has to be, at least."""
EXPLAINED = 0.8
"""Share of what lies below the row that is what lies above it, turned over, each row as pale as it is."""
MORE, SOME, TIMES = 0.25, 0.08, 6.0
"""How much more that is than what the row itself explains, drawn downwards, as legs and posts go on; or at
least some more, where so many times less is left unexplained."""
FAINTEST = 0.04
"""How strong the image is over the object, at least."""
PALEST = 0.7
"""The same where the two meet, at most: a ball is alike above and below its middle, and goes on there."""
MEET = 3
"""Rows in which they meet."""
SEEN = 1.0
"""Mean difference from the bare background below the row, 8-bit steps, that there has to be."""


class _Fold(NamedTuple):
    """What folds over a row. explained, along: shares. strength: over the object; start: where the two meet.
    seen: 8-bit steps."""

    row: int
    explained: float
    along: float
    strength: float
    start: float
    seen: float


def mirror_row(
    frames: Sequence[UInt8[np.ndarray, "h w 4"]],
    cut: Sequence[UInt8[np.ndarray, "h w 4"]],
    background: Background,
) -> int | None:
    """The first row of the object's mirror image; None where there is none.

    frames: as they came. cut: without background. The object is somewhere in them.
    """
    few = np.unique(np.linspace(0, len(frames) - 1, min(len(frames), LOOKS)).round().astype(int)).tolist()
    shown = np.any([cut[i][..., 3] > 127 for i in few], 0)
    if not shown.any():
        return None
    step = max(1, -(-max(shown.shape) // SIDE))
    box = around(shown, 2 * step)
    box = (slice(box[0].start, shown.shape[0]), box[1])  # an image may be too pale for the mask
    residuals = [_residual(frames[i], i, background, box) for i in few]
    rows = np.nonzero(shown[box].any(1))[0]
    top, bottom = int(rows[0]), int(rows[-1])
    small = [smooth(blocks(r, step)) for r in residuals]
    height = (bottom - top) // step
    coarse = _best(small, range(top // step + height // 3, bottom // step + 3), top // step)
    if coarse is None or not _folds(coarse):
        return None
    middle = coarse.row * step
    fine = _best(residuals, range(middle - step, middle + step + 1), top)
    return None if fine is None else fine.row + box[0].start


def without_mirror(
    frames: Sequence[UInt8[np.ndarray, "h w 4"]], row: int, background: Background
) -> Sequence[UInt8[np.ndarray, "h w 4"]]:
    """Frames with the bare background from a row on."""
    result = Spool()
    for i, frame in enumerate(frames):
        bare = frame.copy()
        surface = background.surface[row:] + background.offsets[i]
        bare[row:, :, :3] = np.rint(surface.clip(0, 255))
        result.append(bare)
    return result


def _residual(
    frame: UInt8[np.ndarray, "h w 4"], number: int, background: Background, box: tuple[slice, slice]
) -> Float[np.ndarray, "h2 w2 3"]:
    return over_white_uint8(frame)[box] - background.surface[box] - background.offsets[number]


def _folds(fold: _Fold) -> bool:
    more = fold.explained - fold.along
    clear = more > MORE or (more > SOME and 1 - fold.along > TIMES * (1 - fold.explained))
    image = fold.explained > EXPLAINED and fold.strength > FAINTEST and fold.start < PALEST
    return image and clear and fold.seen > SEEN


def _best(residuals: Sequence[Float[np.ndarray, "h w 3"]], rows: range, top: int) -> _Fold | None:
    """The row over which most folds."""
    height = len(residuals[0])
    found = []
    for row in rows:
        depth = min(int(DEPTH * (row - top)), height - row)
        if depth >= LEAST_ROWS:
            found.append(_fold(residuals, row, depth))
    return max(found, key=lambda f: f.explained, default=None)


def _fold(residuals: Sequence[Float[np.ndarray, "h w 3"]], row: int, depth: int) -> _Fold:
    """Least squares of each row below by the one as far above, one factor for all frames."""
    above, both, below, along = np.zeros(depth), np.zeros(depth), 0.0, 0.0
    for residual in residuals:
        up, down, line = residual[row - depth : row][::-1], residual[row : row + depth], residual[row - 2]
        above += (up**2).sum((1, 2))
        both += (up * down).sum((1, 2))
        below += float((down**2).sum())
        along += float((np.maximum((down * line).sum((1, 2)), 0) ** 2).sum() / max((line**2).sum(), 1e-6))
    factor = np.maximum(both, 0) / np.maximum(above, 1e-6)
    explained = float((2 * factor * both - factor**2 * above).sum())
    count = len(residuals) * depth * residuals[0].shape[1]
    return _Fold(
        row,
        explained / max(below, 1e-6),
        along / max(below, 1e-6),
        float((factor * above).sum() / max(above.sum(), 1e-6)),
        float((factor * above)[:MEET].sum() / max(above[:MEET].sum(), 1e-6)),
        float(np.sqrt(below / count)),
    )
