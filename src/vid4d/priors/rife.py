"""Frame interpolation by intermediate flow: RIFE 4.x (2011.06294), its sizes a configuration.

Parameter names are those of the authors' checkpoints without their `module.` prefix.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn


@dataclass(frozen=True)
class IFNetConfig:
    """Sizes of an interpolator; the defaults are those of RIFE 4.6.

    widths, scales: channels and downscaling of each refinement, coarsest first.
    depth: residual convolutions per refinement.
    image_channels: what the network looks at: 3 is colour (RGBA is seen over white), 4 is RGBA itself.
    """

    widths: tuple[int, ...] = (192, 128, 96, 64)
    scales: tuple[int, ...] = (8, 4, 2, 1)
    depth: int = 8
    image_channels: int = 3

    def __post_init__(self) -> None:
        if len(self.widths) != len(self.scales):
            raise ValueError(f"{len(self.widths)} widths but {len(self.scales)} scales")
        if self.image_channels not in (3, 4):
            raise ValueError(f"image_channels is {self.image_channels}: use 3 (colour) or 4 (RGBA)")


CONFIGS = {
    "rife4": IFNetConfig(),
    "small": IFNetConfig(widths=(48, 32, 24, 16), depth=4, image_channels=4),
}


@dataclass(frozen=True)
class Interpolation:
    """What an interpolator finds between two frames, at the finest refinement and after each.

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


def _down(channels: int, out_channels: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(channels, out_channels, 3, stride=2, padding=1), nn.LeakyReLU(0.2))


