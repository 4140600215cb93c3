"""What a batch would do: how many clips are done, failed and left, and how long these may take."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vid4d.batch import records
from vid4d.batch.clips import key_of
from vid4d.batch.leases import looks_held
from vid4d.batch.work import settled
from vid4d.errors import InputError, MachineError, printable
from vid4d.runs.progress import duration
from vid4d.settings import Settings


@dataclass(frozen=True)
class Plan:
    """counts: clips by what they are: 'done', 'left', 'being made', 'the same as another', ... notes: a line
    each, of clips that need looking at. seconds, bytes: of a done run, in the mean; None where there is none.
    """

    counts: Counter[str]
    notes: list[str]
    seconds: float | None
    bytes: float | None

    def lines(self) -> list[str]:
        """For a person."""
        counted = ", ".join(f"{count} {what}" for what, count in self.counts.items())
        said = [*self.notes, f"{self.counts.total()} clips: {counted}"]
        left = self.counts["left"]
        if left and self.seconds is not None and self.bytes is not None:
            said.append(
                f"those left: about {duration(left * self.seconds)} in one process and "
                f"{left * self.bytes / 1e9:.2f} GB, as those that are done"
            )
        return said


def plan(clips: Sequence[str], settings: Settings, out: Path, *, retry: bool = False) -> Plan:
    """Reads all clips for their keys, and what is known of them. Writes nothing."""
    counts: Counter[str] = Counter()
    notes: list[str] = []
    done: list[records.Record] = []
    seen: set[str] = set()
    for clip in clips:
        try:
            key = key_of(clip, settings)
        except MachineError:
            raise
        except InputError as error:
            counts["cannot be read"] += 1
            notes.append(printable(str(error)))
            continue
        if key in seen:
            counts["the same as another"] += 1
            continue
        seen.add(key)
        record = records.read(out, key)
        if record is not None and settled(record, retry):
            counts[record.status] += 1
            if record.status == "done":
                done.append(record)
            else:
                notes.append(printable(f"{clip}: {record.status}: {records.as_seen(record, clip).error}"))
        else:
            counts["being made" if looks_held(records.lease_path(out, key)) else "left"] += 1
    if not done:
        return Plan(counts, notes, None, None)
    seconds = sum(r.seconds for r in done) / len(done)
    return Plan(counts, notes, seconds, sum(r.run_bytes for r in done) / len(done))
