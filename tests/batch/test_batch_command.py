"""`vid4d batch`, with a made-up method that does what the clips say (tests/batch_toys.py)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from batch_toys import batch, begun, clips, table, use
from command_line import refused, run

from vid4d import api
from vid4d.batch import records, work
from vid4d.batch.clips import part_of
from vid4d.batch.leases import Lease
from vid4d.errors import InputError

TESTS = Path(__file__).resolve().parents[1]
SCRIPT = "import sys, batch_toys; batch_toys.install(); from vid4d import cli; cli.main(sys.argv[1:])"


@pytest.fixture(autouse=True)
def toy(monkeypatch, tmp_path):
    use(monkeypatch, tmp_path)


def process(source: str = "clips") -> subprocess.Popen:
    """The same command in a process of its own."""
    surroundings = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")])
    }
    arguments = ["batch", source, "--out", "runs", "--device", "cpu"]
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, *arguments], stderr=subprocess.PIPE, env=surroundings
    )


def wait_for(pattern: str) -> None:
    end = time.monotonic() + 60
    while not list(Path("runs").glob(pattern)):
        assert time.monotonic() < end
        time.sleep(0.02)


def test_all_clips_are_made_once(tmp_path, capsys):
    clips(tmp_path / "clips", "ok a", "ok b", "ok a")
    assert batch() == 0
    said = capsys.readouterr().err
    assert "2 of 3 clips made now, 3 done" in said
    *rows, same = table()
    assert [Path(r["clip"]).name for r in (*rows, same)] == ["0.mp4", "1.mp4", "2.mp4"]
    assert same | {"clip": rows[0]["clip"]} == rows[0]
    assert {r["status"] for r in rows} == {"done"}
    assert {r["input_psnr_db"] for r in rows} == {"30.5"}
    for row in rows:
        asset = Path("runs", row["run"], "asset.safetensors")
        assert 0 < asset.stat().st_size < int(row["run_bytes"])
        assert row["run"] == f"{row['key'][:2]}/{row['key']}"
    lines = Path("runs/batch.jsonl").read_text().splitlines()
    assert [json.loads(line)["key"] for line in lines] == [r["key"] for r in (*rows, same)]
    assert batch() == 0
    assert "0 of 3 clips made now, 3 done" in capsys.readouterr().err
    assert begun(Path("runs")) == {"0.mp4": 1, "1.mp4": 1}


def test_a_part_without_clips_says_so(tmp_path, capsys):
    clips(tmp_path / "clips", "ok a")
    empty = next(
        f"{i}/2" for i in (1, 2) if not part_of([str(tmp_path / "clips/0.mp4")], f"{i}/2", tmp_path / "clips")
    )
    assert batch("--shard", empty) == batch("--shard", empty, "--dry-run") == 0
    said = capsys.readouterr()
    assert said.out == said.err == f"part {empty} holds no clip, of 1 in all\n"
    assert not Path("runs").exists()


def test_clips_that_fail_are_told_and_stop_nothing(tmp_path, capsys):
    clips(tmp_path / "clips", "ok a", "bad b", "crash c", "ok d")
    Path("list.txt").write_text("clips/1.mp4\nclips/none.mp4\nclips/2.mp4\nclips/0.mp4\nclips/3.mp4\n")
    assert run("batch", "list.txt", "--out", "runs", "--device", "cpu") == 1
    said = capsys.readouterr().err
    assert "1.mp4: refused: " in said
    assert "is bad: bring a good one" in said
    assert "none.mp4: refused: there is no" in said
    assert "2.mp4: failed: RuntimeError: something broke" in said
    assert "2 done, 1 failed, 2 refused" in said
    failed = next(r for r in table() if r["status"] == "failed")
    assert (
        "something broke" in records.record_path(Path("runs"), failed["key"]).with_suffix(".txt").read_text()
    )
    refused_ones = [r for r in table() if r["status"] == "refused"]
    assert [r["run"] for r in refused_ones] == ["", ""]  # nothing is left of them


def test_a_failed_clip_is_tried_three_times_and_a_refused_one_once(tmp_path, monkeypatch):
    clips(tmp_path / "clips", "bad", "crash")
    tried = []
    make = api.make
    monkeypatch.setattr(api, "make", lambda s, **k: (tried.append(Path(s.clip).name), make(s, **k))[1])
    for _ in range(5):
        assert batch() == 1
    assert sorted(tried) == ["0.mp4", "1.mp4", "1.mp4", "1.mp4"]
    assert [r["attempts"] for r in table()] == ["1", "3"]
    assert batch("--retry") == 1
    assert len(tried) == 6


def test_what_the_machine_is_at_fault_for_is_no_clips_verdict(tmp_path, capsys):
    """Neither refused nor tried three times in all: once there is room, the same command makes it."""
    clips(tmp_path / "clips", "room a", "ok b")
    for _ in range(work.ATTEMPTS + 1):
        assert batch() == 1
        assert "0.mp4: failed: 0.5 GB of memory cannot hold this" in capsys.readouterr().err
        assert [(r["status"], r["attempts"]) for r in table()] == [("failed", "0"), ("done", "1")]
    Path("go").touch()
    assert batch() == 0
    assert [(r["status"], r["attempts"]) for r in table()] == [("done", "1"), ("done", "1")]


def test_a_machine_without_room_stops_before_it_has_been_through_all(tmp_path, capsys):
    clips(tmp_path / "clips", *(f"room {i}" for i in range(work.STOPS_AFTER + 2)))
    assert batch() == 1
    assert f"{work.STOPS_AFTER} failed, 2 not looked at" in capsys.readouterr().err


@pytest.mark.parametrize("when", ["bytes_of", "_forget_unlike"])
def test_a_clip_that_vanishes_once_it_was_read_stops_nothing(tmp_path, capsys, monkeypatch, when):
    folder = clips(tmp_path / "clips", "ok a", "ok b")
    then = getattr(work, when)

    def vanish(*arguments: Any) -> Any:
        (folder / "0.mp4").unlink(missing_ok=True)
        return then(*arguments)

    with monkeypatch.context() as patched:
        patched.setattr(work, when, vanish)
        assert batch() == 1
    assert "0.mp4: failed: there is no " in capsys.readouterr().err
    assert [r["status"] for r in table()] == ["failed", "done"]
    (folder / "0.mp4").write_text("ok a")
    assert batch() == 0


def test_a_clip_that_was_unreadable_is_made_when_it_is_there(tmp_path):
    Path("list.txt").write_text("clips/0.mp4\n")
    assert run("batch", "list.txt", "--out", "runs", "--device", "cpu") == 1
    assert [r["status"] for r in table()] == ["refused"]
    clips(tmp_path / "clips", "ok")
    assert run("batch", "list.txt", "--out", "runs", "--device", "cpu") == 0
    assert [r["status"] for r in table()] == ["done"]


def test_shards_and_limits_make_their_part(tmp_path, capsys):
    folder = clips(tmp_path / "clips", *(f"ok {i}" for i in range(5)))
    every = [str(folder / f"{i}.mp4") for i in range(5)]
    part = {Path(clip).name for clip in part_of(every, "2/2", folder)}
    assert 0 < len(part) < 4
    assert batch("--shard", "2/2") == 0
    assert set(begun(Path("runs"))) == part
    capsys.readouterr()
    assert batch("--limit", "1") == 0
    assert "1 of 5 clips made now" in capsys.readouterr().err
    assert len(begun(Path("runs"))) == len(part) + 1
    assert batch("--shard", "1/2") == 0
    assert len(begun(Path("runs"))) == 5


def test_a_dry_run_counts_and_writes_nothing(tmp_path, capsys):
    clips(tmp_path / "clips", "ok a", "bad b", "ok c", "ok a")
    assert batch("--dry-run") == 0
    assert capsys.readouterr().out.splitlines() == ["4 clips: 3 left, 1 the same as another"]
    assert not Path("runs").exists()
    assert batch("--limit", "2") == 1
    capsys.readouterr()
    before = sorted(Path("runs").rglob("*"))
    assert batch("--dry-run") == 0
    said = capsys.readouterr().out.splitlines()
    assert "1.mp4: refused: " in said[0]
    assert said[1] == "4 clips: 1 done, 1 refused, 1 left, 1 the same as another"
    assert said[2].startswith("those left: about 0:0")
    assert sorted(Path("runs").rglob("*")) == before


def test_control_characters_of_names_do_not_reach_the_terminal(tmp_path, capsys):
    folder = clips(tmp_path / "clips", "bad a")
    (folder / "0.mp4").rename(folder / "a\x1b[31m.mp4")
    assert batch() == 1
    assert batch("--dry-run") == 0
    said = capsys.readouterr()
    assert "a\\x1b[31m.mp4: refused" in said.out
    assert "\x1b" not in said.out + said.err


@pytest.mark.parametrize("link", [".batch", ".batch/leases", ".batch/records/ab"])
def test_a_batch_reaches_nothing_through_a_link(tmp_path, capsys, link):
    clips(tmp_path / "clips", "ok")
    others = tmp_path / "others"
    others.mkdir()
    (others / "notes.json").write_text("{}")
    place = tmp_path / "runs" / link
    place.parent.mkdir(parents=True)
    place.symlink_to(others)
    assert f"{link} is a link" in refused(capsys, "batch", "clips", "--out", "runs")
    assert [p.name for p in others.iterdir()] == ["notes.json"]


def test_failures_in_a_row_stop_the_process_and_leave_the_rest(tmp_path, capsys):
    clips(tmp_path / "clips", *(f"crash {i}" for i in range(work.STOPS_AFTER + 2)))
    assert batch() == 1
    said = capsys.readouterr().err
    assert f"{work.STOPS_AFTER} failed, 2 not looked at" in said
    assert "may be the machine's fault" in said


@pytest.mark.parametrize("told", [False, True])
def test_a_full_disk_stops_all_and_is_no_clips_failure(tmp_path, capsys, monkeypatch, told):
    clips(tmp_path / "clips", "ok a", "ok b")

    def full(*_: object, **__: object) -> None:
        error = OSError(28, "No space left on device", "runs/x")
        if told:
            raise InputError("runs/x: cannot be written") from error
        raise error

    monkeypatch.setattr(api, "make", full)
    assert "the disk is full" in refused(capsys, "batch", "clips", "--out", "runs", "--device", "cpu")
    assert table() == []


def test_an_unfinished_run_of_a_clip_that_was_moved_begins_anew(tmp_path):
    folder = clips(tmp_path / "clips", "crash a")
    assert batch() == 1
    (folder / "0.mp4").rename(folder / "moved.mp4")
    assert batch() == 1
    (row,) = table()
    assert row["status"] == "failed"
    assert row["attempts"] == "2"
    assert row["clip"].endswith("moved.mp4")


def test_a_killed_process_is_followed_by_the_next(tmp_path, capsys):
    clips(tmp_path / "clips", "ok a", "wait b", "ok c")
    Path("list.txt").write_text("clips/1.mp4\n")
    killed = process("list.txt")
    wait_for("??/*/.done/matrix")
    killed.kill()
    killed.communicate()
    (left,) = Path("runs").glob(".batch/leases/*/*.0")
    Path("go").touch()
    assert batch() == 0
    assert not left.exists()
    assert [r["attempts"] for r in table()] == ["1", "2", "1"]
    assert sorted(begun(Path("runs"))) == ["0.mp4", "1.mp4", "2.mp4"]
    assert set(begun(Path("runs")).values()) == {1}


def test_two_processes_share_the_clips_and_one_takes_up_what_the_other_leaves(tmp_path):
    clips(tmp_path / "clips", "wait a", *(f"ok {i}" for i in range(4)))
    other = process()
    wait_for("??/*/.done/matrix")  # it has begun
    assert batch("--limit", "4") == 0  # all that the other is not making
    assert "0.mp4" not in {Path(r["clip"]).name for r in table()}
    other.kill()
    other.communicate()
    Path("go").touch()
    assert batch() == 0
    assert set(begun(Path("runs")).values()) == {1}
    assert len(table()) == 5


def test_a_clip_that_kills_its_process_is_left_in_the_end(tmp_path, capsys):
    clips(tmp_path / "clips", "ok a")
    assert batch() == 0
    (row,) = table()
    path = records.lease_path(Path("runs"), row["key"])
    records.record_path(Path("runs"), row["key"]).unlink()
    for number in range(work.DEATHS):
        (path.parent / f"{path.name}.{number}").write_text('{"machine": "gone"}')
        os.utime(path.parent / f"{path.name}.{number}", (1.0, 1.0))
    assert batch() == 1
    (row,) = table()
    assert row["status"] == "died"
    assert "5 processes that made it were killed" in row["error"]
    assert batch("--retry") == 0


def test_who_waits_for_another_process_sees_its_clip_done(tmp_path, monkeypatch):
    clips(tmp_path / "clips", "ok a")
    assert batch() == 0
    (row,) = table()
    kept = records.record_path(Path("runs"), row["key"])
    record = kept.read_bytes()
    kept.unlink()
    lease = Lease.taken(records.lease_path(Path("runs"), row["key"]))
    assert lease is not None

    def finish(_: float) -> None:
        kept.write_bytes(record)
        lease.release()

    monkeypatch.setattr(work.time, "sleep", finish)
    assert batch() == 0
    assert begun(Path("runs")) == {"0.mp4": 1}
