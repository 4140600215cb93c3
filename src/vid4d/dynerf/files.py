"""The file of a DyNeRF: field and occupancy, with their sizes, as safetensors."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import torch
from msgspec import Meta, Struct
from torch import Tensor

from vid4d.dynerf import CascadeField, FieldConfig, OccupancyGrid
from vid4d.errors import InputError
from vid4d.files.checkpoints import load_tensors, save_tensors, with_prefix
from vid4d.files.records import checked, parsed, unknown_field

KEY = "vid4d-dynerf-1"
"""Of the metadata: the only entry, since several would lie in the file in any order."""


class _Sizes(Struct):
    field: FieldConfig
    cells: Annotated[int, Meta(ge=1, le=4096)]
    step: Annotated[float, Meta(gt=0, le=10)]


def save_field(path: Path, field: CascadeField, grid: OccupancyGrid) -> None:
    """Writes a DyNeRF: `field.*` and `grid.*` in float32, their sizes in the metadata."""
    tensors = {f"field.{k}": v for k, v in field.state_dict().items()}
    tensors |= {f"grid.{k}": v for k, v in grid.state_dict().items()}
    sizes = {"field": asdict(field.config), "cells": grid.resolution, "step": grid.step}
    save_tensors(path, tensors, {KEY: json.dumps(sizes)})


def load_field(path: Path, device: torch.device | str = "cpu") -> tuple[CascadeField, OccupancyGrid]:
    """Loads a DyNeRF and its occupancy grid. Raises InputError for any other file."""
    tensors, metadata = load_tensors(path)
    if KEY not in metadata:
        raise InputError(f"{path} holds no DyNeRF of vid4d: give the dynerf.safetensors of a run")
    advice = "it is of another version of vid4d, or is damaged: make the run anew"
    header = parsed(metadata[KEY], dict[str, Any], str(path), advice)
    if unknown := unknown_field(FieldConfig, header.get("field")):
        raise InputError(f"{path} has {unknown}; {advice}")
    sizes = checked(header, _Sizes, str(path), advice)
    _check_sizes(sizes, tensors, path)
    try:
        field, grid = CascadeField(sizes.field), OccupancyGrid(sizes.cells)
        grid.step = sizes.step
        for part, name in ((field, "field."), (grid, "grid.")):
            part.load_state_dict(with_prefix(tensors, name))
    except (ValueError, KeyError, TypeError, RuntimeError) as error:
        raise InputError(
            f"{path} holds a DyNeRF of another version of vid4d, or is damaged: make the run anew"
        ) from error
    return field.on(device).requires_grad_(False), grid.to(device)


def _check_sizes(sizes: _Sizes, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Raises InputError where the sizes announce more numbers than the file holds."""
    need = sizes.cells**3
    for level in sizes.field.levels:
        times = min(level.time, sizes.field.frames or level.time)
        need += 3 * level.channels * level.space * (level.space + times)
        need += 2 * level.width * (level.channels + 2)
    if need > sum(v.numel() for v in tensors.values()):
        raise InputError(f"{path} announces more numbers than it holds: make the run anew")
