"""The table of `vid4d batch`, and what is told of its clips."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from batch_toys import batch, clips, table, use
from command_line import run

from vid4d import api
from vid4d.batch import records, work
from vid4d.runs.progress import Bar


@pytest.fixture(autouse=True)
def toy(monkeypatch, tmp_path):
    use(monkeypatch, tmp_path)


def test_each_clip_of_the_same_bytes_that_is_there_has_a_line(tmp_path):
    folder = clips(tmp_path / "clips", "crash a", "ok b", "crash a", "bad c", "bad c")

    def lines() -> list[tuple[str, str]]:
        return [(Path(r["clip"]).name, r["status"]) for r in table()]

    every = [("0.mp4", "failed"), ("1.mp4", "done"), ("2.mp4", "failed"), ("3.mp4", "refused")]
    for _ in range(2):
        assert batch() == 1
        assert lines() == [*every, ("4.mp4", "refused")]
    (folder / "1.mp4").rename(folder / "5.mp4")
    (folder / "3.mp4").unlink()
    assert batch() == 1
    assert lines() == [every[0], every[2], ("4.mp4", "refused"), ("5.mp4", "done")]


def test_other_settings_have_lines_that_say_them(tmp_path):
    clips(tmp_path / "clips", "ok a")
    assert batch() == batch("--seed", "3", "--keep", "--crop", "0, 0,90,90") == batch() == 0
    assert sorted(r["settings"] for r in table()) == ["", "--seed 3 --crop '0, 0,90,90' --keep"]


def test_a_refusal_names_the_clip_of_its_line(tmp_path, capsys):
    """Bytes that were refused elsewhere are not looked at again, and the sentence is about this file."""
    clips(tmp_path / "clips", "bad a")
    assert batch() == 1
    folder = clips(tmp_path / "others", "bad a")
    for more in ((), ("--dry-run",)):
        capsys.readouterr()
        run("batch", folder, "--out", "runs", "--device", "cpu", *more)
        said = "".join(capsys.readouterr())
        assert f"{folder / '0.mp4'} is bad" in said
        assert str(tmp_path / "clips") not in said
    assert all(r["error"].startswith(f"{r['clip']} is bad") for r in table())
    assert [Path(r["clip"]).parent.name for r in table()] == ["clips", "others"]


def test_seconds_are_those_of_all_attempts(tmp_path, monkeypatch):
    clips(tmp_path / "clips", "crash a")
    clock = [0.0]
    monkeypatch.setattr(work.time, "monotonic", lambda: clock[0])
    make = api.make

    def slow(*arguments: Any, **options: Any) -> Any:
        clock[0] += 10
        return make(*arguments, **options)

    monkeypatch.setattr(api, "make", slow)

    def seconds() -> tuple[str, str]:
        assert batch() == 1
        (row,) = table()
        return row["attempts"], row["seconds"]

    assert seconds() == ("1", "10.0")
    assert seconds() == ("2", "20.0")
    (row,) = table()
    path = records.lease_path(Path("runs"), row["key"])
    (path.parent / f"{path.name}.0").write_text('{"machine": "gone", "began": 1.0}')
    os.utime(path.parent / f"{path.name}.0", (6.0, 6.0))
    assert seconds() == ("4", "35.0")  # another was killed after five
    assert batch("--retry") == 1
    assert [(r["attempts"], r["seconds"]) for r in table()] == [("1", "10.0")]


def test_clips_that_are_refused_are_not_made_and_not_failed(tmp_path, capsys, monkeypatch):
    clips(tmp_path / "clips", "bad a", "ok b", "bad c", "crash d")
    bars: list[dict[str, float]] = []
    update = Bar.update
    monkeypatch.setattr(Bar, "update", lambda bar, *a, **n: (bars.append(n), update(bar, *a, **n))[1])
    assert batch() == 1
    assert "1 of 4 clips made now, 1 done, 1 failed, 2 refused" in capsys.readouterr().err
    assert bars[-1] == {"failed": 1, "refused": 2}
    assert {"refused": 1} in bars


def test_tables_that_somebody_else_wrote_are_kept_aside(tmp_path):
    clips(tmp_path / "clips", "ok a")
    Path("runs").mkdir()
    Path("runs/batch.csv").write_text("mine")
    assert [batch(), batch()] == [0, 0]
    assert len(table()) == 1
    Path("runs/batch.jsonl").write_text("mine, too")
    assert batch() == 0
    kept = {p.name: p.read_text() for p in Path("runs").glob("*.kept-*")}
    assert kept == {"batch.csv.kept-1": "mine", "batch.jsonl.kept-1": "mine, too"}
