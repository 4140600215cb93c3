"""Which clips a batch has, and the key of each: what its run is called, wherever the clip lies."""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from vid4d.clip.matting_onnx import METHODS, find_model
from vid4d.clip.sources import CLIP_FILE, IMAGE_SUFFIXES
from vid4d.errors import InputError, machine_at_fault
from vid4d.files import manifest
from vid4d.files.paths import natural_order, refuse_special
from vid4d.runs.kept_settings import FREE_TO_CHANGE, is_run
from vid4d.settings import Settings

VIDEO_SUFFIXES = (".mp4", ".mov", ".m4v", ".webm", ".mkv", ".avi", ".mpg", ".mpeg", ".ogv", ".wmv", ".gif")
"""Endings of what a folder's clips are; in a list a clip may have any."""
SHOWN = frozenset((*IMAGE_SUFFIXES, *VIDEO_SUFFIXES))
KEY_LENGTH = 24
"""Hexadecimal digits of a key, 96 bits: among a million clips two share one with a chance of 1e-17."""
HASHES_KEPT = 1 << 15
SETTLED = 2.0
"""Seconds after which a file's time tells it from one that was written since; FAT counts in twos."""

_hashes: dict[tuple[Path, int, int], str] = {}
"""Of files by path, size and time: one that another process is making is looked at every few seconds."""


def clips_of(source: Path, out: Path, say: Callable[[str], None] = lambda said: None) -> list[str]:
    """Absolute paths of the clips of a folder or of a list, sorted as people count or as listed.

    A folder's clips are the videos and GIFs in it and below, and the folders below that hold pictures and no
    video; `out`, hidden files and what vid4d wrote are left out: runs, exports, renders and strips, not the
    frames of a prepared clip. A list is a text file with a clip a line, relative to the
    list's own folder; empty lines and those that begin with # are left out. say: gets a
    sentence about each kind of thing that is left out, and about folders without clips.
    Raises InputError where there is none.
    """
    if source.is_dir():
        return _in_folder(source.absolute(), out.absolute(), say)
    refuse_special(source)
    try:
        lines = source.read_text(encoding="utf-8-sig").splitlines()  # editors on Windows begin with a mark
    except FileNotFoundError:
        raise InputError(f"there is no {source}: give a folder of clips, or a list with one a line") from None
    except UnicodeDecodeError:
        raise InputError(f"{source} is no text: give a folder of clips, or a list with one a line") from None
    named = [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]
    if not named:
        raise InputError(f"{source} names no clip: write one a line")
    return [os.path.normpath(source.absolute().parent / name) for name in named]


def _in_folder(folder: Path, out: Path, say: Callable[[str], None]) -> list[str]:
    found: list[Path] = []
    mixed: list[Path] = []
    written: list[Path] = []
    bare: list[Path] = []
    ours: set[Path] = set()
    for place, inner, files in os.walk(folder):
        here = Path(place)
        if is_run(here):
            written.append(here)
            inner.clear()
            continue
        inner[:] = [name for name in inner if not name.startswith(".") and here / name != out]
        shown = [here / name for name in files if not name.startswith(".")]
        ours |= {here / name for name in manifest.listed(here)}
        if CLIP_FILE not in files:  # which makes pictures that vid4d wrote a prepared clip
            if left := [path for path in shown if path in ours and path.suffix.lower() in SHOWN]:
                written.append(here)
            shown = [path for path in shown if path not in left]
        kinds = {path.suffix.lower() for path in shown} - {".gif"}  # which are both
        if kinds & set(IMAGE_SUFFIXES) and kinds & set(VIDEO_SUFFIXES):
            mixed.append(here)
        elif kinds & set(IMAGE_SUFFIXES):
            if here == folder:
                raise InputError(
                    f"{folder} holds pictures itself: give the folder above it, whose folders of pictures "
                    "are clips, or a list of clips"
                )
            found.append(here)
            inner.clear()
            continue
        videos = [p for p in shown if p.suffix.lower() in VIDEO_SUFFIXES]
        found.extend(videos)
        if not (inner or videos or written[-1:] == [here]):
            bare.append(here)
    if not found:
        but = " but what vid4d wrote itself" if written else ""
        raise InputError(
            f"{folder} holds no clip{but}: give a folder with videos, GIFs or folders of pictures, or a list"
        )
    if mixed:
        say(f"pictures beside videos are left out, in {_several(mixed)}: clips of pictures need own folders")
    if written:
        say(f"what vid4d wrote is left out, in {_several(written)}: name it in a list if it shall be a clip")
    if bare:
        say(f"no picture and no video lies in {_several(bare)}: left out")
    return [str(path) for path in natural_order(found)]


