"""Numbers that networks compute in."""

from __future__ import annotations

import torch


def best_dtype(device: torch.device | str) -> torch.dtype:
    """bfloat16 where the processor multiplies in it, else float32."""
    if torch.device(device).type == "cuda":
        return torch.bfloat16
    return torch.bfloat16 if torch.cpu._is_avx512_bf16_supported() else torch.float32
