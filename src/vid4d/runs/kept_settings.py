"""settings.json of a run folder: written, read, and compared with those of a later command."""

from __future__ import annotations

from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from msgspec import Struct

from vid4d.compute import machine
from vid4d.errors import InputError
from vid4d.files.records import checked, read_record
from vid4d.settings import Settings, read_also

FORMAT = 1
"""Version of the folder's layout, in settings.json."""

FREE_TO_CHANGE = frozenset({"device", "devices", "memory"})
"""Settings that may differ when a run is resumed: they say where it runs, not what it makes."""


class Stored(Struct):
    """settings.json: version of the layout, version of vid4d, and the settings, which a version may lack."""

    format: int
    settings: dict[str, Any]
    vid4d: str = "unknown"


def read_settings(root: str | Path) -> Settings:
    """The settings of a run folder. Raises InputError where it is none or was written by another layout."""
    path = Path(root) / "settings.json"
    if not path.exists():
        raise InputError(f"{root} is not a run folder: it has no settings.json")
    stored = read_record(path, Stored, "start a new run")
    if stored.format != FORMAT:
        raise InputError(f"{path} has layout {stored.format}, this vid4d reads {FORMAT}: start a new run")
    if unknown := stored.settings.keys() - {field.name for field in fields(Settings)}:
        raise InputError(
            f"{path} was written by another version of vid4d ({stored.vid4d}): it has "
            f"{', '.join(sorted(unknown))}, which this one does not know; start a new run"
        )
    if "clip" not in stored.settings:
        raise InputError(f"{path}: 'settings' lacks 'clip'; start a new run")
    settings = checked(stored.settings, Settings, f"{path}: settings", "start a new run")
    try:
        settings.check_ranges()
    except InputError as error:
        raise InputError(f"{path} has settings that no run can have ({error}): start a new run") from error
    return settings


def is_run(root: Path) -> bool:
    """True for the folder of a run, of whichever version of vid4d."""
    try:
        return (root / "settings.json").is_file() and bool(read_record(root / "settings.json", Stored, ""))
    except InputError:
        return False


def described(settings: Settings) -> dict[str, Any]:
    """What settings.json holds (`Stored`)."""
    return {"format": FORMAT, "vid4d": machine.versions()["vid4d"], "settings": asdict(settings)}


def difference(old: Settings, new: Settings) -> list[str]:
    """'seed 0 -> 1' for every setting that matters and differs."""
    differing = []
    for field in fields(Settings):
        before, after = getattr(old, field.name), getattr(new, field.name)
        if field.name == "clip" or (field.name == "canonical" and before and after):
            before, after = str(Path(before).resolve()), str(Path(after).resolve())
        if field.name == "also":
            before, after = _resolved(before), _resolved(after)
        if before != after and field.name not in FREE_TO_CHANGE:
            differing.append(f"{field.name} {before} -> {after}")
    return differing


def _resolved(also: tuple[str, ...]) -> list[tuple[str, float, float | None]]:
    """The pictures of `--also` by where they lie."""
    views = [read_also(text) for text in also]
    return [(str(Path(v.file).resolve()), v.azimuth, v.elevation) for v in views]
