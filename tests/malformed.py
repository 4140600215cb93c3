"""Malformed inputs at the command line: kind x tried, held; no traceback, no hang, bounded memory.

    python tests/malformed.py 5000          so many inputs, by turns of all kinds, from seed 0
    python tests/malformed.py 200 --only asset "tensors of an asset" --seed 1 --keep FOLDER
    python tests/malformed.py 1 --only gif --seed 12 --turn 7      what is reported as `gif 7`, once more

Each input goes through a command in a process of its own, which is what a user would do with it. An input is
held where the command ends in 0, or in 2 with one sentence. Believed: it ended in 0, though the input has a
value of another type than its field, or a tensor that is not finite; of a resumed run, though its asset (or
video) is another one than before, and it did not say that anything was made again. Needs fork.
"""

from __future__ import annotations

import argparse
import io
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from malformed_kinds import KINDS, RESUME, V4D, Kind, change, write_whole
from tiny_runs import tiny_drafts

LIMIT_S, LIMIT_MIB = 20, 1536


@dataclass
class Outcome:
    """How a command ended: exit code (-signal), last lines, seconds, MiB at its peak."""

    code: int
    said: str
    seconds: float
    mib: float


def in_a_child(command: Sequence[str], folder: Path) -> Outcome:
    """The command in a process of its own, which ends after LIMIT_S."""
    began, log = time.monotonic(), folder.parent / "said.txt"
    child = os.fork()
    if child == 0:
        code = 1
        try:
            signal.alarm(LIMIT_S)
            os.chdir(folder)
            out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(out, 1)
            os.dup2(out, 2)
            sys.stdout = io.TextIOWrapper(os.fdopen(1, "wb", 0, closefd=False), write_through=True)
            sys.stderr = io.TextIOWrapper(os.fdopen(2, "wb", 0, closefd=False), write_through=True)
            try:
                _do(command)
                code = 0
            except SystemExit as stop:
                code = int(stop.code or 0)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    _, status, used = os.wait4(child, 0)
    unit = 1 << 20 if sys.platform == "darwin" else 1 << 10
    said = log.read_text(errors="replace") if log.exists() else ""
    code = os.waitstatus_to_exitcode(status)
    return Outcome(code, said, time.monotonic() - began, used.ru_maxrss * unit / (1 << 20))


