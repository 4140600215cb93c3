"""A run in a process of its own, as a shell would start it: watched, stopped, resumed.

The page may be closed, and the run goes on; a run that is killed takes nothing else with it. It says what the
command line says, for it is the command line.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from vid4d.runs.progress import FORM, Report

State = Literal["waiting", "running", "done", "stopped", "failed"]
MOST_SAID = 50
KILLED = (
    "the run was killed, most likely because memory ran out: close other programs, and resume it; what was "
    "finished is kept"
)


class Job:
    """One run. state: where it is. stages: what each said last, in their order. said: lines for people,
    warnings among them. sentence: what is wrong where it failed. Made and watched from any thread.

    root: the run folder. options: of `vid4d generate`, the clip last. line: lets one run go on at a time.
    """

    def __init__(
        self, root: Path, options: Sequence[str], line: threading.Semaphore, *, resume: bool = False
    ) -> None:
        self.root = root
        self.options = tuple(options)
        self.state: State = "waiting"
        self.stages: dict[str, Report] = {}
        self.said: list[str] = []
        self.sentence = ""
        self._resume = resume
        self._line = line
        self._stopping = threading.Event()
        self._process: subprocess.Popen[str] | None = None
        self._thread = threading.Thread(target=self._go, daemon=True)

    def start(self) -> Job:
        """Begins, when it is its turn."""
        self._thread.start()
        return self

    def stop(self) -> None:
        """Asks it to stop. What is finished is kept; `wait` tells when it has."""
        self._stopping.set()
        process = self._process
        if process is not None and process.poll() is None:
            process.terminate()

    def wait(self, seconds: float | None = None) -> bool:
        """True when it has ended; waits for that, or so many seconds at most."""
        if self._thread.ident is not None:
            self._thread.join(seconds)
        return not self.alive

    @property
    def alive(self) -> bool:
        """Whether it waits or runs."""
        return self.state in ("waiting", "running")

    @property
    def command(self) -> list[str]:
        """What is run."""
        words = [sys.executable, "-m", "vid4d", "generate", "--out", str(self.root)]
        return [*words, *(["--resume"] if self._resume else []), *self.options]

    def _go(self) -> None:
        while not self._line.acquire(timeout=0.2):
            if self._stopping.is_set():
                self.state = "stopped"
                return
        try:
            self.state = self._run()
        except OSError as error:
            self.sentence = f"the run cannot be started ({error.strerror or error})"
            self.state = "failed"
        finally:
            self._line.release()

    def _run(self) -> State:
        if self._stopping.is_set():
            return "stopped"
        self._process = subprocess.Popen(
            self.command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env=os.environ | {FORM: "json", "PYTHONIOENCODING": "utf-8"},
            text=True,
            encoding="utf-8",
            errors="backslashreplace",
        )
        self.state = "running"
        if self._stopping.is_set():  # asked for while it was being started
            self._process.terminate()
        assert self._process.stderr is not None
        last = ""
        for line in self._process.stderr:
            if not self.hear(line):
                last = line.strip() or last
        code = self._process.wait()
        if code == 0:
            return "done"
        if self._stopping.is_set():
            return "stopped"
        killed = code in (-9, 137)
        self.sentence = KILLED if killed else last.removeprefix("vid4d: ") or f"the run ended with {code}"
        return "failed"

    def hear(self, line: str) -> bool:
        """Takes a line of the process in. False for one that is no report."""
        try:
            entry = json.loads(line)
            if "said" in entry:
                self.said = [*self.said, str(entry["said"])][-MOST_SAID:]
            else:
                report = Report(**entry)
                self.stages = self.stages | {report.stage: report}
        except (ValueError, TypeError):
            return False
        return True


class Jobs:
    """The runs of an app: one goes on at a time, the others wait in line. most: how many go on at once."""

    def __init__(self, most: int = 1) -> None:
        self._line = threading.Semaphore(most)
        self._jobs: dict[Path, Job] = {}

    def start(self, root: Path, options: Sequence[str], *, resume: bool = False) -> Job:
        """Begins a run, or resumes it; one that goes on in that folder is returned as it is."""
        known = self.of(root)
        if known is not None and known.alive:
            return known
        job = Job(root, options, self._line, resume=resume)
        self._jobs[root.absolute()] = job
        return job.start()

    def of(self, root: Path) -> Job | None:
        """The run of a folder, where this app began it."""
        return self._jobs.get(root.absolute())

    def inside(self, folder: Path) -> list[Job]:
        """The runs that lie in a folder."""
        return [job for root, job in self._jobs.items() if root.is_relative_to(folder.absolute())]

    @property
    def latest(self) -> Job | None:
        """The run that goes on; else the one that was begun last."""
        jobs = list(self._jobs.values())
        return next((job for job in jobs if job.alive), jobs[-1] if jobs else None)

    def close(self) -> None:
        """Stops all, and waits until they have."""
        for job in self._jobs.values():
            if job.alive:
                job.stop()
        for job in self._jobs.values():
            job.wait(30)
