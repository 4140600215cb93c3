"""What came of each clip: a record a clip, written once it is finished, and the table of all of them."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Literal

from vid4d.errors import InputError, printable
from vid4d.files import manifest
from vid4d.files.paths import natural_order
from vid4d.files.records import Amount, Finite, Step, read_record
from vid4d.files.write import clear_away, write_json, write_text, written_whole
from vid4d.runs.folder import is_link

INSIDE = ".batch"
"""Folder of leases and records in that of the runs."""
TABLE = "batch.csv"
LINES = "batch.jsonl"


@dataclass(frozen=True)
class Record:
    """What came of a clip.

    status: 'done'; 'refused' for a clip that cannot be used, as `vid4d generate` says with exit code 2;
        'failed' for any other error, the machine's among them; 'died' where the process itself was ended,
        several times.
    run: its folder, relative to that of the batch; '' where there is none. error: one line.
    attempts: how often it was begun by processes that ended it, or were killed, but for those whose machine
        was at fault (`MachineError`). seconds: of all that was tried since it was new, or since `--retry`; of
        a process that was killed until it last touched its lease.
    settings: options of the command line that are not at their defaults.
    run_bytes, run_files: of its folder. host: where it was made. finished: date and time, UTC.
    """

    clip: str
    key: str
    status: Literal["done", "refused", "failed", "died"]
    settings: str = ""
    run: str = ""
    error: str = ""
    attempts: Step = 1
    seconds: Amount = 0.0
    input_psnr_db: Finite | None = None
    splats: Step | None = None
    clip_bytes: Step = 0
    run_bytes: Step = 0
    run_files: Step = 0
    device: str = ""
    host: str = ""
    vid4d: str = ""
    finished: str = ""


def run_folder(out: Path, key: str) -> Path:
    """Folder of a clip's run: in one of 256, so that none holds a million names."""
    return out / key[:2] / key


def lease_path(out: Path, key: str) -> Path:
    return out / INSIDE / "leases" / key[:2] / key


def record_path(out: Path, key: str) -> Path:
    return out / INSIDE / "records" / key[:2] / f"{key}.json"


def refuse_links(out: Path) -> None:
    """Raises InputError where the folder of leases and records, or one in it, is a link.

    What is kept there is removed without a question; nothing outside may be reached through it.
    """
    inner = [out / INSIDE, *(out / INSIDE / name for name in ("leases", "records", "jobs", "table.lock"))]
    for path in (*inner, *(p for folder in inner[1:3] for p in folder.glob("??"))):
        if is_link(path):
            raise InputError(
                f"{path} is a link, and a batch keeps its records in folders of its own: replace it by what "
                "it leads to, or remove it"
            )


def read(out: Path, key: str) -> Record | None:
    """The record of a clip; None where there is none yet, or a damaged one, which is made anew."""
    path = record_path(out, key)
    try:
        return read_record(path, Record, "") if path.is_file() else None
    except InputError:
        return None


def write(out: Path, record: Record) -> None:
    write_json(record_path(out, record.key), asdict(record))


def as_seen(record: Record, clip: str) -> Record:
    """The record as that of another clip of the same bytes: its sentence names that one."""
    return replace(record, clip=clip, error=record.error.replace(printable(record.clip), printable(clip)))


def note_same(out: Path, key: str, clip: str) -> None:
    """Notes a clip that has the bytes of a record's, for the table."""
    name = hashlib.sha256(clip.encode("utf-8", "surrogateescape")).hexdigest()
    file = record_path(out, key).with_suffix(f".{name[:24]}.same")
    if not file.exists():
        write_json(file, clip)


def _noted(out: Path) -> dict[str, set[str]]:
    """Key -> clips of the same bytes."""
    noted: dict[str, set[str]] = {}
    for file in (out / INSIDE / "records").glob("??/*.same"):
        with suppress(InputError):
            noted.setdefault(file.name.partition(".")[0], set()).add(read_record(file, str, ""))
    return noted


def all_records(out: Path) -> Iterator[Record]:
    """All records of a batch's folder, of whichever list."""
    for folder in sorted((out / INSIDE / "records").glob("??")):
        for path in folder.glob("*.json"):
            if (record := read(out, path.stem)) is not None:
                yield record


def write_table(out: Path) -> int:
    """Writes batch.jsonl and batch.csv: a line a clip of the folder, by their names. Returns how many.

    Clips of the same bytes that are there have a line each, with the key and the run that they share.
    """
    from filelock import FileLock

    with FileLock(out / INSIDE / "table.lock"):
        by_clip: dict[Path, list[Record]] = {}
        noted = _noted(out)
        for record in all_records(out):
            every = {record.clip, *noted.get(record.key, ())}
            there = {clip for clip in every if Path(clip).exists()} if every != {record.clip} else every
            for clip in there or every:
                by_clip.setdefault(Path(clip), []).append(as_seen(record, clip))
        rows = [asdict(r) for clip in natural_order(by_clip) for r in sorted(by_clip[clip], key=_key)]
        _replace(out / LINES, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
        text = io.StringIO()
        table = csv.DictWriter(text, [f.name for f in fields(Record)], lineterminator="\n")
        table.writeheader()
        table.writerows(rows)
        _replace(out / TABLE, text.getvalue())
    return len(rows)


def _replace(file: Path, text: str) -> None:
    """Writes a file of the batch. One of that name that vid4d did not write so is kept aside."""
    folder, name = file.parent, file.name
    noted = manifest.read(folder)
    if (file.exists() or file.is_symlink()) and not manifest.wrote(folder, name, noted):
        clear_away(file)
    encoded = text.encode("utf-8", "backslashreplace")
    both = [hashlib.sha256(encoded).hexdigest(), *noted.get(name, [])[:1]]
    write_text(folder / manifest.MANIFEST, manifest.text_of(noted | {name: both}))
    with written_whole(file) as temporary:
        temporary.write_bytes(encoded)


def _key(record: Record) -> str:
    return record.key
