"""Files of a run folder: where its boundary is, which of them vid4d wrote, and how these are removed."""

from __future__ import annotations

import os
import re
import shutil
import stat
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from vid4d.errors import InputError
from vid4d.files import manifest
from vid4d.files.scratch import is_scratch, remove_leftovers
from vid4d.files.write import clear_away, write_text, written_whole
from vid4d.runs.lock import HOLDER, LOCK, RunLock

MADE = (
    "asset.safetensors",
    "config.json",
    "contact.png",
    "curves.jsonl",
    "dynerf.safetensors",
    "elevation.json",
    "fitted.safetensors",
    "layout.json",
    "log.txt",
    "machine.json",
    "player.html",
    "report.html",
    "report.json",
    "settings.json",
    "strip.png",
    "timings.json",
    "turntable.mp4",
)
"""Files that a run writes at the top of its folder."""
FOLDERS = ("frames", "matrix", "enhanced")
"""Folders that are written whole, with a list of what is in them: by the stage of that name, or by `vid4d
enhance`."""
STAGE_FILES = {
    "contact": ("contact.png",),
    "turntable": ("turntable.mp4",),
    "player": ("player.html",),
    "report": ("report.html",),
}
"""What stages that only write files have written."""
SHOWN = STAGE_FILES | {
    "frames": ("strip.png",),
    "fit": ("asset.safetensors",),
    "refine": ("asset.safetensors",),
}
"""Files that stages write for people, who may go on with them: changed ones are kept aside, not replaced."""
BESIDE = ("export", "renders")
"""Folders that other commands write into a run's."""
INNER = (".done", manifest.MANIFEST, LOCK, HOLDER, "checkpoints", "validation")
"""What else vid4d keeps there."""
PART = "__"
"""Between a stage's name and a number: checkpoints of a stage that is made in parts."""
CLEARED = ".vid4d-cleared"
"""Left by `clear`: a run may begin here, whatever else lies in the folder."""


def record(root: Path) -> None:
    """Notes what a run has written at the top of its folder (`vid4d.files.manifest`)."""
    written = [name for name in MADE if (root / name).is_file() and not (root / name).is_symlink()]
    noted: manifest.Hashes = {name: [] for name in manifest.read(root) if name.startswith("checkpoints/")}
    write_text(root / manifest.MANIFEST, manifest.text_of(noted | manifest.hashes_of(root, written)))


def holds_run(root: Path) -> bool:
    """True for the folder of a run that was not cleared."""
    return (root / "settings.json").is_file() and not (root / CLEARED).is_file()


def has_checkpoint(root: Path) -> bool:
    """True where a stage of the run has kept its middle."""
    return any(path.is_file() for path in _checkpoints(root))


def is_marker(path: Path) -> bool:
    """True for the marker of a finished stage: a file with the time at which it was finished."""
    if path.is_symlink() or not path.is_file() or path.stat().st_size > 64:
        return False
    return re.fullmatch(rb"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\r?\n", path.read_bytes()) is not None


def is_free(root: Path) -> bool:
    """True for a folder in which a run may begin: empty, but for exports, scratch and what systems put."""
    if (root / CLEARED).is_file():
        return True
    ours = (*BESIDE, ".DS_Store", LOCK, HOLDER, manifest.MANIFEST)
    return all(
        p.name in ours or is_scratch(p) or re.fullmatch(r"\.settings\..*\.json", p.name)
        for p in root.iterdir()
    )


def note_checkpoint(root: Path, stage: str) -> Path:
    """The place of a stage's checkpoint, noted as a run's own, whatever is written there."""
    noted, name = manifest.read(root), f"checkpoints/{stage}.safetensors"
    if name not in noted:
        write_text(root / manifest.MANIFEST, manifest.text_of(noted | {name: []}))
    return root / name


def keep_changed(root: Path, names: Iterable[str]) -> list[Path]:
    """Keeps files at the top of a run folder that are not as vid4d wrote them: as `NAME.kept-1`, beside.

    Files of which nothing is noted are what a killed run was writing. Returns where changed ones are kept.
    """
    noted = manifest.read(root)
    changed = [
        n for n in names if noted.get(n) and (root / n).exists() and not manifest.wrote(root, n, noted)
    ]
    kept = [clear_away(root / name) for name in changed]
    if changed:
        left = {name: hashes for name, hashes in noted.items() if name not in changed}
        write_text(root / manifest.MANIFEST, manifest.text_of(left))
    return [path for path in kept if path is not None]


def begin_to_replace(root: Path, names: Iterable[str]) -> None:
    """Forgets what is noted of files at the top of a run folder that are about to be written anew.

    Whoever is killed after writing one, and before `record`, shall not take it for another's.
    """
    noted, replaced = manifest.read(root), set(names)
    if replaced & noted.keys():
        left = {name: hashes for name, hashes in noted.items() if name not in replaced}
        write_text(root / manifest.MANIFEST, manifest.text_of(left))


