"""Sources of frames: a video, an animated image, a folder or pattern of images, one image.

Every source has `times` (seconds from its first frame), `duration` (seconds, the last frame's own
included), `has_alpha`, `notes` (warnings in words) and `read(indices, max_side)`, which decodes only
the frames asked for and holds one at a time.
"""

from __future__ import annotations

import glob
import math
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Annotated

import numpy as np
from jaxtyping import UInt8
from msgspec import Meta, Struct
from PIL import Image, ImageOps, UnidentifiedImageError

from vid4d.clip.alpha import WithAlpha
from vid4d.clip.grouping import MASKS, Found, pair, understand
from vid4d.clip.naming import series_like
from vid4d.clip.source import Source
from vid4d.errors import FAULTS, InputError, ran_out
from vid4d.files.paths import natural_order, refuse_special
from vid4d.files.records import Seconds, Share, Time, read_record
from vid4d.media.images import to_uint8
from vid4d.media.picture_colors import color_note, in_srgb
from vid4d.media.picture_files import (
    MOST_ANIMATED,
    MOST_OF_A_FRAME,
    check_pixels,
    check_sums,
    in_blocks,
    open_picture,
    reading_picture,
)
from vid4d.media.video import Video, shrink

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".avif", ".ppm", ".tga")
VIDEO_SUFFIXES = (".mp4", ".mov", ".m4v", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".mts", ".wmv", ".ogv")
ANIMATED_FORMATS = ("GIF", "WEBP", "PNG", "AVIF")
DEFAULT_FPS = 24.0
CLIP_FILE = "clip.json"
PNG = b"\x89PNG\r\n\x1a\n"


Windowed = Annotated[float, Meta(ge=-1e4, le=1e4)]
"""A place in sides of a window."""


Pixels = Annotated[float, Meta(ge=-1e6, le=1e6)]
"""A place in pixels of the source."""


class ClipRecord(Struct):
    """clip.json: the frames beside it, as the fields of `vid4d.clip.clip.Clip`."""

    times: Annotated[list[Time], Meta(min_length=1)]
    seconds: Seconds
    cyclic: bool
    warnings: tuple[str, ...] = ()
    source: str = ""
    matting: str = ""
    matting_confidence: Share = 1.0
    keys: Annotated[tuple[int, ...], Meta(min_length=1)] | None = None
    object_pixels: Annotated[float, Meta(ge=0, le=1e6)] | None = None
    path: tuple[tuple[Windowed, Windowed], ...] | None = None
    window: tuple[Pixels, Pixels, Annotated[float, Meta(gt=0, le=1e6)]] | None = None

    def __post_init__(self) -> None:
        if any(later <= earlier for earlier, later in pairwise(self.times)):
            raise ValueError("'times' do not increase")
        if self.keys is not None and not all(0 <= a < b for a, b in pairwise((*self.keys, len(self.times)))):
            raise ValueError("'keys' are no increasing numbers of frames")
        if self.path is not None and len(self.path) != len(self.times):
            raise ValueError(f"'path' has {len(self.path)} places for {len(self.times)} times")


def open_source(path: str | Path, *, fps: float = DEFAULT_FPS, masks: str | Path = "") -> Source:
    """Opens a video, GIF, animated WebP or PNG, image, folder of images or glob pattern.

    fps: frames a second of a folder or pattern of images (those carry no time of their own). masks: a folder,
    glob or video of masks, one a frame; pictures of a folder may have theirs beside them.
    Raises InputError for everything that is none of these, and where several sequences could be meant.
    """
    if not str(path):
        raise InputError("no clip was named; give a video, a picture, or a folder of pictures")
    source: Source
    found = _pictures(path)
    if isinstance(found, Path):
        source = _open_file(found)
    elif isinstance(found, _Prepared):
        source = found.source(fps)
    else:
        source = ImageFiles(found.files, fps, found.notes)
    if masks:
        return WithAlpha(source, _masks_of(source, found, masks))
    if isinstance(found, Found) and found.masks:
        return WithAlpha(source, found.masks)
    return WithAlpha(source) if source.has_alpha and not isinstance(found, _Prepared) else source


