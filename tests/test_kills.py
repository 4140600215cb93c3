"""A run that is killed inside any of its file operations: it resumes to the same files.

VID4D_KILLS=1 kills it in every operation once, some minutes; otherwise in every 23rd. It also kills tiny runs
of both methods, enhancements, exports and so on, 45 times (`python tests/kills.py 300` for more).
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from vid4d.files.write import clear_away, folder_written_whole, write_text
from vid4d.runs.run import Run
from vid4d.settings import Settings

EVENTS = {"open", "os.mkdir", "os.remove", "os.rename", "os.rmdir", "shutil.rmtree"}
SETTINGS = Settings(clip="clip.mp4")


def go(root: Path) -> None:
    """A run of three stages: a folder, a file with a checkpoint, an output."""
    run = Run.create(root, SETTINGS, resume=True)
    folder = run.path("frames")

    def frames(text: str) -> None:
        clear_away(folder)
        with folder_written_whole(folder) as new:
            for i in range(3):
                (new / f"{i}.png").write_text(text)

    def fit(bar: object) -> str:
        for step in range(2):
            write_text(run.checkpoint("fit"), f"step {step}")
        return "splats"

    run.stage("frames", lambda bar: "picture", save=frames, load=(folder / "0.png").read_text)
    asset = run.path("asset.safetensors")
    run.stage("fit", fit, save=lambda text: write_text(asset, text), load=asset.read_text)
    run.stage("contact", lambda bar: write_text(run.path("contact.png"), "sheet"))
    run.close()


def in_a_child(root: Path, kill_at: int | None) -> int:
    """Exit status of `go` in a child process, which is killed at that operation below `root`."""
    if child := os.fork():
        return os.waitpid(child, 0)[1]
    status = 1
    try:
        seen = 0

        def watch(event: str, arguments: tuple[object, ...]) -> None:
            nonlocal seen
            if event in EVENTS and str(root) in str(arguments[0]):
                seen += 1
                if seen == kill_at:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(watch)
        go(root)
        status = 0
    finally:
        os._exit(status)
    return status


def result(root: Path) -> dict[str, str]:
    """Files of a run, without those that say when it was made."""
    told = ("log.txt", "timings.json", ".vid4d-files.json")
    files = [p for p in root.rglob("*") if p.is_file() and p.name not in told and p.parent.name != ".done"]
    return {str(p.relative_to(root)): p.read_text() for p in files}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_run_resumes_from_a_kill_inside_any_file_operation(tmp_path):
    assert in_a_child(tmp_path / "whole", None) == 0
    expected = result(tmp_path / "whole")
    step = int(os.environ.get("VID4D_KILLS", 23))
    at = 1
    while True:
        root = tmp_path / f"killed_at_{at}"
        status = in_a_child(root, at)
        if status == 0:
            break
        assert status == signal.SIGKILL
        assert in_a_child(root, None) == 0, root.name
        assert result(root) == expected, root.name
        left = [str(p.relative_to(root)) for p in root.rglob("*") if "vid4d-" in p.name and p.is_dir()]
        assert left == [], root.name
        at += step
    assert at > 100


@pytest.mark.skipif(
    "VID4D_KILLS" not in os.environ or not hasattr(os, "fork"), reason="VID4D_KILLS=1: minutes"
)
def test_commands_that_are_killed_end_in_the_same_bytes():
    """In a process of its own: it forks, which OpenMP's threads do not survive."""
    tests = Path(__file__).parent
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tests), str(tests.parent / "src")])}
    command = [sys.executable, str(tests / "kills.py"), "45"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
