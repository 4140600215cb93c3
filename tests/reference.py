"""What the authors' own networks computed (tests/data; its README says how), and their weights by name."""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

DATA = Path(__file__).parent / "data"


def arrays(name: str) -> dict[str, np.ndarray]:
    """All arrays of `data/<name>.npz`."""
    with np.load(DATA / f"{name}.npz") as file:
        return dict(file)


def keys(name: str) -> dict[str, list[int]]:
    """Every entry of a published checkpoint and its shape: `data/<name>_keys.json`."""
    return json.loads((DATA / f"{name}_keys.json").read_text())


def fill(name: str, shape: Sequence[int]) -> Tensor:
    """Weights that depend on nothing but their name and shape, so that a fixture need not hold them."""
    generator = torch.Generator().manual_seed(zlib.crc32(name.encode()))
    if ".grids." in name:  # K-planes: uniform in [0.5, 1)
        return 0.5 + 0.5 * torch.rand(tuple(shape), generator=generator)
    values = torch.randn(tuple(shape), generator=generator)
    if len(shape) >= 2:  # weights: variance-preserving
        fan_in = 1
        for size in shape[1:]:
            fan_in *= size
        return values / max(fan_in, 1) ** 0.5
    if name.endswith("weight"):  # gains of norms, slopes of PReLU
        return 1 + 0.1 * values
    return 0.05 * values  # biases and the rest
