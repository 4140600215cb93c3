"""Makes the clips of a batch: one after the other in this process, beside others that do the same."""

from __future__ import annotations

import hashlib
import shlex
import socket
import time
import traceback
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Literal, TypedDict

from vid4d import __version__, api
from vid4d.batch import records
from vid4d.batch.clips import KEY_LENGTH, bytes_of, key_of
from vid4d.batch.leases import Lease
from vid4d.batch.records import Record
from vid4d.compute import machine
from vid4d.errors import InputError, MachineError, blames_input, blames_machine, disk_full, printable
from vid4d.files.records import Finite, Step, read_record
from vid4d.files.write import write_text
from vid4d.priors.weights.loaded import networks_kept
from vid4d.runs.folder import clear, holds_run
from vid4d.runs.kept_settings import FREE_TO_CHANGE, read_settings
from vid4d.runs.lock import InUseError
from vid4d.runs.progress import Progress, duration
from vid4d.settings import Settings, as_options

ATTEMPTS = 3
"""A clip that failed is tried again by later calls, so often in all; one that was refused, never. Where the
machine was at fault, that does not count."""
DEATHS = 5
"""A clip that was begun by so many processes that were killed is left: it may be what kills them."""
STOPS_AFTER = 5
"""Failures in a row, of clips that are not at fault, after which a process stops: its machine may be ill, and
would go through all clips in no time."""
POLL = 2.0
"""Seconds until clips that other processes make are looked at again."""


class Told(TypedDict, total=False):
    """What the table takes of report.json."""

    input_psnr_db: Finite | None
    splats: Step


@dataclass(frozen=True)
class Outcome:
    """record: of a clip that is finished. made: by this call, not before."""

    record: Record
    made: bool


@dataclass
class Tally:
    """What came of the clips of a call.

    tried: by this call, with whatever end; made: those of them that are done. left: not looked at (`--limit`,
    or the process stopped).
    """

    statuses: Counter[str] = field(default_factory=Counter)
    tried: int = 0
    made: int = 0
    left: int = 0
    ill: bool = False

    @property
    def finished(self) -> int:
        return self.statuses.total()

    @property
    def failed(self) -> int:
        return self.finished - self.statuses["done"]

    @property
    def troubles(self) -> dict[str, int]:
        """How many were refused, failed or died."""
        return {status: n for status, n in sorted(self.statuses.items()) if status != "done"}

    def add(self, outcome: Outcome) -> None:
        self.statuses[outcome.record.status] += 1
        self.tried += outcome.made
        self.made += outcome.made and outcome.record.status == "done"


def settled(record: Record | None, retry: bool = False) -> bool:
    """Whether a clip with this record need not be made. retry: others than done ones are."""
    if record is None:
        return False
    if record.status == "done" or retry:
        return record.status == "done"
    return record.status != "failed" or record.attempts >= ATTEMPTS


def unreadable(clip: str, why: str) -> Record:
    """The record of a clip whose bytes, and so whose key, are not known."""
    key = hashlib.sha256(clip.encode("utf-8", "surrogateescape")).hexdigest()[:KEY_LENGTH]
    return _stamped(Record(clip, key, "refused", error=why))


def make_clip(clip: str, settings: Settings, out: Path, *, retry: bool = False) -> Outcome | None:
    """Makes a clip's run, unless that was done before. None where another process is making it.

    settings: as `api.resolved` gives them. Raises what stops a process and not only a clip: Ctrl-C, a full
    disk, a model of the settings that is gone (MachineError).
    """
    try:
        key = key_of(clip, settings)
    except MachineError:
        raise
    except InputError as error:
        why = unreadable(clip, str(error))
        records.write(out, why)
        return Outcome(why, made=True)
    records.record_path(out, unreadable(clip, "").key).unlink(missing_ok=True)  # it can be read now
    before = records.read(out, key)
    if before is not None and before.clip != clip:
        _note_both(out, before, clip)
    if before is not None and settled(before, retry):
        return Outcome(records.as_seen(before, clip), made=False)
    lease = Lease.taken(records.lease_path(out, key))
    if lease is None:
        return None
    try:
        again = records.read(out, key)
        if again is not None and again != before:
            if again.clip != clip:
                _note_both(out, again, clip)
            if settled(again):
                return Outcome(records.as_seen(again, clip), made=False)
        record = _made(clip, key, settings, out, lease, None if retry else again)
        if record is None:
            return None
        if lease.held():  # else another has followed, and writes its own
            records.write(out, record)
        return Outcome(record, made=True)
    finally:
        lease.release()


def _note_both(out: Path, record: Record, clip: str) -> None:
    """For the table: a clip has the bytes of a record, whose own may be there still, whichever it names."""
    for path in (clip, record.clip):
        if Path(path).exists():
            records.note_same(out, record.key, path)


