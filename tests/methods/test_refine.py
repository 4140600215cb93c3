"""Refinement of fitted Gaussians: what score and consistency pull at, and the stage in a run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from clips import disc
from tiny_frustum import ship, slab
from tiny_runs import EFFICIENT
from toys import jumping_ball, toy_matrix

from vid4d import api
from vid4d.cameras import Cameras
from vid4d.errors import InputError
from vid4d.gaussians.fit import FitState, fit
from vid4d.gaussians.fit_config import FitConfig
from vid4d.gaussians.model import load_asset
from vid4d.gaussians.raster import rasterize_4d
from vid4d.methods import efficient4d
from vid4d.methods.consistent4d.batches import BatchConfig, draw_batch
from vid4d.methods.refine import PriorGuide, RefineConfig, prior_guide, refine_config
from vid4d.metrics.losses import interpolation_consistency
from vid4d.priors.samplers import NoiseSchedule
from vid4d.priors.score import LatentScorePrior
from vid4d.settings import Settings

CONFIG = RefineConfig(steps=4, every=2, size=32, batch=3)
TINY = replace(EFFICIENT, refine=CONFIG)
TIMES = torch.tensor([0.0, 0.5, 1.0])
CAMERA = Cameras.orbit([0.0], 10.0, size=64)


class Blue(LatentScorePrior):
    """A prior whose latents are the pixels, and which always wants blue."""

    def __init__(self) -> None:
        self.schedule = NoiseSchedule.scaled_linear()

    def encode(self, color, alpha):
        return color.permute(0, 3, 1, 2)

    def view(self, cameras, frame):
        return torch.tensor([0.0, 0.0, 1.0]).view(3, 1, 1)

    def predict(self, noisy, t, view):
        alpha, sigma = self.schedule.alpha_sigma(t, noisy[0])
        return (noisy - alpha * view) / sigma


def fading(a, b, share):
    return torch.lerp(a, b, share[:, None, None, None])


def guide(config: RefineConfig = CONFIG, identity: str = "") -> PriorGuide:
    return PriorGuide(config, Blue(), fading, TIMES, CAMERA, identity=identity)


def test_the_score_pulls_at_what_the_clip_does_not_show():
    """With a small share for what it shows, its front has less of the gradient, the back as much as ever."""
    views = BatchConfig(1.0, 0.0, 0.0, 0.0, elevation=(0.0, 20.0))
    gradients = []
    for share in (1.0, 0.0):
        ball = jumping_ball(200, moments=3).trainable()
        loss = guide(replace(CONFIG, views=views, icl_weight=0.0, observed_weight=share))
        for step in range(1, 80, 2):
            found = loss(ball, step)
            assert found is not None
            found[0].backward()
            assert found[1].any()
        assert ball.sh.grad is not None
        gradients.append(ball.sh.grad[:, 0, 0])
    x = ball.means.detach()[:, 0]
    whole, less = ((g[x > 0.15].abs().mean(), g[x < -0.15].abs().mean()) for g in gradients)
    assert less[0] < 0.5 * whole[0]
    assert less[1] > 0.95 * whole[1]
    back = gradients[1][x < -0.15].mean(0)
    assert (back[:2] > 0).all(), "less red and green"
    assert back[2] < 0, "more blue"


def test_consistency_is_that_of_the_renders_in_a_row():
    views = BatchConfig(0.0, 1.0, 0.0, 0.0)
    ball, config = jumping_ball(100, moments=2), replace(CONFIG, views=views, sds_weight=0.0)
    found = guide(config)(ball, 1)
    assert found is not None
    batch = draw_batch(views, 0, 1, batch=3, frames=3)
    render = rasterize_4d(ball, TIMES[batch.frame], batch.cameras(32), background=0.0)
    pictures = torch.cat([render.color, render.alpha[..., None]], -1)
    expected = config.icl_weight * interpolation_consistency(pictures, fading)
    assert expected > 0
    torch.testing.assert_close(found[0], expected)
    assert guide(config)(ball, 2) is None, "every second step is left out"


def test_a_fit_goes_on_from_given_splats_towards_the_guide(tmp_path):
    """Other splats than the hull's, and other ones with a guide than without."""
    matrix, start = toy_matrix(), jumping_ball(80)
    config = refine_config(FitConfig(size=32), replace(CONFIG, steps=6))
    alone, _ = fit(matrix, config, start=start)
    path = tmp_path / "a.safetensors"
    guided, report = fit(matrix, config, start=start, guide=guide(), checkpoint_path=path)
    assert len(alone) == len(guided) == len(start)
    assert (alone.means - start.means).abs().max() < 0.05
    assert (guided.sh - alone.sh).abs().max() > 1e-4
    assert report.iterations == 6
    again, _ = fit(matrix, config, start=start, guide=guide(), checkpoint_path=path, resume=True)
    assert torch.equal(again.means, guided.means)
    for other in ({"guide": guide(identity="another clip")}, {"guide": guide(), "start": alone}, {}):
        with pytest.raises(InputError, match="another"):
            fit(matrix, config, checkpoint_path=path, resume=True, **({"start": start} | other))