def _do(command: Sequence[str]) -> None:
    """The command, or Python's reader of .v4d; of an asset, which must read what it is exported as."""
    from vid4d import cli
    from vid4d.errors import InputError
    from vid4d.export.moving import TENSORS
    from vid4d.export.v4d import read_v4d

    if command[0] != "read_v4d":
        cli.main(list(command))
        return
    file = Path(command[1])
    if file.suffix != ".v4d":
        cli.main(["export", file.name, "--to", "v4d", "--out", "out.v4d"])
        file = Path("out.v4d")
    try:
        splats = read_v4d(file).splats
    except InputError as error:
        if command[1] != str(file):
            raise
        print(f"vid4d: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    splats.at(0.5)
    for name in TENSORS:
        if not bool(getattr(splats, name).isfinite().all()):
            print(f"{NOT_FINITE}{name}")


NOT_FINITE = "not finite: "


@dataclass
class Row:
    """What came of the inputs of a kind."""

    counts: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    mib: float = 0.0
    examples: list[str] = field(default_factory=list)

    def count(self, outcome: Outcome, wrong: str) -> str:
        """Enters an outcome. Returns the column that it was entered in besides `tried`."""
        self.seconds, self.mib = max(self.seconds, outcome.seconds), max(self.mib, outcome.mib)
        told = [line for line in outcome.said.splitlines() if line.startswith("vid4d: ")]
        if outcome.code == -signal.SIGALRM:
            column = "hang"
        elif (
            "Traceback" in outcome.said
            or outcome.code not in (0, 2)
            or (outcome.code == 2 and len(told) != 1)
        ):
            column = "traceback"
        elif outcome.mib > LIMIT_MIB:
            column = "memory"
        elif outcome.code == 0 and wrong and "made again" not in outcome.said:
            column = "believed"
        else:
            column = "held"
            self.counts["read" if outcome.code == 0 else "refused"] += 1
        self.counts["tried"] += 1
        self.counts[column] += 1
        return column


def disbelieved(kind: Kind, whole: Path, folder: Path, outcome: Outcome) -> str:
    """What nobody may believe though the command ended in 0, where only its result shows it.

    'another asset' (or video) where a resumed run says nothing of damage, and ends in another one.
    """
    if kind.command[0] == V4D[0]:
        said = [line for line in outcome.said.splitlines() if line.startswith(NOT_FINITE)]
        return said[0] if said else ""
    if outcome.code or "made again" in outcome.said:
        return ""
    if kind.folder == "stopped":
        return _unlike("enhanced", "run/enhanced/turntable.mp4", whole, folder)
    return _unlike(kind.folder, "run/asset.safetensors", whole, folder) if kind.command == RESUME else ""


def _unlike(name: str, file: str, whole: Path, folder: Path) -> str:
    return "" if (whole / name / file).read_bytes() == (folder / file).read_bytes() else f"another {file}"


COLUMNS = ("tried", "held", "read", "refused", "traceback", "hang", "memory", "believed")


def campaign(
    count: int,
    seed: int,
    kinds: Sequence[Kind],
    keep: Path | None,
    report: Callable[[str], None],
    first: int = 0,
) -> dict[str, Row]:
    """Tries so many inputs, by turns of all kinds, from that turn. Returns kind -> what came of it."""
    import av  # noqa: F401  heavy modules once, and not in every child
    import scipy.ndimage
    import scipy.spatial  # noqa: F401
    import torch

    from vid4d import cli, outputs  # noqa: F401

    torch.set_num_threads(1)  # OpenMP's threads do not survive a fork; a child makes its own
    rows: dict[str, Row] = {kind.name: Row() for kind in kinds}
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        tiny_drafts()
        (root / "whole").mkdir()
        child = os.fork()
        if child == 0:
            code = 1
            try:
                write_whole(root / "whole")
                code = 0
            finally:
                os._exit(code)
        assert os.waitpid(child, 0)[1] == 0
        for number in range(first * len(kinds), first * len(kinds) + count):
            kind = kinds[number % len(kinds)]
            chance = random.Random(f"{seed} {kind.name} {number // len(kinds)}")
            folder = root / "tried" / "input"
            shutil.copytree(root / "whole" / kind.folder, folder)
            wrong = change(kind, folder, chance)
            shutil.copytree(folder, root / "before")
            outcome = in_a_child(kind.command, folder)
            found = disbelieved(kind, root / "whole", folder, outcome)
            wrong = found if kind.folder in ("run", "stopped") else wrong or found
            column = rows[kind.name].count(outcome, wrong)
            if column != "held":
                last = (outcome.said.strip().splitlines() or [""])[-1]
                report(f"{kind.name} {number // len(kinds)}: {column}, exit {outcome.code}; {wrong or last}")
                if keep is not None:
                    kept = keep / f"{number:05d}_{column}"
                    shutil.copytree(root / "before", kept)
                    (kept / "said.txt").write_text(outcome.said)
            shutil.rmtree(root / "before")
            shutil.rmtree(root / "tried")
    return rows


def table(rows: dict[str, Row]) -> str:
    """The rows as a table in Markdown."""
    lines = [f"| kind | {' | '.join(COLUMNS)} | s at most | MiB at most |", "|---" * (len(COLUMNS) + 3) + "|"]
    total = Row()
    for row in rows.values():
        total.counts.update(row.counts)
        total.seconds, total.mib = max(total.seconds, row.seconds), max(total.mib, row.mib)
    for name, row in (*rows.items(), ("all", total)):
        counts = " | ".join(str(row.counts[c]) for c in COLUMNS)
        lines.append(f"| {name} | {counts} | {row.seconds:.1f} | {row.mib:.0f} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("count", type=int, help="inputs")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="+", help="kinds whose name begins so")
    parser.add_argument("--turn", type=int, default=0, help="of each kind, the first input to try")
    parser.add_argument("--keep", type=Path, help="a folder for inputs that were not held")
    options = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    kinds = [kind for kind in KINDS if kind.name.startswith(tuple(options.only or [""]))]
    rows = campaign(
        options.count,
        options.seed,
        kinds,
        options.keep,
        lambda line: print(line, flush=True),
        options.turn,
    )
    print(table(rows))


if __name__ == "__main__":
    main()
