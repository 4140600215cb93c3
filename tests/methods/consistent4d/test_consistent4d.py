"""Consistent4D from a clip to an asset, with a tiny prior of random weights; its steps; what it refuses."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from clips import disc
from tiny_prior import Copying, ship, still_prior
from tiny_runs import CONSISTENT as TINY
from tiny_runs import SMALL_FIELD

from vid4d import api
from vid4d.cameras import Cameras
from vid4d.dynerf import CascadeField, OccupancyGrid, render_field
from vid4d.dynerf.files import load_field, save_field
from vid4d.errors import InputError
from vid4d.files.checkpoints import load_tensors, save_tensors
from vid4d.matrix.io import load_matrix
from vid4d.methods.consistent4d import limits, method
from vid4d.methods.consistent4d import trainer as trainers
from vid4d.methods.consistent4d.batches import BatchConfig, LinearSchedule, Milestone
from vid4d.methods.consistent4d.subject import Subject
from vid4d.methods.consistent4d.trainer import Consistent4DTrainer
from vid4d.methods.consistent4d.views import DistillConfig, render_matrix
from vid4d.metrics import losses
from vid4d.priors.base import PRIORS
from vid4d.priors.multiview_sampling import prepare_for_inference
from vid4d.priors.rife import as_interpolator
from vid4d.priors.rife_small import load_interpolator
from vid4d.priors.samplers import NoiseSchedule
from vid4d.priors.score import LatentScorePrior
from vid4d.priors.zero123 import CONFIGS, Zero123
from vid4d.priors.zero123_score import Zero123ScorePrior

OUTPUTS = "asset.safetensors dynerf.safetensors turntable.mp4 contact.png player.html strip.png report.json"


@pytest.fixture
def tiny(monkeypatch):
    monkeypatch.setitem(method.PRESETS, "draft", TINY)
    ship(monkeypatch, still_prior(Copying))


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
    generate(picture, tmp_path / "a")
    field, _ = load_field(tmp_path / "a" / "dynerf.safetensors")
    assert [level.time.shape[2] for level in field.cascade] == [1, 1]
    videos = sorted(p.name for p in (tmp_path / "a" / "validation" / "step_00006").iterdir())
    assert videos == ["turntable_time0.00.mp4"]
    assert "static" in (tmp_path / "a" / "log.txt").read_text()


# The steps themselves


def nothing_between(a, b, share):
    """An interpolator that fades."""
    return torch.lerp(a, b, share[:, None, None, None])


class Wanting(LatentScorePrior):
    """A prior whose latents are the pixels and that always wants grey: predicted data of 0.5 everywhere."""

    def __init__(self) -> None:
        self.schedule = NoiseSchedule.scaled_linear()
        self.calls: list[tuple] = []

    def encode(self, color, alpha):
        return color.permute(0, 3, 1, 2)

    def view(self, cameras, frame):
        return cameras, frame

    def predict(self, noisy, t, view):
        cameras, frame = view
        self.calls.append((len(noisy), t.tolist(), frame.tolist(), cameras.width))
        alpha, sigma = self.schedule.alpha_sigma(t, noisy[0])
        return (noisy - alpha * 0.5) / sigma


@pytest.fixture
def subject():
    frames = torch.zeros(3, 32, 32, 4)
    frames[:, 8:24, 8:24] = torch.tensor([1.0, 0.0, 0.0, 1.0])
    return Subject(frames, torch.tensor([0.0, 0.5, 1.0]), 0.0)


def trainer(subject, score_prior=None, **changes) -> Consistent4DTrainer:
    return Consistent4DTrainer(replace(TINY, **changes), subject, score_prior or Wanting(), nothing_between)


def test_steps_alternate_and_the_prior_gets_their_views(subject):
    score_prior = Wanting()
    made = trainer(subject, score_prior, batch=BatchConfig(0.0, 0.0, 1.0, 0.0))
    for _ in range(6):
        made.advance()
    assert [len(a[1]) for a in score_prior.calls] == [3, 3, 1]
    assert [a[3] for a in score_prior.calls] == [16, 16, 24]
    assert [a[0] for a in score_prior.calls] == [2, 2, 2]
    assert score_prior.calls[0][2] == [0, 1, 2]
    low, high = (0.8 - 0.6 / 4) * 999, (0.98 - 0.58 / 4) * 999  # at step 1 of 4
    assert all(low - 1 <= t <= high + 1 for t in score_prior.calls[0][1])


def test_a_reference_step_brings_the_render_to_the_frame(subject):
    """Thirty of them, without a prior."""
    made = trainer(subject, prior_every=1000, milestones=(Milestone(0, 16, 3),), lambda_normal_smooth=0.0)
    made.config = replace(made.config, lambda_orient=LinearSchedule(0, 0, 0))
    before = made.reference_step()
    for _ in range(30):
        made.advance()
    assert made.reference_step() < 0.6 * before
    assert made.prior.calls == []


@pytest.mark.parametrize("prior_every", [2, 3])
def test_reference_steps_see_every_frame_as_often(subject, monkeypatch, prior_every):
    """However many prior steps lie between them: the frames follow the count of reference steps."""
    made = trainer(subject, prior_every=prior_every, milestones=(Milestone(0, 8, 1),), n_reg_samples=0)
    drawn, shown = trainers.render_field, []

    def spy(field, cameras, times, **options):
        shown.extend(times.tolist())
        return drawn(field, cameras, times, **options)

    monkeypatch.setattr(trainers, "render_field", spy)
    monkeypatch.setattr(made, "prior_step", lambda: sum(p.sum() for p in made.field.parameters()) * 0.0)
    rounds, steps = 4, 0
    while len(shown) < 3 * rounds:
        made.advance()
        steps += 1
    assert steps == 3 * rounds + (3 * rounds - 1) // (prior_every - 1)
    for i in range(rounds):
        assert sorted(shown[3 * i : 3 * i + 3]) == [0.0, 0.5, 1.0]


def test_the_prior_step_is_score_distillation_of_every_level(subject):
    """By hand: for each level 0.1 (1 - a)(eps_hat - eps), whose gradient in the picture is known here."""
    score_prior = Wanting()
    made = trainer(
        subject, score_prior, batch=BatchConfig(0, 0, 0, 1.0), lambda_normal_smooth=0.0, n_reg_samples=0
    )
    made.step = 1
    loss = made.prior_step()
    parameter = made.field.cascade[0].colour_out
    (found,) = torch.autograd.grad(loss, parameter)

    made.step = 1
    t = torch.tensor(score_prior.calls[0][1])
    kept = []
    score_prior.encode = lambda color, alpha: kept.append(color) or color.permute(0, 3, 1, 2)
    made.prior_step()
    a = score_prior.schedule.alphas_cumprod[t].double().reshape(-1, 1, 1, 1)
    # the noise implied by data of 0.5 is off by sqrt(a) / sqrt(1 - a) (x - 0.5)
    by_pixel = [0.1 * (1 - a) * (a / (1 - a)).sqrt() * (x.double() - 0.5) for x in kept]
    total = sum((g.detach() * x.double()).sum() for g, x in zip(by_pixel, kept, strict=True))
    (expected,) = torch.autograd.grad(total, parameter)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-3)


def test_icl_joins_where_views_are_in_a_row(subject):
    """With the fading interpolator: the spatial run's loss is that of losses.interpolation_consistency."""
    made = trainer(
        subject, batch=BatchConfig(0, 1.0, 0, 0), lambda_sds=0.0, lambda_normal_smooth=0.0, n_reg_samples=0
    )
    made.step = 1
    loss = made.prior_step()
    drawn = []
    made._distillation = lambda levels, cameras, batch: drawn.extend(levels) or torch.zeros(())
    made.prior_step()
    each = [losses.interpolation_consistency(level.color, nothing_between) for level in drawn]
    assert len(each) == 2
    assert sum(each).item() > 0
    assert loss.item() == pytest.approx(2500 * sum(each).item(), rel=1e-4)
    made.step = 5  # batches of one picture by then
    assert made.prior_step().item() == 0


