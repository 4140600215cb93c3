"""Pictures in a row that wait on the disk where they are many, so that memory does not grow with a clip.

Up to `HELD` bytes stay in memory. From there on all lie in a temporary file without a name, which is gone
with the process, and one is read at a time.
"""

from __future__ import annotations

import tempfile
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import IO, Any, NamedTuple

import numpy as np
from jaxtyping import Shaped

from vid4d.errors import InputError
from vid4d.media.keying import around

HELD = 24 << 20
"""Bytes of one row of pictures in memory."""


class _Entry(NamedTuple):
    """A picture: its shape, the top and left of the part that is kept, and that part's shape and place."""

    shape: tuple[int, ...]
    corner: tuple[int, int]
    kept: tuple[int, ...]
    offset: int


class Spool(Sequence[np.ndarray]):
    """8-bit pictures by number; what comes back from the disk is the caller's own.

    boxed: of each picture only the box around what is not zero in its last channel is kept, and around it all
    becomes zero: for cut-out objects and masks.
    """

    def __init__(self, pictures: Iterable[np.ndarray] = (), *, boxed: bool = False) -> None:
        self._boxed, self._held = boxed, HELD
        self._entries: list[_Entry] = []
        self._parts: list[np.ndarray] = []
        self._kind = np.dtype(np.uint8)
        self._bytes = 0
        self._file: IO[bytes] | None = None
        for picture in pictures:
            self.append(picture)

    def append(self, picture: Shaped[np.ndarray, "h w *c"]) -> None:
        """Adds a picture, which must not be changed afterwards. Raises InputError where the disk is full."""
        rows, columns = _box(picture) if self._boxed else (slice(None), slice(None))
        part = picture[rows, columns]
        self._kind = part.dtype
        corner = (rows.start or 0, columns.start or 0)
        self._entries.append(_Entry(picture.shape, corner, part.shape, self._bytes))
        self._bytes += part.nbytes
        if self._file is None and self._bytes <= self._held:
            self._parts.append(part.copy() if self._boxed else part)
            return
        try:
            if self._file is None:
                self._file = tempfile.TemporaryFile()  # noqa: SIM115 (lives as long as this)
                weakref.finalize(self, self._file.close)
                for earlier in self._parts:
                    self._file.write(np.ascontiguousarray(earlier).data)
                self._parts = []
            self._file.seek(0, 2)
            self._file.write(np.ascontiguousarray(part).data)
        except OSError as e:
            raise InputError(
                f"the frames have no room in {tempfile.gettempdir()} ({e.strerror or e}): free space there, "
                "name another place as TMPDIR, or ask for fewer --frames"
            ) from e

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self[i] for i in range(len(self)))

    def __getitem__(self, i: Any) -> Shaped[np.ndarray, "h w *c"]:  # type: ignore[override]
        entry = self._entries[i]
        if self._file is None:
            part = self._parts[i]
        else:
            part = np.empty(entry.kept, self._kind)
            self._file.seek(entry.offset)
            if part.nbytes and self._file.readinto(part.data) != part.nbytes:  # type: ignore[attr-defined]
                raise OSError(f"{tempfile.gettempdir()}: a temporary file was cut off")
        if entry.kept == entry.shape:
            return part
        whole = np.zeros(entry.shape, self._kind)
        y, x = entry.corner
        whole[y : y + entry.kept[0], x : x + entry.kept[1]] = part
        return whole


class Mapped(Sequence[np.ndarray]):
    """Pictures with something done to each when it is asked for."""

    def __init__(self, pictures: Sequence[np.ndarray], change: Callable[[np.ndarray], np.ndarray]) -> None:
        self._pictures, self._change = pictures, change

    def __len__(self) -> int:
        return len(self._pictures)

    def __getitem__(self, i: Any) -> np.ndarray:  # type: ignore[override]
        return self._change(self._pictures[i])


class Picked(Sequence[np.ndarray]):
    """Some of the pictures, by their numbers."""

    def __init__(self, pictures: Sequence[np.ndarray], which: Sequence[int]) -> None:
        self._pictures, self._which = pictures, [int(i) for i in which]

    def __len__(self) -> int:
        return len(self._which)

    def __getitem__(self, i: Any) -> np.ndarray:  # type: ignore[override]
        return self._pictures[self._which[i]]


def _box(picture: np.ndarray) -> tuple[slice, slice]:
    shown = (picture[..., 3] if picture.ndim == 3 else picture) != 0
    return around(shown, 0) if shown.any() else (slice(0, 0), slice(0, 0))