@dataclass(frozen=True)
class _Prepared:
    """A folder that `vid4d prepare` wrote."""

    folder: Path

    def source(self, fps: float) -> Source:
        return _open_prepared(self.folder, natural_order(images_in(self.folder)), fps)


def _pictures(path: str | Path) -> Path | Found | _Prepared:
    """The one file that is meant, or the pictures of a folder or pattern."""
    text, place = str(path), Path(path)
    if not place.exists() and any(c in text for c in "*?["):
        files = [p for p in _matching(place) if p.is_file()]
        files = natural_order(f for f in files if not f.name.startswith("."))
        if not files:
            raise InputError(f"{text}: no file matches this pattern; check the folder and the ending")
        if len(files) == 1:
            return files[0]
        return understand(Path(os.path.commonpath([f.parent for f in files])), files, text)
    if not place.exists():
        raise InputError(f"{text}: no such file or folder; check the path")
    if not place.is_dir():
        return place
    files = images_in(place)
    if (place / CLIP_FILE).is_file() and files:
        return _Prepared(place)
    folders = [f for f in sorted(place.iterdir()) if f.is_dir() and not f.name.startswith(".")]
    if files:
        folders = [f for f in folders if set(re.split(r"[^a-z]+", f.name.lower())) & MASKS]
    videos = [f for f in sorted(place.iterdir()) if f.is_file() and f.suffix.lower() in VIDEO_SUFFIXES]
    videos = [f for f in videos if not f.name.startswith(".")]
    if len(files) <= 1 and videos:
        if len(videos) > 1:
            raise InputError(
                f"{text}: holds {len(videos)} videos, {videos[0].name} and {videos[1].name}"
                f"{' and more' if len(videos) > 2 else ''}; name one: {str(videos[0])!r}"
            )
        return videos[0]
    files += [f for folder in folders for f in images_in(folder)]
    if not files:
        raise InputError(f"{text}: no images in this folder; {_deeper(place)}")
    found = understand(place, files, text)
    unseen = [f.name for f in folders if not images_in(f) and _holds_pictures(f)]
    if unseen:
        more = " and more" if len(unseen) > 3 else ""
        note = f"{', '.join(unseen[:3])}{more}: pictures in folders further down are not looked at"
        found = replace(found, notes=(*found.notes, note))
    return found


def _holds_pictures(folder: Path) -> bool:
    """Whether a folder in it holds pictures."""
    return any(images_in(f) for f in folder.glob("*/") if f.is_dir())


def _matching(pattern: Path) -> Iterator[Path]:
    """Paths that match; brackets of a folder that exists belong to its name."""
    folder = next(p for p in (*pattern.parents, Path()) if p.exists())
    inside = pattern.relative_to(folder) if folder != Path() else pattern
    return (folder / p for p in glob.glob(str(inside), root_dir=folder, recursive=True))


def _deeper(place: Path) -> str:
    """Advice where pictures lie further down, if at all: JPEGImages/bear and Annotations/bear."""
    inner = sorted(f for f in (*place.glob("*/*/"), *place.glob("*/*/*/")) if f.is_dir() and images_in(f))
    masks = [f for f in inner if set(re.split(r"[^a-z]+", str(f.relative_to(place)).lower())) & MASKS]
    clips = [f for f in inner if f not in masks]
    if not clips:
        return "give one with PNG, JPEG or WebP frames"
    fitting = [f"--masks {m}" for m in masks if m.name == clips[0].name]
    more = f" (or another of the {len(clips)} folders of pictures in it)" if len(clips) > 1 else ""
    return f"give {' '.join([str(clips[0]), *fitting[:1]])}{more}"


def images_in(folder: Path) -> list[Path]:
    """Picture files of a folder; not those that systems hide there (._a.png)."""
    return [
        p
        for p in folder.iterdir()
        if p.is_file() and p.suffix.lower() in IMAGE_SUFFIXES and not p.name.startswith(".")
    ]


