"""Noise schedules and samplers of diffusion models.

`draw_samples` turns noise into data as a `Sampling` says. The network is a callable
`denoise(x, t) -> prediction`: x the noisy sample of any shape, t a time step (a tensor without dimensions, on
the processor, so that nobody waits for a device to know it). The prediction is the noise ("eps"), the data
("x0") or the velocity ("v", 2202.00512).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from vid4d.errors import InputError

Prediction = Literal["eps", "x0", "v"]
Spacing = Literal["leading", "trailing"]
Denoiser = Callable[[Tensor, Tensor], Tensor]
NoiseSource = Callable[[Tensor], Tensor]
ProgressCallback = Callable[[int, int], object]


@dataclass(frozen=True)
class NoiseSchedule:
    """A variance-preserving noise process in discrete steps: x_t = sqrt(a_t) x_0 + sqrt(1 - a_t) noise.

    alphas_cumprod: a_t for t = 0 (nearly clean) .. T - 1 (nearly noise), decreasing, in float32.
    """

    alphas_cumprod: Float[Tensor, " t"]

    @classmethod
    def scaled_linear(cls, steps: int = 1000, start: float = 0.00085, end: float = 0.012) -> NoiseSchedule:
        """The schedule of latent diffusion, Zero123 and SyncDreamer: sqrt(beta) grows linearly."""
        betas = torch.linspace(start**0.5, end**0.5, steps, dtype=torch.float32) ** 2
        return cls(torch.cumprod(1 - betas, 0))

    @classmethod
    def shifted_cosine(cls, steps: int = 1000, shift: float = -2.0) -> NoiseSchedule:
        """The cosine schedule with its log signal-to-noise ratio shifted (2301.11093, section 3.1).

        Pictures keep their large shapes visible under much noise; the shift trains where geometry is decided.
        """
        u = (torch.arange(steps, dtype=torch.float64) + 1) / steps
        log_snr = (-2 * torch.log(torch.tan(torch.pi / 2 * u.clamp(max=0.9999)))).clamp(-14, 14) + shift
        return cls(torch.sigmoid(log_snr).float())

    def __len__(self) -> int:
        return self.alphas_cumprod.shape[0]

    def to(self, device: torch.device | str) -> NoiseSchedule:
        return NoiseSchedule(self.alphas_cumprod.to(device))

    def alpha_sigma(self, t: Int[Tensor, "*b"], like: Tensor) -> tuple[Tensor, Tensor]:
        """Factors of data and noise at time steps t, shaped to multiply `like`, whose first axes are t's."""
        if self.alphas_cumprod.device != t.device:
            t = t.to(self.alphas_cumprod.device)
        a = self.alphas_cumprod[t]
        if a.ndim == 0 and a.device.type == "cpu":  # a number, which no device has to be told beforehand
            return a.sqrt().to(like.dtype), (1 - a).sqrt().to(like.dtype)
        a = a.to(like.device)
        a = a.reshape(a.shape + (1,) * (like.ndim - a.ndim))
        return a.sqrt().to(like.dtype), (1 - a).sqrt().to(like.dtype)

    @cached_property
    def half_log_snr(self) -> Float[Tensor, " t"]:
        """log(alpha / sigma) at every time step, in float64."""
        a = self.alphas_cumprod.double()
        return 0.5 * (a.log() - (1 - a).log())


def q_sample(
    schedule: NoiseSchedule, x0: Float[Tensor, "*b_c"], t: Int[Tensor, "*b"], noise: Float[Tensor, "*b_c"]
) -> Float[Tensor, "*b_c"]:
    """Noised data at time steps t, which are one per leading index of x0 (or a single one)."""
    alpha, sigma = schedule.alpha_sigma(t, x0)
    return alpha * x0 + sigma * noise


