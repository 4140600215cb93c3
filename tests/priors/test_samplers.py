"""Samplers: the published schedule, conversions that invert each other, and a case solved by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from reference import arrays

from vid4d.errors import InputError
from vid4d.priors.samplers import (
    SAMPLERS,
    NoiseSchedule,
    Sampling,
    ddim_schedule,
    draw_samples,
    q_sample,
    target,
    timesteps,
    to_eps,
    to_x0,
)

SCHEDULE = NoiseSchedule.scaled_linear()


def test_ddim_schedule_is_the_published_one():
    reference = arrays("schedules")
    table = ddim_schedule(SCHEDULE, timesteps(SCHEDULE, 50), eta=1.0)
    np.testing.assert_array_equal(table.timesteps, reference["ddim_timesteps50"])
    np.testing.assert_allclose(table.alphas, reference["ddim_alphas50"], rtol=1e-5)
    np.testing.assert_allclose(table.alphas_prev, reference["ddim_alphas_prev50"], rtol=1e-5)
    np.testing.assert_allclose(table.sigmas, reference["ddim_sigmas50"], rtol=2e-4)


def test_alphas_are_the_published_ones():
    reference = arrays("schedules")
    np.testing.assert_allclose(SCHEDULE.alphas_cumprod, reference["alphas_cumprod"], rtol=1e-5)


@pytest.mark.parametrize("prediction", ["eps", "x0", "v"])
def test_conversions_recover_data_and_noise(prediction):
    x0, noise = torch.randn(4, 3, 5), torch.randn(4, 3, 5)
    t = torch.tensor([1, 200, 500, 900])
    x = q_sample(SCHEDULE, x0, t, noise)
    answer = target(SCHEDULE, x0, t, noise, prediction)
    torch.testing.assert_close(to_x0(SCHEDULE, x, t, answer, prediction), x0, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(to_eps(SCHEDULE, x, t, answer, prediction), noise, rtol=1e-3, atol=1e-3)


def test_timesteps():
    assert timesteps(SCHEDULE, 4) == [751, 501, 251, 1]
    assert timesteps(SCHEDULE, 4, "trailing") == [999, 749, 499, 249]
    assert timesteps(SCHEDULE, 4, t_start=501) == [501, 251, 1]
    assert timesteps(SCHEDULE, 4, "trailing", t_start=600) == [600, 499, 249]
    assert len(timesteps(SCHEDULE, 30)) == 30
    with pytest.raises(ValueError, match="sampling steps"):
        timesteps(SCHEDULE, 0)
    with pytest.raises(ValueError, match="t_start"):
        timesteps(SCHEDULE, 10, t_start=1000)


MEAN, SPREAD = 0.7, 1.5


def gaussian_x0(schedule: NoiseSchedule):
    """The best possible guess of data from N(MEAN, SPREAD^2)."""

    def denoise(x, t):
        a = schedule.alphas_cumprod[t].double()
        gain = a.sqrt() * SPREAD**2 / (a * SPREAD**2 + 1 - a)
        return MEAN + gain * (x - a.sqrt() * MEAN)

    return denoise


def flow_solution(schedule: NoiseSchedule, x: torch.Tensor, t: int) -> torch.Tensor:
    """Exact solution of the probability flow from x: it keeps the quantile of a Gaussian."""
    a = schedule.alphas_cumprod[t].double()
    return MEAN + SPREAD * (x - a.sqrt() * MEAN) / (a * SPREAD**2 + 1 - a).sqrt()


def test_samplers_follow_the_probability_flow_of_a_gaussian():
    x = torch.linspace(-2, 2, 9, dtype=torch.float64)
    exact = flow_solution(SCHEDULE, x, 999)

    def error(sampler, steps):
        sampling = Sampling(sampler, steps, eta=0)
        result = draw_samples(
            gaussian_x0(SCHEDULE), x, SCHEDULE, sampling, prediction="x0", spacing="trailing"
        )
        return (result - exact).abs().max().item()

    assert error("dpm", 20) < 0.04
    assert error("dpm", 20) < error("ddim", 20) / 3
    assert error("ddim", 500) < 0.02
    assert error("unipc", 20) < 0.04
    assert error("unipc", 20) < error("ddim", 20) / 3
    assert error("unipc", 5) < error("dpm", 5)


def test_second_order_converges_faster_than_first():
    x = torch.linspace(-2, 2, 9, dtype=torch.float64)
    exact = flow_solution(SCHEDULE, x, 700)

    def error(sampler, steps):
        sampling = Sampling(sampler, steps, eta=0)
        found = draw_samples(
            gaussian_x0(SCHEDULE), x, SCHEDULE, sampling, prediction="x0", spacing="trailing", t_start=700
        )
        return (found - exact).abs().max()

    for steps in (10, 20, 40):
        assert error("dpm", steps) < error("ddim", steps) / 3


def error_half_way(sampling: Sampling) -> float:
    """Of what reaches t = 199, from t = 900; the last step, to the data, is of first order and left out."""
    schedule = NoiseSchedule(SCHEDULE.alphas_cumprod.double())
    best = gaussian_x0(schedule)
    x = torch.linspace(-2, 2, 9, dtype=torch.float64)
    a = schedule.alphas_cumprod[199]
    quantile = (flow_solution(schedule, x, 900) - MEAN) / SPREAD
    exact = a.sqrt() * MEAN + quantile * (a * SPREAD**2 + 1 - a).sqrt()
    reached = {}

    def denoise(x, t):
        reached[int(t)] = x
        return best(x, t)

    draw_samples(denoise, x, schedule, sampling, prediction="x0", spacing="trailing", t_start=900)
    return (reached[199] - exact).abs().max().item()


@pytest.mark.parametrize(("order", "steps"), [(1, 50), (2, 50), (3, 50)])
def test_unipc_is_of_one_order_more_than_its_predictor(order, steps):
    """Half the step: 2 ** (order + 1) times less error of what reaches t = 199 (2302.04867, theorem 3.1)."""
    errors = [error_half_way(Sampling("unipc", n, order=order)) for n in (steps, 2 * steps)]
    assert errors[0] / errors[1] == pytest.approx(2 ** (order + 1), rel=0.25)


@pytest.mark.parametrize("steps", [50, 100])
def test_dpm_solver_is_of_second_order(steps):
    """Half the step: a quarter of the error; DDIM, of first order, keeps half of it (2211.01095, 4.1)."""
    second = [error_half_way(Sampling("dpm", n)) for n in (steps, 2 * steps)]
    first = [error_half_way(Sampling("ddim", n, eta=0)) for n in (steps, 2 * steps)]
    assert second[0] / second[1] == pytest.approx(4, rel=0.2)
    assert first[0] / first[1] == pytest.approx(2, rel=0.2)


def test_dpm_solver_by_hand():
    """alpha = 0.6, 0.8, then clean: the data is what a line through both predictions finds half a step on."""
    squares = torch.tensor([0.96, 0.64, 0.36, 0.2], dtype=torch.float64)  # alpha 0.8 has sigma 0.6
    schedule = NoiseSchedule(squares)
    predictions = iter([torch.tensor([1.0]), torch.tensor([2.0]), torch.tensor([-1.0])])
    seen = []

    def denoise(x, t):
        seen.append((int(t), x.item()))
        return next(predictions).double()

    solver = SAMPLERS["dpm"](schedule, [3, 2, 1], Sampling("dpm", 3), torch.randn_like)
    x = torch.tensor([0.5], dtype=torch.float64)
    for i, t in enumerate((3, 2, 1)):
        x = solver(i, x, denoise(x, torch.tensor(t)), torch.zeros(1))
    level = [0.5 * math.log(a / (1 - a)) for a in squares.tolist()]
    first, second = level[2] - level[3], level[1] - level[2]
    assert second == pytest.approx(2 * math.log(4 / 3))  # from 3/4 to 4/3
    after_one = 0.8 / 0.8**0.5 * 0.5 - 0.6 * math.expm1(-first) * 1.0  # sigmas: 0.8 there, sqrt(0.8) here
    data = 2.0 + second / (2 * first) * (2.0 - 1.0)
    after_two = 0.6 / 0.8 * after_one - 0.8 * math.expm1(-second) * data
    assert [value for _, value in seen] == pytest.approx([0.5, after_one, after_two])
    assert x.item() == -1.0, "the last step ends at the data predicted"


@pytest.mark.parametrize("prediction", ["eps", "v"])
def test_prediction_types_agree(prediction):
    schedule, exact = SCHEDULE, gaussian_x0(SCHEDULE)

    def denoise(x, t):
        x0 = exact(x, t)
        return target(schedule, x0, t, to_eps(schedule, x, t, x0, "x0"), prediction)

    x = torch.randn(6, dtype=torch.float64)
    for sampler in SAMPLERS:
        sampling = Sampling(sampler, 10, eta=0)
        expected = draw_samples(exact, x, schedule, sampling, prediction="x0")
        got = draw_samples(denoise, x, schedule, sampling, prediction=prediction)
        torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)


def test_eta_one_draws_the_data_distribution():
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(20000, generator=generator, dtype=torch.float64)
    y = draw_samples(
        gaussian_x0(SCHEDULE),
        x,
        SCHEDULE,
        Sampling(steps=100),
        prediction="x0",
        spacing="trailing",
        noise=lambda like: torch.randn(like.shape, generator=generator, dtype=like.dtype),
    )
    assert abs(y.mean().item() - MEAN) < 0.05
    assert abs(y.std().item() - SPREAD) < 0.05


def test_given_noise_is_used_and_not_in_the_last_step():
    calls = []

    def noise(like):
        calls.append(like.shape)
        return torch.zeros_like(like)

    sampling = Sampling(steps=5, eta=1.0)
    draw_samples(gaussian_x0(SCHEDULE), torch.ones(2), SCHEDULE, sampling, prediction="x0", noise=noise)
    assert calls == [torch.Size([2])] * 4


def test_clip_bounds_the_data():
    x = torch.full((3,), 5.0)
    for sampler in SAMPLERS:
        sampling = Sampling(sampler, 4, eta=0)
        found = draw_samples(lambda x, t: x * 10, x, SCHEDULE, sampling, prediction="x0", clip=1.0)
        assert found.abs().max() <= 1.2


def test_progress_counts_to_the_end():
    seen = []
    for sampler in SAMPLERS:
        draw_samples(
            gaussian_x0(SCHEDULE),
            torch.ones(1),
            SCHEDULE,
            Sampling(sampler, 3),
            prediction="x0",
            progress=lambda *p: seen.append(p),
        )
    assert seen == [(1, 3), (2, 3), (3, 3)] * len(SAMPLERS)


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ({"sampler": "euler"}, "no sampler 'euler': use one of ddim, dpm, unipc"),
        ({"sampler": "dpm", "eta": 1.0}, "dpm is deterministic, but eta is 1.0"),
        ({"sampler": "unipc", "eta": 0.5}, "unipc is deterministic, but eta is 0.5"),
        ({"sampler": "unipc", "order": 4}, "order 4: use 1, 2 or 3"),
    ],
)
def test_what_cannot_be_is_refused(setting, told):
    with pytest.raises(InputError, match=told):
        Sampling(**setting)
