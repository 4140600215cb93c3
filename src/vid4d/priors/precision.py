"""Numbers that networks compute in."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


def best_dtype(device: torch.device | str) -> torch.dtype:
    """bfloat16 where the processor multiplies in it, else float32."""
    if torch.device(device).type == "cuda":
        return torch.bfloat16
    return torch.bfloat16 if torch.cpu._is_avx512_bf16_supported() else torch.float32


@contextmanager
def repeatable() -> Iterator[None]:
    """Convolutions give the same numbers every time, on a graphics card, too."""
    cudnn = torch.backends.cudnn
    with cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=cudnn.allow_tf32):
        yield
