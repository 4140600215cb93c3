"""I3D (1705.07750): Inception-v1 inflated to video, as FVD (1812.01717) uses it; names of pytorch-i3d."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

BRANCHES = ("b0", "b1a", "b1b", "b2a", "b2b", "b3b")
MIXED = ("3b", "3c", "4b", "4c", "4d", "4e", "4f", "5b", "5c")
POOLED_BEFORE = {"3b": ((1, 3, 3), (1, 2, 2)), "4b": ((3, 3, 3), (2, 2, 2)), "5b": ((2, 2, 2), (2, 2, 2))}
"""Kernel and stride of the pooling before a block."""
Size = tuple[int, int, int]
Widths = tuple[tuple[int, int, int], tuple[tuple[int, ...], ...], int]
"""Channels of the three first convolutions, of the branches of each block, and the number of classes."""


def same(x: Float[Tensor, "b c t h w"], kernel: Size, stride: Size) -> Float[Tensor, "b c t2 h2 w2"]:
    """Zeros around a video so that stride s leaves ceil(n / s), the odd one at the end: TensorFlow's SAME."""
    pads: list[int] = []
    for n, k, s in zip(reversed(x.shape[2:]), reversed(kernel), reversed(stride), strict=True):
        total = max(k - (n % s or s), 0)
        pads += [total // 2, total - total // 2]
    return F.pad(x, pads)


class Unit(nn.Module):
    """Convolution, batch norm, rectifier; the last one of the network has only a bias."""

    def __init__(
        self, before: int, width: int, kernel: Size, stride: Size = (1, 1, 1), last: bool = False
    ) -> None:
        super().__init__()
        self.kernel, self.stride = kernel, stride
        self.conv3d = nn.Conv3d(before, width, kernel, stride, bias=last)
        if not last:
            self.bn = nn.BatchNorm3d(width, eps=1e-3)
        self.last = last

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv3d(same(x, self.kernel, self.stride))
        return x if self.last else F.relu(self.bn(x))


class Block(nn.Module):
    """Four branches side by side. widths: of the six convolutions in `BRANCHES`."""

    def __init__(self, before: int, widths: Sequence[int]) -> None:
        super().__init__()
        one, three = (1, 1, 1), (3, 3, 3)
        self.b0 = Unit(before, widths[0], one)
        self.b1a, self.b1b = Unit(before, widths[1], one), Unit(widths[1], widths[2], three)
        self.b2a, self.b2b = Unit(before, widths[3], one), Unit(widths[3], widths[4], three)
        self.b3b = Unit(before, widths[5], one)
        self.width = widths[0] + widths[2] + widths[4] + widths[5]

    def forward(self, x: Tensor) -> Tensor:
        pooled = pool(x, (3, 3, 3), (1, 1, 1))
        return torch.cat([self.b0(x), self.b1b(self.b1a(x)), self.b2b(self.b2a(x)), self.b3b(pooled)], 1)


def pool(x: Tensor, kernel: Size, stride: Size) -> Tensor:
    """Maxima, zeros beyond the border."""
    return F.max_pool3d(same(x, kernel, stride), kernel, stride)


class InceptionI3d(nn.Module):
    """Class logits of a video, mean over time. Arguments: see `Widths`."""

    def __init__(self, first: tuple[int, int, int], blocks: Sequence[Sequence[int]], classes: int) -> None:
        super().__init__()
        self.Conv3d_1a_7x7 = Unit(3, first[0], (7, 7, 7), (2, 2, 2))
        self.Conv3d_2b_1x1 = Unit(first[0], first[1], (1, 1, 1))
        self.Conv3d_2c_3x3 = Unit(first[1], first[2], (3, 3, 3))
        width = first[2]
        for name, widths in zip(MIXED, blocks, strict=True):
            block = Block(width, widths)
            self.add_module(f"Mixed_{name}", block)
            width = block.width
        self.logits = Unit(width, classes, (1, 1, 1), last=True)

    def forward(self, video: Float[Tensor, "b 3 t h w"]) -> Float[Tensor, "b k"]:
        """video: in [-1, 1], 224 pixels, from which the last maps are 7 x 7."""
        x = pool(self.Conv3d_1a_7x7(video), (1, 3, 3), (1, 2, 2))
        x = self.Conv3d_2c_3x3(self.Conv3d_2b_1x1(x))
        for name in MIXED:
            if name in POOLED_BEFORE:
                x = pool(x, *POOLED_BEFORE[name])
            x = getattr(self, f"Mixed_{name}")(x)
        found: Tensor = self.logits(F.avg_pool3d(x, (1, 7, 7), 1)).flatten(2).mean(2)
        return found


def i3d_widths(shapes: Mapping[str, tuple[int, ...]]) -> Widths | None:
    """The widths of a checkpoint by its tensors' shapes; None where it is no I3D."""
    try:
        first = tuple(shapes[f"Conv3d_{n}.conv3d.weight"][0] for n in ("1a_7x7", "2b_1x1", "2c_3x3"))
        blocks = tuple(tuple(shapes[f"Mixed_{m}.{b}.conv3d.weight"][0] for b in BRANCHES) for m in MIXED)
        return (first[0], first[1], first[2]), blocks, shapes["logits.conv3d.weight"][0]
    except (KeyError, IndexError):
        return None
