"""Weights in eight bits: matrices and kernels as int8 with a scale per output row, the rest in float16."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from vid4d.errors import InputError
from vid4d.files.checkpoints import save_tensors
from vid4d.priors.weights.files import read_weights

SCALE = ":scale"
SMALLEST = 4096
"""Tensors of fewer values stay in float16."""


def quantize(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Symmetric int8 per output row, rounded to nearest; `NAME:scale` holds the rows' steps (float32)."""
    packed = {}
    for name, value in state.items():
        value = value.detach().float().cpu()
        if value.ndim < 2 or value.numel() < SMALLEST:
            packed[name] = value.half()
            continue
        rows = value.flatten(1)
        scale = rows.abs().amax(1).clamp(min=1e-12) / 127
        packed[name] = (rows / scale[:, None]).round().to(torch.int8).view(value.shape)
        packed[name + SCALE] = scale
    return packed


def dequantize(packed: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state dict in float32; raises InputError where a scale is missing."""
    state = {}
    for name, value in packed.items():
        if name.endswith(SCALE):
            continue
        if value.dtype != torch.int8:
            state[name] = value.float()
            continue
        scale = packed.get(name + SCALE)
        if scale is None or scale.shape != value.shape[:1]:
            raise InputError(f"the weights {name!r} have eight bits, but no scale per row")
        state[name] = (value.float().flatten(1) * scale[:, None]).view(value.shape)
    return state


def save_pieces(
    folder: Path, state: Mapping[str, Tensor], metadata: Mapping[str, str], largest: int = 15_900_000
) -> list[Path]:
    """Writes `part_0.safetensors`, ... of at most `largest` bytes of tensors each (a tensor is not cut)."""
    pieces: list[dict[str, Tensor]] = [{}]
    used = 0
    for name, value in quantize(state).items():
        bytes_of = value.numel() * value.element_size()
        if pieces[-1] and used + bytes_of > largest:
            pieces.append({})
            used = 0
        pieces[-1][name] = value
        used += bytes_of
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"part_{i}.safetensors" for i in range(len(pieces))]
    for path, piece in zip(paths, pieces, strict=True):
        save_tensors(path, piece, {**metadata, "pieces": str(len(pieces))})
    return paths


def read_pieces(folder: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """State dict in float32 and metadata of a folder of 8-bit pieces.

    Raises InputError for a folder without pieces, or with some of them missing.
    """
    paths = sorted(folder.glob("part_*.safetensors"))
    if not paths:
        raise InputError(f"no part_*.safetensors in {folder}: give the folder that holds the pieces")
    packed: dict[str, Tensor] = {}
    metadata: dict[str, str] = {}
    for path in paths:
        tensors, metadata = read_weights(path)
        packed |= tensors
    if metadata.get("pieces") != str(len(paths)):
        raise InputError(f"{folder} holds {len(paths)} of {metadata.get('pieces')} pieces: copy it again")
    return dequantize(packed), metadata
