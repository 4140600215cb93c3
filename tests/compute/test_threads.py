"""The bytes of a run do not depend on how many threads and cores there are."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from clips import disc
from exported import ball_asset, coarse_meshes
from tiny_frustum import ship, slab
from tiny_runs import CONSISTENT, EFFICIENT

from vid4d import api
from vid4d.compute.threads import THREADS, fixed_threads, free_threads
from vid4d.export.formats import FORMATS, export, options_for
from vid4d.gaussians.fit_config import FitConfig
from vid4d.media.video import write_mp4
from vid4d.methods import efficient4d
from vid4d.methods.consistent4d import method as consistent4d
from vid4d.methods.consistent4d.batches import Milestone
from vid4d.methods.consistent4d.views import DistillConfig

TOLD = ("log.txt", "timings.json", "machine.json", "report.html", ".vid4d-files.json", "settings.json")
"""Files that say when, where and how fast a run was made; its checkpoints do, too."""
SIZE = 128
"""Of pictures: torch cuts sums of 32,768 numbers and more."""


@pytest.fixture
def cores():
    """Sets the threads of torch, and the cores that this process may use."""
    threads, usable = torch.get_num_threads(), None
    if hasattr(os, "sched_getaffinity"):
        usable = os.sched_getaffinity(0)

    def use(count: int) -> None:
        torch.set_num_threads(count)
        if usable is not None:
            os.sched_setaffinity(0, sorted(usable)[:count])

    yield use
    torch.set_num_threads(threads)
    if usable is not None:
        os.sched_setaffinity(0, usable)


def made(root: Path) -> dict[str, bytes]:
    files = [p for p in root.rglob("*") if p.is_file() and p.name not in TOLD]
    kept = [p for p in files if p.parent.name not in (".done", "checkpoints")]
    return {str(p.relative_to(root)): p.read_bytes() for p in kept}


@pytest.mark.parametrize("method", ["efficient4d", "consistent4d"])
def test_one_thread_and_two_make_the_same_bytes(method, tmp_path, monkeypatch, cores):
    fit = FitConfig(iterations=3, size=SIZE, hull=EFFICIENT.fit.hull)
    ship(monkeypatch, slab())
    if method == "efficient4d":
        config = replace(EFFICIENT, clip_size=SIZE, fit=fit)
        monkeypatch.setitem(efficient4d.PRESETS, "draft", config)
    else:
        config = replace(
            CONSISTENT,
            clip_size=SIZE,
            steps=4,
            milestones=(Milestone(0, SIZE, 1),),
            n_reg_samples=1024,
            distill=DistillConfig(views=4, elevations=(10.0,), size=SIZE),
            fit=fit,
            validate_every=2,
        )
        monkeypatch.setitem(consistent4d.PRESETS, "draft", config)
    clip = disc(tmp_path / "disc", 3, size=SIZE, radius=36)
    files = []
    for threads in (1, 2):
        cores(threads)
        out = tmp_path / str(threads) / "out"
        api.generate(clip, out=out, method=method, preset="draft", device="cpu", elevation=10.0)
        assert torch.get_num_threads() == threads, "the user's number is kept"
        files.append(made(out))
    differing = [name for name in files[0] if files[0][name] != files[1].get(name)]
    assert differing == []
    assert files[0].keys() == files[1].keys()


def test_a_video_does_not_depend_on_the_cores(tmp_path, cores):
    noise = torch.randint(0, 256, (96, 96, 3), generator=torch.Generator().manual_seed(0)).byte().numpy()
    written = []
    for count in (1, 2):
        cores(count)
        frames = (noise[i : i + 64, i : i + 64] for i in range(24))
        written.append(write_mp4(tmp_path / f"{count}.mp4", frames, 12.0).read_bytes())
    assert written[0] == written[1]


@pytest.mark.parametrize("to", list(FORMATS))
def test_an_export_does_not_depend_on_the_cores_and_the_time(to, tmp_path, cores, monkeypatch):
    coarse_meshes(monkeypatch)
    asset, written = ball_asset(tmp_path), []
    mesh = {"faces": 400} if "faces" in FORMATS[to].takes else {}
    options = options_for(to, size=96, frames=2 if mesh else 5, **mesh)
    for count in (1, 2):
        cores(count)
        if to == "usdz":
            time.sleep(2 * count - 2)  # a ZIP's clock counts two seconds
        out = tmp_path / str(count) / ("out" if FORMATS[to].sequence else f"out{FORMATS[to].ending}")
        written.append([p.read_bytes() for p in export(asset, to, out, options)])
    assert written[0] == written[1]


def test_work_that_does_not_depend_on_threads_has_them_all(cores):
    cores(1)
    with fixed_threads():
        assert torch.get_num_threads() == THREADS
        assert free_threads() == 1
        with fixed_threads():
            assert free_threads() == 1
    assert torch.get_num_threads() == free_threads() == 1
