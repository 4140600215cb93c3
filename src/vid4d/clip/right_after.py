"""What changes in a source right after the frames that are read of it, where these are far apart."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, UInt8

from vid4d.clip.resting import unchanged
from vid4d.clip.source import Source


@dataclass(frozen=True, eq=False)
class RightAfter:
    """The frames of a source that follow those that were read.

    chosen: numbers of these. pictures: of these, with a longer side of at most `working` pixels in the whole,
    and cut. corner: x and y of their upper left corner in that.
    """

    source: Source
    chosen: Sequence[int]
    pictures: Sequence[UInt8[np.ndarray, "h w 4"]]
    corner: tuple[int, int]
    working: int

    def changes(self, step: int) -> Iterator[Bool[np.ndarray, "h2 w2"]]:
        """Where each picture changes in the next frame, in blocks of `step` pixels; nothing for the last.

        Ends at once where the next frames are those that were read.
        """
        following = [i + 1 for i in self.chosen if i + 1 < len(self.source.times)]
        if set(following[:-1]) <= set(self.chosen):
            return
        x, y = self.corner
        frames = self.source.read(following, self.working)
        for picture, after in zip(self.pictures, frames, strict=False):
            h, w = picture.shape[:2]
            one, other = picture[::step, ::step, :3], after[y : y + h : step, x : x + w : step, :3]
            yield ~unchanged(one, other)
