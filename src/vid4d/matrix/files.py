"""Pictures and videos as arrays, for the readers of image matrices; a mask for pictures that have none."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from vid4d.errors import InputError
from vid4d.files.paths import natural_order
from vid4d.media.images import as_floats, to_uint8
from vid4d.media.keying import remove_border_background
from vid4d.media.picture_files import check_sums, open_picture, reading_picture
from vid4d.media.video import Video

REPLACE = "replace it or remove it"
MOST_BYTES = 6 << 30
"""Of all pictures of an image matrix together."""

Picture = np.ndarray
"""(h, w, c) float32 in [0, 1]: 1, 3 or 4 channels."""


def as_rgba(picture: Picture) -> Picture:
    """The picture with alpha: its own, or keyed from the background."""
    if picture.shape[-1] == 4:
        return picture
    return as_floats(remove_border_background(to_uint8(picture)))


def pictures_in(folder: Path) -> list[Path]:
    """The picture files of a folder in natural order (2 before 10)."""
    files = [p for p in folder.iterdir() if p.suffix.lower() in (".png", ".jpg", ".jpeg", ".webp")]
    return natural_order(files)


def picture_size(file: Path) -> tuple[int, int]:
    """Width and height."""
    with open_picture(file, REPLACE) as picture:
        return picture.size


def read_picture(file: Path) -> Picture:
    """RGB, or RGBA where the file has transparency."""
    if not file.exists():
        raise InputError(f"{file} is missing: an image matrix needs every view at every time.")
    with open_picture(file, REPLACE) as picture, reading_picture(file, REPLACE):
        check_sums(picture, file)
        alpha = picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info
        return np.asarray(picture.convert("RGBA" if alpha else "RGB"), dtype=np.float32) / 255


def read_grey(file: Path) -> Picture:
    """One channel, from 8 or 16 bits."""
    if not file.exists():
        raise InputError(f"{file} is missing: confidence is needed for every view and time, or none.")
    with open_picture(file, REPLACE) as picture, reading_picture(file, REPLACE):
        check_sums(picture, file)
        deep = picture.mode.startswith("I")
        pixels = np.asarray(picture if deep else picture.convert("L"), dtype=np.float32)
        return (pixels / (65535 if deep else 255))[..., None]


def read_video(file: Path) -> tuple[list[Picture], float]:
    """All frames in RGB, and the duration in seconds."""
    try:
        video = Video(file)
        frames: list[Picture] = []
        for frame in video.read(range(len(video))):
            if not frames:
                check_room(file, len(video) * frame.nbytes * 4)
            frames.append(as_floats(frame[..., :3]))
    except InputError as e:
        raise InputError(f"{file} cannot be read as a video ({e}): replace it.") from e
    return frames, video.duration


def write_picture(file: Path, picture: Picture) -> None:
    """PNG: RGBA or RGB in 8 bits, one channel in 16."""
    if picture.shape[-1] == 1:
        Image.fromarray(np.round(picture[..., 0] * 65535).astype(np.uint16)).save(file)
    else:
        Image.fromarray(to_uint8(picture)).save(file, compress_level=4)


def split_grid(picture: Picture, columns: int, rows: int, file: Path) -> list[Picture]:
    """The cells of a grid, row by row."""
    h, w = picture.shape[:2]
    if h % rows or w % columns:
        raise InputError(f"{file} has {w} x {h} pixels, which {columns} x {rows} views do not divide evenly.")
    a, b = h // rows, w // columns
    return [picture[r * a : (r + 1) * a, c * b : (c + 1) * b] for r in range(rows) for c in range(columns)]


def stack(pictures: Sequence[Picture], where: str | os.PathLike[str]) -> np.ndarray:
    """Pictures of one size and channel count as one array."""
    shapes = sorted({p.shape for p in pictures})
    if len(shapes) > 1:
        sizes = " and ".join(f"{s[-2]} x {s[-3]}" for s in shapes[:2])
        raise InputError(f"{where} mixes pictures of {sizes} pixels: make all views and times one size.")
    return np.stack(pictures)


def check_room(where: str | os.PathLike[str], needed: int) -> None:
    """Raises InputError where pictures need more bytes of memory than an image matrix may have."""
    if needed > MOST_BYTES:
        raise InputError(
            f"{where} would need {needed / 2**30:.0f} GiB of memory: give smaller or fewer pictures."
        )
