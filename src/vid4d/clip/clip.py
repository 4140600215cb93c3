"""Clip: frames of one moving object without their background, from whatever file they come in.

Reading, alpha or background removal, one crop for the whole clip, time sampling.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float, UInt8

from vid4d.clip import keyframes
from vid4d.clip.bars import cut_bars
from vid4d.clip.checks import warn
from vid4d.clip.crop import check_masks, crop, crop_window
from vid4d.clip.matting import matte
from vid4d.clip.sources import DEFAULT_FPS, Source, open_source
from vid4d.clip.subject import keep_subject
from vid4d.errors import InputError

OBJECT_SIZE = 200 / 256
MAX_BYTES = 6 << 30


@dataclass(frozen=True, eq=False)
class Clip:
    """Frames of one object, centred in a square, straight alpha in [0, 1].

    times: in [0, 1], increasing. An open clip runs from 0 to 1; one frame stands at 0; a cyclic clip covers
        one period, so that its last time lies one step before 1 (i / T where frames are evenly spaced).
    seconds: from time 0 to time 1 (a cyclic clip's period; 1 for a single frame).
    keys: which frames are key frames, in order; None where all are.
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

    def __post_init__(self) -> None:
        if self.frames.ndim != 4 or self.frames.shape[-1] != 4 or len(self.frames) == 0:
            raise ValueError(f"frames have shape {self.frames.shape}, expected (T, H, W, 4) with T > 0")
        if self.times.shape != (len(self.frames),):
            raise ValueError(f"{len(self.frames)} frames but {self.times.shape} times")
        if self.keys is not None and not (self.keys and set(self.keys) <= set(range(len(self.frames)))):
            raise ValueError(f"key frames {self.keys} of {len(self.frames)} frames")

    def __len__(self) -> int:
        return len(self.frames)

    def at_keys(self) -> Clip:
        """The key frames alone, at the same times."""
        if self.keys is None:
            return self
        keys = list(self.keys)
        return replace(self, frames=self.frames[keys], times=self.times[keys], keys=None)


@dataclass(frozen=True)
class ClipOptions:
    """Options of reading a clip.

    frames: number of key frames, first and last included (0: all). start, end: seconds of the source.
    every: use every n-th frame of the source. size: pixels of the square frames.
    object_size: share of the frame's side that the object's longer side takes.
    cyclic: whether the clip is a loop; 'auto' looks. matting: 'auto', 'alpha', 'plain', or the name or file
    of an ONNX model. fps: frames a second of a folder of images. keep: leave all in the masks that they
    show, captions and specks, too.
    """

    frames: int = 8
    start: float | None = None
    end: float | None = None
    every: int = 1
    size: int = 256
    object_size: float = OBJECT_SIZE
    cyclic: bool | Literal["auto"] = "auto"
    matting: str = "auto"
    fps: float = DEFAULT_FPS
    keep: bool = False


def read_clip(
    path_or_glob: str | Path,
    *,
    frames: int | None = 8,
    dense: int = 0,
    start: float | None = None,
    end: float | None = None,
    every: int = 1,
    size: int = 256,
    object_size: float = OBJECT_SIZE,
    cyclic: bool | Literal["auto"] = "auto",
    matting: str = "auto",
    fps: float = DEFAULT_FPS,
    keep: bool = False,
) -> Clip:
    """Reads a video, GIF, animated WebP or PNG, folder or pattern of images, or one image, as a Clip.

    The parameters are those of `ClipOptions` (frames: None or 0 for all). dense: frames between the key
    frames are read, too, up to so many in all, evenly spread (0: none); they share the key frames' background
    and crop, and those that show no object or nothing else are left out. Only the sampled frames are held in
    memory.
    Raises InputError for everything that cannot become a clip.
    """
    _check_options(frames, start, end, every, size, object_size, cyclic)
    source = open_source(path_or_glob, fps=fps)
    name = str(path_or_glob)
    candidates = keyframes.in_range(source, name, start, end, every)
    period = keyframes.period(source, candidates, cyclic)
    key = keyframes.choose_frames(source.times, candidates, frames, period)
    chosen = keyframes.densify_keyframes(candidates, key, dense, period)
    working = max(1024, 4 * size)
    originals = _read_frames(source, chosen, size, working)

    told: list[str] = []
    if not keep and (bars := cut_bars(originals))[1]:
        originals, told = bars[0], [bars[1]]
    cut = matte(originals, matting)
    objects = cut.frames
    if not keep:
        objects, more = keep_subject(objects, source.times[chosen])
        told += more
    visible, kept = check_masks(objects, [i in key for i in chosen], source.times[chosen], name)
    window = crop_window(visible, object_size)
    masked, originals = [objects[i] for i in kept], [originals[i] for i in kept]
    lost = len(chosen) - len(kept)
    chosen = [chosen[i] for i in kept]
    times = source.times[chosen]
    pictures = np.stack([crop(f, window, size) for f in masked])
    notes = [
        *source.notes,
        *told,
        *warn(
            masked,
            originals,
            times,
            confidence=cut.confidence,
            has_background=cut.method != "alpha",
            enlarged=size / window[2],
        ),
    ]
    if lost:
        notes.append(
            f"{lost} frames between the key frames show no object or nothing else: they are left out"
        )
    seconds = keyframes.seconds(source, candidates, chosen, period)
    relative = (times - times[0]) / seconds if len(times) > 1 else np.zeros(1)
    if period is None and len(times) > 1:
        relative[-1] = 1.0
    return Clip(
        pictures,
        relative.astype(np.float64),
        float(seconds),
        period is not None,
        tuple(notes),
        name,
        cut.method,
        cut.confidence,
        None if chosen == key else tuple(chosen.index(i) for i in key),
    )


def _check_options(
    frames: int | None,
    start: float | None,
    end: float | None,
    every: int,
    size: int,
    object_size: float,
    cyclic: bool | str,
) -> None:
    if frames is not None and frames < 0:
        raise InputError(f"--frames {frames}: give the number of key frames, 0 for all")
    if start is not None and not 0 <= start < math.inf:
        raise InputError(f"--start {start}: give seconds from the clip's beginning, 0 or more")
    if end is not None and not end > (start or 0):
        raise InputError(f"--end {end}: lies before the start at {start or 0} s; give a later second")
    if every < 1:
        raise InputError(f"--every {every}: give 1 for every frame, 2 for every second one")
    if not 16 <= size <= 4096:
        raise InputError(f"--size {size}: give 16 to 4096 pixels")
    if not 0.05 <= object_size <= 1:
        raise InputError(f"--object-size {object_size}: give a share of the picture between 0.05 and 1")
    if cyclic not in (True, False, "auto"):
        raise InputError(f"--cyclic {cyclic}: give auto, true or false")


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
                "--frames or --every, or for a smaller --size"
            )
        frames.append(frame)
    return frames
