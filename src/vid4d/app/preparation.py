"""What would be cut out of a clip, to look at before anything is made of it: mask, key frames, hints."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, UInt8
from PIL import Image
from scipy import ndimage

from vid4d.clip import keyframes
from vid4d.clip.clip import Clip
from vid4d.clip.files import strip_of
from vid4d.clip.sources import open_source
from vid4d.compute.threads import fixed_threads
from vid4d.media.images import over_white_uint8
from vid4d.methods.stages import read_as_set
from vid4d.settings import Settings

KEYS, DENSE, SIZE = 8, 64, 256
"""Frames as `vid4d prepare` reads them, and efficient4d."""
LARGEST = 960
"""Longer side of the first frame's picture."""
OUTLINE = (255, 255, 255)


@dataclass(frozen=True, eq=False)
class Preparation:
    """first: the first frame that is used, dark but for the object. shrunk: how much smaller than the source
    it is. strip: the key frames, cut out. facts: what was found. hints: warnings, in words."""

    first: Image.Image
    shrunk: float
    strip: Image.Image
    facts: str
    hints: tuple[str, ...]


@fixed_threads()
def prepare(settings: Settings) -> Preparation:
    """Cuts the object out as `settings` say. Raises InputError for what cannot become a clip."""
    settings.check_ranges()
    clip = read_as_set(settings, frames=KEYS, size=SIZE, dense=DENSE, by_length=True)
    first, shrunk = first_frame(settings)
    mask = mask_in_source(clip, first.size, shrunk)
    shown = first if mask is None else outlined(first, mask)
    return Preparation(shown, shrunk, strip_of(clip.at_keys()), facts(clip), clip.warnings)


def facts(clip: Clip) -> str:
    """What was found, in one line."""
    loop = ", a loop" if clip.cyclic else ""
    size = "" if clip.object_pixels is None else f", the object {clip.object_pixels:.0f} pixels large"
    sure = f"mask from {clip.matting!r} with confidence {clip.matting_confidence:.2f}"
    return f"{clip.seconds:.2f} s{loop}{size}; {sure}"


def first_frame(settings: Settings) -> tuple[Image.Image, float]:
    """The first frame that is used, over white, and how much smaller it is than in the source."""
    source = open_source(settings.clip, fps=settings.fps, masks=settings.masks)
    used = keyframes.in_range(source, settings.clip, settings.start, settings.end, settings.every)
    frame = next(iter(source.read(used[:1])))
    picture = Image.fromarray(np.ascontiguousarray(over_white_uint8(frame)))
    shrunk = max(1.0, max(picture.size) / LARGEST)
    size = (max(1, round(picture.width / shrunk)), max(1, round(picture.height / shrunk)))
    return picture.resize(size, Image.Resampling.LANCZOS) if shrunk > 1 else picture, shrunk


def mask_in_source(clip: Clip, size: tuple[int, int], shrunk: float) -> Bool[np.ndarray, "h w"] | None:
    """Where the object is in a picture of the source's first frame; None where that is not known.

    size: width and height of the picture. shrunk: how much smaller it is than the source.
    """
    if clip.window is None:
        return None
    left, top, side = (value / shrunk for value in clip.window)
    window = Image.fromarray(clip.pixels[0, ..., 3])
    width = max(1, round(side))
    mask = Image.new("L", size)
    mask.paste(window.resize((width, width)), (round(left), round(top)))
    return np.asarray(mask) > 127


def outlined(picture: Image.Image, mask: Bool[np.ndarray, "h w"]) -> Image.Image:
    """The picture, darker where the mask is not, with the mask's outline."""
    colors: UInt8[np.ndarray, "h w 3"] = np.array(picture)
    colors[~mask] = (colors[~mask] * 0.45).astype(np.uint8)
    around = max(1, max(picture.size) // 320)
    edge = ndimage.binary_dilation(mask, iterations=around) & ~mask
    colors[edge] = OUTLINE
    return Image.fromarray(colors)
