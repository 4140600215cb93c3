"""Paths: sorted as people count, refused where they lead to no ordinary file, and the user's cache."""

from __future__ import annotations

import os
import re
import stat
import sys
from collections.abc import Iterable
from pathlib import Path

from vid4d.errors import InputError


def refuse_special(path: str | Path) -> None:
    """Raises InputError for pipes, sockets and devices, which may never end; before they are opened."""
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError):
        return
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise InputError(f"{path}: a pipe, socket or device and no file; copy what it gives into a file")


def is_taken(path: Path) -> bool:
    """True where something is: also a link that leads nowhere, which writing would replace."""
    return path.exists() or path.is_symlink()


def user_cache() -> Path:
    """Our folder among the user's caches, where the system keeps them. Not made here."""
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "vid4d"


def natural_order(paths: Iterable[Path]) -> list[Path]:
    """Sorts as people count: 2.png before 10.png."""

    def key(path: Path) -> list[tuple[int, int, str]]:
        parts = re.split(r"(\d+)", str(path).lower())
        return [(0, int(p), "") if p.isdecimal() else (1, 0, p) for p in parts]

    return sorted(paths, key=key)
