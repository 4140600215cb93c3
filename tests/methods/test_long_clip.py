"""Clips of any length: drawn and fitted in parts, as a whole would be."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from clips import disc
from ellipsoids import matrix as moving_matrix
from ellipsoids import picture
from test_efficient4d import generate
from tiny_frustum import ship, slab
from tiny_runs import EFFICIENT as TINY

from vid4d import api
from vid4d.cameras import Cameras
from vid4d.clip.clip import Clip
from vid4d.clip.files import path_of
from vid4d.files.manifest import MANIFEST
from vid4d.gaussians.densify import DensifyConfig
from vid4d.gaussians.fit_config import FitConfig
from vid4d.gaussians.hull import HullConfig
from vid4d.matrix.io import load_matrix, save_matrix
from vid4d.matrix.stored import open_matrix
from vid4d.methods import efficient4d, long_clip
from vid4d.methods.long_clip import Segment, fit_segments, segments
from vid4d.metrics import psnr
from vid4d.priors.frustum import prior
from vid4d.render import render_asset
from vid4d.runs.progress import Progress
from vid4d.runs.run import Run
from vid4d.settings import Settings

KEYS = 8
"""Of a long clip, as these tests have it."""


@pytest.fixture
def tiny(monkeypatch):
    monkeypatch.setitem(efficient4d.PRESETS, "draft", TINY)
    ship(monkeypatch, slab())


@pytest.fixture
def short_is_long(tiny, monkeypatch):
    monkeypatch.setattr(long_clip, "WHOLE", 4)
    monkeypatch.setattr(long_clip, "SEGMENT", 4)


def test_segments_cover_a_clip():
    thirds = [Segment(0, 7, 0, 9), Segment(7, 13, 5, 15), Segment(13, 20, 11, 20)]
    assert segments(20, 7, 2, cyclic=False) == thirds
    assert segments(20, 10, 2, cyclic=True) == [Segment(0, 10, -2, 12), Segment(10, 20, 8, 22)]
    assert segments(5, 7, 2, cyclic=False) == [Segment(0, 5, 0, 5)]


@pytest.mark.parametrize(("keys", "cyclic"), [(14, "no"), (8, "yes")])
def test_a_matrix_in_parts_is_that_of_the_whole(tiny, tmp_path, monkeypatch, keys, cyclic):
    """Smoothing over time, frames between and confidence know their neighbours."""
    clip = disc(tmp_path / "disc", keys, drift=0.5)
    settings = Settings(
        clip=str(clip), frames=keys, cyclic=cyclic, elevation=10.0, preset="draft", device="cpu"
    )
    for run in ("whole", "parts"):
        api.make_matrix(settings, out=tmp_path / run, resume=False, progress=Progress(quiet=True))
        monkeypatch.setattr(long_clip, "WHOLE", 4)
    whole, parts = (load_matrix(tmp_path / run / "matrix") for run in ("whole", "parts"))
    assert parts.cyclic == (cyclic == "yes")
    assert torch.equal(parts.times, whole.times)
    assert (parts.images - whole.images).abs().max() <= 1.01 / 255
    assert parts.confidence is not None
    assert whole.confidence is not None
    assert (parts.confidence - whole.confidence).abs().mean() < 1e-3
    assert torch.equal(parts.input_images, whole.input_images)


def test_a_long_clip_becomes_an_asset_and_goes_on_where_it_stopped(short_is_long, tmp_path, monkeypatch):
    clip = disc(tmp_path / "disc", KEYS, drift=0.5)
    first = generate(clip, tmp_path / "a", frames=KEYS, cyclic="no")
    assert first.metadata.fps == pytest.approx((2 * KEYS - 2) / first.seconds)
    checkpoints = sorted(p.name for p in (tmp_path / "a" / "checkpoints").iterdir())
    assert checkpoints == ["fit__0000.safetensors", "fit__0001.safetensors"]
    whole = first.path.read_bytes()
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    for stage in ("fit", "contact", "turntable", "player", "report"):
        (tmp_path / "b" / ".done" / stage).unlink()
    fitted = []

    def stopped(*arguments, **options):
        fitted.append(options["checkpoint_path"].exists())
        return whole_fit(*arguments, **options)

    whole_fit = long_clip.fit
    monkeypatch.setattr(long_clip, "fit", stopped)
    monkeypatch.setattr("vid4d.outputs.write_outputs", lambda *_: None)
    (tmp_path / "b" / "checkpoints" / "fit__0001.safetensors").unlink()
    assert generate(clip, tmp_path / "b", frames=KEYS, cyclic="no", resume=True).path.read_bytes() == whole
    assert fitted == [True, False], "the first segment was read, the second fitted again"


class Stopped(BaseException):
    """As Ctrl-C."""


def test_a_matrix_that_was_stopped_goes_on_where_it_was(short_is_long, tmp_path, monkeypatch):
    """Moments that were drawn are not drawn again, but for one that is damaged, and those after it."""
    clip = disc(tmp_path / "disc", KEYS, drift=0.5)
    chosen = Settings(clip=str(clip), frames=KEYS, cyclic="yes", elevation=10.0, preset="draft", device="cpu")

    def made(out: str, resume: bool = False) -> dict[str, bytes]:
        api.make_matrix(chosen, out=tmp_path / out, resume=resume, progress=Progress(quiet=True))
        return {p.name: p.read_bytes() for p in (tmp_path / out / "matrix").rglob("*.png")}

    whole = made("whole")
    assert not list((tmp_path / "whole" / "checkpoints").iterdir())
    assert "matrix__" not in (tmp_path / "whole" / MANIFEST).read_text()
    rendered, drawn = prior.render_solid, []
    monkeypatch.setattr(prior, "render_solid", lambda *a, **k: (drawn.append(1), rendered(*a, **k))[1])

    def stop(folder: Path, kind: str, index: int, images: torch.Tensor) -> None:
        if (kind, index) == ("images", 9):  # 9 is between key frames 4 and 5
            raise Stopped
        write(folder, kind, index, images)

    write = long_clip.write_moment
    with monkeypatch.context() as patch:
        patch.setattr(long_clip, "write_moment", stop)
        with pytest.raises(Stopped):
            made("stopped")
    kept = sorted((tmp_path / "stopped" / "checkpoints").iterdir())
    assert [p.name for p in kept] == [f"matrix__{i:04d}.safetensors" for i in range(6)]
    shutil.copytree(tmp_path / "stopped", tmp_path / "damaged")
    drawn.clear()
    assert made("stopped", resume=True) == whole
    assert len(drawn) == KEYS - 6
    damaged = tmp_path / "damaged" / "checkpoints" / "matrix__0003.safetensors"
    damaged.write_bytes(damaged.read_bytes()[:-9])
    drawn.clear()
    assert made("damaged", resume=True) == whole
    assert len(drawn) == KEYS - 3
    assert not list((tmp_path / "damaged" / "checkpoints").iterdir())


def test_the_window_of_a_long_clip_follows_its_object(short_is_long, tmp_path):
    """A disc that rises through the picture, 9 pixels a frame: its pictures stay in their place, and the path
    is that of all frames."""
    chosen = Settings(
        clip=str(disc(tmp_path / "disc", KEYS, size=160, radius=10, drift=9)),
        **{"frames": KEYS, "cyclic": "no", "follow": "yes", "elevation": 0.0, "preset": "draft"},
        device="cpu",
    )
    root = api.make_matrix(chosen, out=tmp_path / "a", resume=False, progress=Progress(quiet=True))
    found = path_of(root / "frames")
    assert found is not None
    steps = np.diff(found[1], axis=0)
    np.testing.assert_allclose(steps, np.tile(steps.mean(0), (KEYS - 1, 1)), atol=0.05)
    assert abs(steps.mean(0)[1]) > 0.2 > abs(steps.mean(0)[0])
    pictures = open_matrix(root / "matrix").part(range(2 * KEYS - 1), []).images[0]
    middles = (pictures[..., 3].sum(2) * torch.arange(32)).sum(1) / pictures[..., 3].sum((1, 2))
    assert (middles - middles.mean()).abs().max() < 3, "of 32 pixels"


def test_what_needs_the_whole_says_so(short_is_long, tmp_path):
    clip = Clip(np.zeros((6, 8, 8, 4), np.uint8), np.linspace(0, 1, 6), 3.0)
    for settings, long in ({}, True), ({"refine": True}, False), ({"also": ("a.mp4@90",)}, False):
        out = tmp_path / str(len(list(tmp_path.iterdir())))
        run = Run.create(out, Settings(clip="a.mp4", prior="frustum", device="cpu", **settings))
        assert long_clip.is_long(run, clip) == long
        assert ("needs all 6 key frames at once" in (out / "log.txt").read_text()) != long
        assert not long_clip.is_long(run, replace(clip, keys=(0, 2, 4, 5)))


def quality(gaussians, time: float, true_time: float) -> float:
    """PSNR of views that were not in the matrix."""
    cameras = Cameras.orbit([15.0, 135.0, 255.0], 15.0, size=48)
    truth = picture(cameras, true_time)
    seen = render_asset(gaussians, cameras, time, background=1.0)
    return float(psnr(seen, truth[..., :3] * truth[..., 3:] + 1 - truth[..., 3:]).mean())


@pytest.mark.parametrize("cyclic", [False, True])
def test_seams_are_as_good_as_the_rest(tmp_path: Path, cyclic: bool) -> None:
    """A moving object in two segments: at their seams, and in the middle of one of them."""
    matrix = moving_matrix(8, 9, 48)
    if cyclic:  # there and back
        images = torch.cat([matrix.images, matrix.images[:, 1:-1].flip(1)], 1)
        matrix = replace(matrix, images=images, times=torch.arange(16) / 16, cyclic=True)
    save_matrix(matrix, tmp_path / "matrix")
    stored = open_matrix(tmp_path / "matrix")
    config = FitConfig(
        iterations=80,
        hull=HullConfig(resolution=64, splats=150, min_splats=0),
        densify=DensifyConfig(max_splats=1500, n_densify=2),
    )
    plan = segments(stored.frames, 8 if cyclic else 5, 2, cyclic=cyclic)
    assert len(plan) == 2
    splats = fit_segments(stored, config, plan, seed=1)
    assert splats.cyclic == cyclic
    seams, middle = ([0.0, 0.5], 0.25) if cyclic else ([0.5], 0.25)
    true = 2.0 if cyclic else 1.0
    inside = quality(splats, middle, true * middle)
    assert inside > 28
    assert min(quality(splats, time, true * time) for time in seams) > inside - 2
