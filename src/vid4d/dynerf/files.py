"""The file of a DyNeRF: field and occupancy, with their sizes, as safetensors."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from vid4d.checkpoints import load_tensors, save_tensors, with_prefix
from vid4d.dynerf import CascadeField, FieldConfig, LevelConfig, OccupancyGrid
from vid4d.errors import InputError

KEY = "vid4d-dynerf-1"
"""Of the metadata: the only entry, since several would lie in the file in any order."""


def save_field(path: Path, field: CascadeField, grid: OccupancyGrid) -> None:
    """Writes a DyNeRF: `field.*` and `grid.*` in float32, their sizes in the metadata."""
    tensors = {f"field.{k}": v for k, v in field.state_dict().items()}
    tensors |= {f"grid.{k}": v for k, v in grid.state_dict().items()}
    sizes = {"field": asdict(field.config), "cells": grid.resolution, "step": grid.step}
    save_tensors(path, tensors, {KEY: json.dumps(sizes)})


def load_field(path: Path, device: torch.device | str = "cpu") -> tuple[CascadeField, OccupancyGrid]:
    """Reads what `save_field` wrote. Raises InputError for anything else."""
    tensors, metadata = load_tensors(path)
    if KEY not in metadata:
        raise InputError(f"{path} holds no DyNeRF of vid4d: give the dynerf.safetensors of a run")
    try:
        sizes = json.loads(metadata[KEY])
        settings: dict[str, Any] = sizes["field"]
        levels = tuple(LevelConfig(**level) for level in settings.pop("levels"))
        field, grid = CascadeField(FieldConfig(levels=levels, **settings)), OccupancyGrid(sizes["cells"])
        grid.step = sizes["step"]
        for part, name in ((field, "field."), (grid, "grid.")):
            part.load_state_dict(with_prefix(tensors, name))
    except (ValueError, KeyError, TypeError, RuntimeError) as error:
        raise InputError(
            f"{path} holds a DyNeRF of another version of vid4d, or is damaged: make the run anew"
        ) from error
    return field.on(device).requires_grad_(False), grid.to(device)
