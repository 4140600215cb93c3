"""Clip: frames of one moving object without their background, from whatever file they come in.

Reading, alpha or background removal, one crop for the whole clip, time sampling. One crop, because a crop
of each frame on its own would destroy the object's own translation and size.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, UInt8
from PIL import Image

from vid4d import clip_sampling
from vid4d.clip_checks import warn
from vid4d.errors import InputError
from vid4d.matting import matte
from vid4d.sources import CLIP_FILE, DEFAULT_FPS, Source, natural_order, open_source, to_rgba

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

    def on_background(self, background: float = 1.0) -> Float[np.ndarray, "t h w 3"]:
        """Colours over a uniform background (white unless told)."""
        alpha = self.frames[..., 3:]
        return self.frames[..., :3] * alpha + np.float32(background) * (1 - alpha)


@dataclass(frozen=True)
class ClipOptions:
    """How a clip is read.

    frames: number of key frames, first and last included (0: all). start, end: seconds of the source.
    every: use every n-th frame of the source. size: pixels of the square frames.
    object_size: share of the frame's side that the object's longer side takes.
    cyclic: whether the clip is a loop; 'auto' looks. matting: 'auto', 'alpha', 'plain', or the name or file
    of an ONNX model. fps: frames a second of a folder of images.
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
    candidates = clip_sampling.in_range(source, name, start, end, every)
    period = clip_sampling.period(source, candidates, cyclic)
    key = clip_sampling.sample(source.times, candidates, frames, period)
    chosen = clip_sampling.around(candidates, key, dense, period)
    working = max(1024, 4 * size)
    originals = _read_frames(source, chosen, size, working)

    cut = matte(originals, matting)
    seen, kept = _check_masks(cut.frames, [i in key for i in chosen], source.times[chosen], name)
    window = _crop_window(seen, object_size)
    masked, originals = [cut.frames[i] for i in kept], [originals[i] for i in kept]
    lost = len(chosen) - len(kept)
    chosen = [chosen[i] for i in kept]
    times = source.times[chosen]
    pictures = np.stack([crop(f, window, size) for f in masked])
    notes = [
        *source.notes,
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
    seconds = clip_sampling.seconds(source, candidates, chosen, period)
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
    if start is not None and start < 0:
        raise InputError(f"--start {start}: give seconds from the clip's beginning, 0 or more")
    if end is not None and end <= (start or 0):
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


# ---- one crop --------------------------------------------------------------------------------------------


def _check_masks(
    frames: Sequence[UInt8[np.ndarray, "h w 4"]], needed: Sequence[bool], times: np.ndarray, name: str
) -> tuple[Bool[np.ndarray, "h w"], list[int]]:
    """The union of all masks, and which frames it is of.

    A frame with an empty mask and one that its mask fills are left out; raises InputError where it is needed.
    """
    union, kept = np.zeros(frames[0].shape[:2], bool), []
    for i, (frame, time) in enumerate(zip(frames, times, strict=True)):
        mask = frame[..., 3] > 127
        if not needed[i] and (mask.sum() < 4 or mask.mean() > 0.98):
            continue
        where = f"{name}: the mask of the frame at {time:.2f} s"
        if mask.sum() < 4:
            raise InputError(
                f"{where} is empty, no object can be seen there; cut the clip with --start and --end or use "
                "another --matting"
            )
        if mask.mean() > 0.98:
            raise InputError(
                f"{where} fills the whole picture; give frames that show the object with some room around "
                "it, or another --matting"
            )
        union |= mask
        kept.append(i)
    return union, kept


def _crop_window(union: np.ndarray, object_size: float) -> tuple[float, float, float]:
    """Left, top and side of the square window, source pixels; it may reach beyond the picture."""
    rows, columns = np.nonzero(union.any(1))[0], np.nonzero(union.any(0))[0]
    top, bottom = int(rows[0]), int(rows[-1]) + 1
    left, right = int(columns[0]), int(columns[-1]) + 1
    side = max(bottom - top, right - left) / object_size
    return (left + right - side) / 2, (top + bottom - side) / 2, side


def crop(
    frame: UInt8[np.ndarray, "h w 4"], window: tuple[float, float, float], size: int
) -> Float[np.ndarray, "s s 4"]:
    """Resamples a square window to `size` pixels, colours weighted by alpha so that no fringe appears.

    window: left, top, side in pixels of the frame; beyond the frame lies nothing. Straight alpha in [0, 1].
    """
    left, top, side = window
    h, w = frame.shape[:2]
    margin = int(np.ceil(max(0, -left, -top, left + side - w, top + side - h))) + 2
    x0, y0 = int(np.floor(left)) - 2, int(np.floor(top)) - 2
    x1, y1 = int(np.ceil(left + side)) + 2, int(np.ceil(top + side)) + 2
    padded = np.pad(frame, ((margin, margin), (margin, margin), (0, 0)))
    part = padded[y0 + margin : y1 + margin, x0 + margin : x1 + margin].astype(np.float32) / 255
    part[..., :3] *= part[..., 3:]
    box = (left - x0, top - y0, left - x0 + side, top - y0 + side)
    kind = Image.Resampling.HAMMING if side > size else Image.Resampling.BICUBIC
    planes = [
        np.asarray(
            Image.fromarray(np.ascontiguousarray(part[..., c]), "F").resize((size, size), kind, box=box)
        )
        for c in range(4)
    ]
    alpha = planes[3]
    visible = alpha > 1 / 512
    colour = np.stack(planes[:3], -1) / np.where(visible, alpha, 1)[..., None]
    out = np.dstack([np.where(visible[..., None], colour, 0), np.where(visible, alpha, 0)])
    return np.clip(out, 0, 1).astype(np.float32)


# ---- files -------------------------------------------------------------------------------------------------


def prepare(path: str | Path, out: str | Path, options: ClipOptions | None = None) -> Clip:
    """Reads a clip and writes `out`/frames (RGBA PNGs, clip.json) and `out`/strip.png.

    `out` appears whole or not at all and must not hold anything yet. Raises InputError.
    """
    o = options or ClipOptions()
    out = Path(out)
    _check_free(out)
    clip = read_clip(
        path,
        frames=o.frames,
        start=o.start,
        end=o.end,
        every=o.every,
        size=o.size,
        object_size=o.object_size,
        cyclic=o.cyclic,
        matting=o.matting,
        fps=o.fps,
    )

    def fill(folder: Path) -> None:
        _fill_frames(clip, folder / "frames")
        _strip(clip).save(folder / "strip.png")

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
    """Reads what `write_frames` wrote, exactly as it is: no new masks, crop or sampling.

    Raises InputError.
    """
    folder = Path(folder)
    record = folder / CLIP_FILE
    if not record.is_file():
        raise InputError(
            f"{folder}: no {CLIP_FILE} here, so not a prepared clip; give the folder that was written"
        )
    try:
        data = json.loads(record.read_text(encoding="utf-8"))
        times = np.asarray(data["times"], np.float64)
        seconds, cyclic, notes = (
            float(data["seconds"]),
            bool(data["cyclic"]),
            tuple(map(str, data["warnings"])),
        )
        source, method = str(data["source"]), str(data["matting"])
        keys = tuple(map(int, data["keys"])) if data.get("keys") is not None else None
        confidence = float(data["matting_confidence"])
    except (OSError, ValueError, KeyError, TypeError) as e:
        raise InputError(f"{record}: damaged clip description ({e}); prepare the clip again") from e
    files = natural_order(list(folder.glob("*.png")))
    if times.ndim != 1 or len(files) != len(times) or len(files) == 0:
        raise InputError(
            f"{folder}: {len(files)} frames but {times.size} times in {CLIP_FILE}; prepare it again"
        )
    pictures = []
    for file in files:
        try:
            with Image.open(file) as image:
                pictures.append(to_rgba(image, file).astype(np.float32) / 255)
        except OSError as e:
            raise InputError(f"{file}: not an image that can be read; prepare the clip again") from e
        if pictures[-1].shape != pictures[0].shape:
            raise InputError(f"{file}: another size than the frames before it; prepare the clip again")
    try:
        return Clip(np.stack(pictures), times, seconds, cyclic, notes, source, method, confidence, keys)
    except ValueError as e:
        raise InputError(f"{record}: damaged clip description ({e}); prepare the clip again") from e


def key_times(folder: str | Path) -> tuple[float, ...] | None:
    """Times in [0, 1] of the key frames of a folder that `write_frames` wrote; None where it is not one."""
    try:
        data = json.loads((Path(folder) / CLIP_FILE).read_text(encoding="utf-8"))
        times, keys = data["times"], data.get("keys")
        return tuple(float(times[i]) for i in (range(len(times)) if keys is None else keys))
    except (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError):
        return None


def save_strip(clip: Clip, path: str | Path) -> Path:
    """Writes all frames side by side over a light checkerboard, at most 8 in a row. Raises InputError."""
    path = Path(path)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial.png")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _strip(clip).save(partial)
        os.replace(partial, path)
    except OSError as e:
        raise _unwritable(path, e) from e
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
    return path


def _strip(clip: Clip) -> Image.Image:
    t, h, w = clip.frames.shape[:3]
    y, x = np.mgrid[:h, :w] // max(4, w // 32)
    board = np.where((y + x) % 2 == 0, 0.97, 0.86)[..., None].astype(np.float32)
    columns = min(t, 8)
    sheet = np.ones((-(-t // columns) * h, columns * w, 3), np.float32)
    for i, frame in enumerate(clip.frames):
        r, c = divmod(i, columns)
        sheet[r * h : (r + 1) * h, c * w : (c + 1) * w] = frame[..., :3] * frame[..., 3:] + board * (
            1 - frame[..., 3:]
        )
    return Image.fromarray(np.rint(np.clip(sheet, 0, 1) * 255).astype(np.uint8), "RGB")


def _fill_frames(clip: Clip, folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    for i, frame in enumerate(clip.frames):
        Image.fromarray(np.rint(frame * 255).astype(np.uint8), "RGBA").save(folder / f"{i:04d}.png")
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
    (folder / CLIP_FILE).write_text(json.dumps(record, indent=1), encoding="utf-8")


def _check_free(folder: Path) -> None:
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder}: exists already; choose another folder or remove it first")


def _write_folder(folder: Path, fill: Callable[[Path], None]) -> None:
    partial = folder.with_name(f".{folder.name}.{os.getpid()}.partial")
    try:
        partial.mkdir(parents=True)
        fill(partial)
        if folder.exists():
            folder.rmdir()
        os.replace(partial, folder)
    except OSError as e:
        raise _unwritable(folder, e) from e
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _unwritable(path: Path, error: OSError) -> InputError:
    return InputError(
        f"{path}: cannot be written ({error.strerror or error}); choose another place or free space"
    )
