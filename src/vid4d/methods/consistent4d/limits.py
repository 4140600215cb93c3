"""Limits of Consistent4D, checked early: too little memory, frames it could not tell apart."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from vid4d.errors import InputError, MachineError
from vid4d.priors.base import prior_spec, priors_with

if TYPE_CHECKING:
    from vid4d.methods.consistent4d.config import Consistent4DConfig

FRAMES_PER_MOMENT = 8
"""Frames that may share a grid point along time of the finest level; with more, motion is averaged away."""

FIRST = 0.7
"""GiB that the program takes before anything is made."""


def check_frames(config: Consistent4DConfig, preset: str, frames: int) -> None:
    """Raises InputError for more key frames than the field's moments can hold apart."""
    moments = max(level.time for level in config.levels.levels)
    most = FRAMES_PER_MOMENT * moments
    if frames > most:
        raise InputError(
            f"{frames} key frames are more than the preset {preset!r} can tell apart, whose field has "
            f"{moments} moments: use --frames {most} or fewer, or cut the clip with --start and --end"
        )


def memory_needed(config: Consistent4DConfig, prior_gib: float) -> float:
    """GiB that training takes at its largest pictures, by a rough estimate. prior_gib: of the prior."""
    parameters, each = 0, 0.0
    for level in config.levels.levels:
        planes = 3 * level.channels * (level.space**2 + level.time * level.space)
        parameters += planes + 2 * level.width * (level.channels + 2)
        each += 2048 * level.channels / 16  # intermediate values of a sample
    rays = max(stage.batch * stage.size**2 for stage in config.milestones)
    samples = rays * config.samples_per_ray
    held = min(config.chunk, samples) * each + 3 * each * config.n_reg_samples + 40 * samples
    return FIRST + prior_gib + (16 * parameters + held) / 2**30


def free_memory(device: str) -> float | None:
    """GiB that are free on the device, None where the system does not say."""
    if device.startswith("cuda"):
        import torch

        return torch.cuda.mem_get_info(device)[0] / 2**30
    available = []
    meminfo = Path("/proc/meminfo")
    if meminfo.is_file():
        lines = dict(line.split(":", 1) for line in meminfo.read_text().splitlines() if ":" in line)
        if "MemAvailable" in lines:
            available.append(int(lines["MemAvailable"].split()[0]) / 2**20)
    elif hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        available.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30)
    limit = Path("/sys/fs/cgroup/memory.max")
    if limit.is_file() and (limit_bytes := limit.read_text().strip()).isdigit():
        available.append(int(limit_bytes) / 2**30)
    return min(available) if available else None


def check_memory(
    presets: dict[str, Consistent4DConfig],
    preset: str,
    prior_gib: float,
    device: str,
    most: float | None = None,
) -> None:
    """Raises MachineError where a preset does not fit into the device's free memory, with one that does.

    most: GiB, where no more than that may be used.
    """
    free = free_memory(device)
    if most is not None:
        free = most if free is None else min(free, most)
    need = memory_needed(presets[preset], prior_gib)
    if free is None or need <= free:
        return
    fitting = [name for name, config in presets.items() if memory_needed(config, prior_gib) <= free]
    largest = max(fitting, key=lambda name: memory_needed(presets[name], prior_gib), default=None)
    way_out = f"use --preset {largest}" if largest else f"use a machine with more{_lighter_prior(prior_gib)}"
    raise MachineError(
        f"the preset {preset!r} needs about {need:.3g} GiB of memory and {free:.3g} GiB are free "
        f"on {device}: {way_out}"
    )


def _lighter_prior(prior_gib: float) -> str:
    """Advice to take the score that needs the least memory, where that is less than a prior's."""
    name = min(priors_with("score"), key=lambda name: prior_spec(name).memory_gib)
    return f", or --prior {name}" if prior_spec(name).memory_gib < prior_gib else ""
