"""Videos that carry their alpha as a second picture: a black and white matte to the right, or below."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, UInt8
from scipy import ndimage

from vid4d.clip.source import Derived, Source

GREY = 24
"""Spread of a pixel's channels, at most, that is grey: compression tints edges."""
BLACK, WHITE = 24, 231
"""Levels that are clear and opaque; between them is a soft edge."""
PURE = 0.93
"""Share of a matte that is black or white, at least, and grey; of its picture less."""
SEEN = 0.005, 0.9
"""Share of a matte that is white, from and to."""
SHIFT = 8
"""Pixels by which the matte's outline is moved, for comparison."""
SHARPER = 1.3
"""Change of the picture's colors along the outline, over that along the outline when moved, at least."""


def with_matte(source: Source) -> Source:
    """The source, or its picture with the matte that lies beside it as alpha."""
    last = len(source.times) - 1
    ways = [] if source.has_alpha else [False, True]
    for i in sorted({0, last // 2, last}):
        if not ways:
            break
        frame = next(iter(source.read([i])))
        ways = [below for below in ways if _is_matte(*_halves(frame, below))]
    return MatteBeside(source, ways[0]) if ways else source


class MatteBeside(Derived):
    """A source whose frames hold a picture and its matte. below: the matte lies below, not to the right."""

    def __init__(self, source: Source, below: bool) -> None:
        super().__init__(source)
        self._below, self.has_alpha = below, True

    @property
    def notes(self) -> tuple[str, ...]:
        """Those of the source, and what was found."""
        where = "lower" if self._below else "right"
        return (
            *self._source.notes,
            f"the {where} half of the picture is a matte of the other half: it is taken for its alpha; "
            "--crop to the other half alone leaves it out",
        )

    def made_of(self, frame: UInt8[np.ndarray, "h w 4"]) -> UInt8[np.ndarray, "h2 w2 4"]:
        """The picture alone, with the matte as alpha."""
        picture, matte = _halves(frame, self._below)
        level = (matte[..., 1].astype(np.float32) - BLACK) / (WHITE - BLACK)
        return np.dstack([picture[..., :3], np.rint(255 * level.clip(0, 1)).astype(np.uint8)])


def _halves(
    frame: UInt8[np.ndarray, "h w 4"], below: bool
) -> tuple[UInt8[np.ndarray, "h2 w2 4"], UInt8[np.ndarray, "h2 w2 4"]]:
    h, w = frame.shape[:2]
    if below:
        return frame[: h // 2], frame[h // 2 : 2 * (h // 2)]
    return frame[:, : w // 2], frame[:, w // 2 : 2 * (w // 2)]


def _pure(part: UInt8[np.ndarray, "h w 4"]) -> float:
    """Share of a part that is black or white."""
    color = part[..., :3].astype(np.int16)
    extreme = (color.max(-1) <= BLACK) | (color.min(-1) >= WHITE)
    return float((extreme & (np.ptp(color, axis=-1) <= GREY)).mean())


def _is_matte(picture: UInt8[np.ndarray, "h w 4"], matte: UInt8[np.ndarray, "h w 4"]) -> bool:
    """Whether one part of a frame is the matte of the other: pure, and with edges where that has some."""
    if _pure(matte[::4, ::4]) < PURE:  # most are none, and this is quick
        return False
    white = matte[..., 1] > 127
    if min(white.shape) < 4 * SHIFT or _pure(matte) < PURE or not SEEN[0] < white.mean() < SEEN[1]:
        return False
    if _pure(np.where(white[..., None], picture, 127)) > PURE * white.mean():  # white things, and no matte
        return False
    outline = ndimage.binary_dilation(white, iterations=2) & ~ndimage.binary_erosion(white, iterations=2)
    change = ndimage.gaussian_gradient_magnitude(picture[..., :3].astype(np.float32).mean(-1), 1.0)
    moved = [np.roll(outline, n, axis) for axis in (0, 1) for n in (-SHIFT, SHIFT)]
    return _mean(change, outline) > SHARPER * max(_mean(change, m) for m in moved)


def _mean(values: np.ndarray, where: Bool[np.ndarray, "h w"]) -> float:
    return float(values[where].mean()) if where.any() else 0.0
