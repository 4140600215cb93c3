"""Residual blocks of our own networks, in two or three dimensions."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


def conv(dims: int, c_in: int, c_out: int, kernel: int = 3) -> nn.Module:
    """Convolution over `dims` axes that keeps the size."""
    return (nn.Conv2d if dims == 2 else nn.Conv3d)(c_in, c_out, kernel, 1, kernel // 2)


class ResBlock(nn.Module):
    """GroupNorm, SiLU, convolution, twice."""

    def __init__(self, dims: int, c_in: int, c_out: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.GroupNorm(8, c_in), nn.GroupNorm(8, c_out)
        self.conv1, self.conv2 = conv(dims, c_in, c_out), conv(dims, c_out, c_out)
        self.skip = conv(dims, c_in, c_out, 1) if c_in != c_out else nn.Identity()
        for parameter in self.conv2.parameters():
            nn.init.zeros_(parameter)

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm2(self.conv1(F.silu(self.norm1(x))))
        return self.skip(x) + self.conv2(F.silu(h))
