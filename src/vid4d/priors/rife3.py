"""RIFE 3.5 to 3.9 (2011.06294): only the frame in the middle of two images.

Parameter names are those of the authors' checkpoints without their `module.` prefix.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vid4d.priors.rife import Interpolation, padded, rescaled, seen, warp

WIDTH, DEPTH, SCALES = 90, 4, (4, 2, 1)


@dataclass(frozen=True)
class IFNet3Config:
    """What differs among the versions. learned_growth: flow and mask come back to full size by two learned
    layers (3.6 and later), not by one and bilinear sampling (3.5)."""

    learned_growth: bool = True


def _conv(channels: int, out_channels: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, out_channels, 3, stride=stride, padding=1), nn.PReLU(out_channels)
    )


def _grow(channels: int, out_channels: int) -> nn.ConvTranspose2d:
    return nn.ConvTranspose2d(channels, out_channels, 4, stride=2, padding=1)


def _grow_twice(channels: int, out_channels: int) -> nn.Sequential:
    half = channels // 2
    return nn.Sequential(_grow(channels, half), nn.PReLU(half), _grow(half, out_channels))


class IFBlock3(nn.Module):
    """One refinement of RIFE 3.x."""

    def __init__(self, config: IFNet3Config) -> None:
        super().__init__()
        self.missing = 1 if config.learned_growth else 2
        self.conv0 = nn.Sequential(_conv(11, WIDTH // 2, 2), _conv(WIDTH // 2, WIDTH, 2))
        for i in range(DEPTH):
            self.add_module(f"convblock{i}", nn.Sequential(_conv(WIDTH, WIDTH), _conv(WIDTH, WIDTH)))
        self.conv1 = _grow_twice(WIDTH, 4) if config.learned_growth else nn.Sequential(_grow(WIDTH, 4))
        self.conv2 = _grow_twice(WIDTH, 1) if config.learned_growth else _grow(WIDTH, 1)

    def forward(
        self, x: Float[Tensor, "b 7 h w"], flow: Float[Tensor, "b 4 h w"], scale: int
    ) -> tuple[Float[Tensor, "b 4 h w"], Float[Tensor, "b 1 h w"]]:
        y = self.conv0(torch.cat([rescaled(x, 1 / scale), rescaled(flow, 1 / scale) / scale], 1))
        for i in range(DEPTH):
            y = y + self.get_submodule(f"convblock{i}")(y)
        grown = scale * self.missing
        return rescaled(self.conv1(y), grown) * grown, rescaled(self.conv2(y), grown)


class IFNet3(nn.Module):
    """RIFE 3.x: only the frame in the middle, found in both directions and averaged.

    3.6 and later leave the second direction to a switch ("ensemble"), and begin again at twice their scales
    where a flow leaves 64 pixels; that is not done here, since then a picture would depend on the others of
    its batch. `block_tea` of the authors' checkpoint serves their training and is left out.
    """

    def __init__(self, config: IFNet3Config | None = None) -> None:
        super().__init__()
        self.config = config or IFNet3Config()
        self.block0, self.block1, self.block2 = (IFBlock3(self.config) for _ in SCALES)

    def forward(
        self,
        first: Float[Tensor, "b c h w"],
        second: Float[Tensor, "b c h w"],
        t: Float[Tensor, " b"] | float = 0.5,
    ) -> Interpolation:
        """Interpolation at the middle of two images; arguments as for IFNet, t must be 0.5."""
        if not torch.all(torch.as_tensor(t) == 0.5):
            raise ValueError("RIFE 3.x finds only the middle of two images: use t = 0.5, or RIFE 4.x")
        h, w = first.shape[-2:]
        first, second = (padded(x, 32) for x in (first, second))
        flow, mask = torch.zeros_like(first[:, :1]).repeat(1, 4, 1, 1), torch.zeros_like(first[:, :1])
        left, right = first, second
        frames, flows = [], []
        for block, scale in zip((self.block0, self.block1, self.block2), SCALES, strict=True):
            a, b = seen(left, 3), seen(right, 3)
            flow_ab, mask_ab = block(torch.cat([a, b, mask], 1), flow, scale)
            flow_ba, mask_ba = block(torch.cat([b, a, -mask], 1), flow.roll(2, 1), scale)
            flow, mask = flow + (flow_ab + flow_ba.roll(2, 1)) / 2, mask + (mask_ab - mask_ba) / 2
            left, right = warp(first, flow[:, :2]), warp(second, flow[:, 2:])
            share = mask.sigmoid()
            frames.append((left * share + right * (1 - share))[..., :h, :w])
            flows.append(flow[..., :h, :w])
        return Interpolation(frames[-1], flows[-1], mask.sigmoid()[..., :h, :w], tuple(frames), tuple(flows))
