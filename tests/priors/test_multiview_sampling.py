"""The full-size priors as samplers, with tiny networks from converted files."""

from __future__ import annotations

import runpy
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from published import NAMES, write_weights

from vid4d.cameras import Cameras
from vid4d.errors import InputError, MachineError
from vid4d.media.keying import remove_white_background
from vid4d.priors import multiview_sampling
from vid4d.priors.guidance import ClassifierFree, Decomposed
from vid4d.priors.multiview_sampling import (
    FullConfig,
    batch_within,
    load_full_prior,
    sample_full_prior,
    with_alpha,
)
from vid4d.priors.syncdreamer import SyncDreamer
from vid4d.priors.weights import registry
from vid4d.priors.zero123 import Zero123

QUICK = FullConfig(steps=2)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return write_weights(tmp_path_factory.mktemp("weights"))


@pytest.fixture(autouse=True)
def in_weights(weights, monkeypatch):
    monkeypatch.setenv("VID4D_WEIGHTS", str(weights))


def prior_of(name):
    return load_full_prior(name, "cpu", torch.float32)


@pytest.fixture(scope="module")
def frames() -> torch.Tensor:
    return torch.rand(3, 64, 64, 4, generator=torch.Generator().manual_seed(2))


def drawn(prior, frames, config=QUICK, seed=0, **more):
    return sample_full_prior(
        prior, frames, 10.0, config, generator=torch.Generator().manual_seed(seed), **more
    )


@pytest.mark.parametrize("name", NAMES)
def test_sizes_range_and_progress(name, frames):
    prior = prior_of(name)
    assert isinstance(prior, SyncDreamer if name == "syncdreamer" else Zero123)
    told = []
    views = drawn(prior, frames, progress=lambda *p: told.append(p))
    assert views.shape == (len(prior.cameras), 3, 64, 64, 4)
    assert views.dtype == torch.float32
    assert views.min() >= 0
    assert views.max() <= 1
    assert told == [(1, 2), (2, 2)]
    assert torch.equal(views, drawn(prior, frames))
    assert not torch.equal(views, drawn(prior, frames, seed=1))


def test_the_rings():
    assert len(prior_of("syncdreamer").cameras) == 4
    cameras = prior_of("zero123-xl").cameras
    torch.testing.assert_close(cameras.world_to_camera, Cameras.ring(16, size=64).world_to_camera)
    assert prior_of("zero123-xl").image_size == 64


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("sampler", ["ddim", "unipc"])
def test_the_same_frame_gives_the_same_views(name, sampler, frames):
    """All noise is shared by the frames, that of each step, too."""
    same = frames[:1].expand(2, -1, -1, -1)
    views = drawn(prior_of(name), same, FullConfig(steps=3, sampler=sampler))
    assert (views[:, 0] - views[:, 1]).abs().mean() < 2e-3
    apart = drawn(prior_of(name), frames[:2], FullConfig(steps=3, sampler=sampler))
    assert (apart[:, 0] - apart[:, 1]).abs().mean() > 1e-2


def test_guidance_reaches_the_prior(frames):
    prior = prior_of("syncdreamer")
    weaker = replace(QUICK, guidance=ClassifierFree(1.0))
    assert (drawn(prior, frames) - drawn(prior, frames, weaker)).abs().max() > 0.01
    other = prior_of("zero123-xl")
    assert (drawn(other, frames) - drawn(other, frames, replace(QUICK, scale=1.0))).abs().max() > 0.01


@pytest.mark.parametrize(("smooth", "cyclic"), [(True, False), (False, True)])
def test_smoothing_and_loops_reach_the_prior(frames, monkeypatch, smooth, cyclic):
    """Arguments are passed on; test_syncdreamer tests their effect."""
    asked = []
    whole = SyncDreamer.sample
    monkeypatch.setattr(SyncDreamer, "sample", lambda *a, **k: asked.append(k) or whole(*a, **k))
    drawn(prior_of("syncdreamer"), frames[:1], replace(QUICK, steps=1, smooth=smooth), cyclic=cyclic)
    assert (asked[0]["smooth"], asked[0]["cyclic"]) == (smooth, cyclic)


@pytest.mark.parametrize("name", NAMES)
def test_memory_decides_the_batch_but_not_the_pictures(name, frames):
    prior = prior_of(name)
    sizes = [batch_within(prior, gb, 10_000) for gb in (0.05, 0.1, 0.2)]
    assert sizes == sorted(sizes)
    assert sizes[0] < sizes[2]
    assert all(size % 16 == 0 for size in sizes)
    assert batch_within(prior, 100.0, 12) == 12
    assert batch_within(prior, None, 10_000) == multiview_sampling.CPU_BATCH
    small = next(g for g in (1e-3 * 1.1**i for i in range(100)) if _fits(prior, g))
    assert batch_within(prior, small, 10_000) < 12
    tight = drawn(prior, frames, replace(QUICK, memory_gb=small))
    assert (tight - drawn(prior, frames)).abs().mean() < 2e-3
    with pytest.raises(MachineError, match="cannot hold this prior"):
        drawn(prior, frames, replace(QUICK, memory_gb=1e-6))


def _fits(prior, memory_gb):
    try:
        return batch_within(prior, memory_gb, 10_000) > 0
    except InputError:
        return False


def test_high_is_as_in_the_papers():
    config = multiview_sampling.PRESETS["high"]
    assert (config.steps, config.sampler, config.eta, config.scale) == (50, "ddim", None, 3.0)
    assert config.guidance == Decomposed(2.0, 1.0)
    assert config.smooth


def test_the_benchmark_runs(monkeypatch, capsys):
    script = Path(__file__).parents[2] / "benchmarks" / "prior_speed.py"
    monkeypatch.setattr(
        sys, "argv", [str(script), "--tiny", "--steps", "1", "--devices", "2", "--budgets", "0", "0.2"]
    )
    runpy.run_path(str(script), run_name="__main__")
    told = capsys.readouterr().out
    assert "8 x 3 UNet evaluations a step" in told
    assert "NOT FINITE" not in told
    assert [line.split()[0] for line in told.splitlines()[-2:]] == ["all", "0.2"]


def test_alpha_is_what_is_not_white():
    picture = torch.ones(1, 1, 64, 64, 3)
    picture[0, 0, 20:44, 16:40] = torch.tensor([0.8, 0.3, 0.1])
    picture[0, 0, 28:32, 24:28] = 1.0  # a highlight
    rgba = with_alpha(picture)[0, 0]
    assert rgba.shape == (64, 64, 4)
    assert (rgba[22:42, 18:38, 3] > 0.99).all()
    assert (rgba[:18, ..., 3] == 0).all()
    assert (rgba[46:, ..., 3] == 0).all()
    assert remove_white_background((picture[0, 0, :8, :8] * 255).byte().numpy())[..., 3].max() == 0


def test_bad_input_is_refused(frames, monkeypatch, tmp_path):
    with pytest.raises(InputError, match="64x64: resize"):
        drawn(prior_of("syncdreamer"), frames[:, ::2, ::2])
    with pytest.raises(InputError, match="no sampler 'euler'"):
        FullConfig(sampler="euler")
    with pytest.raises(InputError, match="0 GB"):
        FullConfig(memory_gb=0)
    monkeypatch.setenv("VID4D_WEIGHTS", str(tmp_path))
    with pytest.raises(InputError, match=r"vid4d weights fetch zero123-xl \(a download of 15.5 GB\)"):
        load_full_prior("zero123-xl")
    with pytest.raises(InputError, match=r"syncdreamer-pretrain.ckpt \(5.6 GB\).*weights convert"):
        registry.require("syncdreamer")
