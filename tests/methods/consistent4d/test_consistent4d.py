"""Consistent4D from a clip to an asset, with a tiny prior of random weights; what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from clips import disc
from tiny_frustum import ship, slab
from tiny_runs import CONSISTENT as TINY

from vid4d import api
from vid4d.dynerf.files import load_field
from vid4d.errors import InputError, MachineError
from vid4d.matrix.io import load_matrix
from vid4d.methods.consistent4d import limits, method
from vid4d.methods.consistent4d.trainer import Consistent4DTrainer
from vid4d.priors.base import PRIORS

OUTPUTS = "asset.safetensors dynerf.safetensors turntable.mp4 contact.png player.html strip.png report.json"


RUNS_ALONE = (("random", 0.0), ("spatial", 0.5), ("temporal", 0.5), ("single", 0.0))


@pytest.fixture
def tiny(monkeypatch):
    monkeypatch.setitem(method.PRESETS, "draft", TINY)
    ship(monkeypatch, slab(0))


def generate(clip: Path, out: Path, **settings) -> api.Asset:
    return api.generate(
        clip, out=out, method="consistent4d", preset="draft", device="cpu", elevation=10.0, **settings
    )


def test_a_clip_becomes_an_asset(tiny, tmp_path):
    """All outputs are there, validation videos as well, and a log that says where training stood."""
    clip, out = disc(tmp_path / "disc", 3), tmp_path / "a"
    asset = generate(clip, out)
    for name in OUTPUTS.split():
        assert (out / name).stat().st_size > 0, name
    matrix = load_matrix(out / "matrix")
    assert (matrix.views, matrix.frames) == (4, 3)
    assert matrix.input_images is not None
    assert matrix.input_images.shape == (3, 32, 32, 4)
    assert len(asset.gaussians) > 20
    for step in ("00003", "00006"):
        videos = sorted(p.name for p in (out / "validation" / f"step_{step}").iterdir())
        assert videos == [
            *(f"azimuth{a}.mp4" for a in (0, 180, 90)),
            *(f"turntable_time{t}.mp4" for t in ("0.00", "0.50", "1.00")),
        ]
    lines = [line for line in (out / "log.txt").read_text().splitlines() if "dynerf: step" in line]
    assert len(lines) == 3
    assert "step 4 of 6, 16 px, noise 0.20..0.40" in lines[1]
    assert "step 6 of 6, 24 px" in lines[2]
    assert all(name in lines[2] for name in ("color", "mask", "sds", "input PSNR"))


def test_a_run_that_was_stopped_ends_in_the_same_bytes(tiny, tmp_path, monkeypatch):
    """Stopped in the middle of training, behind a checkpoint: the DyNeRF is that of a run in one piece."""
    clip = disc(tmp_path / "disc", 3)
    monkeypatch.setattr("vid4d.outputs.write_outputs", lambda run, gaussians, matrix: None)
    generate(clip, tmp_path / "whole")
    advance = Consistent4DTrainer.advance

    def stopping(self) -> None:
        if self.step == 5:
            raise KeyboardInterrupt
        advance(self)

    monkeypatch.setattr(Consistent4DTrainer, "advance", stopping)
    with pytest.raises(KeyboardInterrupt):
        generate(clip, tmp_path / "stopped")
    assert not (tmp_path / "stopped" / "dynerf.safetensors").exists()
    monkeypatch.setattr(Consistent4DTrainer, "advance", advance)
    generate(clip, tmp_path / "stopped", resume=True)
    videos = sorted((tmp_path / "whole" / "validation").rglob("*.mp4"))
    assert len(videos) == 12
    for video in videos:
        name = video.relative_to(tmp_path / "whole")
        assert (tmp_path / "stopped" / name).read_bytes() == video.read_bytes(), name
    assert "goes on from step 4" in (tmp_path / "stopped" / "log.txt").read_text()
    for name in ("dynerf.safetensors", "asset.safetensors"):
        assert (tmp_path / "stopped" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name


def test_one_picture_becomes_a_static_object(tiny, tmp_path, monkeypatch):
    """One time step: one turntable, no videos over time, and the interpolation loss over azimuth only."""
    runs = TINY.batch.probabilities(1)
    assert runs["temporal"] == 0
    assert runs["spatial"] == 0.25
    monkeypatch.setattr("vid4d.outputs.write_outputs", lambda run, gaussians, matrix: None)
    picture = disc(tmp_path / "disc", 1) / "000.png"
    rows = tuple(f"batch.{kind}={share}" for kind, share in RUNS_ALONE)
    generate(picture, tmp_path / "a", tune=rows)
    field, _ = load_field(tmp_path / "a" / "dynerf.safetensors")
    assert [level.time.shape[2] for level in field.cascade] == [1, 1]
    videos = sorted(p.name for p in (tmp_path / "a" / "validation" / "step_00006").iterdir())
    assert videos == ["turntable_time0.00.mp4"]
    log = (tmp_path / "a" / "log.txt").read_text()
    assert "static" in log
    assert ", icl " in log, "views around it agree, too"


# What is refused


def test_presets_are_those_of_the_paper():
    """Level sizes, and that each is one the CLI knows."""
    sizes = {name: [lv.space for lv in c.levels.levels] for name, c in method.PRESETS.items()}
    assert sizes["standard"] == sizes["low-vram"] == [50, 100]
    assert sizes["four-level"] == sizes["high"] == [50, 100, 200, 200]
    standard = method.PRESETS["standard"]
    weights = standard.lambda_rgb, standard.lambda_mask, standard.lambda_sds, standard.lambda_icl
    assert (standard.steps, *weights) == (10_000, 500, 50, 0.1, 2500)
    assert method.PRESETS["low-vram"].levels.levels[1].channels == 8


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"preset": "low-vram", "method": "efficient4d"}, "efficient4d has no preset 'low-vram'"),
        ({"clip": ""}, "no clip was named"),
        ({"text": "a cat"}, "give one of them"),
    ],
)
def test_settings_that_do_not_go_together(tmp_path, settings, told):
    kept = {"clip": disc(tmp_path / "disc", 3), "method": "consistent4d", "preset": "draft"} | settings
    with pytest.raises(InputError, match=told):
        api.generate(kept.pop("clip"), out=tmp_path / "a", device="cpu", **kept)
    assert not (tmp_path / "a").exists()


def test_clips_that_cannot_be_used(tiny, tmp_path):
    """400 frames; nothing to be seen; an object that leaves the picture. No folder is left behind."""
    many = disc(tmp_path / "many", 400, size=24, radius=5, drift=0)
    with pytest.raises(InputError, match=r"400 key frames are more than the preset 'draft' .* --frames 24"):
        generate(many, tmp_path / "a", frames=400)
    empty = disc(tmp_path / "empty", 3, radius=0)
    with pytest.raises(InputError, match=r"is empty .*no object can be seen"):
        generate(empty, tmp_path / "b")
    leaving = disc(tmp_path / "leaving", 4, drift=40)
    with pytest.raises(InputError, match=r"is empty .*no object can be seen"):
        generate(leaving, tmp_path / "c", frames=4)
    for name in "bc":
        assert not (tmp_path / name).exists()


def test_an_object_at_the_border_is_warned_of(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr("vid4d.outputs.write_outputs", lambda run, gaussians, matrix: None)
    generate(disc(tmp_path / "disc", 3, drift=12), tmp_path / "a")
    assert "touches the border" in (tmp_path / "a" / "log.txt").read_text()


def test_a_preset_that_does_not_fit_is_refused_at_once(tiny, tmp_path, monkeypatch):
    """And one that fits is named. Needs grow with the field."""
    presets = method.PRESETS
    need = {name: limits.memory_needed(presets[name], PRIORS["frustum"].memory_gib) for name in presets}
    assert need["draft"] < need["low-vram"] < need["standard"] < need["four-level"]
    assert 8 > need["standard"] > 1
    monkeypatch.setattr(limits, "free_memory", lambda device: need["low-vram"] + 0.01)
    clip = disc(tmp_path / "disc", 3)
    with pytest.raises(MachineError, match=r"'four-level' needs about .* GiB .*: use --preset low-vram"):
        api.generate(clip, out=tmp_path / "a", method="consistent4d", preset="four-level", device="cpu")
    assert not (tmp_path / "a").exists()
    monkeypatch.setattr(limits, "free_memory", lambda device: 0.1)
    with pytest.raises(InputError, match="use a machine with more"):
        generate(clip, tmp_path / "a")
    there = limits.free_memory
    monkeypatch.undo()
    assert there("cpu") == 0.1
    real = limits.free_memory("cpu")
    assert real is None or real > 0.1


def test_settings_reach_the_run_folder(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr("vid4d.outputs.write_outputs", lambda run, gaussians, matrix: None)
    generate(disc(tmp_path / "disc", 3), tmp_path / "a")
    told = json.loads((tmp_path / "a" / "settings.json").read_text())["settings"]
    assert told["method"] == "consistent4d"
    config = json.loads((tmp_path / "a" / "config.json").read_text())
    assert (config["steps"], config["levels"]["levels"][1]["space"]) == (6, 20)
