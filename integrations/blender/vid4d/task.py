"""A command of vid4d in the background: started, heard, stopped. Without Blender, without vid4d."""

from __future__ import annotations

import json
import os
import subprocess
import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import Any


class Task:
    """One command. `poll` now and then; then `state` ('running', 'done', 'stopped', 'failed'), `share` (of
    the stage, in [0, 1], or None), `words` and `hints` say how it is. It never blocks."""

    def __init__(self, command: Sequence[str], title: str) -> None:
        self.title = title
        self.state = "running"
        self.share: float | None = None
        self.words = "starts"
        self.hints: list[str] = []
        self._last = ""
        self._stopping = False
        window = {"creationflags": subprocess.CREATE_NO_WINDOW} if os.name == "nt" else {}
        clean = {
            k: v for k, v in os.environ.items() if not k.startswith("PYTHON")
        }  # Blender's are not vid4d's
        self._process = subprocess.Popen(
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env=clean | {"VID4D_PROGRESS": "json", "PYTHONIOENCODING": "utf-8"},
            text=True,
            encoding="utf-8",
            errors="replace",
            **window,  # type: ignore[call-overload]
        )
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self.hear(line)

    def hear(self, line: str) -> None:
        """Takes in a line of the command's stderr."""
        try:
            entry: dict[str, Any] = json.loads(line)
            if "said" in entry:
                self.hints = [*self.hints, str(entry["said"])][-20:]
                return
            stage, done, total = str(entry["stage"]), float(entry["done"]), entry["total"]
            self.share = 1.0 if entry["ended"] else min(done / total, 1.0) if total else None
            left = entry["left"]
            self.words = stage if left is None else f"{stage}, {_duration(left)} left"
        except (ValueError, TypeError, KeyError):
            self._last = line.strip() or self._last

    def poll(self) -> str:
        """Looks after it; returns the state."""
        if self.state == "running" and self._process.poll() is not None:
            self._thread.join(5)
            code = self._process.returncode
            if code == 0:
                self.state, self.words, self.share = "done", "done", 1.0
            elif self._stopping:
                self.state, self.words = "stopped", "stopped: the same again goes on from there"
            else:
                self.state = "failed"
                self.words = self._last.removeprefix("vid4d: ") or f"vid4d ended with {code}"
        return self.state

    def stop(self) -> None:
        """Asks it to end. What is finished is kept."""
        if self._process.poll() is None:
            self._stopping = True
            self._process.terminate()

    def wait(self, seconds: float) -> str:
        """Blocks until it has ended, or so long at most; returns the state."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(seconds)
        return self.poll()


def _duration(seconds: float) -> str:
    whole = max(0, round(seconds))
    return f"{whole // 60}:{whole % 60:02}"