def _masks_of(source: Source, found: object, masks: str | Path) -> Sequence[Path] | Source:
    """Masks that were named, one for each frame. Raises InputError where they are not as many."""
    given = _pictures(masks)
    count = len(source.times)
    if isinstance(given, Found):
        if isinstance(found, Found):
            return pair(series_like(found.files), series_like(given.files), str(masks))
        if len(given.files) == count:
            return given.files
        held = len(given.files)
    elif isinstance(given, Path):
        if count == 1 and given.suffix.lower() in IMAGE_SUFFIXES:
            return [given]
        film = _open_file(given)
        if len(film.times) == count:
            return film
        held = len(film.times)
    else:
        raise InputError(f"{masks}: a prepared clip and no masks; name the folder of the masks")
    raise InputError(f"{masks}: {held} masks for {count} frames; give a mask for every frame of the clip")


def _open_file(path: Path) -> Source:
    refuse_special(path)
    if path.stat().st_size == 0:
        raise InputError(f"{path}: the file is empty; export or copy it again")
    with reading_picture(path):
        try:
            image = Image.open(path)
        except UnidentifiedImageError:
            with path.open("rb") as file:
                if file.read(len(PNG)) == PNG:  # FFmpeg would decode it, whatever its checksums say
                    raise InputError(f"{path}: the image is damaged; export it again") from None
            return Video(path)
        with image:
            if image.format == "MPEG":  # Pillow knows its first bytes but cannot decode it
                return Video(path)
            if image.format in ANIMATED_FORMATS and getattr(image, "n_frames", 1) > 1:
                return AnimatedImage(path)
            if image.format == "TIFF" and (pages := getattr(image, "n_frames", 1)) > 1:
                return _pages(path, image, pages)
    return ImageFiles([path], DEFAULT_FPS)


def _pages(path: Path, image: Image.Image, pages: int) -> Source:
    """A TIFF of many pages: a stack of frames where they are of one size, else a picture and its previews."""
    sizes = set()
    for page in range(min(pages, 100)):
        image.seek(page)
        sizes.add(image.size)
    if len(sizes) > 1:
        note = f"{path.name}: pages of other sizes than the first are left out"
        return ImageFiles([path], DEFAULT_FPS, (note,))
    stack = AnimatedImage(path)
    stack.notes += (f"{path.name}: its {len(stack.times)} pages are taken for frames, 10 a second",)
    return stack


def _open_prepared(folder: Path, files: list[Path], fps: float) -> Source:
    """A folder of images; one that `vid4d prepare` wrote brings its own times."""
    source = ImageFiles(files, fps)
    record = folder / CLIP_FILE
    if not record.is_file():
        return source
    stored = read_record(record, ClipRecord, "correct it, delete it or prepare the clip again")
    if len(stored.times) != len(files):
        raise InputError(
            f"{record}: describes {len(stored.times)} frames but {len(files)} lie beside it; "
            "delete it or restore them"
        )
    source.times = np.array(stored.times) * stored.seconds
    source.duration = stored.seconds + (0 if stored.cyclic else stored.seconds / max(len(files) - 1, 1))
    source.cyclic = stored.cyclic
    if stored.path is not None:
        source.window_path = np.array(stored.path)
        with open_picture(files[0]) as image:
            source.window_width = image.width
    return source


class ImageFiles:
    """Images of one size, a file for each frame."""

    def __init__(self, files: Sequence[Path], fps: float, notes: tuple[str, ...] = ()) -> None:
        if not 0 < fps < math.inf:
            raise InputError(f"{fps} frames a second is no rate; give a finite number above 0")
        self.files = list(files)
        self.notes = notes
        self.cyclic: bool | None = None
        self.window_path: np.ndarray | None = None  # of a prepared clip whose window moved
        self.window_width = 0
        self.times = np.arange(len(files)) / fps
        self.duration = len(files) / fps
        sizes: dict[tuple[int, int], Path] = {}
        self.has_alpha = False
        for file in self.files:
            with open_picture(file) as image, reading_picture(file):
                # asking a PNG for its orientation would decode it; such frames are compared when read
                turned = image.format != "PNG" and image.getexif().get(0x0112, 1) >= 5
                sizes.setdefault(image.size[::-1] if turned else image.size, file)
                self.has_alpha |= image.has_transparency_data
                if (said := color_note(image)) and said not in self.notes:
                    self.notes += (said,)
            if len(sizes) > 1:
                (a, first), (b, second) = list(sizes.items())[:2]
                raise InputError(
                    f"frames of different sizes: {first} has {a[0]}x{a[1]} pixels, {second} has "
                    f"{b[0]}x{b[1]}; give frames of one size"
                )

    def read(
        self, indices: Sequence[int], max_side: int | None = None
    ) -> Iterator[UInt8[np.ndarray, "h w 4"]]:
        for i in indices:
            yield shrink(read_rgba(self.files[i]), max_side)


