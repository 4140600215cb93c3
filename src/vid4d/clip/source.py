"""What a source of frames is, wherever they come from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import UInt8

from vid4d.media.video import shrink


@runtime_checkable
class Source(Protocol):
    """Frames by index. times: seconds from the first; duration: seconds, the last frame's own included.

    notes: warnings in words, of what was read so far, too. `read` gives 8-bit sRGB with straight alpha for
    increasing indices, the longer side at most `max_side`, and holds one frame at a time.
    """

    times: np.ndarray
    duration: float
    has_alpha: bool

    @property
    def notes(self) -> tuple[str, ...]: ...

    def read(self, indices: Sequence[int], max_side: int | None = None) -> Iterator[np.ndarray]: ...


class Derived:
    """A source whose frames are made of another's, one of each; what only some sources have is that one's."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self.times, self.duration, self.has_alpha = source.times, source.duration, source.has_alpha

    @property
    def notes(self) -> tuple[str, ...]:
        """Those of the source."""
        return self._source.notes

    def __getattr__(self, name: str) -> object:
        """Such as whether it loops."""
        if name == "_source":
            raise AttributeError(name)
        return getattr(self._source, name)

    def made_of(self, frame: UInt8[np.ndarray, "h w 4"]) -> UInt8[np.ndarray, "h2 w2 4"]:
        """The frame that is made of one of the source at full size."""
        raise NotImplementedError

    def read(
        self, indices: Sequence[int], max_side: int | None = None
    ) -> Iterator[UInt8[np.ndarray, "h w 4"]]:
        """As of `Source`."""
        for frame in self._source.read(indices):
            yield shrink(self.made_of(frame), max_side)
