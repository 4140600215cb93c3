"""The files of Consistent4D: the finished DyNeRF, and the middle of its training. Both are safetensors."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from vid4d.dynerf import CascadeField, FieldConfig, LevelConfig, OccupancyGrid
from vid4d.errors import InputError
from vid4d.files import written_whole

KEY = "vid4d-dynerf-1"
"""Of the metadata: the only entry, since several would lie in the file in any order."""


def save_field(path: Path, field: CascadeField, grid: OccupancyGrid) -> None:
    """Writes a DyNeRF: `field.*` and `grid.*` in float32, their sizes in the metadata."""
    tensors = {f"field.{k}": v for k, v in field.state_dict().items()}
    tensors |= {f"grid.{k}": v for k, v in grid.state_dict().items()}
    sizes = {"field": asdict(field.config), "cells": grid.resolution, "step": grid.step}
    _save(path, tensors, {KEY: json.dumps(sizes)})


def load_field(path: Path, device: torch.device | str = "cpu") -> tuple[CascadeField, OccupancyGrid]:
    """Reads what `save_field` wrote. Raises InputError for anything else."""
    tensors, metadata = _read(path)
    if KEY not in metadata:
        raise InputError(f"{path} holds no DyNeRF of vid4d: give the dynerf.safetensors of a run")
    sizes = json.loads(metadata[KEY])
    told: dict[str, Any] = sizes["field"]
    levels = tuple(LevelConfig(**level) for level in told.pop("levels"))
    field, grid = CascadeField(FieldConfig(levels=levels, **told)), OccupancyGrid(sizes["cells"])
    grid.step = sizes["step"]
    for part, name in ((field, "field."), (grid, "grid.")):
        part.load_state_dict({k.removeprefix(name): v for k, v in tensors.items() if k.startswith(name)})
    return field.on(device).requires_grad_(False), grid.to(device)


def save_checkpoint(
    path: Path,
    field: CascadeField,
    grid: OccupancyGrid,
    optimizer: torch.optim.Optimizer,
    state: dict[str, Any],
) -> None:
    """Writes all that training needs to go on. state: plain numbers and texts, and its `identity`."""
    tensors = {f"field.{k}": v for k, v in field.state_dict().items()}
    tensors |= {f"grid.{k}": v for k, v in grid.state_dict().items()}
    for i, moments in optimizer.state_dict()["state"].items():
        tensors |= {f"adam.{i}.{k}": torch.as_tensor(v) for k, v in moments.items()}
    _save(path, tensors, {"state": json.dumps(state)})


def load_checkpoint(
    path: Path,
    field: CascadeField,
    grid: OccupancyGrid,
    optimizer: torch.optim.Optimizer,
    identity: str,
) -> dict[str, Any]:
    """Puts back what `save_checkpoint` wrote and returns its state.

    Raises InputError for damaged files and for a checkpoint of another identity.
    """
    tensors, metadata = _read(path)
    state = json.loads(metadata.get("state", "{}"))
    if state.get("identity") != identity:
        raise InputError(
            f"The checkpoint {path} belongs to another clip, configuration or seed: "
            "delete it to start the training anew."
        )
    for part, name in ((field, "field."), (grid, "grid.")):
        part.load_state_dict({k.removeprefix(name): v for k, v in tensors.items() if k.startswith(name)})
    moments: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        if name.startswith("adam."):
            _, index, key = name.split(".")
            moments.setdefault(int(index), {})[key] = value
    optimizer.load_state_dict(optimizer.state_dict() | {"state": moments})
    for parameter, moment in optimizer.state.items():  # in its memory layout, which files do not keep
        for key, value in moment.items():
            if value.shape == parameter.shape:
                moment[key] = torch.empty_like(parameter).copy_(value)
    return state


def _save(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    kept = {k: v.detach().cpu().contiguous() for k, v in tensors.items()}
    with written_whole(path) as temporary:
        save_file(kept, temporary, metadata)


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    try:
        with safe_open(path, framework="pt") as file:
            return {k: file.get_tensor(k) for k in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except (SafetensorError, OSError) as e:
        raise InputError(f"{path} cannot be read ({e}): delete it to have it made anew.") from e
