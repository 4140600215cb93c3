"""Layouts of published checkpoints: names of their tensors, and what is left out.

A layout turns a state dict in the authors' names into one in ours: which stored tensors make up each of our
entries. What it leaves out is listed here by name, with the reason; anything else is an error.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vid4d.cameras import Cameras
from vid4d.errors import InputError
from vid4d.priors.samplers import NoiseSchedule
from vid4d.priors.weights.checkpoint_reader import StoredTensor

Parts = dict[str, list[StoredTensor]]
"""Our name -> the stored tensors that make it up, which are joined along their first dimension."""


@dataclass(frozen=True)
class Named:
    """A state dict in our names. left_out: how many entries for which reason. swapped: to be transposed."""

    parts: Parts
    left_out: dict[str, int] = field(default_factory=dict)
    swapped: frozenset[str] = frozenset()


SCHEDULE = (
    r"betas|alphas|alphas_cumprod|alphas_cumprod_prev|sqrt_(one_minus_)?alphas_cumprod|"
    r"log_one_minus_alphas_cumprod|sqrt_recip(m1)?_alphas_cumprod|posterior_variance|"
    r"posterior_log_variance_clipped|posterior_mean_coef[12]|logvar|lvlb_weights"
)
TEXT_TOWER = (
    r"(positional_embedding|text_projection|logit_scale|token_embedding\.weight|ln_final\..*|transformer\..*)"
)


def in_our_names(
    state: Mapping[str, Any], prefixes: Mapping[str, str], left_out: Mapping[str, str], source: Path
) -> Named:
    """Renames by prefix. Raises InputError for names that are neither known nor listed as left out."""
    parts: Parts = {}
    counts: Counter[str] = Counter()
    unknown = []
    for name, value in state.items():
        reason = next((why for pattern, why in left_out.items() if re.fullmatch(pattern, name)), None)
        prefix = next((p for p in prefixes if name.startswith(p)), None)
        if reason is not None:
            counts[reason] += 1
        elif prefix is not None and isinstance(value, StoredTensor):
            parts[prefixes[prefix] + name.removeprefix(prefix)] = [value]
        else:
            unknown.append(name)
    if unknown:
        raise unexpected(unknown, source)
    return Named(parts, dict(counts))


def unexpected(names: Iterable[str], source: Path) -> InputError:
    """The error for tensors of a checkpoint that no parameter takes."""
    first, *others = sorted(names)
    more = f" and {len(others)} more" if others else ""
    return InputError(
        f"{source} holds {first}{more}, for which this network has no place: give the authors' checkpoint"
    )


# Constants, which are compared and then left out


def check_constants(state: Mapping[str, Any], source: Path) -> None:
    """Compares the schedule and the ring that a checkpoint carries with those that our networks compute."""
    alphas = NoiseSchedule.scaled_linear().alphas_cumprod
    before = torch.cat([torch.ones(1), alphas[:-1]])
    constants: dict[str, Tensor] = {
        "betas": 1 - alphas / before,
        "alphas_cumprod": alphas,
        "geometry.bbox": torch.tensor([[-1.0] * 3, [1.0] * 3]),
    }
    if "poses" in state or "Ks" in state:
        ring = Cameras.ring(16, size=256)
        constants |= {"poses": ring.world_to_camera[:, :3], "Ks": ring.intrinsics}
    for name, expected in constants.items():
        stored = state.get(name)
        if not isinstance(stored, StoredTensor):
            continue
        size = expected.abs().max().item()
        if stored.shape != tuple(expected.shape) or not torch.allclose(
            stored.read().float(), expected.float(), rtol=0, atol=2e-3 * size
        ):
            raise InputError(
                f"{source} was trained with other {name} than this network computes: it cannot be used here"
            )


# Averaged weights


def averaged(state: Mapping[str, Any], source: Path) -> dict[str, Any]:
    """A latent-diffusion state dict whose UNet is the averaged copy (`model_ema.*`, names without dots)."""
    prefix = "model.diffusion_model."
    changed = dict(state)
    names = [name for name in state if name.startswith(prefix)]
    for name in names:
        copy = "model_ema." + name.removeprefix("model.").replace(".", "")
        if copy not in state:
            raise InputError(f"{source} has no averaged copy of {name}: convert its plain weights instead")
        changed[name] = state[copy]
    return changed