def test_a_text_has_no_reference_steps():
    score_prior = Wanting()
    made = trainer(Subject(None, torch.zeros(1), 15.0, text="a cat"), score_prior)
    for _ in range(3):
        made.advance()
    assert len(score_prior.calls) == 3
    assert "psnr" not in made.numbers


def test_a_checkpoint_of_another_seed_or_clip_is_refused(subject, tmp_path):
    made = trainer(subject)
    made.advance()
    made.save(tmp_path / "c.safetensors")
    other = Consistent4DTrainer(TINY, subject, Wanting(), nothing_between, seed=1)
    with pytest.raises(InputError, match="another clip, configuration or seed"):
        other.load(tmp_path / "c.safetensors")
    with pytest.raises(InputError, match="another clip, configuration or seed"):
        trainer(replace(subject, elevation=3.0)).load(tmp_path / "c.safetensors")
    again = trainer(subject, validate_every=1)
    again.load(tmp_path / "c.safetensors")
    assert again.step == 1


# Files and pictures


def test_a_field_comes_back_from_its_file(tmp_path):
    field, grid = CascadeField(SMALL_FIELD.for_clip(5, cyclic=True)), OccupancyGrid(8, samples=32)
    grid.update(field, torch.Generator().manual_seed(0))
    save_field(tmp_path / "dynerf.safetensors", field, grid)
    again, cells = load_field(tmp_path / "dynerf.safetensors")
    assert again.config == field.config
    camera = Cameras.orbit([20.0], 10.0, size=12)
    with torch.no_grad():
        pictures = [
            render_field(f, camera, 0.3, grid=g, samples=32)[-1].color
            for f, g in ((field, grid), (again, cells))
        ]
    assert torch.equal(*pictures)
    (tmp_path / "broken.safetensors").write_bytes(b"no")
    with pytest.raises(InputError, match="cannot be read"):
        load_field(tmp_path / "broken.safetensors")
    tensors, metadata = load_tensors(tmp_path / "dynerf.safetensors")
    (key,) = metadata
    renamed = {k.replace("colour_in", "color_in"): v for k, v in tensors.items()}
    for kept, text in (
        (renamed, metadata[key]),
        (tensors, metadata[key].replace('"channels"', '"chanels"')),
        (tensors, "{"),
        (tensors, metadata[key].replace('"cyclic": true', '"cyclic": "true"')),
        (tensors, metadata[key].replace('"step": ', '"step": -')),
    ):
        save_tensors(tmp_path / "other.safetensors", kept, {key: text})
        with pytest.raises(InputError, match="another version of vid4d, or is damaged"):
            load_field(tmp_path / "other.safetensors")
    tensors["field.cascade.0.space"][0, 0, 0, 0] = torch.nan
    save_tensors(tmp_path / "other.safetensors", tensors, metadata)
    with pytest.raises(InputError, match=r"NaN or infinity in 'field\.cascade\.0\.space'"):
        load_field(tmp_path / "other.safetensors")


