"""Clips that are dropped on the page: kept beside the runs, so that a run can be resumed; names of runs."""

from __future__ import annotations

import filecmp
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

from vid4d.errors import InputError
from vid4d.files.write import folder_written_whole, written_whole
from vid4d.runs.folder import holds_run
from vid4d.runs.kept_settings import read_settings
from vid4d.settings import Settings

CLIPS = "clips"
"""Folder among the runs."""


def keep(files: Sequence[str | Path], runs: Path) -> Path:
    """Copies a video or picture, or several pictures, to runs/clips; what lies there already is taken.

    Returns the file; the folder, where there are several. Raises InputError where nothing was given.
    """
    given = [Path(f) for f in files]
    if not given:
        raise InputError("no clip was given: drop a video, a GIF, or pictures")
    if len({f.name for f in given}) < len(given):
        raise InputError(
            "two of the pictures have the same name: rename them, for their names are their order"
        )
    folder = runs / CLIPS
    name = _plain(given[0].stem)
    ending = "" if len(given) > 1 else given[0].suffix.lower()
    number = 1
    while True:
        place = folder / f"{name}{'' if number == 1 else f'-{number}'}{ending}"
        if not place.exists():
            break
        if _same(given, place):
            return place
        number += 1
    if len(given) == 1:
        with written_whole(place) as temporary:
            shutil.copyfile(given[0], temporary)
    else:
        with folder_written_whole(place) as temporary:
            for file in given:
                shutil.copyfile(file, temporary / file.name)
    return place


def free_run(clip: Path, runs: Path) -> Path:
    """A folder for a new run: named after the clip, numbered where that is taken."""
    name, number = _plain(clip.stem), 1
    while (root := runs / (name if number == 1 else f"{name}-{number}")).exists() or root.name == CLIPS:
        number += 1
    return root


def runs_in(runs: Path) -> dict[str, bool]:
    """Names of the runs in a folder, the newest first, and whether each is finished."""
    found = [p for p in runs.iterdir() if p.is_dir() and holds_run(p)] if runs.is_dir() else []
    found.sort(key=lambda p: (p / "settings.json").stat().st_mtime, reverse=True)
    return {p.name: (p / ".done" / "report").is_file() for p in found}


def settings_to_resume(root: Path) -> Settings:
    """The settings with which a run is resumed. Raises InputError where it cannot be."""
    settings = read_settings(root)
    if settings.source != "clip" or settings.text:
        raise InputError(f"{root} was not made from a clip: resume it by the command that began it")
    if not Path(settings.clip).exists() and not re.search(r"[*?\[]", settings.clip):
        raise InputError(f"{settings.clip}, of which {root} is made, is gone: put it back to resume the run")
    return settings


def _plain(name: str) -> str:
    return re.sub(r"[^\w.-]+", "_", name).strip("._") or "clip"


def _same(files: Sequence[Path], place: Path) -> bool:
    if len(files) == 1:
        return place.is_file() and filecmp.cmp(files[0], place, shallow=False)
    if not place.is_dir():
        return False
    names = {f.name for f in files}
    there = {p.name for p in place.iterdir() if not p.name.startswith(".")}
    return names == there and all(filecmp.cmp(f, place / f.name, shallow=False) for f in files)
