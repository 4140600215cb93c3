"""Lists of the files that vid4d wrote into a folder, with hashes: what it may delete or replace there."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path, PurePosixPath

MANIFEST = ".vid4d-files.json"
FORMAT = 1
Hashes = dict[str, list[str]]
"""Name (with / between folders) -> SHA-256 of what vid4d wrote there; two of them while it is replaced."""
EXPORT, RENDER = "export", "render"
"""Keepers of lists whose folders their users choose. All others, those of runs among them, have no name.

A keeper replaces and removes only what its own list names: an export into the folder of a run is no reason to
remove the run.
"""


def hashes_of(folder: Path, files: Iterable[str]) -> Hashes:
    """Hashes of files of a folder."""
    return {name: [_hash(folder / name)] for name in sorted(files)}


def contents(folder: Path) -> list[str]:
    """Names of all files below a folder, the manifest left out; links are named, not followed."""
    below = (p for p in folder.rglob("*") if p.is_symlink() or not p.is_dir())
    return sorted(p.relative_to(folder).as_posix() for p in below if p != folder / MANIFEST)


def record(folder: Path, by: str = "") -> None:
    """Writes the manifest of a folder that holds nothing but what vid4d wrote. by: who keeps it."""
    (folder / MANIFEST).write_text(text_of(hashes_of(folder, contents(folder)), by), encoding="utf-8")


def text_of(hashes: Hashes, by: str = "") -> str:
    kept = {"vid4d_wrote": FORMAT, **({"by": by} if by else {}), "files": hashes}
    return json.dumps(kept, indent=1, ensure_ascii=False) + "\n"


def read(folder: Path, by: str = "") -> Hashes:
    """The manifest of a folder; empty where there is none, none to be read, or one of another keeper."""
    hashes, keeper = _stored(folder)
    return hashes if keeper == by else {}


def listed(folder: Path) -> frozenset[str]:
    """Names of what is listed in a folder, by whichever keeper."""
    return frozenset(_stored(folder)[0])


def others(folder: Path, by: str) -> bool:
    """True where another than this keeper has listed files in a folder."""
    hashes, keeper = _stored(folder)
    return bool(hashes) and keeper != by


def _stored(folder: Path) -> tuple[Hashes, str]:
    file = folder / MANIFEST
    if file.is_symlink() or not file.is_file():
        return {}, ""
    try:
        stored = json.loads(file.read_text(encoding="utf-8"))
        files = stored["files"] if stored["vid4d_wrote"] == FORMAT else {}
        hashes = {name: hashes for name, hashes in files.items() if isinstance(hashes, list)}
        return hashes, str(stored.get("by", ""))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}, ""


def wrote(folder: Path, name: str, hashes: Hashes | None = None) -> bool:
    """True where a file is, byte for byte, what vid4d wrote there. hashes: of the manifest, read before."""
    recorded = (read(folder) if hashes is None else hashes).get(name)
    path, parts = folder / name, PurePosixPath(name).parts
    if not recorded or not parts or ".." in parts or PurePosixPath(name).is_absolute() or "\\" in name:
        return False
    steps = [folder.joinpath(*parts[: i + 1]) for i in range(len(parts))]
    if any(step.is_symlink() for step in steps) or not path.is_file():
        return False
    try:
        return _hash(path) in recorded
    except OSError:
        return False


def holds_only(folder: Path, names: Iterable[str]) -> bool:
    """True for a folder that holds these files and nothing else, each as vid4d wrote it there."""
    if folder.is_symlink() or not folder.is_dir():
        return False
    expected, hashes = sorted(names), read(folder)
    return contents(folder) == expected and all(wrote(folder, name, hashes) for name in expected)


def remove_written(folder: Path, keep: Iterable[str] = (), by: str = "") -> list[str]:
    """Removes the files that vid4d wrote and nobody changed, but for those to keep. Returns what is left.

    The manifest goes with the last of them, and the folder, too, where nothing is left in it. by: its keeper.
    """
    hashes, kept = read(folder, by), set(keep)
    emptied: set[Path] = set()
    for name in hashes.keys() - kept:
        if wrote(folder, name, hashes):
            (folder / name).unlink()
            emptied.update(folder / parent for parent in PurePosixPath(name).parents if parent.name)
    for below in sorted(emptied, reverse=True):  # other folders are their user's, also empty ones
        with suppress(OSError):  # it holds something
            below.rmdir()
    left = contents(folder)
    if not left:
        if hashes:
            (folder / MANIFEST).unlink()
        with suppress(OSError):
            folder.rmdir()
    return left


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
