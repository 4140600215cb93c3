"""A part of a source's pictures, in place of all: without windows, menus and pictures around it."""

from __future__ import annotations

import numpy as np
from jaxtyping import UInt8

from vid4d.clip.prompts import numbers
from vid4d.clip.source import Derived, Source
from vid4d.errors import InputError

LEAST = 16
"""Pixels of a part's shorter side, at least."""


class Part(Derived):
    """A source of which a part is shown.

    corner: left and top of the part, whole: width and height of the source's pictures, in pixels.
    """

    def __init__(self, source: Source, crop: str) -> None:
        """crop: 'X0,Y0,X1,Y1'. Raises InputError for anything else, and for what holds hardly a pixel."""
        super().__init__(source)
        left, top, right, bottom = read_crop(crop)
        h, w = next(iter(source.read([0]))).shape[:2]
        if min(min(right, w) - left, min(bottom, h) - top) < LEAST:
            raise InputError(
                f"--crop {crop}: holds less than {LEAST} pixels of a picture of {w} x {h}; give left, top, "
                "right and bottom as X0,Y0,X1,Y1"
            )
        self.corner, self.whole = (left, top), (w, h)
        self._rows, self._columns = slice(top, bottom), slice(left, right)

    def made_of(self, frame: UInt8[np.ndarray, "h w 4"]) -> UInt8[np.ndarray, "h2 w2 4"]:
        """The part alone."""
        return np.ascontiguousarray(frame[self._rows, self._columns])


def read_crop(text: str) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of 'X0,Y0,X1,Y1'. Raises InputError for what holds hardly a pixel of any
    picture, and for anything else."""
    left, top, right, bottom = (round(n) for n in numbers(text, 4, "--crop", "X0,Y0,X1,Y1"))
    if min(right - left, bottom - top) < LEAST:
        raise InputError(
            f"--crop {text}: holds less than {LEAST} pixels; give left, top, right and bottom as X0,Y0,X1,Y1"
        )
    return left, top, right, bottom
