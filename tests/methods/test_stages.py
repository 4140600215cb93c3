"""What the stages that all methods share compute and keep."""

from __future__ import annotations

import inspect
import math
from dataclasses import replace
from importlib import import_module

import pytest
import torch
from toys import jumping_ball, toy_matrix

from vid4d import api
from vid4d.clip.keyframes import count_for
from vid4d.gaussians.fit_config import FitConfig
from vid4d.gaussians.model import load_asset
from vid4d.methods import stages
from vid4d.outputs import input_psnr
from vid4d.priors.base import DEFAULT_PRIORS, ElevationGuess
from vid4d.runs.progress import Bar
from vid4d.runs.run import Run
from vid4d.settings import Settings


@pytest.fixture
def run(tmp_path) -> Run:
    run = Run.create(tmp_path / "run", Settings(clip="toy", seed=1))
    run.device = "cpu"
    return run


def test_input_psnr_by_hand():
    """Frames that are the asset's own renders, darkened by 0.1 where the ball is opaque."""
    matrix, ball = toy_matrix(), jumping_ball(80)
    assert input_psnr(ball, matrix) > 60
    assert matrix.input_images is not None
    shifted = matrix.input_images.clone()
    alpha = shifted[..., 3:]
    error = torch.where(alpha > 0.5, 0.1 / alpha.clamp(min=0.5), 0.0)
    shifted[..., :3] = (shifted[..., :3] + error).clamp(max=2)
    share = (alpha > 0.5).float().mean(dim=(1, 2, 3))
    expected = sum(-10 * math.log10(0.01 * s) for s in share.tolist()) / len(share)
    score = input_psnr(ball, replace(matrix, input_images=shifted))
    assert score == pytest.approx(expected, abs=0.1)
    assert input_psnr(ball, replace(matrix, input_images=None)) is None
    second = -10 * math.log10(0.01 * float(share[1]))
    assert matrix.input_times is not None
    times = [float(matrix.input_times[1])]
    assert input_psnr(ball, replace(matrix, input_images=shifted), times) == pytest.approx(second, abs=0.1)
    assert input_psnr(ball, matrix, [0.123]) is None


def test_a_guess_just_below_level_is_said_without_a_sign(run, monkeypatch):
    monkeypatch.setattr(stages, "guess_elevation", lambda name, frames, device: ElevationGuess(-0.4, 1.0))
    run.settings = replace(run.settings, prior="frustum")
    assert stages.input_elevation(run, torch.zeros(1, 8, 8, 4)) == -0.4
    assert "look down by 0 degrees" in run.path("log.txt").read_text()


@pytest.mark.parametrize(
    ("prior", "told", "warned"),
    [
        ("frustum", -10.0, False),
        ("frustum", 40.0, False),
        ("frustum", 80.0, True),
        ("frustum", -11.0, True),
        ("zero123", 80.0, False),
    ],
)
def test_an_elevation_that_the_prior_has_not_learned_is_taken_with_a_warning(run, prior, told, warned):
    run.settings = replace(run.settings, prior=prior, elevation=told)
    assert stages.input_elevation(run, torch.zeros(1, 8, 8, 4)) == told
    log = run.path("log.txt").read_text()
    assert (f"-10 to 40 degrees, this one looks down by {told:g}" in log) == warned


def test_an_asset_is_kept_with_what_players_need(run):
    """Three moments in two seconds: two steps of one second, or in a loop three of two thirds."""
    matrix = replace(toy_matrix(), seconds=2.0)
    for cyclic, fps in ((False, 1.0), (True, 1.5)):
        ball = replace(jumping_ball(20), cyclic=cyclic)
        stages.keep_asset(run, ball, matrix)
        kept, metadata = load_asset(run.path("asset.safetensors"))
        assert torch.equal(kept.means, ball.means)
        assert (float(metadata["seconds"]), float(metadata["fps"])) == (2.0, fps)
        assert metadata["cyclic"] == str(cyclic).lower()


def test_the_same_asset_is_the_same_bytes(run):
    data = set()
    for _ in range(5):
        stages.keep_asset(run, jumping_ball(20), toy_matrix())
        data.add(run.path("asset.safetensors").read_bytes())
    assert len(data) == 1
    header_length = int.from_bytes(data.pop()[:8], "little")
    assert header_length % 8 == 0


def test_an_interrupted_fit_goes_on_from_its_checkpoint(run, monkeypatch):
    """Stopped in its middle and resumed gives the bytes of a fit that was never stopped."""
    config = FitConfig(iterations=8, checkpoint_every=2, report_every=2, size=32)
    matrix = toy_matrix()
    assert len(stages.fit_asset(run, matrix, config)) > 100
    whole = run.path("asset.safetensors").read_bytes()

    second = Run.create(run.root.parent / "second", run.settings)
    second.device = "cpu"

    class Stopping(Bar):
        def update(self, done, total=None, **numbers):
            if done >= 4:
                raise KeyboardInterrupt

    def stage(name, make, save, load):
        return make(Stopping(lambda bar: None))

    with monkeypatch.context() as patch:
        patch.setattr(second, "stage", stage)
        with pytest.raises(KeyboardInterrupt):
            stages.fit_asset(second, matrix, config)
    assert second.checkpoint("fit").is_file()
    stages.fit_asset(second, matrix, config)
    assert second.path("asset.safetensors").read_bytes() == whole


@pytest.mark.parametrize("name", api.METHODS)
def test_every_method_has_what_the_protocol_asks(name: str) -> None:
    module = vars(import_module(api.METHODS[name]))
    assert set(api.COMMON_PRESETS) <= set(module["PRESETS"])
    assert module["NEEDS"] in DEFAULT_PRIORS
    assert isinstance(module["FROM_TEXT"], bool)
    for step in ("make_matrix", "make_asset"):
        asked = list(inspect.signature(getattr(api.Method, step)).parameters)[1:]
        assert list(inspect.signature(module[step]).parameters) == asked


@pytest.mark.parametrize(
    ("asked", "seconds", "keys", "dense"),
    [
        ((None, None), 4.2, 8, 64),  # as many as ever, up to MEANT seconds
        ((None, None), 30.0, 60, 120),
        ((None, None), 600.0, 128, 256),  # an hour is not begun unasked
        ((None, 8.0), 600.0, 4800, 2400),  # key frames alone
        ((None, 4.0), 1.5, 6, 64),
        ((None, 0.1), 1.5, 2, 64),
        ((12, None), 30.0, 12, 64),
    ],
)
def test_how_many_frames_a_clip_gets(asked, seconds, keys, dense) -> None:
    c = stages.counts(*asked, 8, 64, by_length=True)
    lasts = min(seconds, c.get("rate_until", math.inf))
    assert count_for(c["frames"], c.get("rate", 0.0), lasts) == keys
    assert count_for(c["dense"], c.get("dense_rate", 0.0), lasts) == dense


def test_a_method_that_does_not_ask_gets_what_it_named() -> None:
    assert stages.counts(None, None, 8, 0, by_length=False) == {"frames": 8, "dense": 0}
