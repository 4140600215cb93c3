"""Frame interpolation by intermediate flow: RIFE 4.x (2011.06294, and the versions published after it).

Parameter names are those of the authors' checkpoints without their `module.` prefix. `rife_versions` has the
configuration of every version, `rife3` the network of 3.x, `interpolators` what methods call.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

Body = Literal["residual", "plain", "skip"]
Encoder = Literal["none", "two", "four", "head"]


@dataclass(frozen=True)
class IFNetConfig:
    """Sizes of an interpolator; the defaults are those of RIFE 4.6.

    widths, scales: channels and downscaling of each refinement, coarsest first.
    depth: convolutions per refinement.
    image_channels: what the network looks at: 3 is color (RGBA is seen over white), 4 is RGBA itself.
    body: of a refinement: 'skip' are convolutions with one skip connection around them all (4.0, 4.1),
    'plain' those without (4.2 to 4.4), 'residual' those with a skip connection each (from 4.5 on).
    groups: of these residual convolutions.
    outputs: channels that a refinement answers with: flow (4), mask (1), and what the version has beyond.
    features: how many of those beyond are handed to the next refinement (from 4.21 on).
    encoder: the feature encoder of both pictures: none (to 4.6), 'two' layers (from 4.7 on), 'four' (4.10),
    or 'head', the same four under other names (4.13).
    encoder_width, encoder_channels: channels inside of it, and of its features.
    """

    widths: tuple[int, ...] = (192, 128, 96, 64)
    scales: tuple[int, ...] = (8, 4, 2, 1)
    depth: int = 8
    image_channels: int = 3
    body: Body = "residual"
    groups: int = 1
    outputs: int = 6
    features: int = 0
    encoder: Encoder = "none"
    encoder_width: int = 0
    encoder_channels: int = 0

    def __post_init__(self) -> None:
        if len(self.widths) != len(self.scales):
            raise ValueError(f"{len(self.widths)} widths but {len(self.scales)} scales")
        if self.image_channels not in (3, 4):
            raise ValueError(f"image_channels is {self.image_channels}: use 3 (color) or 4 (RGBA)")
        if self.outputs < 5 + self.features:
            raise ValueError(f"{self.outputs} outputs do not hold flow, mask and {self.features} features")


CONFIGS = {
    "rife4": IFNetConfig(),
    "small": IFNetConfig(widths=(96, 64, 48, 32), depth=4, image_channels=4),
}


@dataclass(frozen=True)
class Interpolation:
    """Interpolated frame, its flow and blending mask, at the finest refinement and after each.

    frame: the frame at time t. flow: pixels to add to a position of the frame to find it in the first image
    (x, y) and in the second (x, y). mask: share of the first image, in [0, 1]. frames, flows: after each
    refinement, coarsest first; training supervises all of them.
    """

    frame: Float[Tensor, "b c h w"]
    flow: Float[Tensor, "b 4 h w"]
    mask: Float[Tensor, "b 1 h w"]
    frames: tuple[Float[Tensor, "b c h w"], ...]
    flows: tuple[Float[Tensor, "b 4 h w"], ...]


def warp(image: Float[Tensor, "b c h w"], flow: Float[Tensor, "b 2 h w"]) -> Float[Tensor, "b c h w"]:
    """The image read at each pixel's position plus flow (x, y) in pixels; its border continues outside."""
    h, w = image.shape[-2:]
    y, x = torch.meshgrid(
        torch.arange(h, device=image.device, dtype=torch.float32),
        torch.arange(w, device=image.device, dtype=torch.float32),
        indexing="ij",
    )
    u = (x + flow[:, 0].float()) * (2 / max(w - 1, 1)) - 1
    v = (y + flow[:, 1].float()) * (2 / max(h - 1, 1)) - 1
    grid = torch.stack([u, v], -1).to(image.dtype)
    return F.grid_sample(image, grid, mode="bilinear", padding_mode="border", align_corners=True)


def rescaled(x: Tensor, factor: float) -> Tensor:
    """Pictures or feature maps (b, c, h, w) at another size, bilinear."""
    return x if factor == 1 else F.interpolate(x, scale_factor=factor, mode="bilinear", align_corners=False)


def padded(x: Tensor, multiple: int) -> Tensor:
    """Pictures (b, c, h, w) continued to the right and below, to a multiple of so many pixels."""
    h, w = x.shape[-2:]
    return F.pad(x, (0, -w % multiple, 0, -h % multiple), mode="replicate")


def seen(image: Float[Tensor, "b c h w"], channels: int) -> Float[Tensor, "b n h w"]:
    """What a network sees of premultiplied pictures: RGBA where made for it, else color, over white."""
    if image.shape[1] == channels:
        return image
    return image[:, :3] + 1 - image[:, 3:]


def _activation(body: Body, width: int) -> nn.Module:
    return nn.PReLU(width) if body == "skip" else nn.LeakyReLU(0.2)


class ResConv(nn.Module):
    """A convolution with a learned gain per channel, added to its input."""

    def __init__(self, channels: int, groups: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1, groups=groups)
        self.beta = nn.Parameter(torch.ones(1, channels, 1, 1))

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        return F.leaky_relu(self.conv(x) * self.beta + x, 0.2)


