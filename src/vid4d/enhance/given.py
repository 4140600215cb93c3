"""Sharp pictures that another tool makes, a diffusion upscaler for instance: renders out, pictures in.

vid4d runs no diffusion upscaler itself. Whoever has one runs it on the renders that `write_renders` left, and
gives its pictures under the same names.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from vid4d.errors import InputError
from vid4d.files.manifest import holds_only
from vid4d.files.write import folder_written_whole
from vid4d.media.images import over_white_uint8, to_uint8
from vid4d.media.picture_files import in_blocks, open_picture, reading_picture
from vid4d.metrics import psnr

ENDINGS = (".png", ".webp", ".jpg", ".jpeg")
LEAST_LIKENESS = 12.0
"""PSNR in dB of a sharp picture against its render; what is less alike shows something else."""


def name_of(index: int) -> str:
    """Name of a picture, without its ending; they count over all sides, side by side."""
    return f"{index:04d}"


def write_renders(folder: Path, sides: Sequence[Float[Tensor, "_ 3 h w"]]) -> int:
    """Writes the renders of all sides as numbered PNG, whole or not at all; returns how many.

    Raises InputError where something is there already, but for such renders that nobody has touched.
    """
    pictures = torch.cat(list(sides)).permute(0, 2, 3, 1)
    if folder.exists() and not holds_only(folder, [f"{name_of(i)}.png" for i in range(len(pictures))]):
        raise InputError(f"{folder} exists: name a new folder for the renders")
    with folder_written_whole(folder) as scratch:
        for i, picture in enumerate(pictures):
            Image.fromarray(to_uint8(picture)).save(scratch / f"{name_of(i)}.png")
    return len(pictures)


def read_sharp(folder: Path, sides: Sequence[Float[Tensor, "_ 3 h w"]]) -> list[Float[Tensor, "_ 3 h w"]]:
    """Sharp pictures of all sides, at the renders' size, over white.

    Raises InputError where one is missing, is no picture, or shows something else than its render.
    """
    if not folder.is_dir():
        raise InputError(f"there is no folder {folder}: give the one that holds the sharp pictures")
    sharp, index = [], 0
    for side in sides:
        pictures = []
        for render in side:
            file = _file_of(folder, index)
            picture = _read(file, size=side.shape[-1])
            likeness = float(psnr(picture.movedim(0, -1), render.movedim(0, -1)))
            if likeness < LEAST_LIKENESS:
                raise InputError(
                    f"{file} shows something else than the render of that name ({likeness:.1f} dB alike): "
                    "sharpen the renders that --to-sharpen writes for this run and preset"
                )
            pictures.append(picture)
            index += 1
        sharp.append(torch.stack(pictures))
    return sharp


def _file_of(folder: Path, index: int) -> Path:
    for ending in ENDINGS:
        if (file := folder / f"{name_of(index)}{ending}").is_file():
            return file
    raise InputError(
        f"{folder} has no {name_of(index)}.png: every render that --to-sharpen writes is needed, sharpened"
    )


def _read(file: Path, size: int) -> Float[Tensor, "3 h w"]:
    with open_picture(file) as image, reading_picture(file):
        rgba = np.empty((image.height, image.width, 4), np.uint8)
        for rows, part in in_blocks(image):
            rgba[rows] = np.asarray(part.convert("RGBA"))
    if rgba.shape[0] != rgba.shape[1]:
        raise InputError(
            f"{file} is {rgba.shape[1]} x {rgba.shape[0]} pixels, and renders are square: do not crop them"
        )
    picture = Image.fromarray(over_white_uint8(rgba))
    if picture.width != size:
        picture = picture.resize((size, size), Image.Resampling.HAMMING)
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1).float() / 255
