"""The lock of a run folder: one process works in it, and a second one says who that is."""

from __future__ import annotations

import json
import os
import socket
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from vid4d.errors import InputError
from vid4d.files.write import write_json

if TYPE_CHECKING:
    from filelock import BaseFileLock


class InUseError(InputError):
    """Another process works in a run folder."""


LOCK = ".vid4d.lock"
"""Held as a lock of the operating system: it ends with its process, however that ends."""
HOLDER = ".vid4d-holder.json"
"""Who holds it."""

_held: dict[tuple[int, int], tuple[BaseFileLock, int]] = {}
"""By device and number of the lock's file: the lock, and how often this process took it."""


class RunLock:
    """The lock of a run folder, from now until `release`. A process may take it several times.

    Raises InUseError where another process has it, naming that one.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._number: tuple[int, int] | None = None
        number = _number(root / LOCK)
        if number is None or number not in _held:
            lock = _acquired(root)
            number = _number(root / LOCK)
            if number is None:
                lock.release()
                raise InputError(f"{root} was removed while a run began in it: run the same command again")
            _held[number] = (lock, 0)
            write_json(root / HOLDER, _this_process())
        lock, times = _held[number]
        _held[number], self._number = (lock, times + 1), number

    def release(self, *, remove: bool = False) -> None:
        """Lets others in. remove: the lock's file, too, for folders in which no run stays."""
        number, self._number = self._number, None
        if number is None:
            return
        lock, times = _held.pop(number)
        if times > 1:
            _held[number] = (lock, times - 1)
        if times == 1 or remove:
            with suppress(OSError):
                (self.root / HOLDER).unlink(missing_ok=True)
                if remove and os.name == "posix":
                    (self.root / LOCK).unlink(missing_ok=True)
        if times == 1:
            lock.release()
        if remove:
            with suppress(OSError):
                (self.root / LOCK).unlink(missing_ok=True)


def _acquired(root: Path) -> BaseFileLock:
    from filelock import FileLock, Timeout

    lock = FileLock(root / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise InUseError(
            f"{root} is in use by {_holder(root)}: wait until it has finished, or stop it"
        ) from None
    return lock


def _number(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _this_process() -> dict[str, str | int]:
    now = time.strftime("%Y-%m-%d %H:%M:%S")
    return {"process": os.getpid(), "machine": socket.gethostname(), "since": now}


def _holder(root: Path) -> str:
    """'process 123 on HOST since TIME', as far as it is known."""
    try:
        said = json.loads((root / HOLDER).read_text(encoding="utf-8"))
        return f"process {int(said['process'])} on {_plain(said['machine'])} since {_plain(said['since'])}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"


def _plain(text: object) -> str:
    """A text from a file without what moves a terminal's cursor, at most 80 characters."""
    return "".join(c for c in str(text) if c.isprintable())[:80]
