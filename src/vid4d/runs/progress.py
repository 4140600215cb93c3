"""Progress of a run: stages, time left and the live PSNR of the input view.

A terminal gets a bar per stage (rich); anything else (a log file, a pipe, CI) gets plain lines, a line when a
stage starts, one when it ends, and one now and then between. A program that started this one gets a JSON
object a line where VID4D_PROGRESS=json asks for that: `{"said": "..."}`, or the fields of `Report`.
"""

from __future__ import annotations

import json
import math
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple, TextIO

from vid4d.errors import InputError, printable

PLAIN_INTERVAL = 15.0
"""Seconds between two plain lines of one stage."""
REPORT_INTERVAL = 0.25
"""Seconds between two reports of one stage to a program."""
FORM = "VID4D_PROGRESS"
"""Variable of the environment: `json` for reports as lines of JSON."""


class Report(NamedTuple):
    """How far a stage is: done of total steps (None where not known), seconds left (the same), its numbers in
    words, and whether it has ended."""

    stage: str
    done: float
    total: float | None
    left: float | None
    text: str
    ended: bool


def duration(seconds: float) -> str:
    """5 -> '0:05', 3725 -> '1:02:05'."""
    whole = max(0, round(seconds))
    hours, minutes, rest = whole // 3600, whole // 60 % 60, whole % 60
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


class Bar:
    """One stage's progress. `done` of `total` steps, and numbers to show beside them."""

    def __init__(self, show: Callable[[Bar], None]) -> None:
        self._show = show
        self.done: float = 0
        self.total: float | None = None
        self.numbers: dict[str, float] = {}
        self.record: Callable[[float, dict[str, float]], object] | None = None
        self.started = time.monotonic()
        self._first: tuple[float, float] | None = None  # steps and seconds at the first report

    def update(self, done: float, total: float | None = None, **numbers: float) -> None:
        """Steps done, of how many, and named numbers, e.g. `psnr=24.3` for the input view's PSNR in dB.

        Numbers that are not finite are not shown. `record`, where set, gets the step and the others.
        """
        if self._first is None:
            self._first = (done, self.elapsed)
        self.done = done
        self.total = total if total is not None else self.total
        finite = {k: v for k, v in numbers.items() if math.isfinite(v)}
        self.numbers.update(finite)
        if finite and self.record is not None:
            self.record(done, finite)
        self._show(self)

    @property
    def elapsed(self) -> float:
        """Seconds."""
        return time.monotonic() - self.started

    @property
    def left(self) -> float | None:
        """Seconds, at the speed since the first report (a resumed stage starts in its middle)."""
        if not self.total or self._first is None or self.done <= self._first[0]:
            return None
        steps, seconds = self.done - self._first[0], self.elapsed - self._first[1]
        return seconds * max(self.total - self.done, 0) / steps

    def text(self) -> str:
        """The named numbers: 'input PSNR 24.31 dB, splats 4096'."""
        return ", ".join(_number(name, value) for name, value in self.numbers.items())


def _number(name: str, value: float) -> str:
    if name == "psnr":
        return f"input PSNR {value:.2f} dB"
    if isinstance(value, int) or float(value).is_integer():
        return f"{name} {int(value)}"
    return f"{name} {value:.4g}"