def target(
    schedule: NoiseSchedule, x0: Tensor, t: Int[Tensor, "*b"], noise: Tensor, prediction: Prediction
) -> Tensor:
    """Regression target of a network of this prediction type for q_sample(schedule, x0, t, noise)."""
    alpha, sigma = schedule.alpha_sigma(t, x0)
    return {"eps": lambda: noise, "x0": lambda: x0, "v": lambda: alpha * noise - sigma * x0}[prediction]()


def to_x0(
    schedule: NoiseSchedule, x: Tensor, t: Int[Tensor, "*b"], predicted: Tensor, prediction: Prediction
) -> Tensor:
    """The data that a prediction implies."""
    if prediction == "x0":
        return predicted
    alpha, sigma = schedule.alpha_sigma(t, x)
    if prediction == "v":
        return alpha * x - sigma * predicted
    if prediction == "eps":
        return (x - sigma * predicted) / alpha
    raise ValueError(f'unknown prediction type "{prediction}": use "eps", "x0" or "v"')


def to_eps(
    schedule: NoiseSchedule, x: Tensor, t: Int[Tensor, "*b"], predicted: Tensor, prediction: Prediction
) -> Tensor:
    """The noise that a prediction implies."""
    if prediction == "eps":
        return predicted
    alpha, sigma = schedule.alpha_sigma(t, x)
    if prediction == "v":
        return sigma * x + alpha * predicted
    if prediction == "x0":
        return (x - alpha * predicted) / sigma
    raise ValueError(f'unknown prediction type "{prediction}": use "eps", "x0" or "v"')


