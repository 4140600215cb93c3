"""Ray and submitit, started for real where they are installed; killed in the middle, and finished."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from batch_toys import begun, clips
from command_line import refused

from vid4d.batch import engines, records
from vid4d.batch.engines import Engine
from vid4d.batch.on_ray import answered
from vid4d.errors import InputError
from vid4d.runs.kept_settings import read_settings

TESTS = Path(__file__).resolve().parents[1]
INSTALLS = """
import sys

class Installs:
    def find_spec(self, name, path=None, target=None):
        if name == "vid4d.batch.work":
            sys.meta_path.remove(self)
            import batch_toys
            batch_toys.install()

sys.meta_path.insert(0, Installs())
"""
"""Before a process that makes clips needs it, and not in all the others that Ray starts."""
SCRIPT = "import sys; from vid4d import cli; cli.main(sys.argv[1:])"


@pytest.fixture
def anywhere(tmp_path, monkeypatch) -> Path:
    """Every Python that is started has the made-up method; the folder that the command runs in."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(INSTALLS)
    path = [str(tmp_path / "site"), str(TESTS), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def started(*options: str) -> subprocess.Popen:
    arguments = ["batch", "clips", "--out", "runs", "--device", "cpu", *options]
    return subprocess.Popen([sys.executable, "-c", SCRIPT, *arguments], stderr=subprocess.PIPE, text=True)


def holder(clip: str) -> int:
    """The process that has begun a clip which waits."""
    end = time.monotonic() + 90
    while time.monotonic() < end:
        for done in Path("runs").glob("??/*/.done/matrix"):
            root = done.parents[1]
            if Path(read_settings(root).clip).name == clip:
                (lease,) = Path("runs/.batch/leases", root.parent.name).glob(f"{root.name}.0")
                return int(json.loads(lease.read_text())["pid"])
        time.sleep(0.05)
    raise AssertionError("no clip was begun")


def attempts() -> dict[str, int]:
    return {Path(r.clip).name: r.attempts for r in records.all_records(Path("runs"))}


@pytest.mark.skipif(not engines.installed("ray"), reason="Ray is not installed")
def test_ray_finishes_what_a_killed_actor_and_a_killed_driver_left(anywhere):
    clips(anywhere / "clips", "wait a", "ok b", "bad c", "ok d")
    driver = started("--engine", "ray", "--workers", "2", "--cpus", "0.5")
    try:
        os.kill(holder("0.mp4"), signal.SIGKILL)  # Ray starts another, and its clip
        end = time.monotonic() + 60
        while not list(Path("runs").glob(".batch/leases/*/*.1")):
            assert time.monotonic() < end
            time.sleep(0.05)
    finally:
        driver.kill()
        driver.communicate()
    Path("go").touch()
    time.sleep(1.0)  # the actors end with their driver
    again = started("--engine", "ray", "--workers", "1")
    said = again.communicate(timeout=120)[1]
    assert again.returncode == 1, said
    assert "3 done, 1 refused" in said
    assert attempts()["0.mp4"] >= 2
    assert {k: v for k, v in attempts().items() if k != "0.mp4"} == {"1.mp4": 1, "2.mp4": 1, "3.mp4": 1}
    assert Path("runs/batch.csv").read_text().count("\n") == 5


@pytest.mark.skipif(not engines.installed("submitit"), reason="submitit is not installed")
def test_a_job_that_is_killed_is_sent_again(anywhere):
    clips(anywhere / "clips", "wait a", "ok b", "ok c", "ok d")
    driver = started("--engine", "local", "--workers", "2")
    os.kill(holder("0.mp4"), signal.SIGKILL)
    Path("go").touch()
    said = driver.communicate(timeout=120)[1]
    assert driver.returncode == 0, said
    assert "part 1 of 2: job" in said
    assert "sent again" in said
    assert "4 done" in said
    assert attempts()["0.mp4"] == 2
    assert set(begun(Path("runs")).values()) == {1}


@pytest.mark.skipif(not engines.installed("submitit"), reason="submitit is not installed")
def test_a_preempted_job_hands_its_clip_back_and_does_not_count(tmp_path):
    from vid4d.batch.leases import Lease
    from vid4d.batch.on_slurm import Shard
    from vid4d.settings import Settings

    lease = Lease.taken(tmp_path / "key")
    assert lease is not None
    shard = Shard(["a", "b"], Settings(seed=3), tmp_path, True)
    queued = shard.checkpoint()
    assert not list(tmp_path.glob("key.0"))
    assert Lease.taken(tmp_path / "key") is None  # its lock stays until the process ends
    assert vars(queued.function) == vars(shard)
    lease.release()


def test_a_folder_on_the_path_is_no_package(tmp_path, monkeypatch):
    (tmp_path / "looks_installed").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    assert not engines.installed("looks_installed")
    assert not engines.installed("is_nowhere")
    assert engines.installed("pytest")


def test_engines_refuse_what_cannot_be(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(engines, "find_spec", lambda name: None)
    clips(tmp_path / "clips", "ok")
    start = ("batch", "clips", "--out", "runs")
    assert "needs submitit, which is not installed" in refused(capsys, *start, "--engine", "slurm")
    assert "needs ray, which is not installed" in refused(capsys, *start, "--engine", "ray")
    for engine, limit, why in (
        (Engine("slurm"), 3, "--limit"),
        (Engine("slurm", gpus=0.5), None, "whole"),
        (Engine("ray", workers=0), None, "--workers"),
        (Engine("ray", cpus=0.0), None, "cores"),
        (Engine("local", job=("mem 3",)), None, "name=value"),
        (
            Engine(workers=2),
            None,
            "--workers has no effect with --engine none: name another.*ray, slurm, local",
        ),
        (Engine(gpus=1.0), None, "--gpus has no effect"),
        (Engine(address="auto"), None, r"--address has no effect with --engine none: .*\(ray\)"),
        (Engine("ray", minutes=3), None, "--minutes has no effect with --engine ray"),
        (Engine("ray", job=("mem_gb=3",)), None, "--job has no effect"),
        (Engine("slurm", address="auto"), None, "--address has no effect with --engine slurm"),
    ):
        with pytest.raises(InputError, match=why):
            engine.check(limit)
    assert Engine(job=("slurm_partition=gpu", "mem_gb=32")).parameters() == {
        "slurm_partition": "gpu",
        "mem_gb": 32,
    }
    assert "--workers has no effect" in refused(capsys, *start, "--workers", "2")
    assert not Path("runs").exists()


@pytest.mark.parametrize("scheme", ["", "ray://"])
def test_a_cluster_that_nobody_answers_for_is_refused(scheme):
    with socket.socket() as closed:  # bound, and not listening
        closed.bind(("127.0.0.1", 0))
        with pytest.raises(
            InputError, match=r"nothing answers at .*127\.0\.0\.1:\d+ \(.*refused\): see --address"
        ):
            answered(f"{scheme}127.0.0.1:{closed.getsockname()[1]}")
    with pytest.raises(InputError, match="nothing answers at"):
        answered(f"{scheme}there.is.none.invalid:6379")
    for wrong in ("6379", "host:", "host:port", ":6379", "host:99999"):
        with pytest.raises(InputError, match="is no address"):
            answered(scheme + wrong)
    answered("auto")
    with socket.create_server(("127.0.0.1", 0)) as there:
        answered(f"{scheme}127.0.0.1:{there.getsockname()[1]}")


@pytest.mark.skipif(not engines.installed("ray"), reason="Ray is not installed")
def test_what_answers_and_is_no_ray_is_refused_in_time():
    script = (
        "import socket, sys\nfrom vid4d.batch import on_ray\nfrom vid4d.errors import InputError\n"
        "on_ray.CONNECTED_WITHIN = 3.0\nthere = socket.create_server(('127.0.0.1', 0))\n"
        "try:\n    on_ray.connect(f'127.0.0.1:{there.getsockname()[1]}')\n"
        "except InputError as error:\n    sys.exit(str(error))"
    )
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert ended.returncode == 1
    assert "Ray cannot be had at 127.0.0.1:" in ended.stderr
    assert "(no answer within 3 seconds): see --address" in ended.stderr


@pytest.mark.skipif(not engines.installed("submitit"), reason="submitit is not installed")
def test_parameters_that_submitit_does_not_know_are_told(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    clips(tmp_path / "clips", "ok")
    said = refused(capsys, "batch", "clips", "--out", "runs", "--engine", "local", "--job", "partitoin=gpu")
    assert "partitoin" in said