class AnimatedImage:
    """GIF, animated WebP, APNG or AVIF, with the times they state (else 10 frames a second)."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.notes: tuple[str, ...] = ()
        with open_picture(path) as image, reading_picture(path):
            check_sums(image, path)
            check_pixels(path, *image.size, most=MOST_OF_A_FRAME)
            size = image.size
            # an APNG may carry a still picture that is not part of the animation
            self._first = 1 if getattr(image, "default_image", False) else 0
            self.has_alpha = image.has_transparency_data or image.mode == "RGBA"
            lengths: list[float] = []
            if getattr(image, "n_frames", 1) * image.width * image.height > MOST_ANIMATED:
                raise InputError(f"{path}: too many frames of too many pixels; shorten it or scale it down")
            try:
                for i in range(self._first, getattr(image, "n_frames", 1)):
                    image.seek(i)
                    if image.size != size:  # Pillow enlarges a GIF by a frame that leaves it, to 65535 pixels
                        raise ValueError(f"a frame of {image.size[0]} x {image.size[1]} pixels")
                    image.load()
                    length = float(image.info.get("duration") or 0)
                    lengths.append(length if length > 10 else 100.0)
                    self.has_alpha |= image.has_transparency_data
            except FAULTS as e:
                if ran_out(e):
                    raise
                if not lengths:
                    raise InputError(f"{path}: no frame can be read ({e}); export it again") from e
                self.notes = (f"the file is cut off: the {len(lengths)} frames that can be read are used",)
        starts = np.cumsum([0.0, *lengths]) / 1000
        self.times, self.duration = starts[:-1], float(starts[-1])

    def read(
        self, indices: Sequence[int], max_side: int | None = None
    ) -> Iterator[UInt8[np.ndarray, "h w 4"]]:
        with open_picture(self.path) as image:
            for i in indices:
                with reading_picture(self.path):
                    image.seek(i + self._first)
                yield shrink(to_rgba(image, self.path), max_side)


def read_rgba(path: Path, advice: str = "export it again") -> UInt8[np.ndarray, "h w 4"]:
    """The picture of a file, as `to_rgba` gives it; what it was decoded into is free again.

    advice: what to do about a damaged file. Raises InputError as `to_rgba` does, and for wrong checksums.
    """
    with open_picture(path, advice) as image:
        check_sums(image, path)
        return to_rgba(image, path)


def to_rgba(image: Image.Image, path: Path) -> UInt8[np.ndarray, "h w 4"]:
    """8-bit sRGB with alpha, upright: from RGB, grey, palette, 1, 16 or 32 bits, with and without alpha.

    Raises InputError for damaged files and for values that are no picture (NaN, floats beyond [0, 1]).
    """
    with reading_picture(path):
        image.load()
        if getattr(image, "is_animated", False):  # of which other frames are read, too
            image = ImageOps.exif_transpose(image)
        else:
            ImageOps.exif_transpose(image, in_place=True)
        if image.mode.startswith("I") or image.mode == "F":
            return _deep_grey(image, path)
        rgba = np.empty((image.height, image.width, 4), np.uint8)
        for rows, part in in_blocks(image):
            part = in_srgb(part)
            rgba[rows] = np.asarray(part if part.mode == "RGBA" else part.convert("RGBA"))
        return rgba


def _deep_grey(image: Image.Image, path: Path) -> UInt8[np.ndarray, "h w 4"]:
    """RGBA of a grey picture of 16 or 32 bits, or of floats."""
    top = 1.0 if image.mode == "F" else 65535.0
    rgba = np.full((image.height, image.width, 4), 255, np.uint8)
    for rows, part in in_blocks(image):
        exact = np.asarray(part).astype(np.float64)
        if not np.isfinite(exact).all() or exact.min() < 0 or exact.max() > top * 1.001:
            raise InputError(f"{path}: pixel values outside 0..{top:g}; export the picture with 8 or 16 bits")
        rgba[rows, :, :3] = to_uint8(exact / top)[..., None]
    return rgba
