"""Smoothing of a clip's spatial volumes over time (Efficient4D, 2401.08742, section 3.2)."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

_OPEN_KERNELS = {
    1: [[1.0]],
    2: [[3.0, 1.0], [1.0, 3.0]],
    3: [[7.0, 2.0, 1.0], [2.0, 6.0, 2.0], [1.0, 2.0, 7.0]],
    4: [[14.0, 4.0, 2.0, 0.0], [3.0, 12.0, 3.0, 2.0], [2.0, 3.0, 12.0, 3.0], [0.0, 2.0, 4.0, 14.0]],
}
_CYCLIC_KERNELS = {
    1: [1.0],
    2: [3.0, 1.0],
    3: [14.0, 3.0],
    4: [7.0, 1.0, 1.0],
    5: [6.0, 1.0, 1.0],
    6: [6.0, 1.0, 1.0],
}


def smoothing_matrix(frames: int, cyclic: bool = False) -> Float[Tensor, "t t"]:
    """Weights with which each frame's volume takes up the others' (2401.08742, section 3.2); rows sum to 1.

    Weights depend on the distance in frames, which wraps around in a cyclic clip. Fewer than 5 frames have
    tables of their own; cyclic clips of 5 and 6 frames, which the authors' code cannot do, take 5 taps.
    """
    if frames < 1:
        raise ValueError(f"a clip of {frames} frames cannot be smoothed")
    if not cyclic and frames in _OPEN_KERNELS:
        weights = torch.tensor(_OPEN_KERNELS[frames], dtype=torch.float64)
    else:
        kernel = [14.0, 2.0, 1.0, 1.0, 1.0, 1.0, 1.0] if frames >= 13 else [6.0, 1.0, 1.0, 1.0]
        if cyclic:
            kernel = _CYCLIC_KERNELS.get(frames, kernel)
        index = torch.arange(frames)
        distance = (index[:, None] - index).abs()
        if cyclic:
            distance = torch.minimum(distance, frames - distance)
        table = torch.tensor(kernel + [0.0] * frames, dtype=torch.float64)
        weights = table[distance]
    return weights / weights.sum(1, keepdim=True)
