"""Pictures and videos as arrays, for the readers of image matrices; a mask for pictures that have none."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from PIL import Image

from vid4d.errors import InputError

Picture = np.ndarray
"""(h, w, c) float32 in [0, 1]: 1, 3 or 4 channels."""


def key_background(image: Float[np.ndarray, "h w 3"]) -> Picture:
    """Gives an opaque picture of an object over a plain background its alpha.

    The background colour is the median of the border. Pixels within 0.06 of it (largest channel difference)
    that are connected to the border become transparent, so white parts inside the object stay. On the
    object's outline alpha grows with the difference, up to 1 at 0.25, and the background is taken out of the
    colour.
    """
    from scipy import ndimage

    border = np.concatenate([image[0], image[-1], image[:, 0], image[:, -1]])
    colour = np.median(border, axis=0)
    difference = np.abs(image - colour).max(-1)
    label, _ = ndimage.label(np.pad(difference < 0.06, 1, constant_values=True))
    background = (label == label[0, 0])[1:-1, 1:-1]
    outline = ndimage.binary_dilation(background, iterations=1) & ~background
    alpha = np.where(background, 0.0, np.where(outline, np.clip(difference / 0.25, 0, 1), 1.0))[..., None]
    straight = (image - (1 - alpha) * colour) / np.maximum(alpha, 1e-3)
    rgb = np.where(alpha > 0.05, np.clip(straight, 0, 1), image)
    return np.concatenate([rgb, alpha], -1).astype(np.float32)


def as_rgba(picture: Picture) -> Picture:
    """The picture with alpha: its own, or keyed from the background."""
    return picture if picture.shape[-1] == 4 else key_background(picture)


def read_json(file: Path) -> dict[str, Any]:
    try:
        meta = json.loads(file.read_text())
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as e:
        raise InputError(f"{file} cannot be read as JSON ({e}): write it again.") from e
    if not isinstance(meta, dict):
        raise InputError(f"{file} does not hold a JSON object: see the documented layout.")
    return meta


def pictures_in(folder: Path) -> list[Path]:
    """The picture files of a folder in natural order (2 before 10)."""
    files = [p for p in folder.iterdir() if p.suffix.lower() in (".png", ".jpg", ".jpeg", ".webp")]
    return sorted(files, key=lambda p: [int(s) if s.isdigit() else s for s in re.split(r"(\d+)", p.name)])


def picture_size(file: Path) -> tuple[int, int]:
    """Width and height."""
    try:
        with Image.open(file) as picture:
            return picture.size
    except (OSError, SyntaxError) as e:
        raise InputError(f"{file} cannot be read as a picture: replace it or remove it.") from e


def read_picture(file: Path) -> Picture:
    """RGB, or RGBA where the file has transparency."""
    try:
        with Image.open(file) as picture:
            alpha = picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info
            return np.asarray(picture.convert("RGBA" if alpha else "RGB"), dtype=np.float32) / 255
    except FileNotFoundError as e:
        raise InputError(f"{file} is missing: an image matrix needs every view at every time.") from e
    except (OSError, SyntaxError) as e:
        raise InputError(f"{file} cannot be read as a picture: replace it or remove it.") from e


def read_grey(file: Path) -> Picture:
    """One channel, from 8 or 16 bits."""
    try:
        with Image.open(file) as picture:
            deep = picture.mode.startswith("I")
            pixels = np.asarray(picture if deep else picture.convert("L"), dtype=np.float32)
            return (pixels / (65535 if deep else 255))[..., None]
    except FileNotFoundError as e:
        raise InputError(f"{file} is missing: confidence is needed for every view and time, or none.") from e
    except (OSError, SyntaxError) as e:
        raise InputError(f"{file} cannot be read as a picture: replace it or remove it.") from e


def read_video(file: Path) -> tuple[list[Picture], float]:
    """All frames in RGB, and the duration in seconds."""
    import av

    try:
        with av.open(str(file)) as container:
            stream = container.streams.video[0]
            frames = [f.to_ndarray(format="rgb24").astype(np.float32) / 255 for f in container.decode(stream)]
            rate = float(stream.average_rate or 10)
    except (av.error.FFmpegError, IndexError, OSError) as e:
        raise InputError(f"{file} cannot be read as a video: replace it.") from e
    if not frames:
        raise InputError(f"{file} holds no frames: replace it.")
    return frames, len(frames) / rate


def write_picture(file: Path, picture: Picture) -> None:
    """PNG: RGBA or RGB in 8 bits, one channel in 16."""
    if picture.shape[-1] == 1:
        Image.fromarray(np.round(picture[..., 0] * 65535).astype(np.uint16)).save(file)
    else:
        Image.fromarray(np.round(picture * 255).astype(np.uint8)).save(file, compress_level=4)


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
