"""Clips on disk: prepared frames with their description, and the strip that shows them side by side."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
from jaxtyping import Float
from PIL import Image

from vid4d.clip.clip import Clip, ClipOptions, read_clip
from vid4d.clip.sources import CLIP_FILE, ClipRecord, read_rgba
from vid4d.compute.threads import fixed_threads
from vid4d.errors import InputError
from vid4d.files.paths import natural_order
from vid4d.files.records import read_record
from vid4d.files.write import folder_written_whole, written_whole
from vid4d.media.images import over, side_by_side, to_uint8


@fixed_threads()
def prepare_clip(path: str | Path, out: str | Path, options: ClipOptions | None = None) -> Clip:
    """Reads a clip and writes `out`/frames (RGBA PNGs, clip.json) and `out`/strip.png, the key frames.

    `out` appears whole or not at all and must not hold anything yet. Raises InputError.
    """
    out = Path(out)
    _check_free(out)
    clip = read_clip(path, **asdict(options or ClipOptions()))

    def fill(folder: Path) -> None:
        _fill_frames(clip, folder / "frames")
        strip_of(clip.at_keys()).save(folder / "strip.png")

    _write_folder(out, fill)
    return clip


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
        pictures.append(read_rgba(file, "prepare the clip again").astype(np.float32) / 255)
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
    h, w = clip.frames.shape[1:3]
    y, x = np.mgrid[:h, :w] // max(4, w // 32)
    board = np.where((y + x) % 2 == 0, 0.97, 0.86)[..., None].astype(np.float32)
    return Image.fromarray(to_uint8(side_by_side(over(clip.frames, board), 8)), "RGB")


def _fill_frames(clip: Clip, folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    for i, frame in enumerate(clip.frames):
        Image.fromarray(to_uint8(frame), "RGBA").save(folder / f"{i:04d}.png")
    record: dict[str, object] = {
        "times": [float(t) for t in clip.times],
        "seconds": clip.seconds,
        "cyclic": clip.cyclic,
        "warnings": list(clip.warnings),
        "source": clip.source,
        "matting": clip.matting,
        "matting_confidence": clip.matting_confidence,
    }
    if clip.keys is not None:
        record["keys"] = list(clip.keys)
    if clip.object_pixels is not None:
        record["object_pixels"] = round(clip.object_pixels, 2)
    if clip.window is not None:
        record["window"] = [round(v, 3) for v in clip.window]
    if clip.path is not None:
        record["path"] = clip.path.round(6).tolist()
    (folder / CLIP_FILE).write_text(json.dumps(record, indent=1), encoding="utf-8")


def _check_free(folder: Path) -> None:
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder}: exists already; choose another folder or remove it first")


def _write_folder(folder: Path, fill: Callable[[Path], None]) -> None:
    try:
        with folder_written_whole(folder) as temporary:
            fill(temporary)
    except OSError as e:
        raise _unwritable(folder, e) from e


def _unwritable(path: Path, error: OSError) -> InputError:
    return InputError(
        f"{path}: cannot be written ({error.strerror or error}); choose another place or free space"
    )