def test_a_matrix_without_a_clip_has_nothing_for_a_prior():
    matrix = replace(toy_matrix(), input_images=None, input_camera=None, input_times=None)
    with pytest.raises(ValueError, match="knows no clip"):
        prior_guide(torch.zeros(1, 32, 32, 4), torch.zeros(1), matrix, CONFIG, prior="frustum")


@pytest.fixture
def clip(tmp_path, monkeypatch) -> Path:
    monkeypatch.setitem(efficient4d.PRESETS, "draft", TINY)
    ship(monkeypatch, slab())
    return disc(tmp_path / "disc", 3)


def generate(clip: Path, out: Path, **settings) -> api.Asset:
    return api.generate(clip, out=out, preset="draft", device="cpu", elevation=10.0, **settings)


def test_a_refined_run_keeps_what_was_fitted_and_tells_of_it(clip, tmp_path):
    asset = generate(clip, tmp_path / "a", refine=True)
    plain = generate(clip, tmp_path / "b")
    before, _ = load_asset(asset.root / "fitted.safetensors")
    assert torch.equal(before.means, plain.gaussians.means)
    assert (asset.gaussians.means - before.means).abs().max() > 0
    assert "refining them" in (asset.root / "report.html").read_text()
    assert "refining them" not in (plain.root / "report.html").read_text()
    assert not (plain.root / "fitted.safetensors").exists()


def test_a_refinement_that_was_stopped_ends_in_the_same_bytes(clip, tmp_path, monkeypatch):
    quick = replace(TINY, fit=replace(TINY.fit, checkpoint_every=2))
    monkeypatch.setitem(efficient4d.PRESETS, "draft", quick)
    monkeypatch.setattr("vid4d.outputs.write_outputs", lambda run, gaussians, matrix: None)
    whole = generate(clip, tmp_path / "whole", refine=True)
    advance = FitState.advance

    def stopping(self, progress) -> None:
        if self.guide is not None and self.step == 3:
            raise KeyboardInterrupt
        advance(self, progress)

    monkeypatch.setattr(FitState, "advance", stopping)
    with pytest.raises(KeyboardInterrupt):
        generate(clip, tmp_path / "stopped", refine=True)
    assert (tmp_path / "stopped" / "checkpoints" / "refine.safetensors").is_file()
    assert not (tmp_path / "stopped" / "asset.safetensors").exists()
    monkeypatch.setattr(FitState, "advance", advance)
    resumed = generate(clip, tmp_path / "stopped", refine=True, resume=True)
    assert resumed.path.read_bytes() == whole.path.read_bytes()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"method": "consistent4d"}, "consistent4d is under the score anyway"),
        ({"prior": "syncdreamer"}, "a score, which syncdreamer does not give: use --prior frustum"),
        ({"source": "matrix"}, "--refine needs the clip"),
    ],
)
def test_where_there_is_nothing_to_refine_by_it_is_refused(monkeypatch, settings, said):
    monkeypatch.setattr("vid4d.priors.weights.registry.require", lambda name: name)
    with pytest.raises(InputError, match=said):
        api.resolved(Settings(clip="any.mp4", refine=True, **settings))
