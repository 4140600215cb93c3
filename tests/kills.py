"""Kills of tiny runs of both methods, enhancements, exports and so on: each is done again and compared.

    python tests/kills.py 300               so many kills, by turns of all commands, from seed 0
    python tests/kills.py 40 --only export enhance
    python tests/kills.py 100 --full        no kills: a disk that is full from then on

Every second kill is inside a file operation, drawn among all that the command does in its folder; the others
are at a random time. A full disk begins at a file operation: from there on, nothing can be opened for writing
and no folder made, which has to be told in one sentence with exit code 2. The same command follows, with
--resume where it has that: it must end in 0, with the bytes of one that was not killed, and leave no scratch
folder. Needs fork.
"""

from __future__ import annotations

import argparse
import errno
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from tiny_runs import tiny_drafts

from vid4d.export.formats import FORMATS

EVENTS = {"open", "os.mkdir", "os.remove", "os.rename", "os.rmdir", "shutil.rmtree"}
TOLD = ("log.txt", "timings.json", "machine.json", "report.html", ".vid4d-files.json", "curves.jsonl")
"""Files that say when and how fast a run was made, and what a resumed stage reported twice."""


@dataclass(frozen=True)
class Command:
    """A command, what is done before in its folder, and what is done after a kill."""

    name: str
    arguments: tuple[str, ...]
    again: tuple[str, ...]
    before: tuple[tuple[str, ...], ...] = ()


DRAFT = ("--preset", "draft", "--device", "cpu", "--out", "out")
GUESSED = ("generate", "disc", *DRAFT)
CLIP = (*GUESSED, "--elevation", "10")
VOLUME = (*CLIP, "--method", "consistent4d")
MATRIX = ("reconstruct", "matrix", *DRAFT)
PNG = (
    "export",
    "asset.safetensors",
    "--to",
    "png",
    "--size",
    "32",
    "--out",
    "out",
    "--device",
    "cpu",
    "--force",
)
ENHANCE = ("enhance", "out", "--device", "cpu")
TO_SHARPEN = (*ENHANCE, "--to-sharpen", "sharp")
SHARPENED = (*ENHANCE, "--sharpened", "sharp")
SPLATS = ("spz", "sog", "stg", "splatv", "ply4d", "v4d")


def _splats(to: str) -> Command:
    """The export of splats to a format: a sequence of two moments, or one file."""
    many = FORMATS[to].sequence
    place = ("--out", "out", "--frames", "2") if many else ("--out", f"out{FORMATS[to].ending}")
    export = ("export", "asset.safetensors", "--to", to, *place)
    return Command(to, export, (*export, "--force"))


EVALUATE = ("evaluate", "asset.safetensors", "--truth", "matrix", "--size", "16", "--device", "cpu")
JUDGE = (*EVALUATE, "--out", "a.json", "--picture", "a.png")
COMMANDS = [
    Command("efficient4d", CLIP, (*CLIP, "--resume")),
    Command("guessed elevation", GUESSED, (*GUESSED, "--resume")),
    Command("consistent4d", VOLUME, (*VOLUME, "--resume")),
    Command("reconstruct", MATRIX, (*MATRIX, "--resume")),
    Command("export", (*PNG, "--frames", "3"), (*PNG, "--frames", "3"), ((*PNG, "--frames", "5"),)),
    Command("enhance", ENHANCE, (*ENHANCE, "--resume"), (CLIP,)),
    Command("enhance, to sharpen", TO_SHARPEN, TO_SHARPEN, (CLIP,)),
    Command("enhance, sharpened", SHARPENED, (*SHARPENED, "--resume"), (CLIP, TO_SHARPEN)),
    *(_splats(to) for to in SPLATS),
    Command("evaluate", JUDGE, (*JUDGE, "--force")),
]


def _writes(event: str, told: tuple[object, ...]) -> bool:
    """Whether a file operation needs room on the disk."""
    flags = told[2] if event == "open" and len(told) > 2 else 0
    return event == "os.mkdir" or bool(isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR))


def done(
    command: Command,
    arguments: tuple[str, ...],
    folder: Path,
    at: float | None = None,
    *,
    full: bool = False,
) -> tuple[int, int, str]:
    """Does a command in a child process. at: is killed in that file operation, or after so many seconds.

    full: is not killed, but finds the disk full from that file operation on.
    Returns its exit code (-signal), the number of its file operations, and what it said.
    """
    log, count = folder.parent / "said.txt", folder.parent / "count.txt"
    count.write_text("")
    log.write_text("")
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.chdir(folder)
            out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(out, 1)
            os.dup2(out, 2)
            tiny_drafts()
            ticks = os.open(count, os.O_WRONLY | os.O_APPEND)
            seen, here = 0, str(folder)

            def watch(event: str, told: tuple[object, ...]) -> None:
                nonlocal seen
                if event not in EVENTS or not told or not isinstance(told[0], str | bytes | os.PathLike):
                    return
                path = os.fsdecode(told[0])
                if os.path.isabs(path) and not path.startswith(here):
                    return
                seen += 1
                os.write(ticks, b".")
                if full:
                    if at is not None and seen >= at and _writes(event, told):
                        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)
                elif seen == at:
                    os.kill(os.getpid(), signal.SIGKILL)

            sys.addaudithook(watch)
            from vid4d import cli

            try:
                cli.main(list(arguments))
                code = 0
            except SystemExit as stop:
                code = int(stop.code or 0)
        finally:
            os._exit(code)
    if isinstance(at, float):
        time.sleep(at)
        os.kill(child, signal.SIGKILL)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return code, len(count.read_text()), log.read_text(errors="replace")


