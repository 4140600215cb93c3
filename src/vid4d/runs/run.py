"""The run folder: settings, log, timings, finished stages. docs/run_folder.md describes what lies in it."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from json import dumps
from pathlib import Path
from typing import Any, TypedDict, TypeVar, overload

from vid4d.compute import machine
from vid4d.errors import FAULTS, InputError, ran_out
from vid4d.files import manifest
from vid4d.files.records import Amount, Finite, checked, parsed, read_record
from vid4d.files.write import write_json, write_text
from vid4d.runs.folder import (
    CLEARED,
    FOLDERS,
    SHOWN,
    STAGE_FILES,
    append_line,
    begin_to_replace,
    clear,
    has_checkpoint,
    holds_run,
    inside,
    is_free,
    keep_changed,
    note_checkpoint,
    record,
    refuse_links,
    remove_later,
    remove_scratch,
)
from vid4d.runs.kept_settings import described, difference, read_settings
from vid4d.runs.lock import RunLock
from vid4d.runs.names import free_default, newest_like
from vid4d.runs.progress import Bar, Progress
from vid4d.settings import Settings

T = TypeVar("T")
DAMAGE = tuple(fault for fault in FAULTS if fault is not RuntimeError)
"""What loading a damaged file raises. Not RuntimeError: PyTorch has it for memory that ran out, too."""
CURVES = "curves.jsonl"
"""Numbers that stages reported (losses, scores) as they went on, one report a line."""


class StageTiming(TypedDict):
    """Seconds and peak memory (MiB by kind) of a stage."""

    seconds: Amount
    peak_memory_mib: dict[str, Amount]


class Timings(TypedDict, total=False):
    """timings.json."""

    stages: dict[str, StageTiming]
    seconds: Amount
    peak_memory_mib: dict[str, Amount]


class Run:
    """A run folder that is being worked on. Make one with `Run.create`.

    root: the folder. settings: what it makes. progress: where stages are reported; its log is the run's.
    """

    def __init__(self, root: Path, settings: Settings, progress: Progress) -> None:
        self.root = root
        self.settings = settings
        self.progress = progress
        progress.log = self.log
        self.device = settings.device
        self._visited: list[str] = []
        self._new_folders: list[Path] = []
        self._begun = False
        self._lock: RunLock | None = None

    @classmethod
    def create(
        cls,
        out: str | Path | None,
        settings: Settings,
        *,
        resume: bool = False,
        progress: Progress | None = None,
    ) -> Run:
        """Opens a new run folder, or an existing one to resume.

        out: the folder; where not given, `runs/<name of the clip>`, numbered when that is taken (with
            `resume`: the newest of these that has the same settings).
        Raises InputError where the folder holds anything but a run of these settings, or holds one and
        `resume` is false.
        """
        progress = progress or Progress(quiet=True)
        if out is not None:
            root = Path(out)
        else:
            root = newest_like(settings) if resume else free_default(settings.label)
        if root.exists() and not root.is_dir():
            raise InputError(f"{root} exists and is not a folder: choose another --out")
        new_folders = [folder for folder in (root, *root.parents) if not folder.exists()]
        try:
            root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            reason = error.strerror or error
            raise InputError(f"the folder {root} cannot be made ({reason}): choose another --out") from None
        refuse_links(root)
        is_run = holds_run(root)
        if not is_run and not is_free(root):
            if (root / ".done").is_dir():
                lost = root / "settings.json"
                raise InputError(
                    f"{lost} is gone, and nothing else tells what the run there was made of: put that file "
                    "back, or choose another --out"
                )
            raise InputError(f"{root} is not empty and not a run of vid4d: choose another --out or empty it")
        lock = _locked(root, new_folders)
        is_run = holds_run(root)
        try:
            if is_run:
                _refuse_difference(root, settings, resume)
            else:
                write_json(root / "settings.json", described(settings))
                record(root)
                (root / CLEARED).unlink(missing_ok=True)
        except BaseException:
            lock.release(remove=not is_run)
            _remove_empty(new_folders)
            raise
        remove_scratch(root)
        run = cls(root, settings, progress)
        run._new_folders, run._begun, run._lock = new_folders, not is_run, lock
        run.log(f"vid4d {machine.versions()['vid4d']}, {'resumed' if run.finished else 'started'}")
        return run

    def discard_if_new(self, *, finished: bool = False) -> None:
        """Removes what this object wrote if it began the run and no stage was finished: for bad input.

        The folder goes, too, where this object made it. finished: also where stages were. A run that has a
        checkpoint stays.
        """
        if self._begun and (finished or not self.finished) and not has_checkpoint(self.root):
            self.progress.log = None
            self._begun = False
            record(self.root)
            clear(self.root)
            (self.root / CLEARED).unlink()
            self.close(remove=True)
            _remove_empty(self._new_folders)

    def close(self, *, remove: bool = False) -> None:
        """Lets other processes work in the folder. remove: the lock's file, too."""
        if self._lock is not None:
            self._lock.release(remove=remove)

    def log(self, text: str) -> None:
        """Appends a line, with date and time, to log.txt."""
        stamp = time.strftime("%Y-%m-%d %H:%M:%S")
        append_line(self.root / "log.txt", f"{stamp}  {text}")

    def path(self, *parts: str) -> Path:
        """A path inside the folder. Raises InputError where it leads out of it, by a link or otherwise."""
        return inside(self.root, *parts)

    def checkpoint(self, stage: str) -> Path:
        """Path of a stage's checkpoint, from which it goes on in its middle; its folder exists."""
        self.path("checkpoints").mkdir(exist_ok=True)
        return note_checkpoint(self.root, stage)

    @property
    def finished(self) -> list[str]:
        """Names of the finished stages."""
        folder = self.path(".done")
        return sorted(p.name for p in folder.iterdir() if p.is_file()) if folder.is_dir() else []

    def use_device(self, name: str) -> str:
        """Resolves the device (`auto`, ...), keeps it and writes machine.json. Returns the resolved name."""
        self.device = machine.resolve_device(name)
        write_json(
            self.path("machine.json"), machine.describe(self.device) | {"versions": machine.versions()}
        )
        return self.device

    @overload
    def stage(self, name: str, make: Callable[[Bar], object]) -> None: ...

    @overload
    def stage(
        self, name: str, make: Callable[[Bar], T], *, save: Callable[[T], object], load: Callable[[], T]
    ) -> T: ...

    def stage(
        self,
        name: str,
        make: Callable[[Bar], Any],
        *,
        save: Callable[[Any], object] = lambda result: None,
        load: Callable[[], Any] | None = None,
    ) -> Any:
        """Does a stage once: makes and saves its result and marks it done, or loads what was saved earlier.

        name: one word, unique in the run. make: gets the bar to report to. save, load: of the result; without
        `load` the stage is one that only writes files, and its result is None. A stage that is made (again)
        unmarks every stage that has not been passed yet, and removes its checkpoint: they were made from
        something else. One whose result is missing, damaged or not what was written is made again; a file
        for people that somebody changed is kept aside first.
        """
        self._visited.append(name)
        marker = self.path(".done", name)
        if marker.is_file():
            try:
                result = self._made_before(name, load)
                self.progress.say(f"{name}: done before")
                return result
            except DAMAGE as damage:
                if ran_out(damage):
                    raise
                self.progress.say(f"{name}: made again, for what was saved cannot be used ({damage})")
        refuse_links(self.root)
        remove_later(self.root, self._visited)
        for kept in keep_changed(self.root, SHOWN.get(name, ())):
            self.progress.say(f"{name}: what vid4d did not write, or not so, is kept as {kept}")
        began = time.perf_counter()
        with self.progress.stage(name) as bar:
            bar.record = partial(self._note_curve, name)
            begin_to_replace(self.root, STAGE_FILES.get(name, ()))
            made = make(bar)
            begin_to_replace(self.root, SHOWN.get(name, ()))
            save(made)
            result = (
                None if load is None else load()
            )  # rounded as it was saved, so that a resumed run goes on from the same numbers
        self._note_timing(name, time.perf_counter() - began)
        record(self.root)
        write_text(marker, time.strftime("%Y-%m-%d %H:%M:%S\n"))
        return result

    def _made_before(self, name: str, load: Callable[[], T] | None) -> T | None:
        """Loads the result of a finished stage. Raises one of `DAMAGE` where it is missing or damaged."""
        for file in STAGE_FILES.get(name, ()):
            if not self.path(file).is_file() or not self.path(file).stat().st_size:
                raise InputError(f"{self.path(file)} is missing or empty")
        folder = self.path(name) if name in FOLDERS else self.root
        hashes = manifest.read(folder)
        for file in hashes if name in FOLDERS else hashes.keys() & STAGE_FILES.get(name, ()):
            if not manifest.wrote(folder, file, hashes):
                raise InputError(f"{folder / file} is missing, was changed or is damaged")
        return None if load is None else load()

    def _note_curve(self, stage: str, step: float, numbers: dict[str, float]) -> None:
        """Appends what a stage reported to curves.jsonl, which `read_curves` reads."""
        append_line(self.path(CURVES), dumps({"stage": stage, "step": step, **numbers}))

    def _note_timing(self, name: str, seconds: float) -> None:
        path = self.path("timings.json")
        timings: dict[str, Any] = {"stages": _noted_timings(path)}
        timings["stages"].pop(name, None)
        timings["stages"][name] = {
            "seconds": round(seconds, 3),
            "peak_memory_mib": machine.peak_memory_mib(self.device),
        }
        timings["seconds"] = round(sum(s["seconds"] for s in timings["stages"].values()), 3)
        timings["peak_memory_mib"] = {
            kind: max(s["peak_memory_mib"].get(kind, 0.0) for s in timings["stages"].values())
            for kind in sorted({k for s in timings["stages"].values() for k in s["peak_memory_mib"]})
        }
        write_json(path, timings)


