"""Runs in processes of their own: they are heard, stop, wait in line, and fail in one sentence."""

from __future__ import annotations

import sys
import threading
from pathlib import Path

import pytest

from vid4d.app import job as job_module
from vid4d.app.job import Job, Jobs
from vid4d.runs.progress import Report

REPORTS = """
import sys
print('{"said": "warning: a shadow"}', file=sys.stderr)
print('{"stage": "fit", "done": 1, "total": 4, "left": 3, "text": "a", "ended": false}', file=sys.stderr)
"""
WAITS = REPORTS + "sys.stderr.flush()\nimport time; time.sleep(60)\n"


@pytest.fixture
def program(monkeypatch):
    """What is run instead of vid4d."""

    def choose(code: str) -> None:
        monkeypatch.setattr(Job, "command", property(lambda job: [sys.executable, "-S", "-c", code]))

    return choose


def begun(root: Path = Path("run")) -> Job:
    return Job(root, [], threading.Semaphore(1)).start()


def until(true) -> None:
    for _ in range(600):
        if true():
            return
        threading.Event().wait(0.05)
    raise AssertionError("never came true")


def test_a_run_is_heard_until_it_is_done(program):
    program(REPORTS)
    job = begun()
    assert job.wait(30)
    assert job.state == "done"
    assert job.said == ["warning: a shadow"]
    assert job.stages == {"fit": Report("fit", 1, 4, 3, "a", False)}


def test_a_stopped_run_says_so_and_a_finished_one_cannot_be_stopped(program):
    program(WAITS)
    job = begun()
    until(lambda: job.stages)
    assert job.alive
    job.stop()
    assert job.wait(30)
    assert (job.state, job.sentence) == ("stopped", "")
    job.stop()
    assert job.state == "stopped"


@pytest.mark.parametrize(
    ("end", "sentence"),
    [
        ("print('vid4d: there is no clip', file=sys.stderr); sys.exit(2)", "there is no clip"),
        ("raise IndexError('of nothing')", "IndexError: of nothing"),
        ("sys.exit(3)", "the run ended with 3"),
        ("import os; os.kill(os.getpid(), 9)", job_module.KILLED),
    ],
)
@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_what_fails_is_one_sentence(program, end, sentence):
    program(REPORTS + end)
    job = begun()
    assert job.wait(30)
    assert (job.state, job.sentence) == ("failed", sentence)


def test_runs_go_one_by_one_and_one_folder_has_one(program, tmp_path):
    program(WAITS)
    jobs = Jobs()
    first = jobs.start(tmp_path / "a", [])
    until(lambda: first.state == "running")
    second = jobs.start(tmp_path / "b", [])
    assert jobs.start(tmp_path / "a", []) is first
    assert jobs.latest is first
    assert second.state == "waiting"
    second.stop()
    assert second.wait(10)
    assert second.state == "stopped"
    third = jobs.start(tmp_path / "c", [])
    first.stop()
    until(lambda: third.state == "running")
    assert jobs.inside(tmp_path / "c") == [third]
    jobs.close()
    assert third.state == "stopped"


def test_the_command_line_itself_is_run_and_refuses(tmp_path):
    root = tmp_path / "run"
    job = Jobs().start(root, ["--preset", "splendid", "--", "-no.mp4"])
    assert job.command[-5:] == [str(root), "--preset", "splendid", "--", "-no.mp4"]
    assert job.wait(60)
    assert job.state == "failed"
    assert job.sentence.startswith("--preset cannot be 'splendid': choose one of draft")
    assert not root.exists()
