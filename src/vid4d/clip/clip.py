"""Clip: frames of one moving object without their background, from whatever file they come in."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from vid4d.clip.draft import draft_clip
from vid4d.clip.options import ClipOptions
from vid4d.media.images import as_floats, to_uint8


@dataclass(frozen=True, eq=False)
class Clip:
    """Frames of one object, centred in a square, straight alpha.

    pixels: the frames in 8 bits, as they are kept in files; `frames` are the same in [0, 1].
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

    pixels: UInt8[np.ndarray, "t h w 4"]
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
        count = len(self.pixels)
        if self.pixels.ndim != 4 or self.pixels.shape[-1] != 4 or count == 0:
            raise ValueError(f"frames have shape {self.pixels.shape}, expected (T, H, W, 4) with T > 0")
        if self.times.shape != (count,):
            raise ValueError(f"{count} frames but {self.times.shape} times")
        if self.path is not None and self.path.shape != (count, 2):
            raise ValueError(f"{count} frames but a path of shape {self.path.shape}")
        if self.keys is not None and not (self.keys and set(self.keys) <= set(range(count))):
            raise ValueError(f"key frames {self.keys} of {count} frames")

    def __len__(self) -> int:
        return len(self.pixels)

    @property
    def frames(self) -> Float[np.ndarray, "t h w 4"]:
        """All frames in [0, 1], four times as large in memory, made anew each time they are asked for."""
        return as_floats(self.pixels)

    def at_keys(self) -> Clip:
        """The key frames alone, at the same times."""
        if self.keys is None:
            return self
        keys = list(self.keys)
        path = None if self.path is None else self.path[keys]
        return replace(self, pixels=self.pixels[keys], times=self.times[keys], path=path, keys=None)


def read_clip(path_or_glob: str | Path, **options: Any) -> Clip:
    """Reads a video, GIF, animated WebP or PNG, folder or pattern of images, or one image, as a Clip.

    options: the fields of `ClipOptions`. Frames between the key frames that show no object, or something
    else, are left out. Raises InputError for everything that cannot become a clip.
    """
    chosen = ClipOptions(**options)
    draft = draft_clip(path_or_glob, chosen)
    pixels = np.empty((len(draft.times), chosen.size, chosen.size, 4), np.uint8)
    for i, picture in enumerate(draft.pictures):
        pixels[i] = to_uint8(picture)
    return Clip(
        pixels,
        draft.times,
        draft.seconds,
        draft.cyclic,
        draft.warnings,
        draft.source,
        draft.matting,
        draft.matting_confidence,
        draft.keys,
        draft.object_pixels,
        draft.path,
        draft.window,
    )
