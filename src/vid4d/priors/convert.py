"""From the files that authors publish to safetensors of our networks.

Sources are told apart by their keys, never by their names, and are opened by `pickles`, which runs nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

import torch
from torch import nn

Kind = Literal["zero123", "syncdreamer", "rife3", "rife4", "kplanes"]
Report = Callable[[int, int], None]
"""Called with bytes done and bytes in all."""


def kind_of(source: Path) -> Kind:
    """Which network a checkpoint holds, by its keys. A folder is Zero123 in the layout of diffusers.

    Raises InputError for files that are damaged, that would run code, or that hold something else.
    """
    raise NotImplementedError


def convert(
    source: Path, out: Path, *, licence: str = "", ema: bool = False, report: Report | None = None
) -> Path:
    """Writes a published checkpoint as one safetensors file under our names; returns `out`.

    source: a file, or a folder in the layout of diffusers. licence: goes into the metadata, which also
    carries the kind, the configuration and the source's SHA-256. ema: takes the averaged copy of Zero123's
    UNet (`model_ema.*`). report: progress. One tensor is in memory at a time; the file appears whole or not
    at all, so an interrupted conversion is simply run again.

    Raises InputError for files that are damaged, would run code, or lack or exceed the network's tensors.
    """
    raise NotImplementedError


def load_converted(
    path: Path, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
) -> nn.Module:
    """The network that `convert` wrote: Zero123, SyncDreamer, IFNet, IFNet3 or the field of a DyNeRF."""
    raise NotImplementedError