def remove_scratch(root: Path) -> None:
    """Removes what killed processes were writing in a run folder (`vid4d.files.scratch`)."""
    for folder in (root, root / ".done", root / "checkpoints", *root.glob("validation/*")):
        remove_leftovers(folder)


def remove_later(root: Path, visited: list[str]) -> None:
    """Removes markers and checkpoints of all stages but those named; nothing that vid4d did not write."""
    for marker in root.glob(".done/*"):
        if marker.name not in visited and is_marker(marker):
            marker.unlink()
    for path in _checkpoints(root):
        if path.stem.partition(PART)[0] not in visited and not path.is_symlink() and path.is_file():
            path.unlink()


def remove_parts(root: Path, stage: str) -> None:
    """Removes the checkpoints of the parts of a finished stage, and what is noted of them."""
    noted = manifest.read(root)
    parts = {name for name in noted if name.startswith(f"checkpoints/{stage}{PART}")}
    for path in _checkpoints(root):
        if f"checkpoints/{path.name}" in parts and not path.is_symlink() and path.is_file():
            path.unlink()
    if parts:
        left = {name: hashes for name, hashes in noted.items() if name not in parts}
        write_text(root / manifest.MANIFEST, manifest.text_of(left))


def clear(root: str | Path) -> None:
    """Removes what a run wrote, so that another may begin in its folder. All else stays: exports, notes.

    Files for people that were changed afterwards, and folders with files of others, are kept beside, as
    `NAME.kept-1`.
    Raises InputError where a process works in the folder, and for links.
    """
    root = Path(root)
    refuse_links(root)
    lock = RunLock(root)
    try:
        _clear(root)
    finally:
        lock.release(remove=True)


def _clear(root: Path) -> None:
    remove_scratch(root)
    write_text(root / CLEARED, "A run of vid4d may begin here.\n")
    remove_later(root, [])
    for name in FOLDERS:
        clear_away(root / name)
    _remove_validation(root / "validation")
    keep_changed(root, [name for files in SHOWN.values() for name in files])
    for name in manifest.read(root):
        if name in MADE and manifest.wrote(root, name):
            (root / name).unlink()
    (root / manifest.MANIFEST).unlink(missing_ok=True)
    for folder in (".done", "checkpoints"):
        with suppress(OSError):  # it holds something
            (root / folder).rmdir()


def _checkpoints(root: Path) -> list[Path]:
    if (root / "checkpoints").is_symlink():
        return []
    names = [name for name in manifest.read(root) if re.fullmatch(r"checkpoints/\w+\.safetensors", name)]
    return [root / name for name in names]


def _remove_validation(folder: Path) -> None:
    if folder.is_symlink() or not folder.is_dir():
        return
    for step in folder.iterdir():
        if step.is_dir() and not step.is_symlink():
            manifest.remove_written(step)
    with suppress(OSError):
        folder.rmdir()


def refuse_links(root: str | Path) -> None:
    """Raises InputError where something that a run uses in its folder is a link: a run folder is a boundary.

    Nothing outside of it is read, written or deleted through it. Other files of its user may be links.
    """
    root = Path(root)
    waiting = [root / name for name in (*MADE, *FOLDERS, *BESIDE, *INNER)]
    while waiting:
        path = waiting.pop()
        if is_link(path):
            raise InputError(
                f"{path} is a link, and a run folder holds none: replace it by what it leads to, or remove it"
            )
        if path.is_dir():
            waiting.extend(path.iterdir())


def inside(root: Path, *parts: str) -> Path:
    """A path in a run folder. Raises InputError where a link lies on the way, or it leads out."""
    path = root.joinpath(*parts)
    names = path.relative_to(root).parts if path.is_relative_to(root) else ("..",)
    steps = [root.joinpath(*names[: i + 1]) for i in range(len(names))]
    if ".." in names or any(is_link(step) for step in steps):
        raise InputError(
            f"{path} leads out of the run folder {root}: remove the link, or name another folder"
        )
    return path


def append_line(path: Path, line: str) -> None:
    """Appends a line to a file of a run folder, not through a link, nor to anything but a file.

    Of file names that are no UTF-8 the bytes are written as \\udcXX. Other names of the same file keep what
    they had: a copy of the folder made by hard links (`cp -al`) stays as it was.
    """
    with suppress(OSError):
        if not is_link(path) and path.is_file() and path.stat().st_nlink > 1:
            with written_whole(path) as own:
                shutil.copy2(path, own)
    flags = (
        os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    )
    try:
        handle = os.open(path, flags, 0o666)
    except OSError as error:
        if is_link(path) or (path.exists() and not path.is_file()):
            raise InputError(f"{path} is a link or no file: remove it") from error
        raise
    with open(handle, "a", encoding="utf-8", errors="backslashreplace") as file:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise InputError(f"{path} is no file: remove it")
        file.write(line + "\n")


def is_link(path: Path) -> bool:
    """True for symbolic links, and for junctions on Windows."""
    return path.is_symlink() or getattr(os.path, "isjunction", lambda _: False)(path)