def _made(
    clip: str, key: str, settings: Settings, out: Path, lease: Lease, before: Record | None
) -> Record | None:
    """None where somebody works in the run's folder without a lease. before: what came of it so far."""
    root, began = records.run_folder(out, key), time.monotonic()
    record = Record(
        clip,
        key,
        "done",
        settings=in_words(settings),
        attempts=(0 if before is None else before.attempts) + lease.number + 1,
        seconds=round((0 if before is None else before.seconds) + lease.spent, 3),
        device=settings.device,
    )
    if lease.number >= DEATHS:
        said = f"{lease.number} processes that made it were killed: try it alone with vid4d generate"
        return _stamped(replace(record, status="died", error=said, attempts=lease.number))
    settings = replace(settings, clip=clip)
    try:
        record = replace(record, clip_bytes=bytes_of(clip))
        _forget_unlike(root, clip)
        with Progress(quiet=True) as progress:
            api.make(settings, out=root, resume=True, progress=progress)
    except InUseError:
        return None
    except InputError as error:
        if disk_full(error) is not None:
            raise
        there = Path(clip).exists()  # else the bytes of this key are not what was looked at
        status: Literal["failed", "refused"] = "refused" if there and blames_input(error) else "failed"
        counted = record.attempts - blames_machine(error)
        record = replace(record, status=status, error=printable(str(error)), attempts=counted)
    except Exception as error:
        if disk_full(error) is not None:
            raise
        said = printable(f"{type(error).__name__}: {error}")[:500]
        record = replace(record, status="failed", error=said)
        write_text(records.record_path(out, key).with_suffix(".txt"), traceback.format_exc())
    else:
        records.record_path(out, key).with_suffix(".txt").unlink(missing_ok=True)
    record = replace(record, seconds=round(record.seconds + time.monotonic() - began, 3))
    return _stamped(_measured(record, out, root))


def in_words(settings: Settings) -> str:
    """Options of a command line that tell the settings from others, as far as they matter to what is made."""
    chosen = {k: v for k, v in asdict(settings).items() if k not in FREE_TO_CHANGE}
    defaults = asdict(Settings(prior=api.default_prior(settings.method)))
    return shlex.join(as_options(chosen, defaults))


def _forget_unlike(root: Path, clip: str) -> None:
    """Clears an unfinished run of the same bytes that lay elsewhere, or was begun by another version."""
    if not holds_run(root):
        return
    try:
        same = read_settings(root).clip == clip
    except InputError:
        same = False
    if not same:
        clear(root)


def _measured(record: Record, out: Path, root: Path) -> Record:
    if not root.is_dir():
        return record
    sizes = [p.stat().st_size for p in root.rglob("*") if p.is_file()]
    record = replace(record, run=root.relative_to(out).as_posix(), run_bytes=sum(sizes), run_files=len(sizes))
    if record.status != "done":
        return record
    told: Told = {}
    with suppress(InputError):
        told = read_record(root / "report.json", Told, "")
    return replace(record, input_psnr_db=told.get("input_psnr_db"), splats=told.get("splats"))


def _stamped(record: Record) -> Record:
    now = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime())
    return replace(record, finished=now, host=socket.gethostname(), vid4d=__version__)


def told(record: Record) -> str:
    """'done in 0:12, 31.20 dB', or what went wrong."""
    if record.status != "done":
        return f"{record.status}: {record.error}"
    quality = "" if record.input_psnr_db is None else f", {record.input_psnr_db:.2f} dB"
    return f"done in {duration(record.seconds)}{quality}"


def work(
    clips: Sequence[str],
    settings: Settings,
    out: Path,
    progress: Progress,
    *,
    limit: int | None = None,
    retry: bool = False,
) -> Tally:
    """Makes all clips that nobody has made or is making, waits for those of others, and takes up what
    they leave when they are killed.

    settings: as `api.resolved` gives them. limit: clips to make at most. retry: those that did not work out
    before, too. Networks are loaded once. Raises InputError where this machine has not the device of the
    settings, which is no clip's fault.
    """
    settings = replace(settings, device=machine.resolve_device(settings.device))
    tally, waiting, in_a_row = Tally(), list(clips), 0
    with networks_kept(), progress.stage("clips") as bar:
        bar.update(0, len(clips))
        while waiting and not tally.ill:
            held: list[str] = []
            for i, clip in enumerate(waiting):
                if tally.ill or (limit is not None and tally.tried >= limit):
                    tally.left += len(waiting) - i + len(held)
                    return tally
                outcome = make_clip(clip, settings, out, retry=retry)
                if outcome is None:
                    held.append(clip)
                    continue
                tally.add(outcome)
                in_a_row = in_a_row + 1 if outcome.made and outcome.record.status == "failed" else 0
                tally.ill = in_a_row >= STOPS_AFTER
                bar.update(tally.finished, len(clips), **tally.troubles)
                if outcome.made or outcome.record.status != "done":
                    progress.say(f"{tally.finished} of {len(clips)}: {clip}: {told(outcome.record)}")
            if held == waiting:
                time.sleep(POLL)
            waiting = held
        tally.left += len(waiting)
    return tally
