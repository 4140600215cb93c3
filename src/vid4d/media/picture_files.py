"""Picture files opened within bounds: ordinary files, so many pixels at most; every fault one sentence."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from vid4d.errors import FAULTS, InputError
from vid4d.files.paths import refuse_special
from vid4d.media.images import row_blocks

MOST_PIXELS = 100_000_000
"""Of one picture or frame; a strip of 16 views of 1024 x 1024 pixels has 17 million."""
MOST_OF_A_FRAME = 40_000_000
"""Of an animation, whose format holds some frames at once; one of 8K has 35 million."""
MOST_ANIMATED = 1 << 31
"""Pixels of all frames of an animation together, which takes seconds to decode."""


class _Quiet:
    """Pillow's warnings left out while any thread reads; Python keeps one list of filters for all of them.

    Entered by each thread by itself, `warnings.catch_warnings` would put back another thread's list.
    """

    def __init__(self) -> None:
        self._lock, self._readers = threading.Lock(), 0

    @contextmanager
    def __call__(self) -> Iterator[None]:
        with self._lock:
            self._readers += 1
            if self._readers == 1:
                self._before = warnings.catch_warnings()
                self._before.__enter__()
                warnings.filterwarnings("ignore", module=r"PIL\b")
        try:
            yield
        finally:
            with self._lock:
                self._readers -= 1
                if self._readers == 0:
                    self._before.__exit__(None, None, None)


_quiet = _Quiet()


@contextmanager
def reading_picture(path: Path, advice: str = "export it again") -> Iterator[None]:
    """A block that opens or decodes a picture; any fault of the file is an InputError."""
    try:
        with _quiet():  # of odd palettes and of sizes; those are checked here
            yield
    except InputError:
        raise
    except FileNotFoundError as e:
        raise InputError(f"{path}: no such file; check the path") from e
    except UnidentifiedImageError as e:
        raise InputError(f"{path}: not an image that can be read; remove it or export it as PNG") from e
    except Image.DecompressionBombError as e:
        raise InputError(f"{path}: the picture is too large; scale it down first") from e
    except FAULTS as e:
        raise InputError(f"{path}: the image is damaged or cut off ({e}); {advice}") from e


def open_picture(path: Path, advice: str = "export it again") -> Image.Image:
    """The picture, not decoded yet. Raises InputError for what is none, and for too many pixels."""
    refuse_special(path)
    with reading_picture(path, advice):
        image = Image.open(path)
        check_pixels(path, *image.size)
        return image


def in_blocks(image: Image.Image) -> Iterator[tuple[slice, Image.Image]]:
    """A picture's rows, some million pixels at a time, each with their picture (`row_blocks`)."""
    for rows in row_blocks(image.height, image.width):
        yield rows, image.crop((0, rows.start, image.width, rows.stop))


def check_sums(image: Image.Image, path: Path) -> None:
    """Raises InputError for a PNG whose data do not have the checksums that they state.

    Pillow, which leaves those of the pixels out, would decode some other picture. image: of that path, open.
    """
    if image.format == "PNG":
        with reading_picture(path), Image.open(path) as again:
            again.verify()


def check_pixels(path: Path, width: int, height: int, *, most: int = MOST_PIXELS) -> None:
    """Raises InputError where a picture or video has more pixels than anybody needs."""
    if not 0 < width * height <= most:
        raise InputError(f"{path}: {width} x {height} pixels are too many; scale it down first")
