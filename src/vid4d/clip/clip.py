"""Clip: frames of one moving object without their background, from whatever file they come in.

Reading, alpha or background removal, one crop for the whole clip, time sampling.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, UInt8

from vid4d.clip import keyframes
from vid4d.clip.bars import cut_bars
from vid4d.clip.checks import warn
from vid4d.clip.crop import check_masks, crop
from vid4d.clip.fullsize import Shrunk, crops
from vid4d.clip.holes import fill_brief_holes
from vid4d.clip.matting import matte
from vid4d.clip.prompts import keep_chosen, read_prompts
from vid4d.clip.source import Source
from vid4d.clip.sources import DEFAULT_FPS, open_source
from vid4d.clip.steady import steady_masks
from vid4d.clip.subject import keep_subject
from vid4d.clip.takes import Takes, changes_at_once, of_objects, of_pictures, usable, way_out
from vid4d.clip.window import Windows, fit_windows
from vid4d.errors import InputError
from vid4d.files.records import LONGEST, SHORTEST
from vid4d.settings import check_part

OBJECT_SIZE = 200 / 256
MAX_BYTES = 6 << 30
USUAL = 8
"""Key frames of a clip of a few seconds."""


@dataclass(frozen=True, eq=False)
class Clip:
    """Frames of one object, centred in a square, straight alpha in [0, 1].

    times: in [0, 1], increasing. An open clip runs from 0 to 1; one frame stands at 0; a cyclic clip covers
        one period, so that its last time lies one step before 1 (i / T where frames are evenly spaced).
    seconds: from time 0 to time 1 (a cyclic clip's period; 1 for a single frame).
    keys: which frames are key frames, in order; None where all are.
    object_pixels: longer side of the object where it is largest, in pixels of the source; None if not known.
    path: None where all frames show one window of the source. Else the middle of each frame's window, in
        sides of a window from the first frame's, x right and y down: a motion that the frames lack.
    window: left, top and side of the first frame's window, in pixels of the source; None if not known.
    warnings: sentences for the user. source: where the frames came from.
    matting: what gave the masks ('alpha', 'plain' or a model's name), matting_confidence: 0..1.
    """

    frames: Float[np.ndarray, "t h w 4"]
    times: Float[np.ndarray, " t"]
    seconds: float
    cyclic: bool = False
    warnings: tuple[str, ...] = ()
    source: str = ""
    matting: str = "alpha"
    matting_confidence: float = 1.0
    keys: tuple[int, ...] | None = None
    object_pixels: float | None = None
    path: Float[np.ndarray, "t 2"] | None = None
    window: tuple[float, float, float] | None = None

    def __post_init__(self) -> None:
        if self.frames.ndim != 4 or self.frames.shape[-1] != 4 or len(self.frames) == 0:
            raise ValueError(f"frames have shape {self.frames.shape}, expected (T, H, W, 4) with T > 0")
        if self.times.shape != (len(self.frames),):
            raise ValueError(f"{len(self.frames)} frames but {self.times.shape} times")
        if self.path is not None and self.path.shape != (len(self.frames), 2):
            raise ValueError(f"{len(self.frames)} frames but a path of shape {self.path.shape}")
        if self.keys is not None and not (self.keys and set(self.keys) <= set(range(len(self.frames)))):
            raise ValueError(f"key frames {self.keys} of {len(self.frames)} frames")

    def __len__(self) -> int:
        return len(self.frames)

    def at_keys(self) -> Clip:
        """The key frames alone, at the same times."""
        if self.keys is None:
            return self
        keys = list(self.keys)
        path = None if self.path is None else self.path[keys]
        return replace(self, frames=self.frames[keys], times=self.times[keys], path=path, keys=None)


@dataclass(frozen=True)
class ClipOptions:
    """Options of reading a clip.

    frames: number of key frames, first and last included (0 or None: all). dense: frames between the key
    frames are read, too, up to so many in all, evenly spread (0: none); they share the key frames' background
    and crop. rate, dense_rate: so many of both a second, where that makes more; of a clip that is longer than
    `rate_until` seconds no more than of one as long. start, end: seconds of the source. every: use every n-th
    frame of the source. size: pixels of the square frames. object_size: share of the frame's side that the
    object's longer side takes.
    cyclic: whether the clip is a loop; 'auto' looks. matting: 'auto', 'alpha', 'plain', or the name or file
    of an ONNX model; matting_kind: what that wants, where its file does not say. fps: frames a second of a
    folder of images. keep: leave all in the masks that they show, captions, specks and shadows, too. trim:
    'auto' takes the longest part that shows one thing, uncut.
    masks: a folder, glob or video of masks for the clip's frames.
    follow: whether the window follows the object; 'auto' where it crosses the picture.
    click, box: which of several things is the object, 'X,Y' and 'X0,Y0,X1,Y1' as `prompts` reads them, pixels
    of the source in the first frame that is used.
    """

    frames: int | None = 8
    dense: int = 0
    rate: float = 0.0
    dense_rate: float = 0.0
    rate_until: float = math.inf
    start: float | None = None
    end: float | None = None
    every: int = 1
    size: int = 256
    object_size: float = OBJECT_SIZE
    cyclic: bool | Literal["auto"] = "auto"
    matting: str = "auto"
    matting_kind: str = "auto"
    fps: float = DEFAULT_FPS
    keep: bool = False
    trim: Literal["no", "auto"] = "no"
    masks: str | Path = ""
    follow: Literal["auto", "yes", "no"] = "auto"
    click: tuple[str, ...] = ()
    box: str = ""


def read_clip(path_or_glob: str | Path, **options: Any) -> Clip:
    """Reads a video, GIF, animated WebP or PNG, folder or pattern of images, or one image, as a Clip.

    options: the fields of `ClipOptions`. Frames between the key frames that show no object, or something
    else, are left out. Only the sampled frames are held in memory.
    Raises InputError for everything that cannot become a clip.
    """
    chosen = ClipOptions(**options)
    _check_options(chosen)
    source = open_source(path_or_glob, fps=chosen.fps, masks=chosen.masks)
    name = str(path_or_glob)
    told: list[str] = []
    while True:
        result = _read_part(source, name, chosen)
        if isinstance(result, Clip):
            return replace(result, warnings=(*source.notes, *told, *result.warnings))
        told += result.reasons
        told.append(f"trimmed: {result.start:.2f} to {result.end:.2f} s are used")
        chosen = replace(chosen, start=result.start, end=result.end)


@dataclass(frozen=True)
class _Part:
    """A part of a source that is worth to be read instead. start, end: seconds. reasons: why, in words."""

    start: float
    end: float
    reasons: list[str]


def _read_part(source: Source, name: str, options: ClipOptions) -> Clip | _Part:
    """Reads a clip, or names a better part of it where the options ask for that."""
    size, keep = options.size, options.keep
    prompts = read_prompts(options.click, options.box)
    candidates = keyframes.in_range(source, name, options.start, options.end, options.every)
    period = keyframes.period(source, candidates, options.cyclic)
    count, dense = _counts(source, candidates, period, options)
    key = keyframes.choose_frames(source.times, candidates, count, period)
    chosen = keyframes.densify_keyframes(candidates, key, dense, period)
    seconds = keyframes.seconds(source, candidates, chosen, period)
    if not SHORTEST <= seconds <= LONGEST:
        raise InputError(
            f"{name}: what is used of it lasts {seconds:g} s, where {SHORTEST:g} to {LONGEST:g} can be: give "
            "another part, or pictures another --fps"
        )
    working = max(1024, 4 * size)
    originals = _read_frames(source, chosen, size, working)
    seen = max(originals[0].shape[:2])
    shrunk = 1.0
    if seen == working:
        shrunk = max(next(iter(source.read(chosen[:1]))).shape[:2]) / working
    told: list[str] = []
    corner = (0, 0)
    if not keep:
        originals, bars, corner = cut_bars(originals)
        told += [bars] if bars else []

    takes = of_pictures(originals, source.times[chosen])
    if (part := _better_part(takes, source, chosen, options)) is not None:
        return part
    try:
        cut = matte(originals, options.matting, kind=options.matting_kind, keep_shadows=keep)
    except InputError as e:
        if way := way_out(takes, source.times, chosen):
            raise InputError(f"{e}; but {', '.join(takes.reasons)}: {way}") from e
        raise
    objects = cut.frames
    told += cut.notes
    if not keep:
        if cut.method not in ("alpha", "plain"):
            objects, mended = steady_masks(objects, originals, source.times[chosen])
            told += [mended] if mended else []
        if prompts:
            objects, more = keep_chosen(objects, prompts.in_picture(shrunk, corner), prompts)
        else:
            objects, more = keep_subject(objects, source.times[chosen])
        told += more
        if cut.method != "alpha":
            objects, holes = fill_brief_holes(objects, originals, source.times[chosen])
            told += [holes] if holes else []
    takes = of_objects(
        objects, source.times[chosen], takes, lambda i: changes_at_once(source, chosen[i], chosen[i + 1])
    )
    if (part := _better_part(takes, source, chosen, options)) is not None:
        return part
    way = way_out(takes, source.times, chosen)
    kept, key = usable(takes, chosen, key)
    check_masks([objects[i] for i in kept if chosen[i] in key], source.times[key], name, cut.method, way)
    left_out = len(chosen) - len(kept) - len(takes.brief)
    objects, originals = [objects[i] for i in kept], [originals[i] for i in kept]
    chosen = [chosen[i] for i in kept]
    times = source.times[chosen]
    windows = fit_windows(
        objects, times, options.object_size, cyclic=period is not None, follow=options.follow
    )
    pixels = windows.extent * shrunk
    if windows.follows:
        told.append(
            f"the object crosses the picture: the window of {windows.side * shrunk:.0f} pixels follows it, "
            "and its path is kept (clip.json)"
        )
    told += takes.reasons
    if way:
        told.append(f"the clip is not one take of one thing: {way}")
    told += warn(
        objects,
        originals,
        times,
        confidence=cut.confidence,
        has_background=cut.method != "alpha",
        enlarged=size / (windows.side * shrunk),
        object_pixels=pixels,
        keys=[chosen.index(i) for i in key],
        moved=windows.centers,
    )
    if left_out:
        told.append(
            f"{left_out} frames between the key frames show no object or nothing else: they are left out"
        )
    if shrunk > 1 and windows.side < size:
        pictures = crops(source, chosen, windows, Shrunk(objects, originals, kept, corner, seen), cut, size)
    else:
        pictures = (crop(f, windows.corner(i), size) for i, f in enumerate(objects))
    left, top, _ = windows.corner(0)
    frames = np.empty((len(objects), size, size, 4), np.float32)
    for i, picture in enumerate(pictures):
        frames[i] = picture
    if options.frames and len(key) > max(USUAL, options.frames):
        told.append(
            f"{seconds:.0f} s of clip get {len(key)} key frames, {len(key) / seconds:.2g} a second, which "
            f"take about {len(key) / USUAL:.2g} times as long as {USUAL}: --frames {USUAL} is quick, "
            "--key-frames-per-second has other numbers"
        )
    relative = (times - times[0]) / seconds if len(times) > 1 else np.zeros(1)
    if period is None and len(times) > 1:
        relative[-1] = 1.0
    return Clip(
        frames,
        relative.astype(np.float64),
        float(seconds),
        period is not None,
        tuple(told),
        name,
        cut.method,
        cut.confidence,
        None if chosen == key else tuple(chosen.index(i) for i in key),
        pixels,
        _path(windows, source, chosen, shrunk),
        (shrunk * (left + corner[0]), shrunk * (top + corner[1]), shrunk * windows.side),
    )


def _counts(
    source: Source, candidates: Sequence[int], period: int | None, options: ClipOptions
) -> tuple[int | None, int]:
    """Key frames, and frames in all, for as long as the clip is."""
    whole = keyframes.choose_frames(source.times, candidates, None, period)
    if not options.frames or len(whole) < 2:
        return options.frames, options.dense
    lasts = min(keyframes.seconds(source, candidates, whole, period), options.rate_until)
    return (
        keyframes.count_for(options.frames, options.rate, lasts),
        keyframes.count_for(options.dense, options.dense_rate, lasts),
    )


def _path(
    windows: Windows, source: Source, chosen: Sequence[int], shrunk: float
) -> Float[np.ndarray, "t 2"] | None:
    """Path of the windows, as of `Clip`; with that of the source, where its frames come from such windows."""
    moved = (windows.centers - windows.centers[0]) / windows.side
    before: Float[np.ndarray, "n 2"] | None = getattr(source, "window_path", None)
    if before is None:
        return moved if windows.follows else None
    widths = source.window_width / (windows.side * shrunk)  # type: ignore[attr-defined]
    return moved + (before[chosen] - before[chosen[0]]) * widths


def _better_part(takes: Takes, source: Source, chosen: Sequence[int], options: ClipOptions) -> _Part | None:
    """The longest take where the options ask for it and it is not the whole."""
    best = takes.best()
    if options.trim != "auto" or takes.whole() or best is None or best[1] - best[0] < 2:
        return None
    start, end = (float(source.times[chosen[i]]) for i in best)
    return _Part(start, end, takes.reasons)


def _check_options(o: ClipOptions) -> None:
    if o.frames is not None and o.frames < 0:
        raise InputError(f"--frames {o.frames}: give the number of key frames, 0 for all")
    check_part(o.start, o.end, o.every)
    if not 16 <= o.size <= 4096:
        raise InputError(f"--size {o.size}: give 16 to 4096 pixels")
    if not 0.05 <= o.object_size <= 1:
        raise InputError(f"--object-size {o.object_size}: give a share of the picture between 0.05 and 1")
    if o.cyclic not in (True, False, "auto"):
        raise InputError(f"--cyclic {o.cyclic}: give auto, true or false")
    if o.follow not in ("auto", "yes", "no"):
        raise InputError(f"--follow {o.follow}: give auto, yes or no")
    if o.matting_kind != "auto" and o.matting in ("alpha", "plain"):
        raise InputError(f"--matting-kind has no effect beside --matting {o.matting}: leave one of them out")
    if read_prompts(o.click, o.box) and o.keep:
        raise InputError("--click and --box have no effect beside --keep, which keeps all: leave one out")
    if o.trim not in ("no", "auto"):
        raise InputError(f"--trim {o.trim}: give no or auto")


def _read_frames(
    source: Source, chosen: Sequence[int], size: int, working: int
) -> list[UInt8[np.ndarray, "h w 4"]]:
    frames: list[np.ndarray] = []
    for i, frame in zip(chosen, source.read(chosen, working), strict=True):
        if frames and frame.shape != frames[0].shape:
            raise InputError(
                f"frames of different sizes: {frames[0].shape[1]}x{frames[0].shape[0]} pixels at first, "
                f"{frame.shape[1]}x{frame.shape[0]} at {source.times[i]:.2f} s; give frames of one size"
            )
        need = len(chosen) * (2 * frame.nbytes + 16 * size * size)
        if need > MAX_BYTES:
            raise InputError(
                f"{len(chosen)} frames would need {need / 2**30:.0f} GiB of memory; ask for fewer with "
                "--frames, --key-frames-per-second or --every, or for a smaller --size"
            )
        frames.append(frame)
    return frames
