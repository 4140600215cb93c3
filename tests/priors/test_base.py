"""The table of priors: a new one is a file and a row, and every row holds what it says."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from types import ModuleType

import pytest
import torch
from clips import disc
from tiny_frustum import tiny_frustum

from vid4d import api
from vid4d.cameras import Cameras
from vid4d.dynerf import FieldConfig, LevelConfig
from vid4d.errors import InputError
from vid4d.gaussians.fit_config import FitConfig
from vid4d.gaussians.hull import HullConfig
from vid4d.matrix.io import load_matrix
from vid4d.methods import efficient4d
from vid4d.methods.consistent4d.batches import Milestone
from vid4d.methods.consistent4d.config import PRESETS, Consistent4DConfig
from vid4d.methods.consistent4d.views import DistillConfig
from vid4d.methods.efficient4d import Efficient4DConfig
from vid4d.priors.base import (
    DEFAULT_PRIORS,
    PRIORS,
    DrawnViews,
    DrawRequest,
    ElevationGuess,
    PriorSpec,
    guess_elevation,
    load_matrix_prior,
    load_score_prior,
    named_object,
    priors_with,
)
from vid4d.priors.samplers import NoiseSchedule

FIT = FitConfig(iterations=4, size=32, hull=HullConfig(resolution=32, splats=40, min_splats=80))


class Mirror:
    """Draws the frames again from every side, and wants all renders to be as bright as they are."""

    image_size = 32
    schedule = NoiseSchedule.scaled_linear()

    def draw(self, frames, elevation, request, *, cyclic=False, generator=None, progress=None):
        assert isinstance(request, DrawRequest)
        progress(1, 1)
        cameras = Cameras.orbit([0.0, 90.0, 180.0, 270.0], elevation, size=self.image_size)
        return DrawnViews(frames.expand(4, *frames.shape), cameras)

    def view(self, cameras, frame):
        return len(cameras)

    def sds_loss(self, color, alpha, t, view, generator=None):
        assert color.shape[:2] == alpha.shape[:2]
        assert color.shape[1] == len(t) == view
        return 0 * color.sum()


@pytest.fixture
def toy(monkeypatch):
    """All that a new prior takes: a module, and a row."""
    module = ModuleType("toy_prior")
    module.load_matrix = lambda name, device="cpu": Mirror()
    module.load_score = lambda name, frames, elevation, device="cpu", *, guidance=None: Mirror()
    module.guess = lambda frames, device="cpu": ElevationGuess(12.0, None)
    monkeypatch.setitem(sys.modules, "toy_prior", module)
    entries = ("toy_prior:load_matrix", "toy_prior:load_score", "toy_prior:guess")
    row = PriorSpec(*entries, image_size=32, memory_gib=0.1)
    monkeypatch.setitem(PRIORS, "toy", row)


def test_a_new_prior_draws_for_efficient4d(toy, tmp_path, monkeypatch):
    monkeypatch.setitem(efficient4d.PRESETS, "draft", Efficient4DConfig(3, 0, clip_size=32, fit=FIT))
    asset = api.generate(
        disc(tmp_path / "disc", 3), out=tmp_path / "a", prior="toy", preset="draft", device="cpu"
    )
    matrix = load_matrix(asset.root / "matrix")
    assert (matrix.views, matrix.frames) == (4, 3)
    torch.testing.assert_close(matrix.cameras.azimuth, torch.arange(4) * 90.0, atol=1e-3, rtol=0)
    torch.testing.assert_close(matrix.cameras.elevation, torch.full((4,), 12.0), atol=1e-3, rtol=0)
    assert (tmp_path / "a" / "report.html").is_file()


def test_a_new_prior_scores_for_consistent4d(toy, tmp_path, monkeypatch):
    config = Consistent4DConfig(
        frames=3,
        clip_size=32,
        levels=FieldConfig((LevelConfig(12, 3, 4, 8),)),
        steps=4,
        milestones=(Milestone(0, 16, 2),),
        n_reg_samples=64,
        samples_per_ray=32,
        grid_resolution=8,
        distill=DistillConfig(views=4, elevations=(10.0,), size=24),
        fit=FIT,
        validate_size=16,
    )
    monkeypatch.setitem(PRESETS, "draft", config)
    asset = api.generate(
        disc(tmp_path / "disc", 3),
        out=tmp_path / "a",
        method="consistent4d",
        prior="toy",
        preset="draft",
        elevation=10,
        device="cpu",
    )
    assert len(asset.gaussians) > 20
    assert "dynerf: step 4 of 4" in (tmp_path / "a" / "log.txt").read_text()


def test_where_a_prior_guesses_no_elevation_the_default_one_does(toy, monkeypatch):
    frames = torch.zeros(2, 8, 8, 4)
    assert guess_elevation("toy", frames) == (12.0, None)
    monkeypatch.setitem(PRIORS, "toy", replace(PRIORS["toy"], elevation=None))
    monkeypatch.setattr("vid4d.priors.frustum.elevation.load_frustum_volume", lambda device: tiny_frustum())
    other = guess_elevation("toy", frames)
    assert other == guess_elevation(DEFAULT_PRIORS["elevation"], frames)
    assert other.degrees != 12.0


@pytest.mark.parametrize("shape", [(4, 3, 4, 16, 8), (2, 3, 16, 8, 4), (4, 3, 16, 8, 3), (4, 16, 8, 4)])
def test_pictures_that_are_not_their_cameras_are_told_with_both_shapes(shape):
    cameras = replace(Cameras.ring(4, size=8), height=16)
    assert DrawnViews(torch.zeros(4, 3, 16, 8, 4), cameras).cameras is cameras
    with pytest.raises(ValueError, match="a prior drew pictures of shape") as error:
        DrawnViews(torch.zeros(shape), cameras)
    assert str(shape) in str(error.value)
    assert "its 4 cameras want (4, t, 16, 8, 4)" in str(error.value)


def test_the_table_is_light():
    code = "import sys, vid4d.priors.base; raise SystemExit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


@pytest.mark.parametrize("name", PRIORS)
def test_rows_name_what_there_is(name):
    spec = PRIORS[name]
    entries = [
        e for e in (spec.matrix, spec.score, spec.elevation, spec.weights and spec.weights.network) if e
    ]
    assert entries
    assert all(named_object(entry) is not None for entry in entries)
    assert spec.licence
    assert spec.help
    assert spec.memory_gib > 0


def test_what_a_prior_does_not_offer_is_refused(monkeypatch):
    monkeypatch.setitem(PRIORS, "blind", PriorSpec(score="toy_prior:load_score"))
    assert "blind" not in priors_with("matrix")
    with pytest.raises(InputError, match="blind cannot draw an image matrix: choose one of frustum"):
        load_matrix_prior("blind")
    with pytest.raises(InputError, match="no prior 'other': choose one of frustum"):
        load_score_prior("other", torch.zeros(1, 8, 8, 4), 0.0)


def test_what_auto_stands_for_comes_with_the_package():
    for need, name in DEFAULT_PRIORS.items():
        assert PRIORS[name].offers(need)
        assert PRIORS[name].weights is None