def timesteps(
    schedule: NoiseSchedule, steps: int, spacing: Spacing = "leading", t_start: int | None = None
) -> list[int]:
    """Decreasing time steps of a sampler.

    "leading" is latent diffusion's: 1, 1 + T / steps, ...; "trailing" ends at T - 1 (2305.08891, 3.3).
    t_start: the noise level of a given sample; keeps the steps up to it and begins exactly there.
    """
    total = len(schedule)
    if not 1 <= steps <= total:
        raise ValueError(f"{steps} sampling steps, but the schedule has {total}: use 1 to {total}")
    if spacing == "leading":
        grid = [min(total - 1, i * total // steps + 1) for i in range(steps - 1, -1, -1)]
    else:
        grid = [round(total * i / steps) - 1 for i in range(steps, 0, -1)]
    if t_start is None:
        return grid
    if not 0 <= t_start < total:
        raise ValueError(f"t_start is {t_start}, outside 0..{total - 1}")
    return [t_start, *(t for t in grid if t < t_start)]


@dataclass(frozen=True)
class DDIMSchedule:
    """Coefficients of DDIM per step, in increasing time: a_t, a of the next cleaner step, sigma."""

    timesteps: Int[Tensor, " s"]
    alphas: Float[Tensor, " s"]
    alphas_prev: Float[Tensor, " s"]
    sigmas: Float[Tensor, " s"]


def ddim_schedule(schedule: NoiseSchedule, steps: list[int], eta: float) -> DDIMSchedule:
    """Coefficients for decreasing time steps (2010.02502, equations 12 and 16); the last goes to t = 0."""
    t = torch.tensor(steps[::-1])
    table = schedule.alphas_cumprod.cpu().double()
    a = table[t]
    prev = torch.cat([table[:1], a[:-1]])
    variance = (1 - prev) / (1 - a) * (1 - a / prev)
    return DDIMSchedule(t, a, prev, eta * variance.clamp(min=0).sqrt())


@dataclass(frozen=True)
class Sampling:
    """Options of a sampler.

    sampler: "ddim", "dpm" or "unipc". steps: evaluations of the network. eta: randomness of DDIM, 0 is
    deterministic, 1 (where it is None) is as random as the training process; the others have none. order: of
    UniPC's predictor, 1 to 3.

    Raises InputError for what cannot be.
    """

    sampler: str = "ddim"
    steps: int = 50
    eta: float | None = None
    order: int = 2

    def __post_init__(self) -> None:
        if self.sampler not in SAMPLERS:
            names = ", ".join(sorted(SAMPLERS))
            raise InputError(f"there is no sampler {self.sampler!r}: use one of {names}")
        if self.eta and self.sampler != "ddim":
            raise InputError(f"{self.sampler} is deterministic, but eta is {self.eta}: use eta 0, or ddim")
        if self.order not in (1, 2, 3):
            raise InputError(f"UniPC of order {self.order}: use 1, 2 or 3")


def draw_samples(
    denoise: Denoiser,
    x: Tensor,
    schedule: NoiseSchedule,
    sampling: Sampling,
    *,
    prediction: Prediction = "eps",
    spacing: Spacing | None = None,
    t_start: int | None = None,
    clip: float | None = None,
    noise: NoiseSource = torch.randn_like,
    progress: ProgressCallback | None = None,
) -> Tensor:
    """Turns noise x, or a sample x noised to level t_start, into data.

    spacing: of the time steps, the sampler's own where not given. clip: bound of the data's absolute value.
    noise: draws what DDIM adds when eta > 0, given a tensor of the shape wanted. progress: called with
    (done, total).
    """
    solver = SAMPLERS[sampling.sampler]
    plan = timesteps(schedule, sampling.steps, spacing or solver.spacing, t_start)
    move = solver(schedule, plan, sampling, noise)
    for i, step in enumerate(plan):
        t = torch.tensor(step)
        predicted = denoise(x, t)
        x0 = to_x0(schedule, x, t, predicted, prediction)
        if clip is None:
            eps = to_eps(schedule, x, t, predicted, prediction)
        else:
            x0 = x0.clamp(-clip, clip)
            eps = to_eps(schedule, x, t, x0, "x0")
        x = move(i, x, x0, eps)
        if progress is not None:
            progress(i + 1, len(plan))
    return x


@runtime_checkable
class Solver(Protocol):
    """Goes from one time step of a plan to the next.

    steps, spacing: how many time steps it wants, and where, unless told otherwise.
    """

    steps: int
    spacing: Spacing

    def __init__(
        self, schedule: NoiseSchedule, plan: list[int], sampling: Sampling, noise: NoiseSource
    ) -> None: ...

    def __call__(self, i: int, x: Tensor, x0: Tensor, eps: Tensor) -> Tensor:
        """Next sample from x at plan[i], and the data and the noise predicted for it."""


class DDIM:
    """DDIM (2010.02502), which ends at t = 0."""

    steps: int = 50
    spacing: Spacing = "leading"

    def __init__(
        self, schedule: NoiseSchedule, plan: list[int], sampling: Sampling, noise: NoiseSource
    ) -> None:
        self.table = ddim_schedule(schedule, plan, 1.0 if sampling.eta is None else sampling.eta)
        self.noise = noise

    def __call__(self, i: int, x: Tensor, x0: Tensor, eps: Tensor) -> Tensor:
        left = len(self.table.timesteps) - 1 - i  # the table is in increasing time
        prev, sigma = self.table.alphas_prev[left].item(), self.table.sigmas[left].item()
        x = prev**0.5 * x0 + max(1 - prev - sigma**2, 1e-7) ** 0.5 * eps
        return x + sigma * self.noise(x) if left > 0 and sigma > 0 else x


class DPMSolver:
    """DPM-Solver++(2M) (2211.01095, algorithm 2), ends at noise-free data; the last step has order 1."""

    steps: int = 20
    spacing: Spacing = "trailing"

    def __init__(
        self, schedule: NoiseSchedule, plan: list[int], sampling: Sampling, noise: NoiseSource
    ) -> None:
        self.schedule, self.plan = schedule, plan
        self.previous: Tensor | None = None
        self.h_last = torch.tensor(0.0)

    def __call__(self, i: int, x: Tensor, x0: Tensor, eps: Tensor) -> Tensor:
        if i + 1 == len(self.plan):
            return x0
        now, later = self.plan[i], self.plan[i + 1]
        a_t, a_s = (self.schedule.alphas_cumprod[j].double() for j in (now, later))
        h = self.schedule.half_log_snr[later] - self.schedule.half_log_snr[now]
        data = x0
        if self.previous is not None:
            data = x0 + (0.5 * h / self.h_last).item() * (x0 - self.previous)
        self.previous, self.h_last = x0, h
        keep = ((1 - a_s) / (1 - a_t)).sqrt().item()
        return keep * x - (a_s.sqrt() * torch.expm1(-h)).item() * data


class UniPC:
    """UniPC (2302.04867, algorithms 5 to 8, B2) with data prediction; ends at noise-free data.

    Each evaluation first corrects the sample that it was made at and then predicts the next one, so that the
    corrector costs nothing. The first steps have fewer predictions to look back on than the order asks for,
    and the last is of first order.
    """

    steps: int = 12
    spacing: Spacing = "trailing"

    def __init__(
        self, schedule: NoiseSchedule, plan: list[int], sampling: Sampling, noise: NoiseSource
    ) -> None:
        self.schedule, self.plan, self.order = schedule, plan, sampling.order
        self.history: list[tuple[float, Tensor]] = []  # half log SNR and data prediction, the newest last
        self.move: Callable[[list[float], list[Tensor]], Tensor] | None = None

    def __call__(self, i: int, x: Tensor, x0: Tensor, eps: Tensor) -> Tensor:
        if i + 1 == len(self.plan):
            return x0
        level = self.schedule.half_log_snr[self.plan[i]].item()
        if self.move is not None:
            before = self.history[:-1]
            x = self.move([*(level for level, _ in before), level], [*(data for _, data in before), x0])
        self.history = [*self.history, (level, x0)][-self.order :]
        a_t, a_s = (self.schedule.alphas_cumprod[j].item() for j in self.plan[i : i + 2])
        ends = level, self.schedule.half_log_snr[self.plan[i + 1]].item()
        self.move = partial(_unipc_move, x, x0, ends, (1 - a_t, 1 - a_s), a_s)
        before = self.history[:-1]
        return self.move([level for level, _ in before], [data for _, data in before])


def _unipc_move(
    x: Tensor,
    x0: Tensor,
    ends: tuple[float, float],
    variances: tuple[float, float],
    alpha: float,
    levels: list[float],
    data: list[Tensor],
) -> Tensor:
    """UniPC step to the next noise level: first order, and the terms of the slopes to other predictions.

    ends: half log SNR here and there. variances: of the noise here and there. alpha: a_t there. levels, data:
    other predictions, before (predictor) or also at the end (corrector).
    """
    h = ends[1] - ends[0]
    growth = -math.expm1(-h)
    moved = math.sqrt(variances[1] / variances[0]) * x + math.sqrt(alpha) * growth * x0
    if not levels:
        return moved
    position = torch.tensor([(level - ends[0]) / h for level in levels], dtype=torch.float64)
    # the weights that integrate polynomials exactly, 2302.04867, equation 10
    powers = torch.stack([position**k for k in range(len(levels))])
    moments, phi, factorial = [], -growth / -h - 1, 1
    for k in range(1, len(levels) + 1):
        moments.append(phi * factorial / -growth)
        factorial *= k + 1
        phi = phi / -h - 1 / factorial
    weights = torch.linalg.solve(powers, torch.tensor(moments, dtype=torch.float64)).tolist()
    for weight, r, other in zip(weights, position.tolist(), data, strict=True):
        moved = moved + math.sqrt(alpha) * growth * weight / r * (other - x0)
    return moved


SAMPLERS: dict[str, type[Solver]] = {"ddim": DDIM, "dpm": DPMSolver, "unipc": UniPC}

OFFICIAL_SAMPLING = Sampling()
"""Sampling of the authors of Zero123 and SyncDreamer: 50 steps of DDIM with eta 1."""
