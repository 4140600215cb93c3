"""Names of run folders where none is given: after the clip, numbered."""

from __future__ import annotations

import re
from pathlib import Path

from vid4d.runs.kept_settings import difference, read_settings
from vid4d.settings import Settings

RUNS = Path("runs")


def _default_name(clip: str) -> str:
    """A folder name from the clip's: 'my_clip.mp4' -> 'my_clip', 'frames/*.png' -> 'frames'.

    Brackets of files that exist belong to their names.
    """
    path = Path(re.sub(r"\[([*?\[])\]", r"\1", clip))  # as glob.escape writes them
    while not path.exists() and any(c in path.name for c in "*?[") and path.parent != path:
        path = path.parent
    if not path.name or path.name == "..":
        path = path.resolve()
    name = path.name if path.is_dir() else path.stem
    return re.sub(r"[^\w.-]+", "_", name).strip("._") or "clip"


def _numbered(name: str, number: int) -> Path:
    return RUNS / (name if number == 1 else f"{name}-{number}")


def free_default(clip: str, suffix: str = "") -> Path:
    """`runs/<name of the clip>`, with the suffix, numbered where that is taken."""
    name, number = "-".join(filter(None, [_default_name(clip), suffix])), 1
    while _numbered(name, number).exists():
        number += 1
    return _numbered(name, number)


def newest_like(settings: Settings) -> Path:
    """The highest-numbered default folder with the same settings; a new one where there is none."""
    name, number, newest = _default_name(settings.label), 1, None
    while (folder := _numbered(name, number)).exists():
        if (folder / "settings.json").is_file() and not difference(read_settings(folder), settings):
            newest = folder
        number += 1
    return newest or free_default(settings.label)