class Progress:
    """Reports stages to a terminal, as plain lines, as JSON, or not at all (`quiet`); tells `log` in every
    case, and `listen`, where it is given, a `Report` at a stage's start and end and a few times a second
    between.

    Use as a context manager, so that the terminal is left clean on errors.
    """

    def __init__(
        self,
        *,
        stream: TextIO | None = None,
        log: Callable[[str], None] | None = None,
        quiet: bool = False,
        plain: bool | None = None,
        listen: Callable[[Report], object] | None = None,
    ) -> None:
        self.stream = stream if stream is not None else sys.stderr
        self.log = log
        self.quiet = quiet
        self.plain = (not self.stream.isatty()) if plain is None else plain
        self.listen = listen
        self._rich: Any = None
        self._json = not quiet and asked_for_json()

    def __enter__(self) -> Progress:
        if not self.quiet and not self.plain and not self._json:
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, SpinnerColumn, TextColumn
            from rich.progress import Progress as RichProgress

            self._rich = RichProgress(
                SpinnerColumn(),
                TextColumn("{task.description:<14}"),
                BarColumn(bar_width=24),
                MofNCompleteColumn(),
                TextColumn("{task.fields[clock]}"),
                TextColumn("{task.fields[text]}"),
                console=Console(file=self.stream),
            )
            self._rich.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._rich is not None:
            self._rich.stop()
            self._rich = None

    def say(self, text: str) -> None:
        """A line for the person and for the log."""
        text = printable(text)
        if self.log is not None:
            self.log(text)
        if self.quiet:
            return
        if self._json:
            self._print_json({"said": text})
        elif self._rich is not None:
            self._rich.console.print(text, markup=False, highlight=False, soft_wrap=True)
        else:
            print(text, file=self.stream, flush=True)

    @contextmanager
    def stage(self, name: str) -> Iterator[Bar]:
        """A stage that is running; its bar is yielded."""
        name = printable(name)
        if self.log is not None:
            self.log(f"{name}: started")
        if self._rich is not None:
            task = self._rich.add_task(name, total=None, clock="", text="")

            def show(bar: Bar) -> None:
                left = "" if bar.left is None else f"{duration(bar.left)} left"
                self._rich.update(task, completed=bar.done, total=bar.total, clock=left, text=bar.text())

        else:
            last = time.monotonic()
            if not self.quiet and not self._json:
                print(f"{name} ...", file=self.stream, flush=True)

            def show(bar: Bar) -> None:
                nonlocal last
                now = time.monotonic()
                if self.quiet or self._json or now - last < PLAIN_INTERVAL:
                    return
                last = now
                steps = f"{bar.done:g}" + (f" of {bar.total:g}" if bar.total else "")
                left = "" if bar.left is None else f", {duration(bar.left)} left"
                print(f"{name}: {steps}{left}{_tail(bar)}", file=self.stream, flush=True)

        told = time.monotonic()

        def show_and_tell(bar: Bar) -> None:
            nonlocal told
            show(bar)
            if time.monotonic() - told >= REPORT_INTERVAL:
                told = time.monotonic()
                self._tell(name, bar, ended=False)

        bar = Bar(show_and_tell)
        self._tell(name, bar, ended=False)
        yield bar
        self._tell(name, bar, ended=True)
        end = f"{name}: done in {duration(bar.elapsed)}{_tail(bar)}"
        if self.log is not None:
            self.log(end)
        if self._rich is not None:
            total = bar.total or bar.done or 1
            clock = f"in {duration(bar.elapsed)}"
            self._rich.update(task, completed=total, total=total, clock=clock, text=bar.text())
        elif not self.quiet and not self._json:
            print(end, file=self.stream, flush=True)

    def _tell(self, name: str, bar: Bar, *, ended: bool) -> None:
        if self.listen is None and not self._json:
            return
        report = Report(name, bar.done, bar.total, bar.left, bar.text(), ended)
        if self.listen is not None:
            self.listen(report)
        if self._json:
            self._print_json(report._asdict())

    def _print_json(self, entry: dict[str, Any]) -> None:
        print(json.dumps(entry), file=self.stream, flush=True)


def asked_for_json() -> bool:
    """Whether the environment asks for reports as JSON. Raises InputError for another form."""
    form = os.environ.get(FORM, "")
    if form not in ("", "json"):
        raise InputError(f"{FORM}={form} is no form of progress: set it to json, or leave it out")
    return form == "json"


def _tail(bar: Bar) -> str:
    return f", {bar.text()}" if bar.numbers else ""
