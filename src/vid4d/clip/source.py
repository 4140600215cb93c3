"""What a source of frames is, wherever they come from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol, runtime_checkable

import numpy as np


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