class ResConv(nn.Module):
    """A convolution with a learned gain per channel, added to its input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)
        self.beta = nn.Parameter(torch.ones(1, channels, 1, 1))

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        return F.leaky_relu(self.conv(x) * self.beta + x, 0.2)


class IFBlock(nn.Module):
    """One refinement: looks at what it is given at a reduced size, answers with flow and mask logits."""

    def __init__(self, channels: int, width: int, depth: int) -> None:
        super().__init__()
        self.conv0 = nn.Sequential(_down(channels, width // 2), _down(width // 2, width))
        self.convblock = nn.Sequential(*(ResConv(width) for _ in range(depth)))
        self.lastconv = nn.Sequential(
            nn.ConvTranspose2d(width, 24, 4, stride=2, padding=1), nn.PixelShuffle(2)
        )

    def forward(
        self, x: Float[Tensor, "b c h w"], flow: Float[Tensor, "b 4 h w"] | None, scale: int
    ) -> tuple[Float[Tensor, "b 4 h w"], Float[Tensor, "b 1 h w"]]:
        x = _resized(x, 1 / scale)
        if flow is not None:
            x = torch.cat([x, _resized(flow, 1 / scale) / scale], 1)
        out = _resized(self.lastconv(self.convblock(self.conv0(x))), scale)
        return out[:, :4] * scale, out[:, 4:5]


def _resized(x: Tensor, factor: float) -> Tensor:
    return x if factor == 1 else F.interpolate(x, scale_factor=factor, mode="bilinear", align_corners=False)


class IFNet(nn.Module):
    """Finds the frame between two images at any time (2011.06294, section 3)."""

    def __init__(self, config: IFNetConfig = CONFIGS["rife4"]) -> None:
        super().__init__()
        self.config = config
        seen = 2 * config.image_channels + 1
        for i, width in enumerate(config.widths):
            self.add_module(f"block{i}", IFBlock(seen if i == 0 else seen + 5, width, config.depth))

    def forward(
        self,
        first: Float[Tensor, "b c h w"],
        second: Float[Tensor, "b c h w"],
        t: Float[Tensor, " b"] | float = 0.5,
    ) -> Interpolation:
        """What lies between two images at time t (0 is the first, 1 the second).

        first, second: RGB, or RGBA with *premultiplied* colour, in [0, 1]; any size (padded inside).
        """
        channels, h, w = first.shape[1:]
        if channels not in (3, 4) or channels < self.config.image_channels:
            raise ValueError(
                f"images have {channels} channels, this model takes {self.config.image_channels}"
            )
        multiple = 4 * max(self.config.scales)
        padding = (0, -w % multiple, 0, -h % multiple)
        first, second = (F.pad(x, padding, mode="replicate") for x in (first, second))
        time = torch.as_tensor(t, dtype=first.dtype, device=first.device).reshape(-1, 1, 1, 1)
        time = time.expand(first.shape[0], 1, *first.shape[2:])

        flow: Tensor | None = None
        mask = first.new_zeros(())
        left, right = first, second
        frames, flows = [], []
        for i, scale in enumerate(self.config.scales):
            block = self.get_submodule(f"block{i}")
            seen = [self._seen(left), self._seen(right), time]
            if flow is None:
                flow, mask = block(torch.cat(seen, 1), None, scale)
            else:
                d_flow, d_mask = block(torch.cat([*seen, mask], 1), flow, scale)
                flow, mask = flow + d_flow, mask + d_mask
            left, right = warp(first, flow[:, :2]), warp(second, flow[:, 2:])
            share = mask.sigmoid()
            frames.append((left * share + right * (1 - share))[..., :h, :w])
            flows.append(flow[..., :h, :w])
        return Interpolation(frames[-1], flows[-1], mask.sigmoid()[..., :h, :w], tuple(frames), tuple(flows))

    def _seen(self, image: Float[Tensor, "b c h w"]) -> Float[Tensor, "b n h w"]:
        """What the network looks at: RGBA where it was made for it, else colour, over white."""
        if image.shape[1] == self.config.image_channels:
            return image
        return image[:, :3] + 1 - image[:, 3:]


def premultiplied(rgba: Float[Tensor, "b 4 h w"]) -> Float[Tensor, "b 4 h w"]:
    """Colour times alpha."""
    return torch.cat([rgba[:, :3] * rgba[:, 3:], rgba[:, 3:]], 1)


def straight(rgba: Float[Tensor, "b 4 h w"]) -> Float[Tensor, "b 4 h w"]:
    """Colour divided by alpha; black where there is next to no alpha."""
    alpha = rgba[:, 3:]
    colour = torch.where(alpha > 1e-3, rgba[:, :3] / alpha.clamp(min=1e-3), 0)
    return torch.cat([colour.clamp(0, 1), alpha.clamp(0, 1)], 1)


@torch.no_grad()
def frame_at(
    model: IFNet,
    first: Float[Tensor, "b c h w"],
    second: Float[Tensor, "b c h w"],
    t: Float[Tensor, " b"] | float = 0.5,
) -> Float[Tensor, "b c h w"]:
    """The frames between pairs of images in [0, 1]: RGB, or RGBA with straight alpha."""
    if first.shape[1] == 4:
        return straight(model(premultiplied(first), premultiplied(second), t).frame)
    return model(first, second, t).frame.clamp(0, 1)


@torch.no_grad()
def interpolate(
    model: IFNet,
    frames: Float[Tensor, "t c h w"],
    between: int = 3,
    *,
    cyclic: bool = False,
    batch: int = 16,
) -> Float[Tensor, "n c h w"]:
    """Adds frames at even times between each pair of neighbours; the given frames stay as they are.

    frames: RGB, or RGBA with straight alpha, in [0, 1]. cyclic: the last is followed by the first, too.
    batch: pairs at a time. Returns n = (t - 1) * (between + 1) + 1 frames, or t * (between + 1)
    of a cyclic clip. Each frame is found from its two given neighbours directly, not recursively.
    """
    count = frames.shape[0]
    if between < 0:
        raise ValueError(f"between is {between}: the number of frames to add cannot be negative")
    if between == 0 or count < 2:
        return frames
    pairs = count if cyclic else count - 1
    left = torch.arange(pairs, device=frames.device).repeat_interleave(between)
    right = (left + 1) % count
    t = (torch.arange(1, between + 1, device=frames.device) / (between + 1)).repeat(pairs)
    found = torch.cat(
        [
            frame_at(model, frames[left[i : i + batch]], frames[right[i : i + batch]], t[i : i + batch])
            for i in range(0, len(left), batch)
        ]
    )
    groups = torch.cat([frames[:pairs, None], found.unflatten(0, (pairs, between))], 1).flatten(0, 1)
    return groups if cyclic else torch.cat([groups, frames[-1:]])
