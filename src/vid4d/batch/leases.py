"""Leases: one process makes a clip; whoever comes after one that was killed takes it up.

A lease is a lock of the operating system, which ends with its process, and beside it a numbered file that its
holder touches while it lives. The lock serves processes of one machine, and machines whose file system hands
locks on. The file serves the others: one that nobody has touched for `EXPIRES` seconds has no holder any
more. Each holder has the next number, and that file can be made but once, so that two who see an expired one
cannot both follow.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from filelock import BaseFileLock

_mine: set[Lease] = set()
"""Those that this process has."""

EXPIRES = 120.0
"""Seconds."""
RENEWED = 15.0
"""Seconds between two touches."""


@cache
def this_machine() -> str:
    """Name of the kernel that runs here, whose locks its processes share; containers have their host's."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return socket.gethostname()


class Lease:
    """The right to make one clip, from `taken` until `release`.

    number: how many holders before it left without releasing it: were killed, or lost their machine.
    spent: seconds that these had it, as far as they touched their files.
    """

    def __init__(self, path: Path, lock: BaseFileLock, number: int, spent: float = 0.0) -> None:
        self.path, self.number, self.spent = path, number, spent
        self._lock = lock
        self._over = threading.Event()
        self._renewer = threading.Thread(target=self._renew, daemon=True)
        self._renewer.start()
        _mine.add(self)

    @classmethod
    def taken(cls, path: Path) -> Lease | None:
        """The lease at this path (its files have that name and an ending); None where another has it."""
        from filelock import FileLock, Timeout

        path.parent.mkdir(parents=True, exist_ok=True)
        lock_file = path.with_name(f"{path.name}.lock")
        lock = FileLock(lock_file)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            return None
        try:
            os.utime(lock_file)
            now = lock_file.stat().st_mtime  # by the clock of the file system, as the leases' times are
            numbers = _numbers(path)
            number = max(numbers, default=-1) + 1
            if numbers and _alive(_numbered(path, number - 1), now):
                lock.release()
                return None
            spent = sum(_spent(_numbered(path, former)) for former in numbers)
            holder = {"machine": this_machine(), "host": socket.gethostname(), "pid": os.getpid()}
            with _numbered(path, number).open("x", encoding="utf-8") as file:
                json.dump(holder | {"began": now}, file)
        except FileExistsError:
            lock.release()
            return None
        except BaseException:
            lock.release()
            raise
        return cls(path, lock, number, spent)

    def held(self) -> bool:
        """False where another has followed, since this process did not get to touch its file in time."""
        return max(_numbers(self.path), default=-1) == self.number

    def release(self) -> None:
        """Lets others in, and forgets the holders before."""
        if self._over.is_set():
            return
        self._over.set()
        self._renewer.join()
        _mine.discard(self)
        if self.held():
            self.forget()
            if os.name == "posix":
                Path(self._lock.lock_file).unlink(missing_ok=True)
        self._lock.release()

    def forget(self) -> None:
        """Removes the files of this and of former holders; the lock stays until the process ends."""
        for number in sorted(_numbers(self.path)):
            _numbered(self.path, number).unlink(missing_ok=True)

    def _renew(self) -> None:
        while not self._over.wait(RENEWED):
            with suppress(OSError):
                os.utime(_numbered(self.path, self.number))


def forget_all() -> None:
    """For a process that is about to end, and is told so: its clips do not count as what killed it."""
    for lease in list(_mine):
        lease.forget()


def looks_held(path: Path) -> bool:
    """Whether somebody seems to have the lease; nothing is written, and nothing is taken."""
    with suppress(OSError, ValueError):
        return time.time() - _numbered(path, max(_numbers(path))).stat().st_mtime < EXPIRES
    return False


def _numbered(path: Path, number: int) -> Path:
    return path.with_name(f"{path.name}.{number}")


def _numbers(path: Path) -> list[int]:
    found = (p.name.removeprefix(f"{path.name}.") for p in path.parent.glob(f"{path.name}.*"))
    return [int(n) for n in found if n.isdecimal()]


def _spent(file: Path) -> float:
    """Seconds from a holder's beginning until it last touched its file; 0 where that is not known."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        began = float(json.loads(file.read_text(encoding="utf-8"))["began"])
        return max(0.0, file.stat().st_mtime - began)
    return 0.0


def _alive(file: Path, now: float) -> bool:
    """Whether the holder named in a lease's file lives, seen by one who has got the lock."""
    try:
        if json.loads(file.read_text(encoding="utf-8"))["machine"] == this_machine():
            return False  # whose lock would be held
    except (OSError, ValueError, KeyError, TypeError):
        pass
    with suppress(OSError):
        return now - file.stat().st_mtime < EXPIRES
    return False
