"""A method for tests of batches that takes no time, on clips that are texts and say what happens to them.

ok ...       becomes an asset
bad ...      is refused
crash ...    is a fault of the program
room ...     is a fault of the machine until there is a file `go`
wait ...     becomes an asset once there is a file `go` beside the folder of clips
"""

from __future__ import annotations

import csv
import functools
import time
from pathlib import Path
from typing import Any

import toys
from command_line import run

from vid4d import api, outputs
from vid4d.errors import InputError, MachineError
from vid4d.files.write import write_json
from vid4d.gaussians.model import Gaussians4D
from vid4d.matrix.matrix import ImageMatrix
from vid4d.methods import stages
from vid4d.runs.run import Run

PRESETS: dict[str, Any] = {}
NEEDS = "matrix"
FROM_TEXT = False

matrix = functools.cache(lambda: toys.toy_matrix(2, 2, 8))


def make_matrix(run: Run) -> ImageMatrix:
    clip = Path(run.settings.clip)
    word = clip.read_text().split()[0]
    if word == "bad":
        raise InputError(f"{run.settings.clip} is bad: bring a good one")
    if word == "crash":
        raise RuntimeError("something broke")
    go = clip.parents[1] / "go"
    if word == "room" and not go.exists():
        raise MachineError("0.5 GB of memory cannot hold this: it needs 2 GB")
    run.stage("matrix", lambda bar: None)
    while word == "wait" and not go.exists():
        time.sleep(0.02)
    return matrix()


def make_asset(run: Run, matrix: ImageMatrix) -> Gaussians4D:
    return run.stage(
        "fit",
        lambda bar: toys.jumping_ball(20, 2),
        save=lambda g: stages.keep_asset(run, g, matrix),
        load=lambda: stages.kept_asset(run),
    )


def write_outputs(run: Run, gaussians: Gaussians4D, matrix: ImageMatrix) -> None:
    write_json(run.path("report.json"), {"input_psnr_db": 30.5, "splats": len(gaussians), "views": 2})


def install() -> None:
    """For a process of its own; in the tests' process, monkeypatch does it."""
    api.METHODS["efficient4d"] = "batch_toys"
    outputs.write_outputs = write_outputs


def use(monkeypatch: Any, folder: Path) -> None:
    """For the tests' process, which works in this folder."""
    monkeypatch.setitem(api.METHODS, "efficient4d", "batch_toys")
    monkeypatch.setattr(outputs, "write_outputs", write_outputs)
    monkeypatch.setattr("vid4d.batch.work.POLL", 0.05)
    monkeypatch.chdir(folder)


def batch(*options: object) -> int:
    """Exit code of the command for the folder `clips`."""
    return run("batch", "clips", "--out", "runs", "--device", "cpu", *options)


def table() -> list[dict[str, str]]:
    with Path("runs/batch.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def clips(folder: Path, *said: str) -> Path:
    """A folder of clips 0.mp4, 1.mp4, ... that say this."""
    folder.mkdir()
    for i, text in enumerate(said):
        (folder / f"{i}.mp4").write_text(text)
    return folder


def begun(out: Path) -> dict[str, int]:
    """Name of the clip -> how often its fit was started, by the logs of the runs."""
    found: dict[str, int] = {}
    for log in out.glob("??/*/log.txt"):
        from vid4d.runs.kept_settings import read_settings

        name = Path(read_settings(log.parent).clip).name
        found[name] = found.get(name, 0) + log.read_text().count("fit: started")
    return found
