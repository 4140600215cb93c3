"""Which views a step of Consistent4D renders: probabilities, even steps, bounds, milestones, annealing."""

from __future__ import annotations

import math
from collections import Counter

import pytest
import torch

from vid4d.compute.randomness import step_generator
from vid4d.methods.consistent4d.batches import (
    BatchConfig,
    LinearSchedule,
    Milestone,
    TimestepRange,
    draw_batch,
    draw_elevations,
    milestone_at,
    reference_frame,
)


def drawn(steps=1500, *, batch=4, frames=16, cyclic=False, seed=3, **config):
    c = BatchConfig(**config)
    return [draw_batch(c, seed, s, batch=batch, frames=frames, cyclic=cyclic) for s in range(steps)]


def test_kinds_come_as_often_as_they_should():
    """Half random, an eighth spatial, an eighth temporal, a quarter single (within 4 standard errors)."""
    count = 3000
    kinds = Counter(b.kind for b in drawn(count))
    for kind, p in {"random": 0.5, "spatial": 0.125, "temporal": 0.125, "single": 0.25}.items():
        assert abs(kinds[kind] / count - p) < 4 * math.sqrt(p * (1 - p) / count), kind


def test_probabilities_sum_to_one_and_a_picture_has_no_temporal_runs():
    with pytest.raises(ValueError, match="sum to 1"):
        BatchConfig(random=0.9)
    assert BatchConfig().probabilities(1) == {
        "random": 0.5,
        "spatial": 0.25,
        "temporal": 0.0,
        "single": 0.25,
    }
    assert "temporal" not in {b.kind for b in drawn(300, frames=1)}
    assert {int(b.frame.max()) for b in drawn(100, frames=1)} == {0}


def test_what_a_kind_shares():
    for b in drawn(400):
        assert len(b) == (1 if b.kind == "single" else 4)
        assert b.is_consecutive == (b.kind in ("spatial", "temporal"))
        if b.kind == "random":
            assert len(set(b.frame.tolist())) == 1
            assert len(set(b.azimuth.tolist())) == 4
        if b.kind == "temporal":
            assert len({*b.azimuth.tolist()}) == len({*b.elevation.tolist()}) == 1
            assert b.frame.diff().tolist() == [1, 1, 1]
        if b.kind == "spatial":
            assert len({*b.elevation.tolist()}) == len({*b.frame.tolist()}) == 1


def test_azimuths_of_a_spatial_run_are_even():
    """In steps of 5 to 15 degrees, and both ends of that range are used."""
    steps = []
    for b in drawn(800, random=0, spatial=1, temporal=0, single=0):
        around = b.azimuth.diff() % 360
        torch.testing.assert_close(around, around[:1].expand(3), atol=1e-3, rtol=0)
        steps.append(float(around[0]))
    assert min(steps) >= 5 - 1e-3
    assert max(steps) <= 15 + 1e-3
    assert min(steps) < 5.5
    assert max(steps) > 14.5


@pytest.mark.parametrize(
    ("frames", "stride", "length"), [(32, 2, 4), (16, 1, 4), (8, 1, 4), (3, 1, 3), (100, 6, 4)]
)
def test_times_of_a_temporal_run(frames, stride, length):
    """A sixteenth of the clip apart, whole frames; they stay inside of an open clip and reach its ends."""
    runs = drawn(300, frames=frames, random=0, spatial=0, temporal=1, single=0)
    for b in runs:
        assert len(b) == length
        assert b.frame.diff().tolist() == [stride] * (length - 1)
    assert min(int(b.frame[0]) for b in runs) == 0
    assert max(int(b.frame[-1]) for b in runs) == frames - 1


def test_temporal_runs_of_a_loop_wrap_around():
    runs = drawn(300, frames=16, cyclic=True, random=0, spatial=0, temporal=1, single=0)
    assert [14, 15, 0, 1] in [b.frame.tolist() for b in runs]
    short = drawn(20, frames=3, cyclic=True, random=0, spatial=0, temporal=1, single=0)
    assert {len(b) for b in short} == {3}


def test_batches_of_one_are_no_runs():
    assert not any(b.is_consecutive for b in drawn(200, batch=1))


def test_elevations_are_bounded_and_drawn_in_two_ways():
    """Uniform on the sphere: sin(elevation) is uniform, so fewer views lie near 60 degrees than in angle."""
    angles, spheres = [], []
    for seed in range(300):
        g = torch.Generator().manual_seed(seed)
        found = draw_elevations((-10, 60), 64, g)
        assert found.min() >= -10.001
        assert found.max() <= 60.001
        uniform = (found.sort().values + 10) / 70
        gap_angle = (uniform - (torch.arange(64) + 0.5) / 64).abs().max()
        sines = torch.sin(torch.deg2rad(found)).sort().values
        low, high = math.sin(math.radians(-10)), math.sin(math.radians(60))
        gap_sphere = ((sines - low) / (high - low) - (torch.arange(64) + 0.5) / 64).abs().max()
        (angles if gap_angle < gap_sphere else spheres).append(float(found.mean()))
    assert 0.3 < len(angles) / 300 < 0.7
    assert abs(sum(angles) / len(angles) - 25) < 1.5
    mean_on_sphere = 21.59  # integral of e cos(e) over -10..60 degrees, over that of cos(e)
    assert abs(sum(spheres) / len(spheres) - mean_on_sphere) < 1.5


def test_the_step_decides_alone():
    one, other = drawn(40, seed=1), drawn(40, seed=1)
    for a, b in zip(one, other, strict=True):
        assert a.kind == b.kind
        assert torch.equal(a.azimuth, b.azimuth)
    assert any(a.kind != b.kind for a, b in zip(one, drawn(40, seed=2), strict=True))
    first = torch.rand(4, generator=step_generator(0, 5, 1))
    assert not torch.equal(first, torch.rand(4, generator=step_generator(0, 5, 2)))


def test_reference_steps_see_every_frame_as_often():
    seen = [reference_frame(0, i, 7) for i in range(7 * 3)]
    assert Counter(seen) == {i: 3 for i in range(7)}
    assert seen[:7] != seen[7:14]


def test_milestones():
    ladder = (Milestone(0, 64, 4), Milestone(5000, 256, 1))
    assert [milestone_at(ladder, s).size for s in (0, 4999, 5000, 9999)] == [64, 64, 256, 256]


def test_annealing():
    """0.8..0.98 at the start, 0.5..0.615 half way, 0.2..0.25 from step 5000 on."""
    noise = TimestepRange()
    assert noise.at(0) == pytest.approx((0.8, 0.98))
    assert noise.at(2500) == pytest.approx((0.5, 0.615))
    assert noise.at(5000) == noise.at(10_000) == pytest.approx((0.2, 0.25))
    assert LinearSchedule(1, 20, 5000).at(1250) == pytest.approx(5.75)
    assert LinearSchedule(1, 3, 0).at(0) == 3
