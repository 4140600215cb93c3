"""`vid4d generate --prior`: published weights, converted, from a clip to an asset; tiny networks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from clips import disc
from published import write_weights
from tiny_frustum import ship, tiny_frustum

from vid4d import api, cli
from vid4d.batch.work import make_clip
from vid4d.errors import InputError
from vid4d.gaussians.fit_config import FitConfig
from vid4d.gaussians.hull import HullConfig
from vid4d.matrix.io import load_matrix
from vid4d.methods import efficient4d
from vid4d.methods.efficient4d import Efficient4DConfig
from vid4d.priors import multiview_sampling
from vid4d.priors.base import DrawRequest
from vid4d.priors.multiview_sampling import FullConfig, configured
from vid4d.runs.progress import Progress
from vid4d.settings import Settings

TINY = Efficient4DConfig(
    frames=3,
    n_interpolated=0,
    clip_size=64,
    fit=FitConfig(iterations=3, size=32, hull=HullConfig(resolution=32, splats=40, min_splats=80)),
)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return write_weights(tmp_path_factory.mktemp("weights"))


@pytest.fixture
def tiny(weights, monkeypatch):
    monkeypatch.setenv("VID4D_WEIGHTS", str(weights))
    monkeypatch.setitem(efficient4d.PRESETS, "draft", TINY)
    monkeypatch.setitem(multiview_sampling.PRESETS, "draft", FullConfig(steps=2))
    ship(monkeypatch, tiny_frustum())


@pytest.fixture
def clip(tmp_path) -> Path:
    return disc(tmp_path / "disc", 3)


def matrix_of(clip, out, **settings):
    chosen = Settings(clip=str(clip), preset="draft", device="cpu", elevation=10.0, **settings)
    root = api.make_matrix(chosen, out=out, resume=False, progress=Progress(quiet=True))
    return load_matrix(root / "matrix")


def test_a_clip_becomes_an_asset_through_syncdreamer(tiny, clip, tmp_path, monkeypatch):
    monkeypatch.setattr("vid4d.outputs.write_outputs", lambda run, gaussians, matrix: None)
    arguments = ["generate", str(clip), "--prior", "syncdreamer", "--preset", "draft", "--device", "cpu"]
    cli.main([*arguments, "--elevation", "10", "--memory", "4", "--out", str(tmp_path / "a")])
    matrix = load_matrix(tmp_path / "a" / "matrix")
    assert matrix.images.shape == (4, 3, 64, 64, 4)
    assert len(api.load(tmp_path / "a").gaussians) > 10


def test_too_little_memory_is_no_verdict_on_the_clips_of_a_batch(tiny, clip, tmp_path, monkeypatch):
    monkeypatch.setattr("vid4d.outputs.write_outputs", lambda run, gaussians, matrix: None)
    chosen = api.resolved(
        Settings(clip="any", prior="syncdreamer", preset="draft", device="cpu", elevation=10.0)
    )
    for memory, status in ((5e-4, "failed"), (4.0, "done")):
        settings = replace(chosen, memory=memory)
        outcome = make_clip(str(clip), settings, tmp_path / "runs")
        assert outcome is not None
        assert outcome.record.status == status, outcome.record.error
        assert outcome.record.attempts == (status == "done")


def test_cards_that_are_not_there_are_refused(tiny, clip, tmp_path):
    with pytest.raises(InputError, match="--devices 2 are graphics cards, and --device is cpu"):
        api.generate(clip, out=tmp_path / "a", prior="syncdreamer", device="cpu", devices=2)
    assert not (tmp_path / "a").exists()


def test_zero123_makes_all_views_of_the_rig(tiny, clip, tmp_path):
    matrix = matrix_of(clip, tmp_path / "a", prior="zero123-xl")
    assert matrix.images.shape == (16, 3, 64, 64, 4)
    torch.testing.assert_close(matrix.cameras.azimuth, torch.arange(16) * 22.5, atol=1e-3, rtol=0)
    assert matrix.cameras.elevation.mean().item() == pytest.approx(30, abs=1e-3)


def test_the_settings_reach_the_prior(tiny, clip, tmp_path, monkeypatch):
    asked = []

    def noted(prior, frames, elevation, config, **more):
        asked.append((frames.shape, elevation, config))
        return torch.ones(4, len(frames), 64, 64, 4)

    monkeypatch.setattr(multiview_sampling, "sample_full_prior", noted)
    matrix_of(clip, tmp_path / "a", prior="syncdreamer", sampler="unipc", steps=7, memory=11.0)
    expected = FullConfig(steps=7, sampler="unipc", memory_gb=11.0)
    assert asked == [((3, 64, 64, 4), 10.0, expected)]


def test_presets_and_what_is_told():
    assert configured(DrawRequest()) == FullConfig(steps=20, sampler="unipc")
    assert configured(DrawRequest(sampler="unipc")) == configured(DrawRequest())
    assert configured(DrawRequest(sampler="dpm")) == FullConfig(steps=20, sampler="dpm")
    assert configured(DrawRequest("draft", "ddim")) == FullConfig(steps=50, sampler="ddim")
    assert configured(DrawRequest("high", steps=30, memory_gb=12.0)) == FullConfig(steps=30, memory_gb=12.0)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (
            {"prior": "zero123-xl"},
            r"zero123-xl are not on this machine.*weights fetch zero123-xl \(.*15.5 GB",
        ),
        ({"prior": "syncdreamer"}, r"syncdreamer-pretrain.ckpt \(5.6 GB\) by hand.*weights convert"),
        ({"prior": "syncdreamer", "method": "consistent4d"}, "cannot use the prior syncdreamer"),
        ({"steps": 0}, "0 sampling steps"),
        ({"memory": -1.0}, "-1 GB"),
        ({"devices": 0}, "0 graphics cards"),
        ({"devices": 2}, "--devices has no effect, for the prior frustum"),
        ({"devices": 2, "method": "consistent4d"}, "--devices has no effect, for the prior frustum"),
        ({"steps": 5, "method": "consistent4d"}, "--steps has no effect, .*leave it out"),
    ],
)
def test_what_cannot_work_is_refused_before_a_folder_is_made(clip, tmp_path, monkeypatch, settings, sentence):
    monkeypatch.setenv("VID4D_WEIGHTS", str(tmp_path / "empty"))
    with pytest.raises(InputError, match=sentence):
        api.generate(clip, out=tmp_path / "a", **settings)
    assert not (tmp_path / "a").exists()
    assert not (tmp_path / "empty").exists()
