"""Progress as plain lines and in the log."""

from __future__ import annotations

import io
import json

import pytest

from vid4d.errors import InputError
from vid4d.runs import progress as progress_module
from vid4d.runs.progress import Bar, Progress, Report, duration


@pytest.mark.parametrize(("seconds", "text"), [(5, "0:05"), (59.6, "1:00"), (3725, "1:02:05"), (-1, "0:00")])
def test_durations(seconds, text):
    assert duration(seconds) == text


def test_time_left_is_what_is_left_at_the_speed_so_far(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(progress_module.time, "monotonic", lambda: now[0])
    bar = Bar(lambda bar: None)
    assert bar.left is None
    now[0] += 100  # getting ready
    bar.update(10, 18)  # resumed at step 10
    assert bar.left is None
    now[0] += 10
    bar.update(12)
    assert bar.left == pytest.approx(30)


def test_plain_lines_say_start_middle_and_end(monkeypatch):
    monkeypatch.setattr(progress_module, "PLAIN_INTERVAL", 0.0)
    stream, log = io.StringIO(), []
    with Progress(stream=stream, log=log.append) as progress, progress.stage("fit") as bar:
        bar.update(0, 4)
        bar.update(1, psnr=21.5, splats=300, loss=float("nan"))
    lines = stream.getvalue().splitlines()
    assert lines[0] == "fit ..."
    assert lines[1] == "fit: 0 of 4"
    assert lines[2] == "fit: 1 of 4, 0:00 left, input PSNR 21.50 dB, splats 300"
    assert lines[3] == "fit: done in 0:00, input PSNR 21.50 dB, splats 300"
    assert log == ["fit: started", lines[3]]


def test_many_updates_are_few_lines():
    stream = io.StringIO()
    with Progress(stream=stream) as progress, progress.stage("fit") as bar:
        for i in range(1000):
            bar.update(i, 1000)
    assert len(stream.getvalue().splitlines()) == 2


def test_quiet_says_nothing_but_logs():
    stream, log = io.StringIO(), []
    with Progress(stream=stream, log=log.append, quiet=True) as progress, progress.stage("fit") as bar:
        bar.update(1, 1)
        progress.say("a word")
    assert stream.getvalue() == ""
    assert log[1] == "a word"


def test_a_terminal_gets_a_bar_with_the_psnr():
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    stream = Terminal()
    with Progress(stream=stream) as progress, progress.stage("fit") as bar:
        bar.update(3, 4, psnr=24.25)
    assert "24.25 dB" in stream.getvalue()
    assert "fit" in stream.getvalue()


def test_programs_get_reports_as_lines_of_json(monkeypatch):
    monkeypatch.setenv(progress_module.FORM, "json")
    monkeypatch.setattr(progress_module, "REPORT_INTERVAL", 0.0)
    stream = io.StringIO()
    with Progress(stream=stream) as progress, progress.stage("fit") as bar:
        bar.update(1, 4, loss=2.0)
        progress.say("a word")
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert lines[2] == {"said": "a word"}
    reports = [Report(**line) for line in (*lines[:2], lines[3])]
    assert [(r.done, r.total, r.text, r.ended) for r in reports] == [
        (0, None, "", False),
        (1, 4, "loss 2", False),
        (1, 4, "loss 2", True),
    ]


def test_another_form_is_refused(monkeypatch):
    monkeypatch.setenv(progress_module.FORM, "xml")
    with pytest.raises(InputError, match="is no form of progress"):
        Progress(stream=io.StringIO())


def test_who_listens_hears_start_and_end_also_of_quiet_runs(monkeypatch):
    heard: list[Report] = []
    with Progress(quiet=True, listen=heard.append) as progress, progress.stage("fit") as bar:
        for i in range(1000):
            bar.update(i, 1000)
    assert (heard[0].done, heard[0].ended) == (0, False)
    assert (heard[-1].done, heard[-1].total, heard[-1].ended) == (999, 1000, True)
    assert len(heard) < 100
