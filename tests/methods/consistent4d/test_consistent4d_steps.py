"""Steps of Consistent4D: of reference and of a prior; the matrix of the field that they made."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from tiny_runs import CONSISTENT as TINY
from tiny_runs import SMALL_FIELD

from vid4d.dynerf import CascadeField, OccupancyGrid, render_field
from vid4d.dynerf import render as rendering
from vid4d.dynerf.march import MarchConfig
from vid4d.errors import InputError
from vid4d.kernels.cuda_graphs import Recorder
from vid4d.methods.consistent4d import trainer as trainers
from vid4d.methods.consistent4d.batches import BatchConfig, LinearSchedule, Milestone
from vid4d.methods.consistent4d.subject import Subject
from vid4d.methods.consistent4d.trainer import Consistent4DTrainer
from vid4d.methods.consistent4d.views import DistillConfig, render_matrix
from vid4d.metrics import losses
from vid4d.priors.interpolators import as_interpolator, load_interpolator
from vid4d.priors.multiview_sampling import prepare_for_inference
from vid4d.priors.samplers import NoiseSchedule
from vid4d.priors.score import LatentScorePrior
from vid4d.priors.zero123 import CONFIGS, Zero123
from vid4d.priors.zero123_score import Zero123ScorePrior


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


def with_room(marched, room):
    """As kernels return it: what lies in the room that is left is undefined."""
    m = len(marched.time)
    assert m <= room
    wide = torch.full((room - m, 3), float("nan"))
    return marched._replace(
        points=torch.cat([marched.points, wide]),
        time=torch.cat([marched.time, wide[:, 0]]),
        direction=torch.cat([marched.direction, wide]),
        weight=torch.cat([marched.weight, wide.T[:1].expand(len(marched.weight), -1)], 1),
        rays=torch.tensor(marched.rays),
        used=torch.tensor([m], dtype=torch.int32),
    )


def test_recorded_reference_steps_are_the_same(subject, monkeypatch, recorded):
    """With room for more samples than there are, as on a graphics card; prior steps lie between."""
    march, found = rendering.march, []

    def roomy(field, rays, grid, config, room=None):
        marched = march(field, rays, grid, config)
        return marched if room is None else with_room(marched, room)

    def count(field, cameras, times, grid, shift, samples):
        rays, _ = rendering._rays(field, cameras, times, shift)
        found.append(len(march(field, rays, grid, MarchConfig(samples)).time))
        return found[-1]

    monkeypatch.setattr(rendering, "march", roomy)
    monkeypatch.setattr(trainers, "samples_of", count)
    milestones, numbers = (Milestone(0, 16, 1), Milestone(14, 8, 1)), []
    for with_recordings in (False, True):
        made = trainer(subject, prior_every=4, milestones=milestones)
        assert made.recorder is None
        made.recorder = Recorder() if with_recordings else None
        seen = []
        for _ in range(24):
            made.advance()
            seen.append(made.numbers)
        numbers.append((seen, [p.detach().clone() for p in made.field.parameters()]))
    (plain, fields), (quick, others) = numbers
    assert len(found) == 18
    assert len(recorded) >= 2  # for each size of picture
    for one, other in zip(plain, quick, strict=True):
        assert one == pytest.approx(other, rel=1e-3)
    for one, other in zip(fields, others, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-2, atol=1e-3)


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


def test_the_last_steps_bring_the_texture_back(subject):
    """There color counts `texture_rgb` times and the score `texture_sds` times; the mask as ever."""
    changes = {
        "prior_every": 1000,
        "milestones": (Milestone(0, 16, 3),),
        "lambda_orient": LinearSchedule(0, 0, 0),
    }
    plain = trainer(subject, lambda_normal_smooth=0.0, **changes)
    last = trainer(subject, lambda_normal_smooth=0.0, texture_steps=2, **changes)
    for made in (plain, last):
        made.step = made.config.steps - 2
    losses_of = [float(made.reference_step().detach()) for made in (plain, last)]
    color = plain.numbers["color"]
    assert losses_of[1] - losses_of[0] == pytest.approx(4 * 500 * color, rel=1e-3)
    assert last.config.weights_at(last.step) == (2500.0, pytest.approx(0.02))
    assert last.config.weights_at(last.step - 1) == (500.0, 0.1)


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


@pytest.mark.parametrize("middle_only", [False, True])
def test_icl_asks_the_interpolator_for_premultiplied_rgba(subject, middle_only):
    """For all inner pictures of a run at once; half way, where it finds nothing else."""
    asked = []

    def between(a, b, share):
        asked.append((a, share))
        return torch.lerp(a, b, share[:, None, None, None])

    config = replace(TINY, batch=BatchConfig(0, 1.0, 0, 0), milestones=(Milestone(0, 16, 4),))
    made = Consistent4DTrainer(config, subject, Wanting(), between, middle_only=middle_only)
    made.prior_step()
    (first, share), *_ = asked
    assert first.shape[-1] == 4
    assert bool((first[..., :3] <= first[..., 3:] + 1e-5).all())
    expected = [0.5, 0.5] if middle_only else [1 / 3, 2 / 3]
    torch.testing.assert_close(share, torch.tensor(expected * 2))


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


def test_a_field_that_lost_its_object_is_told_so(subject):
    field = CascadeField(replace(SMALL_FIELD, blob_density=-100.0, blob_radius=100.0).for_clip(3))
    grid = OccupancyGrid(8, samples=32)
    with pytest.raises(InputError, match="volume shows nothing at key frame 0: make the run again"):
        render_matrix(field, grid, subject, DistillConfig(views=2, size=16), 32)


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
    between = as_interpolator(load_interpolator(device=device))
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