def test_a_field_that_announces_more_than_it_holds_is_not_built(tmp_path):
    file = tmp_path / "dynerf.safetensors"
    save_field(file, CascadeField(SMALL_FIELD.for_clip(5)), OccupancyGrid(8, samples=32))
    tensors, metadata = load_tensors(file)
    ((key, text),) = metadata.items()
    for name, value in (("space", 10**6), ("time", 10**9), ("width", 10**9)):
        sizes = json.loads(text)
        sizes["field"]["levels"][0][name] = value
        sizes["field"]["frames"] = None
        save_tensors(file, tensors, {key: json.dumps(sizes)})
        with pytest.raises(InputError, match="announces more numbers than it holds"):
            load_field(file)


def test_the_matrix_is_what_the_field_shows(subject):
    """Views of two rings, the second turned by half a step; pictures over white are the renders."""
    config = DistillConfig(views=4, elevations=(0.0, 30.0), size=16, batch=3)
    cameras = config.cameras()
    torch.testing.assert_close(
        cameras.azimuth, torch.tensor([0.0, 90, 180, 270, 45, 135, 225, 315]), atol=1e-3, rtol=0
    )
    torch.testing.assert_close(cameras.elevation, torch.tensor([0.0] * 4 + [30.0] * 4), atol=1e-3, rtol=0)
    field, grid = CascadeField(SMALL_FIELD.for_clip(3)), OccupancyGrid(8, samples=32)
    matrix = render_matrix(field, grid, subject, config, 32)
    assert matrix.images.shape == (8, 3, 16, 16, 4)
    with torch.no_grad():
        seen = render_field(field, cameras[5], 0.5, grid=grid, samples=32)[-1]
    torch.testing.assert_close(matrix.on_background()[5, 1], seen.color[0], atol=1e-3, rtol=0)
    assert float(matrix.input_camera.elevation) == pytest.approx(0.0, abs=1e-3)


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
    with pytest.raises(InputError, match="is empty, no object can be seen"):
        generate(empty, tmp_path / "b")
    leaving = disc(tmp_path / "leaving", 4, drift=40)
    with pytest.raises(InputError, match="is empty, no object can be seen"):
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
    need = {name: limits.memory_needed(presets[name], PRIORS["small"].memory_gib) for name in presets}
    assert need["draft"] < need["low-vram"] < need["standard"] < need["four-level"]
    assert 8 > need["standard"] > 1
    monkeypatch.setattr(limits, "free_memory", lambda device: need["low-vram"] + 0.01)
    clip = disc(tmp_path / "disc", 3)
    with pytest.raises(InputError, match=r"'four-level' needs about .* GiB .*: use --preset low-vram"):
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


@pytest.mark.parametrize(
    "device",
    [
        "cpu",
        pytest.param(
            "cuda",
            marks=[
                pytest.mark.gpu,
                pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
            ],
        ),
    ],
)
def test_all_kinds_of_steps_with_a_zero123(device):
    """Reference steps and prior steps of every kind of batch, distilled through an autoencoder."""
    prior = prepare_for_inference(Zero123(CONFIGS["tiny"]).to(device))
    clip = torch.cat([torch.rand(3, 64, 64, 3), torch.ones(3, 64, 64, 1)], -1)
    subject = Subject(clip, torch.tensor([0.0, 0.5, 1.0]), 10.0)
    score_prior = Zero123ScorePrior(prior, guidance=3.0)
    score_prior.condition(subject.frames, subject.elevation)
    between = as_interpolator(load_interpolator(device))
    for kind in ((1.0, 0, 0, 0), (0, 1.0, 0, 0), (0, 0, 1.0, 0), (0, 0, 0, 1.0)):
        config = replace(TINY, batch=BatchConfig(*kind), prior_every=2)
        trainer = Consistent4DTrainer(config, subject, score_prior, between, device=device)
        before = [p.detach().clone() for p in trainer.field.parameters()]
        for _ in range(2):
            trainer.advance()
        numbers = trainer.numbers
        assert all(torch.isfinite(torch.tensor(v)) for v in numbers.values()), numbers
        assert {"color", "mask", "psnr", "sds"} <= set(numbers)
        assert any(not torch.equal(a, b) for a, b in zip(before, trainer.field.parameters(), strict=True))
