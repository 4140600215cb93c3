"""Availability and launch of our Triton kernels (Triton comes with torch on Linux).

The kernels themselves lie beside what they make faster (`*_kernels.py` in `priors` and `dynerf`). Each has a
plain version in torch, which serves everywhere else. `enabled` is a switch for tests and benchmarks.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import cache
from importlib import util
from typing import TypeVar

import torch
from torch import Tensor, nn

M = TypeVar("M", bound=nn.Module)
T = TypeVar("T")

enabled = True


def available(x: Tensor) -> bool:
    """Availability of Triton kernels for this tensor now; torch.compile traces plain torch better."""
    return enabled and x.is_cuda and not torch.compiler.is_compiling() and buildable(x.device)


@cache
def buildable(device: torch.device) -> bool:
    """Test whether Triton can build for a device: it wants a C compiler, and a card that is not too old.

    Warns, once, where Triton is there and cannot build.
    """
    if util.find_spec("triton") is None:
        return False
    try:
        build_one(device)
    except Exception as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        warnings.warn(
            f"Triton's kernels cannot be built for {device} ({reason}): plain torch is used, which is slower",
            stacklevel=2,
        )
        return False
    return True


def channels_last(module: M) -> M:
    """Lays out all weights of four or five axes channels last, in place; outputs of convolutions follow."""
    formats = {4: torch.channels_last, 5: torch.channels_last_3d}
    for parameter in module.parameters():
        if parameter.ndim in formats:
            parameter.data = parameter.data.contiguous(memory_format=formats[parameter.ndim])
    return module


def build_one(device: torch.device) -> None:
    """Builds and runs the smallest kernel. Raises whatever goes wrong."""
    from vid4d.kernels.probe import add_one

    x = torch.zeros(1, device=device)
    on_device_of(x, lambda: add_one[(1,)](x))


def on_device_of(x: Tensor, launch: Callable[[], T]) -> T:
    """Launches on the tensor's own card, which need not be the current one; returns what `launch` does."""
    if x.is_cuda:
        with torch.cuda.device(x.device):
            return launch()
    return launch()