def _noted_timings(path: Path) -> dict[str, StageTiming]:
    """Stages of timings.json; none where it is damaged, for they are only told."""
    if not path.is_file():
        return {}
    try:
        timings = read_record(path, Timings, "it is written anew")
    except InputError:
        return {}
    return timings.get("stages", {})


def read_curves(root: str | Path) -> dict[str, dict[str, list[tuple[float, float]]]]:
    """Stage -> name of a number -> (step, value), from curves.jsonl; nothing where there is none.

    A resumed stage reports some steps again: what was reported before from there on does not count.
    Lines that were cut off by a crash or damaged are left out.
    """
    path = Path(root) / CURVES
    curves: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for line in path.read_bytes().splitlines() if path.is_file() else []:
        try:
            entry = parsed(line.decode(), dict[str, Finite | str], str(path), "")
            stage, step = checked(entry.pop("stage"), str, "", ""), checked(entry.pop("step"), Finite, "", "")
            values = checked(entry, dict[str, Finite], "", "")
        except (InputError, KeyError, UnicodeDecodeError):
            continue
        kept = curves.setdefault(stage, {})
        for name in kept:
            kept[name] = [point for point in kept[name] if point[0] < step]
        for name, value in values.items():
            kept.setdefault(name, []).append((step, value))
    return curves


def _locked(root: Path, new_folders: list[Path]) -> RunLock:
    try:
        return RunLock(root)
    except OSError:
        _remove_empty(new_folders)
        raise


def _remove_empty(folders: list[Path]) -> None:
    """Removes the folders, innermost first, up to one that holds something."""
    with suppress(OSError):
        for folder in folders:
            folder.rmdir()


def _refuse_difference(root: Path, settings: Settings, resume: bool) -> None:
    if not resume:
        raise InputError(f"{root} already holds a run: add --resume to continue it or choose another --out")
    if differing := difference(read_settings(root), settings):
        raise InputError(
            f"{root} was started with other settings ({'; '.join(differing)}): "
            "give the same ones to resume it or choose another --out"
        )
