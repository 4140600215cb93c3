"""Leases: one holder at a time, and one that is gone is followed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from vid4d.batch import leases
from vid4d.batch.leases import Lease, looks_held

HOLD = """
import sys, time
from pathlib import Path
from vid4d.batch.leases import Lease
print(Lease.taken(Path(sys.argv[1])) is not None, flush=True)
time.sleep(60)
"""


def held_elsewhere(path: Path, number: int = 0, *, age: float = 0.0) -> Path:
    """The file of a holder on another machine, whose locks do not reach this one."""
    file = path.with_name(f"{path.name}.{number}")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({"machine": "another", "host": "there", "pid": 1}))
    os.utime(file, (time.time() - age,) * 2)
    return file


def test_one_holder_at_a_time(tmp_path):
    path = tmp_path / "leases" / "key"
    assert not looks_held(path)
    lease = Lease.taken(path)
    assert lease is not None
    assert lease.number == 0
    assert Lease.taken(path) is None
    assert looks_held(path)
    lease.release()
    lease.release()
    assert list(path.parent.iterdir()) == []
    again = Lease.taken(path)
    assert again is not None
    assert again.number == 0
    again.release()


def test_a_killed_process_is_followed_at_once_and_counted(tmp_path):
    path = tmp_path / "key"
    for number in range(2):
        holder = subprocess.Popen([sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE, text=True)
        assert holder.stdout is not None
        assert holder.stdout.readline() == "True\n"
        assert Lease.taken(path) is None
        holder.kill()
        holder.wait()
        assert (tmp_path / f"key.{number}").exists()
    lease = Lease.taken(path)
    assert lease is not None
    assert lease.number == 2
    lease.release()
    assert list(tmp_path.iterdir()) == []


def test_what_former_holders_spent_is_summed_as_far_as_they_told(tmp_path):
    now = time.time()
    for number, (began, touched) in enumerate([(1000.0, 1030.0), (2000.0, 2012.5), (None, 3000.0)]):
        file = held_elsewhere(tmp_path / "key", number)
        held = json.loads(file.read_text()) | ({} if began is None else {"began": began})
        file.write_text(json.dumps(held))
        os.utime(file, (touched, touched))
    lease = Lease.taken(tmp_path / "key")
    assert lease is not None
    assert lease.spent == 42.5
    assert json.loads((tmp_path / "key.3").read_text())["began"] == pytest.approx(now, abs=60)
    lease.release()
    fresh = Lease.taken(tmp_path / "key")
    assert fresh is not None
    assert fresh.spent == 0
    fresh.release()


def test_a_holder_on_another_machine_is_respected_while_it_renews(tmp_path):
    path = tmp_path / "key"
    held_elsewhere(path, 1, age=leases.EXPIRES - 10)
    assert Lease.taken(path) is None
    assert looks_held(path)
    held_elsewhere(path, 1, age=leases.EXPIRES + 10)
    assert not looks_held(path)
    lease = Lease.taken(path)
    assert lease is not None
    assert lease.number == 2
    lease.release()


def test_one_who_was_followed_knows_it_and_leaves_the_followers_files(tmp_path):
    path = tmp_path / "key"
    lease = Lease.taken(path)
    assert lease is not None
    assert lease.held()
    after = held_elsewhere(path, 1)
    assert not lease.held()
    lease.release()
    assert after.exists()


def test_of_two_who_saw_the_same_expired_lease_one_follows(tmp_path, monkeypatch):
    path = tmp_path / "key"
    held_elsewhere(path, 0, age=leases.EXPIRES + 10)
    alive = leases._alive

    def slow(file: Path, now: float) -> bool:
        said = alive(file, now)
        held_elsewhere(path, 1)  # the other, whom the lock did not keep out
        return said

    monkeypatch.setattr(leases, "_alive", slow)
    assert Lease.taken(path) is None


def test_a_holder_touches_its_file(tmp_path, monkeypatch):
    monkeypatch.setattr(leases, "RENEWED", 0.01)
    lease = Lease.taken(tmp_path / "key")
    assert lease is not None
    file = tmp_path / "key.0"
    os.utime(file, (1.0, 1.0))
    for _ in range(200):
        if file.stat().st_mtime > 1.0:
            break
        time.sleep(0.01)
    assert file.stat().st_mtime == pytest.approx(time.time(), abs=60)
    lease.release()