def result(folder: Path) -> dict[str, bytes]:
    """Files of a folder, without those that say when it was made."""
    files = [p for p in folder.rglob("*") if p.is_file() and p.name not in TOLD]
    kept = [p for p in files if p.parent.name not in (".done", "checkpoints")]
    return {str(p.relative_to(folder)): p.read_bytes() for p in kept}


def _whole(root: Path) -> None:
    import toys
    from clips import disc

    from vid4d.gaussians.model import save_asset
    from vid4d.matrix.io import save_matrix

    disc(root / "disc", 3)
    save_matrix(toys.toy_matrix(), root / "matrix")
    save_asset(root / "asset.safetensors", toys.jumping_ball(20), {"seconds": "2.0", "fps": "2.0"})


def campaign(
    count: int, seed: int, commands: list[Command], *, full: bool = False
) -> dict[str, Counter[str]]:
    """So many kills (full: full disks), by turns of the commands. Returns command -> what came of it."""
    import torch

    from vid4d import cli, outputs  # noqa: F401  heavy modules once, and not in every child

    torch.set_num_threads(1)  # OpenMP's threads do not survive a fork
    rows: dict[str, Counter[str]] = {c.name: Counter() for c in commands}
    with tempfile.TemporaryDirectory() as place:
        root = Path(place).resolve()
        inputs = root / "inputs"
        inputs.mkdir()
        _whole(inputs)
        whole: dict[str, tuple[dict[str, bytes], int, float]] = {}
        begun: dict[str, Path] = {}
        for command in commands:
            begun[command.name] = root / f"begun_{command.name}"
            shutil.copytree(inputs, begun[command.name])
            for earlier in command.before:
                assert done(command, earlier, begun[command.name])[0] == 0
            shutil.copytree(begun[command.name], root / "work" / "here")
            began = time.monotonic()
            code, operations, said = done(command, command.arguments, root / "work" / "here")
            assert code == 0, said
            seconds = time.monotonic() - began
            whole[command.name] = result(root / "work" / "here"), operations, seconds
            print(f"{command.name}: {operations} file operations, {seconds:.1f} s", flush=True)
            shutil.rmtree(root / "work")
        for number in range(count):
            command = commands[number % len(commands)]
            chance = random.Random(f"{seed} {number}")
            expected, operations, seconds = whole[command.name]
            folder = root / "work" / "here"
            shutil.copytree(begun[command.name], folder)
            turn = number // len(commands)
            inside = full or turn % 2 == 0
            at = chance.randint(1, operations) if inside else chance.uniform(0, seconds)
            code, _, first = done(command, command.arguments, folder, at, full=full)
            row = rows[command.name]
            row["in an operation" if inside else "at a time"] += 1
            row["ended before"] += code == 0
            last = (first.strip().splitlines() or [""])[-1]
            if full and code and (code != 2 or "the disk is full" not in last or "Traceback" in first):
                row["not told"] += 1
                print(f"{number} {command.name} at {at}: exit {code}, not told: {first[-600:]}", flush=True)
            code, _, said = done(command, command.again, folder)
            left = [p.name for p in folder.rglob("*") if ".vid4d-" in p.name and p.is_dir()]
            found = result(folder)
            differing = sorted(n for n in expected.keys() | found.keys() if expected.get(n) != found.get(n))
            row["dead end"] += code != 0
            row["different"] += code == 0 and bool(differing)
            row["scratch left"] += bool(left)
            if code or differing or left:
                last = (said.strip().splitlines() or [""])[-1]
                print(
                    f"{number} {command.name} at {at}: exit {code}, {differing[:3]}, {left}; {last}",
                    flush=True,
                )
            shutil.rmtree(root / "work")
    return rows


COLUMNS = (
    *("in an operation", "at a time", "ended before"),
    *("not told", "different", "dead end", "scratch left"),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("count", type=int, help="kills")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="+", help="commands whose name begins so")
    parser.add_argument("--full", action="store_true", help="disks that become full, not kills")
    options = parser.parse_args()
    commands = [c for c in COMMANDS if c.name.startswith(tuple(options.only or [""]))]
    rows = campaign(options.count, options.seed, commands, full=options.full)
    print(f"| command | {' | '.join(COLUMNS)} |")
    print("|---" * (len(COLUMNS) + 1) + "|")
    for name, row in (*rows.items(), ("all", sum(rows.values(), Counter()))):
        print(f"| {name} | {' | '.join(str(row[c]) for c in COLUMNS)} |")
    sys.exit(any(row[c] for row in rows.values() for c in COLUMNS[3:]))


if __name__ == "__main__":
    main()