class IFBlock(nn.Module):
    """One refinement: looks at what it is given at a reduced size; answers flow, mask logits, features."""

    def __init__(self, channels: int, width: int, config: IFNetConfig) -> None:
        super().__init__()
        self.body, self.features = config.body, config.features

        def conv(channels: int, width: int, stride: int) -> nn.Sequential:
            return nn.Sequential(
                nn.Conv2d(channels, width, 3, stride=stride, padding=1), _activation(config.body, width)
            )

        self.conv0 = nn.Sequential(conv(channels, width // 2, 2), conv(width // 2, width, 2))
        self.lastconv: nn.Module
        if config.body == "residual":
            self.convblock = nn.Sequential(*(ResConv(width, config.groups) for _ in range(config.depth)))
            self.lastconv = nn.Sequential(
                nn.ConvTranspose2d(width, 4 * config.outputs, 4, stride=2, padding=1), nn.PixelShuffle(2)
            )
        else:
            self.convblock = nn.Sequential(*(conv(width, width, 1) for _ in range(config.depth)))
            self.lastconv = nn.ConvTranspose2d(width, config.outputs, 4, stride=2, padding=1)

    def forward(
        self, x: Float[Tensor, "b c h w"], flow: Float[Tensor, "b 4 h w"] | None, scale: int
    ) -> tuple[Float[Tensor, "b 4 h w"], Float[Tensor, "b 1 h w"], Float[Tensor, "b f h w"]]:
        x = rescaled(x, 1 / scale)
        if flow is not None:
            x = torch.cat([x, rescaled(flow, 1 / scale) / scale], 1)
        inside = self.conv0(x)
        found = self.convblock(inside)
        if self.body == "skip":
            found = found + inside
        grown = scale if self.body == "residual" else 2 * scale
        out = rescaled(self.lastconv(found), grown)
        return out[:, :4] * grown, out[:, 4:5], out[:, 5 : 5 + self.features]


class Head(nn.Module):
    """The feature encoder of 4.13 and later, at full size through half of it."""

    def __init__(self, width: int, channels: int) -> None:
        super().__init__()
        self.cnn0 = nn.Conv2d(3, width, 3, stride=2, padding=1)
        self.cnn1 = nn.Conv2d(width, width, 3, padding=1)
        self.cnn2 = nn.Conv2d(width, width, 3, padding=1)
        self.cnn3 = nn.ConvTranspose2d(width, channels, 4, stride=2, padding=1)

    def forward(self, image: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b f h w"]:
        x = image
        for layer in (self.cnn0, self.cnn1, self.cnn2):
            x = F.leaky_relu(layer(x), 0.2)
        return self.cnn3(x)


def _encoder(config: IFNetConfig) -> nn.Module:
    """The feature encoder under the names of its version."""
    width, channels = config.encoder_width, config.encoder_channels
    if config.encoder == "head":
        return Head(width, channels)
    first, last = nn.Conv2d(3, width, 3, 2, 1), nn.ConvTranspose2d(width, channels, 4, 2, 1)
    if config.encoder == "two":
        return nn.Sequential(first, last)
    between = [nn.Conv2d(width, width, 3, 1, 1) for _ in range(2)]
    layers = [layer for conv in (first, *between) for layer in (conv, nn.LeakyReLU(0.2))]
    return nn.Sequential(*layers, last)


class IFNet(nn.Module):
    """Finds the frame between two images at any time (2011.06294, section 3).

    4.0 and 4.1 begin again at twice their scales where a flow leaves 32 pixels; that is not done here, since
    then a picture would depend on the others of its batch.
    """

    def __init__(self, config: IFNetConfig = CONFIGS["rife4"]) -> None:
        super().__init__()
        self.config = config
        channels = 2 * (config.image_channels + config.encoder_channels) + 1
        for i, width in enumerate(config.widths):
            more = 0 if i == 0 else 5 + config.features
            self.add_module(f"block{i}", IFBlock(channels + more, width, config))
        if config.encoder != "none":
            self.encode = _encoder(config)

    def forward(
        self,
        first: Float[Tensor, "b c h w"],
        second: Float[Tensor, "b c h w"],
        t: Float[Tensor, " b"] | float = 0.5,
    ) -> Interpolation:
        """Interpolation between two images at time t (0 is the first, 1 the second).

        first, second: RGB, or RGBA with *premultiplied* color, in [0, 1]; any size (padded inside).
        """
        config = self.config
        channels, h, w = first.shape[1:]
        if channels not in (3, 4) or channels < config.image_channels:
            raise ValueError(f"images have {channels} channels, this model takes {config.image_channels}")
        first, second = (padded(x, 4 * max(config.scales)) for x in (first, second))
        time = torch.as_tensor(t, dtype=first.dtype, device=first.device).reshape(-1, 1, 1, 1)
        time = time.expand(first.shape[0], 1, *first.shape[2:])
        encoded = [self.encode(seen(x, 3)) for x in (first, second)] if config.encoder != "none" else []

        flow: Tensor | None = None
        mask = features = first.new_zeros(())
        left, right, moved = first, second, encoded
        frames, flows = [], []
        for i, scale in enumerate(config.scales):
            block = self.get_submodule(f"block{i}")
            inputs = [*(seen(x, config.image_channels) for x in (left, right)), *moved, time]
            if flow is None:
                flow, mask, features = block(torch.cat(inputs, 1), None, scale)
            else:
                step, logits, features = block(torch.cat([*inputs, mask, features], 1), flow, scale)
                flow = flow + step
                mask = mask + logits if config.encoder == "none" else logits
            to_first, to_second = flow[:, :2], flow[:, 2:]
            left, right = warp(first, to_first), warp(second, to_second)
            if encoded:
                moved = [warp(encoded[0], to_first), warp(encoded[1], to_second)]
            share = mask.sigmoid()
            frames.append((left * share + right * (1 - share))[..., :h, :w])
            flows.append(flow[..., :h, :w])
        return Interpolation(frames[-1], flows[-1], mask.sigmoid()[..., :h, :w], tuple(frames), tuple(flows))