def _several(folders: Sequence[Path]) -> str:
    others = f" and {len(folders) - 1} more" if folders[1:] else ""
    return f"{min(folders)}{others}"


def part_of(clips: Sequence[str], shard: str, source: Path) -> list[str]:
    """Those of the i-th of n parts, 'i/n' with i from 1 to n, by a hash of their paths below the source.

    Each clip is in one part, whatever else there is by the time that another part is made, and wherever the
    folder is mounted; parts are about even. source: as of `clips_of`. Raises InputError for what is no part.
    """
    said = re.fullmatch(r"(\d{1,9})/(\d{1,9})", shard)
    number, count = (int(said[1]), int(said[2])) if said else (0, 0)
    if not 1 <= number <= count:
        raise InputError(f"--shard {shard} is no part: give i/n, the first of four is 1/4")
    folder = source.absolute() if source.is_dir() else source.absolute().parent
    return [clip for clip in clips if _drawn(Path(clip), folder) % count == number - 1]


def _drawn(clip: Path, folder: Path) -> int:
    name = (clip.relative_to(folder) if clip.is_relative_to(folder) else clip).as_posix()
    return int.from_bytes(hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest()[:8])


def key_of(clip: str, settings: Settings) -> str:
    """Key of a clip's run: a hash of its bytes, and of the settings that matter to what is made.

    Paths and names do not count, but for those of the pictures of a folder. Where it runs does not count
    either (`FREE_TO_CHANGE`). Raises InputError for a clip that cannot be read, MachineError for a model of
    the settings.
    """
    digest = hashlib.sha256(json.dumps(_chosen(settings), sort_keys=True).encode())
    try:
        files = list(_files(Path(clip)))
    except OSError as error:
        raise _unreadable(clip, error) from None
    for file in files:
        if Path(clip).is_dir():  # the names of pictures say what they are
            digest.update(json.dumps(file.relative_to(clip).as_posix()).encode())
        digest.update(_file_hash(file).encode())
    return digest.hexdigest()[:KEY_LENGTH]


@machine_at_fault()
def _chosen(settings: Settings) -> dict[str, Any]:
    """What the settings make of any clip; models that are files, or are found by a name, by their bytes."""
    chosen = {k: v for k, v in asdict(settings).items() if k != "clip" and k not in FREE_TO_CHANGE}
    if settings.matting not in METHODS:
        chosen["matting"] = _file_hash(find_model(settings.matting))
    if Path(settings.interpolator).is_file():
        chosen["interpolator"] = _file_hash(Path(settings.interpolator))
    return chosen


def bytes_of(clip: str) -> int:
    """Size of a clip's files. Raises InputError for a clip that cannot be read."""
    try:
        return sum(file.stat().st_size for file in _files(Path(clip)))
    except OSError as error:
        raise _unreadable(clip, error) from None


def _files(clip: Path) -> Iterator[Path]:
    """The file of a clip; of a folder its pictures and masks, those below, too, and clip.json."""
    if not clip.is_dir():
        yield clip
        return
    known = (*IMAGE_SUFFIXES, *VIDEO_SUFFIXES)
    below = natural_order(p for p in clip.rglob("*") if p.suffix.lower() in known or p == clip / CLIP_FILE)
    yield from (p for p in below if p.is_file() and not p.name.startswith("."))


def _file_hash(file: Path) -> str:
    refuse_special(file)
    try:
        found = file.stat()
        known = (file, found.st_size, found.st_mtime_ns)
        if known in _hashes:
            return _hashes[known]
        with file.open("rb") as opened:
            digest = hashlib.file_digest(opened, "sha256").hexdigest()
    except (OSError, ValueError) as error:  # a name with a NUL is a ValueError
        raise _unreadable(file, error) from None
    if time.time() - found.st_mtime > SETTLED:
        if len(_hashes) >= HASHES_KEPT:
            _hashes.clear()
        _hashes[known] = digest
    return digest


def _unreadable(path: str | Path, error: Exception) -> InputError:
    if isinstance(error, FileNotFoundError):
        return InputError(f"there is no {path}: correct the list, or bring the clip back")
    return InputError(f"{path} cannot be read ({getattr(error, 'strerror', None) or error}): see to it")
