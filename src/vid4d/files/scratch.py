"""Scratch folders: where files lie until they are whole; recognisable, and removed by the next command."""

from __future__ import annotations

import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from filelock import BaseFileLock

LOCK = "vid4d.lock"
"""Held, as a lock of the operating system, by the process that a scratch folder belongs to."""
NAME = re.compile(r"\..*\.vid4d-(\d+)-[0-9a-f]{8}", re.DOTALL)
"""`.TARGET.vid4d-PROCESS-NUMBER`."""


@contextmanager
def scratch_folder(path: Path) -> Iterator[Path]:
    """An empty folder beside `path`, removed at the end, with all that is still in it.

    What processes that were killed left beside `path` is removed first.
    """
    remove_leftovers(path.parent)
    folder, lock = _begun(path)
    try:
        inner = folder / "new"
        inner.mkdir()
        yield inner
    finally:
        _remove(folder, lock)


def remove_leftovers(parent: Path) -> None:
    """Removes scratch folders in `parent` whose process is gone: those that nobody holds the lock of."""
    try:
        leftovers = [p for p in parent.iterdir() if is_scratch(p)]
    except OSError:
        return
    for folder in leftovers:
        if not (folder / LOCK).exists():
            if not _alive(folder):
                with suppress(OSError):  # killed before it wrote anything: empty
                    folder.rmdir()
        elif (lock := _taken(folder)) is not None:
            _remove(folder, lock)


def is_scratch(path: Path) -> bool:
    """True for the name of a scratch folder that is a folder, not a link to one."""
    return NAME.fullmatch(path.name) is not None and path.is_dir() and not path.is_symlink()


def _begun(path: Path) -> tuple[Path, BaseFileLock]:
    while True:
        folder = path.parent / f".{path.name[:40]}.vid4d-{os.getpid()}-{secrets.token_hex(4)}"
        folder.mkdir()
        if (lock := _taken(folder)) is not None:
            return folder, lock  # else another process took it for a leftover, in this moment


def _taken(folder: Path) -> BaseFileLock | None:
    """The lock of a scratch folder; None where another has it, or a link is there, which we never make."""
    from filelock import FileLock, Timeout

    if (folder / LOCK).is_symlink():
        return None
    lock = FileLock(folder / LOCK)
    try:
        lock.acquire(timeout=0)
    except (Timeout, FileNotFoundError):
        return None
    return lock


def _remove(folder: Path, lock: BaseFileLock) -> None:
    """Removes the folder, its lock last: until then it is known for what it is."""
    with suppress(OSError):
        for child in folder.iterdir():
            if child.name != LOCK:
                shutil.rmtree(child, ignore_errors=True)
    lock.release()
    with suppress(OSError):
        (folder / LOCK).unlink(missing_ok=True)
        folder.rmdir()


def _alive(folder: Path) -> bool:
    match = NAME.fullmatch(folder.name)
    try:
        os.kill(int(match[1]) if match else 0, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        pass
    return True
