"""A closer look at a small object: the window that the network sees, and where its volume lies in the world.

An object that moves through a clip fills a part of its pictures only, and lies off their middle. The network
has learned from objects that lie near the middle and fill a good part, so it is shown a window, as wide in
all frames, which is no smaller and moves no further than that takes: how large a thing looks also tells how
long it may be along the view (docs/experiments.md).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from vid4d.media.images import premultiplied, straight
from vid4d.priors.frustum.network import FrustumConfig
from vid4d.priors.pictures import to_network

LEAST = 0.6 * 200 / 256
"""Share of the window's width that the object takes at least, where it is widest: the least of training."""

SLACK = 0.06
"""How far off the middle of the window the object's middle may lie, in widths of the window."""

VOLUME = FrustumConfig.crop / FrustumConfig.image_size
"""Share of the window that the network's volume covers: nothing may lie beyond it."""

SMALLEST = 0.25
"""Smallest window, share of a picture's width: what is smaller has too few pixels to be enlarged."""

AT_A_TIME = 16
"""Frames whose windows are cut out at a time, each in several times its memory."""


@dataclass(frozen=True)
class Framing:
    """Square windows of b pictures, the same size for all.

    center: middle of each window from the middle of its picture, in picture widths (x right, y down).
    scale: width of the windows over that of the pictures, at most 1.
    """

    center: Float[Tensor, "b 2"]
    scale: float

    def __getitem__(self, index: slice) -> Framing:
        return Framing(self.center[index], self.scale)

    def to(self, device: torch.device | str) -> Framing:
        """The same on another device."""
        return Framing(self.center.to(device), self.scale)


def whole(count: int) -> Framing:
    """Windows that are the pictures themselves."""
    return Framing(torch.zeros(count, 2), 1.0)


def follow(alpha: Float[Tensor, "t h w"], volume: float = VOLUME, threshold: float = 0.5) -> Framing:
    """Windows that show the object of each frame large enough and near enough to their middle.

    Sizes and middles are those of bounding boxes. A frame that shows nothing keeps the middle of the picture.

    volume: share of a window that the network's volume covers.
    """
    centers, widest = [], 0.0
    for mask in alpha > threshold:
        center = []
        for axis in (0, 1):  # columns, then rows
            n = mask.shape[1 - axis]
            shown = mask.any(axis).nonzero()[:, 0]
            low, high = (int(shown[0]), int(shown[-1]) + 1) if len(shown) else (0, n)
            center.append((low + high) / 2 / n - 0.5)
            widest = max(widest, (high - low) / n if len(shown) else 0.0)
        centers.append(center)
    if widest == 0:
        return whole(len(alpha)).to(alpha.device)
    scale = min(1.0, max(SMALLEST, widest / LEAST))
    room = scale * min(SLACK, max(0.0, (volume - widest / scale) / 2))
    off = torch.tensor(centers, device=alpha.device)
    return Framing(off - off.clamp(-room, room), scale)


def windows(
    frames: Float[Tensor, "b h w 4"], framing: Framing, size: int
) -> Float[Tensor, "b {size} {size} 4"]:
    """The windows' pictures, straight alpha, halved at most; transparent beyond the edges."""
    at = (torch.arange(2 * size, device=frames.device) + 0.5) / (2 * size) - 0.5
    y, x = torch.meshgrid(at, at, indexing="ij")
    grid = torch.stack([x, y], -1) * framing.scale + framing.center[:, None, None]
    flat = premultiplied(frames).movedim(-1, 1)
    framed = F.avg_pool2d(F.grid_sample(flat, 2 * grid, align_corners=False), 2).movedim(1, -1)
    return straight(framed.clamp(0, 1))


def network_pictures(
    frames: Float[Tensor, "t h w 4"], config: FrustumConfig
) -> tuple[Framing, Float[Tensor, "t 4 p p"]]:
    """The windows of a clip's frames, and what the network takes: RGBA over white in [-1, 1].

    frames: square, straight-alpha RGBA in [0, 1], of any size.
    """
    framing, size = follow(frames[..., 3], config.crop / config.image_size), config.image_size
    parts = (slice(i, i + AT_A_TIME) for i in range(0, len(frames), AT_A_TIME))
    pictures = torch.cat([to_network(windows(frames[part], framing[part], size)) for part in parts])
    return framing, pictures
