"""Cameras and times of a step of Consistent4D, and the schedules that depend on the step alone.

Everything is drawn from the seed and the step, so a resumed run draws what an uninterrupted one would.
Consistent4D (2311.02848), sections 3.2 and 4.1, and its code.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from vid4d.cameras import Cameras
from vid4d.compute.randomness import Shuffled, step_generator

Kind = Literal["random", "spatial", "temporal", "single"]
CONSECUTIVE_KINDS = ("spatial", "temporal")
"""Kinds of batches that are a run of views, which the interpolation-driven consistency loss looks at."""


@dataclass(frozen=True)
class LinearSchedule:
    """A number that goes from `start` to `end` in `steps` steps, in a straight line, and stays there."""

    start: float
    end: float
    steps: int

    def __post_init__(self) -> None:
        if self.steps < 0:
            raise ValueError("a schedule takes 0 steps or more")

    def at(self, step: int) -> float:
        share = min(step / self.steps, 1.0) if self.steps > 0 else 1.0
        return self.start + (self.end - self.start) * share


@dataclass(frozen=True)
class TimestepRange:
    """The shares of the noise schedule between which a prior step draws its noise level, both annealed."""

    low: LinearSchedule = LinearSchedule(0.8, 0.2, 5000)
    high: LinearSchedule = LinearSchedule(0.98, 0.25, 5000)

    def __post_init__(self) -> None:
        bends = (0, self.low.steps, self.high.steps)  # straight in between
        if not all(0 <= low <= high <= 1 for low, high in map(self.at, bends)):
            raise ValueError("noise levels are shares of the schedule: 0 to 1, low never above high")

    def at(self, step: int) -> tuple[float, float]:
        """Lowest and highest share of the noise schedule at a step."""
        return self.low.at(step), self.high.at(step)


@dataclass(frozen=True)
class Milestone:
    """Resolution schedule: from `step` on, pictures of `size` pixels, `batch` of them in a prior step."""

    step: int
    size: int
    batch: int

    def __post_init__(self) -> None:
        if self.size < 8 or self.batch < 1:
            raise ValueError("a milestone has 8 pixels and 1 picture or more")


def milestone_at(milestones: Sequence[Milestone], step: int) -> Milestone:
    """The last milestone that was reached; the first one lies at step 0."""
    return [m for m in milestones if m.step <= step][-1]


@dataclass(frozen=True)
class BatchConfig:
    """Sampling of a prior step's views.

    random, spatial, temporal, single: probabilities of the kinds, which sum to 1: cameras anywhere at one
        time; one time, azimuths in even steps; one camera, times in even steps; one camera at one time.
    azimuth_step: degrees between the views of a spatial run, from and to. time_step: of a temporal run, as a
        share of the clip. elevation: degrees, from and to.
    """

    random: float = 0.5
    spatial: float = 0.125
    temporal: float = 0.125
    single: float = 0.25
    azimuth_step: tuple[float, float] = (5.0, 15.0)
    time_step: float = 1 / 16
    elevation: tuple[float, float] = (-10.0, 60.0)

    def __post_init__(self) -> None:
        if abs(self.random + self.spatial + self.temporal + self.single - 1) > 1e-6:
            raise ValueError("the probabilities of the kinds of batches do not sum to 1")
        if min(self.random, self.spatial, self.temporal, self.single) < 0:
            raise ValueError("the probabilities of the kinds of batches are 0 or more")
        if not 0 < self.azimuth_step[0] <= self.azimuth_step[1] or self.time_step <= 0:
            raise ValueError("steps of azimuth and time are more than 0, the smaller azimuth first")
        if not -90 <= self.elevation[0] <= self.elevation[1] <= 90:
            raise ValueError("elevations are -90 to 90 degrees, the lower one first")

    def probabilities(self, frames: int) -> dict[Kind, float]:
        """Probabilities of the batch kinds for a clip of so many frames.

        Fewer than 3 frames have no consecutive times, but more consecutive views.
        """
        moving = frames >= 3
        return {
            "random": self.random,
            "spatial": self.spatial + (0.0 if moving else self.temporal),
            "temporal": self.temporal if moving else 0.0,
            "single": self.single,
        }


@dataclass(frozen=True)
class Batch:
    """The views of a prior step: angles in degrees, and the clip's frame that each of them shows."""

    kind: Kind
    azimuth: Float[Tensor, " b"]
    elevation: Float[Tensor, " b"]
    frame: Int[Tensor, " b"]

    def __len__(self) -> int:
        return len(self.frame)

    @property
    def is_consecutive(self) -> bool:
        """True where views lie between a first and a last one, as the interpolation loss needs it."""
        return self.kind in CONSECUTIVE_KINDS and len(self) >= 3

    def cameras(self, size: int, device: torch.device | str = "cpu") -> Cameras:
        return Cameras.orbit(self.azimuth, self.elevation, size=size, device=device)


def reference_frame(seed: int, index: int, frames: int) -> int:
    """The frame of reference step number `index`: each comes once in `frames` of them, in any order."""
    return Shuffled(frames, lambda epoch: step_generator(seed, epoch, purpose=1))[index]


def draw_batch(
    config: BatchConfig, seed: int, step: int, *, batch: int, frames: int, cyclic: bool = False
) -> Batch:
    """The views of a prior step.

    batch: views; a single camera at a single time is one view. frames: of the clip; times are always those of
    frames, so that a temporal run of a short clip takes longer steps than `time_step`, and is shorter where
    the clip ends before it does.
    """
    generator = step_generator(seed, step, purpose=2)
    chances = config.probabilities(frames)
    kinds = list(chances)
    weights = torch.tensor([chances[k] for k in kinds], dtype=torch.float64)
    kind = kinds[int(torch.multinomial(weights, 1, generator=generator))]
    frame = int(torch.randint(frames, (1,), generator=generator))
    if kind == "random":
        azimuth = torch.rand(batch, generator=generator) * 360
        elevation = draw_elevations(config.elevation, batch, generator)
        return Batch(kind, azimuth, elevation, torch.full((batch,), frame))
    azimuth = torch.rand(1, generator=generator) * 360
    elevation = draw_elevations(config.elevation, 1, generator)
    if kind == "single":
        return Batch(kind, azimuth, elevation, torch.tensor([frame]))
    if kind == "spatial":
        low, high = config.azimuth_step
        step_size = low + (high - low) * torch.rand(1, generator=generator)
        around = (azimuth + step_size * torch.arange(batch)) % 360
        return Batch(kind, around, elevation.expand(batch), torch.full((batch,), frame))
    stride = max(1, round(frames * config.time_step))
    count = batch if cyclic else min(batch, (frames - 1) // stride + 1)
    if cyclic:
        count = min(count, frames)  # a run that comes around to its own first view says nothing
        shown = (frame + stride * torch.arange(count)) % frames
    else:
        first = int(torch.randint(frames - (count - 1) * stride, (1,), generator=generator))
        shown = first + stride * torch.arange(count)
    return Batch(kind, azimuth.expand(count), elevation.expand(count), shown)


def draw_elevations(
    bounds: tuple[float, float], count: int, generator: torch.Generator
) -> Float[Tensor, " n"]:
    """Degrees: for all of a batch uniform in the angle half of the time, else uniform over the sphere."""
    low, high = bounds
    share = torch.rand(count, generator=generator)
    if float(torch.rand(1, generator=generator)) < 0.5:
        return low + (high - low) * share
    bottom, top = torch.sin(torch.deg2rad(torch.tensor([low, high], dtype=torch.float64))).tolist()
    return torch.rad2deg(torch.asin(bottom + (top - bottom) * share.double())).float()
