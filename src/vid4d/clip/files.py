"""Clips on disk: prepared frames with their description, and the strip that shows them side by side."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
from jaxtyping import Float, UInt8
from msgspec.structs import asdict
from PIL import Image

from vid4d.clip.clip import Clip
from vid4d.clip.draft import Draft, draft_clip
from vid4d.clip.options import ClipOptions
from vid4d.clip.sources import CLIP_FILE, ClipRecord, read_rgba
from vid4d.compute.threads import fixed_threads
from vid4d.errors import InputError
from vid4d.files.paths import natural_order
from vid4d.files.records import read_record
from vid4d.files.write import folder_written_whole, written_whole
from vid4d.media.images import as_floats, over, side_by_side, to_uint8

Result = TypeVar("Result")


@fixed_threads()
def prepare_clip(path: str | Path, out: str | Path, options: ClipOptions | None = None) -> ClipRecord:
    """Reads a clip and writes `out`/frames (RGBA PNGs, clip.json) and `out`/strip.png, the key frames.

    Makes one frame at a time. `out` appears whole or not at all and must not hold anything yet. Returns what
    clip.json says. Raises InputError.
    """
    out = Path(out)
    _check_free(out)
    chosen = options or ClipOptions()
    draft = draft_clip(path, chosen)
    board = _board(chosen.size)

    def fill(folder: Path) -> ClipRecord:
        keys = set(range(len(draft.times)) if draft.keys is None else draft.keys)
        shown = []
        (folder / "frames").mkdir()
        for i, picture in enumerate(draft.pictures):
            _save_frame(picture, folder / "frames", i)
            if i in keys:
                shown.append(to_uint8(over(picture, board)))
        _strip(shown).save(folder / "strip.png")
        return _save_record(draft, folder / "frames")

    return _write_folder(out, fill)


def write_frames(clip: Clip, folder: str | Path) -> Path:
    """Writes 0000.png ... (8-bit RGBA) and clip.json; the folder appears whole or not at all.

    Raises InputError where the folder holds something already or cannot be written.
    """
    folder = Path(folder)
    _check_free(folder)
    _write_folder(folder, lambda f: _fill_frames(clip, f))
    return folder


def load_frames(folder: str | Path) -> Clip:
    """Reads the folder of a prepared clip as it is: no new masks, crop or sampling.

    Raises InputError.
    """
    folder = Path(folder)
    record = folder / CLIP_FILE
    if not record.is_file():
        raise InputError(
            f"{folder}: no {CLIP_FILE} here, so not a prepared clip; give the folder that was written"
        )
    stored = read_record(record, ClipRecord, "prepare the clip again")
    files = natural_order(list(folder.glob("*.png")))
    if len(files) != len(stored.times):
        raise InputError(
            f"{folder}: {len(files)} frames but {len(stored.times)} times in {CLIP_FILE}; prepare it again"
        )
    pictures = []
    for file in files:
        pictures.append(read_rgba(file, "prepare the clip again"))
        if pictures[-1].shape != pictures[0].shape:
            raise InputError(f"{file}: another size than the frames before it; prepare the clip again")
    return Clip(
        np.stack(pictures),
        np.array(stored.times),
        stored.seconds,
        stored.cyclic,
        stored.warnings,
        stored.source,
        stored.matting,
        stored.matting_confidence,
        stored.keys,
        stored.object_pixels,
        None if stored.path is None else np.array(stored.path),
        stored.window,
    )


def key_times(folder: str | Path) -> tuple[float, ...] | None:
    """Times in [0, 1] of the key frames of a folder that `write_frames` wrote; None where it is not one."""
    try:
        stored = read_record(Path(folder) / CLIP_FILE, ClipRecord, "")
    except InputError:
        return None
    return tuple(stored.times[i] for i in (range(len(stored.times)) if stored.keys is None else stored.keys))


def path_of(
    folder: str | Path,
) -> tuple[Float[np.ndarray, " t"], Float[np.ndarray, "t 2"]] | None:
    """Times and path (`Clip.path`) of a folder of `write_frames`; None where its window stood still."""
    try:
        stored = read_record(Path(folder) / CLIP_FILE, ClipRecord, "")
    except InputError:
        return None
    return None if stored.path is None else (np.array(stored.times), np.array(stored.path))


def save_strip(clip: Clip, path: str | Path) -> Path:
    """Writes all frames side by side over a light checkerboard, at most 8 in a row. Raises InputError."""
    path = Path(path)
    try:
        with written_whole(path) as temporary:
            strip_of(clip).save(temporary)
    except OSError as e:
        raise _unwritable(path, e) from e
    return path


def strip_of(clip: Clip) -> Image.Image:
    """All frames side by side over a light checkerboard, at most 8 in a row."""
    board = _board(clip.pixels.shape[1])
    return _strip([to_uint8(over(as_floats(frame), board)) for frame in clip.pixels])


def _strip(shown: Sequence[UInt8[np.ndarray, "s s 3"]]) -> Image.Image:
    return Image.fromarray(side_by_side(np.stack(shown), 8), "RGB")


def _board(size: int) -> Float[np.ndarray, "s s 1"]:
    """A light checkerboard."""
    y, x = np.mgrid[:size, :size] // max(4, size // 32)
    return np.where((y + x) % 2 == 0, 0.97, 0.86)[..., None].astype(np.float32)


def _fill_frames(clip: Clip, folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    for i, frame in enumerate(clip.pixels):
        Image.fromarray(frame, "RGBA").save(_frame_file(folder, i))
    _save_record(clip, folder)


def _save_frame(frame: Float[np.ndarray, "s s 4"], folder: Path, number: int) -> None:
    Image.fromarray(to_uint8(frame), "RGBA").save(_frame_file(folder, number))


def _frame_file(folder: Path, number: int) -> Path:
    return folder / f"{number:04d}.png"


def _save_record(clip: Clip | Draft, folder: Path) -> ClipRecord:
    """Writes clip.json; returns what it says."""
    pixels, window, path = clip.object_pixels, clip.window, clip.path
    record = ClipRecord(
        [float(t) for t in clip.times],
        clip.seconds,
        clip.cyclic,
        clip.warnings,
        clip.source,
        clip.matting,
        clip.matting_confidence,
        clip.keys,
        None if pixels is None else round(pixels, 2),
        None if path is None else tuple((float(x), float(y)) for x, y in path.round(6)),
        None if window is None else (round(window[0], 3), round(window[1], 3), round(window[2], 3)),
    )
    told = {name: value for name, value in asdict(record).items() if value is not None}
    if "path" in told:  # the longest comes last
        told["path"] = told.pop("path")
    (folder / CLIP_FILE).write_text(json.dumps(told, indent=1), encoding="utf-8")
    return record


def _check_free(folder: Path) -> None:
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder}: exists already; choose another folder or remove it first")


def _write_folder(folder: Path, fill: Callable[[Path], Result]) -> Result:
    try:
        with folder_written_whole(folder) as temporary:
            return fill(temporary)
    except OSError as e:
        raise _unwritable(folder, e) from e


def _unwritable(path: Path, error: OSError) -> InputError:
    return InputError(
        f"{path}: cannot be written ({error.strerror or error}); choose another place or free space"
    )
