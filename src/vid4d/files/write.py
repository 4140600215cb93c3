"""Files and folders written whole or not at all."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

from vid4d.files import manifest
from vid4d.files.scratch import scratch_folder


@contextmanager
def written_whole(path: str | Path) -> Iterator[Path]:
    """A temporary file beside `path` to write to; takes its place on success, vanishes on any error.

    The temporary name is that of `path`, so that writers which look at its ending (PyAV, Pillow) work. It
    lies in a scratch folder (`vid4d.files.scratch`), and on the disk before it takes its place.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with scratch_folder(path) as scratch:
        temporary = scratch / path.name
        temporary.touch()
        yield temporary
        move_into_place(temporary, path)


@contextmanager
def folder_written_whole(path: str | Path) -> Iterator[Path]:
    """A new temporary folder beside `path`; takes its place on success, vanishes on any error.

    It gets a list of its files (`vid4d.files.manifest`). A folder that is there already is replaced only
    when the new one is complete: what that list of the old one proves to be ours is removed, and a folder
    with anything else is kept beside it, as `NAME.kept-1`.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with scratch_folder(path) as scratch:
        temporary = scratch / path.name
        temporary.mkdir()
        yield temporary
        manifest.record(temporary)
        all_to_disk(temporary)
        clear_away(path)
        move_into_place(temporary, path)


def move_into_place(finished: Path, path: Path) -> None:
    """Renames a finished file, or folder, of the same file system to its place; a file there is replaced.

    Its content is on the disk before that. Of a folder, that is for `all_to_disk` to do.
    """
    to_disk(finished)
    finished.replace(path)
    to_disk(path.parent)


def clear_away(path: Path) -> Path | None:
    """Frees the place of a folder that vid4d wrote: removes its files; keeps it aside where others are left.

    Returns where it was kept; None where nothing was left.
    """
    if not path.is_symlink() and not path.exists():
        return None
    if path.is_dir() and not path.is_symlink():
        manifest.remove_written(path)
        if not path.exists():
            return None
        if not any(path.iterdir()):
            path.rmdir()
            return None
    number = 1
    while (aside := path.with_name(f"{path.name}.kept-{number}")).exists() or aside.is_symlink():
        number += 1
    return path.rename(aside)


def to_disk(path: Path) -> None:
    """Has the operating system write a file, or the names in a folder, to the disk: for power cuts."""
    if os.name != "posix" and path.is_dir():
        return
    handle = os.open(path, os.O_RDONLY if os.name == "posix" else os.O_RDWR)
    try:
        with suppress(OSError) if path.is_dir() else nullcontext():
            os.fsync(handle)  # some file systems cannot do this for folders
    finally:
        os.close(handle)


def all_to_disk(folder: Path) -> None:
    """`to_disk` for all that is below a folder, and for the folder."""
    for below in folder.rglob("*"):
        to_disk(below)
    to_disk(folder)


def write_text(path: str | Path, text: str) -> None:
    """Writes UTF-8, whole or not at all; of names that are no UTF-8 the bytes are written as \\udcXX."""
    with written_whole(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")


def write_json(path: str | Path, value: Any) -> None:
    """Writes indented UTF-8 JSON, whole or not at all."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def note_written(folder: Path, name: str, by: str = "") -> None:
    """Adds a file to the list of those that vid4d wrote into a folder (`vid4d.files.manifest`).

    by: who keeps the list; one of another keeper stays as it is.
    """
    if not manifest.others(folder, by):
        hashes = manifest.read(folder, by) | manifest.hashes_of(folder, [name])
        write_text(folder / manifest.MANIFEST, manifest.text_of(hashes, by))
