"""Which frames of a source a clip is made of, and those frames as they come."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8

from vid4d.clip import keyframes
from vid4d.clip.bars import cut_bars
from vid4d.clip.options import ClipOptions
from vid4d.clip.places import Places
from vid4d.clip.source import Source
from vid4d.clip.spool import Spool
from vid4d.errors import InputError
from vid4d.files.records import LONGEST, SHORTEST

MAX_BYTES = 6 << 30


@dataclass(frozen=True)
class Selection:
    """Indices of a source's frames. chosen: those that are looked at, key: the key frames among them.

    period: of a loop, in frames; None of what is none. seconds: that they last.
    """

    chosen: list[int]
    key: list[int]
    period: int | None
    seconds: float


def select(source: Source, name: str, options: ClipOptions) -> Selection:
    """The frames that the options ask for. Raises InputError where they last too long or hardly at all."""
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
    return Selection(chosen, key, period, seconds)


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


@dataclass(frozen=True, eq=False)
class Pictures:
    """The frames that are looked at, made smaller where they are large, without black bars.

    corner: x and y of their upper left corner in the picture that was read, in their pixels. shrunk: how many
    times smaller they are. longer: side of what was read. size: of the source's picture, width and height, of
    which what is read begins at `offset`. told: what was found out, in words.
    """

    frames: Sequence[UInt8[np.ndarray, "h w 4"]]
    corner: tuple[int, int]
    shrunk: float
    longer: int
    read_size: tuple[int, int]
    size: tuple[int, int]
    offset: tuple[int, int]
    told: list[str]

    def corner_in_source(self) -> tuple[float, float]:
        """x and y of their upper left corner in the source, in its pixels."""
        return tuple(self.shrunk * c + o for c, o in zip(self.corner, self.offset, strict=True))  # type: ignore[return-value]

    @property
    def places(self) -> Places:
        """Their places in the source."""
        x, y = self.corner_in_source()
        return Places(self.size, self.shrunk, (x / self.shrunk, y / self.shrunk))


def read_pictures(source: Source, chosen: Sequence[int], options: ClipOptions) -> Pictures:
    """Reads the chosen frames. Raises InputError for frames of different sizes, and for too many."""
    working = working_side(options)
    frames = _read_frames(source, chosen, options.size, working)
    height, width = frames[0].shape[:2]
    longer, shrunk = max(height, width), 1.0
    if longer == working:
        height, width = next(iter(source.read(chosen[:1]))).shape[:2]
        shrunk = max(height, width) / working
    corner, told = (0, 0), list[str]()
    if not options.keep:
        frames, bars, corner = cut_bars(frames, shrunk)
        told += [bars] if bars else []
    size, offset = getattr(source, "whole", (width, height)), getattr(source, "corner", (0, 0))
    return Pictures(frames, corner, shrunk, longer, (width, height), size, offset, told)


def working_side(options: ClipOptions) -> int:
    """Longer side of the frames that are looked at, in pixels, at most."""
    return max(1024, 4 * options.size)


def _read_frames(
    source: Source, chosen: Sequence[int], size: int, working: int
) -> Sequence[UInt8[np.ndarray, "h w 4"]]:
    frames = Spool()
    first: tuple[int, ...] = ()
    for i, frame in zip(chosen, source.read(chosen, working), strict=True):
        first = first or frame.shape
        if frame.shape != first:
            raise InputError(
                f"frames of different sizes: {first[1]}x{first[0]} pixels at first, "
                f"{frame.shape[1]}x{frame.shape[0]} at {source.times[i]:.2f} s; give frames of one size"
            )
        need = len(chosen) * (2 * frame.nbytes + 16 * size * size)
        if need > MAX_BYTES:
            raise InputError(
                f"{len(chosen)} frames would need {need / 2**30:.0f} GiB of memory and disk; ask for fewer "
                "with --frames, --key-frames-per-second or --every, or give a smaller video"
            )
        frames.append(frame)
    return frames
