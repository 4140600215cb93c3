"""Frame interpolation by intermediate flow: RIFE 4.x and 3.x (2011.06294).

Parameter names are those of the authors' checkpoints without their `module.` prefix.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from vid4d.errors import InputError
from vid4d.media.images import premultiplied, straight
from vid4d.metrics.losses import Interpolate, Middle
from vid4d.priors.weights.convert_layouts import Named
from vid4d.priors.weights.network import Network


@dataclass(frozen=True)
class IFNetConfig:
    """Sizes of an interpolator; the defaults are those of RIFE 4.6.

    widths, scales: channels and downscaling of each refinement, coarsest first.
    depth: residual convolutions per refinement.
    image_channels: what the network looks at: 3 is color (RGBA is seen over white), 4 is RGBA itself.
    """

    widths: tuple[int, ...] = (192, 128, 96, 64)
    scales: tuple[int, ...] = (8, 4, 2, 1)
    depth: int = 8
    image_channels: int = 3

    def __post_init__(self) -> None:
        if len(self.widths) != len(self.scales):
            raise ValueError(f"{len(self.widths)} widths but {len(self.scales)} scales")
        if self.image_channels not in (3, 4):
            raise ValueError(f"image_channels is {self.image_channels}: use 3 (color) or 4 (RGBA)")


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


def _padded(x: Tensor, multiple: int) -> Tensor:
    h, w = x.shape[-2:]
    return F.pad(x, (0, -w % multiple, 0, -h % multiple), mode="replicate")


def _network_input(image: Float[Tensor, "b c h w"], channels: int) -> Float[Tensor, "b n h w"]:
    """Input of a network: RGBA where it was made for it, else color, over white."""
    if image.shape[1] == channels:
        return image
    return image[:, :3] + 1 - image[:, 3:]


class IFNet(nn.Module):
    """Finds the frame between two images at any time (2011.06294, section 3)."""

    def __init__(self, config: IFNetConfig = CONFIGS["rife4"]) -> None:
        super().__init__()
        self.config = config
        channels = 2 * config.image_channels + 1
        for i, width in enumerate(config.widths):
            self.add_module(f"block{i}", IFBlock(channels if i == 0 else channels + 5, width, config.depth))

    def forward(
        self,
        first: Float[Tensor, "b c h w"],
        second: Float[Tensor, "b c h w"],
        t: Float[Tensor, " b"] | float = 0.5,
    ) -> Interpolation:
        """Interpolation between two images at time t (0 is the first, 1 the second).

        first, second: RGB, or RGBA with *premultiplied* color, in [0, 1]; any size (padded inside).
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
            inputs = [_network_input(x, self.config.image_channels) for x in (left, right)] + [time]
            if flow is None:
                flow, mask = block(torch.cat(inputs, 1), None, scale)
            else:
                d_flow, d_mask = block(torch.cat([*inputs, mask], 1), flow, scale)
                flow, mask = flow + d_flow, mask + d_mask
            left, right = warp(first, flow[:, :2]), warp(second, flow[:, 2:])
            share = mask.sigmoid()
            frames.append((left * share + right * (1 - share))[..., :h, :w])
            flows.append(flow[..., :h, :w])
        return Interpolation(frames[-1], flows[-1], mask.sigmoid()[..., :h, :w], tuple(frames), tuple(flows))


def _conv(channels: int, out_channels: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, out_channels, 3, stride=stride, padding=1), nn.PReLU(out_channels)
    )


def _grow(channels: int, out_channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.ConvTranspose2d(channels, channels // 2, 4, stride=2, padding=1),
        nn.PReLU(channels // 2),
        nn.ConvTranspose2d(channels // 2, out_channels, 4, stride=2, padding=1),
    )


class IFBlock3(nn.Module):
    """One refinement of RIFE 3.x."""

    def __init__(self, width: int = 90) -> None:
        super().__init__()
        self.conv0 = nn.Sequential(_conv(11, width // 2, 2), _conv(width // 2, width, 2))
        for i in range(4):
            self.add_module(f"convblock{i}", nn.Sequential(_conv(width, width), _conv(width, width)))
        self.conv1 = _grow(width, 4)
        self.conv2 = _grow(width, 1)

    def forward(
        self, x: Float[Tensor, "b 7 h w"], flow: Float[Tensor, "b 4 h w"], scale: int
    ) -> tuple[Float[Tensor, "b 4 h w"], Float[Tensor, "b 1 h w"]]:
        y = self.conv0(torch.cat([_resized(x, 1 / scale), _resized(flow, 1 / scale) / scale], 1))
        for i in range(4):
            y = y + self.get_submodule(f"convblock{i}")(y)
        return _resized(self.conv1(y), scale) * scale, _resized(self.conv2(y), scale)


class IFNet3(nn.Module):
    """RIFE 3.x: only the frame in the middle, found in both directions and averaged.

    `block_tea` of the authors' checkpoint serves their training and is left out.
    """

    def __init__(self) -> None:
        super().__init__()
        self.block0, self.block1, self.block2 = IFBlock3(), IFBlock3(), IFBlock3()

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
        first, second = (_padded(x, 32) for x in (first, second))
        flow, mask = torch.zeros_like(first[:, :1]).repeat(1, 4, 1, 1), torch.zeros_like(first[:, :1])
        left, right = first, second
        frames, flows = [], []
        for block, scale in ((self.block0, 4), (self.block1, 2), (self.block2, 1)):
            a, b = _network_input(left, 3), _network_input(right, 3)
            flow_ab, mask_ab = block(torch.cat([a, b, mask], 1), flow, scale)
            flow_ba, mask_ba = block(torch.cat([b, a, -mask], 1), flow.roll(2, 1), scale)
            flow, mask = flow + (flow_ab + flow_ba.roll(2, 1)) / 2, mask + (mask_ab - mask_ba) / 2
            left, right = warp(first, flow[:, :2]), warp(second, flow[:, 2:])
            share = mask.sigmoid()
            frames.append((left * share + right * (1 - share))[..., :h, :w])
            flows.append(flow[..., :h, :w])
        return Interpolation(frames[-1], flows[-1], mask.sigmoid()[..., :h, :w], tuple(frames), tuple(flows))


FAINT = 1e-3
"""Alpha at which the colors that a network puts together still say something."""


@torch.no_grad()
def frame_at(
    model: IFNet | IFNet3,
    first: Float[Tensor, "b c h w"],
    second: Float[Tensor, "b c h w"],
    t: Float[Tensor, " b"] | float = 0.5,
) -> Float[Tensor, "b c h w"]:
    """The frames between pairs of images in [0, 1]: RGB, or RGBA with straight alpha.

    Black where there is next to no alpha.
    """
    if first.shape[1] == 4:
        frame = straight(model(premultiplied(first, 1), premultiplied(second, 1), t).frame, 1).clamp(0, 1)
        frame[:, :3] *= frame[:, 3:] > FAINT
        return frame
    return model(first, second, t).frame.clamp(0, 1)


def as_midpoint(model: IFNet | IFNet3) -> Middle:
    """The interpolator as measures and confidence maps call it: the frame half way between two pictures."""
    device = next(model.parameters()).device

    def middle(a: Float[Tensor, "n h w 3"], b: Float[Tensor, "n h w 3"]) -> Float[Tensor, "n h w 3"]:
        first, second = (
            torch.cat([x, torch.ones_like(x[..., :1])], -1).permute(0, 3, 1, 2).to(device) for x in (a, b)
        )
        return frame_at(model, first, second)[:, :3].permute(0, 2, 3, 1).to(a)

    return middle


def as_interpolator(model: IFNet | IFNet3) -> Interpolate:
    """The interpolator as the consistency loss calls it: pictures at shares of the way between two others.

    Colors, or RGBA with premultiplied color, in [0, 1].
    """

    @torch.no_grad()
    def between(
        a: Float[Tensor, "n h w c"], b: Float[Tensor, "n h w c"], share: Float[Tensor, " n"]
    ) -> Float[Tensor, "n h w c"]:
        parameter = next(model.parameters())
        first, second = (x.to(parameter).permute(0, 3, 1, 2) for x in (a, b))
        if a.shape[-1] == 3:
            first, second = (torch.cat([x, torch.ones_like(x[:, :1])], 1) for x in (first, second))
        frames = model(first, second, share.to(parameter)).frame.clamp(0, 1)
        return frames[:, : a.shape[-1]].permute(0, 2, 3, 1).to(a)

    return between


@torch.no_grad()
def interpolate(
    model: IFNet | IFNet3,
    frames: Float[Tensor, "t c h w"],
    between: int = 3,
    *,
    cyclic: bool = False,
    batch: int = 16,
) -> Float[Tensor, "n c h w"]:
    """Adds frames at even times between each pair of neighbours; the given frames stay as they are.

    frames: RGB, or RGBA with straight alpha, in [0, 1]. cyclic: the last is followed by the first, too.
    batch: pairs at a time. Returns n = (t - 1) * (between + 1) + 1 frames, or t * (between + 1)
    of a cyclic clip. Each frame is found from its two given neighbours directly; RIFE 3.x halves intervals
    instead, so between + 1 must be a power of two for it.
    """
    count = frames.shape[0]
    if between < 0:
        raise ValueError(f"between is {between}: the number of frames to add cannot be negative")
    if between == 0 or count < 2:
        return frames
    if isinstance(model, IFNet3) and between > 1:
        if between % 2 == 0:
            raise ValueError(f"RIFE 3.x halves intervals and cannot add {between} frames: use 1, 3, 7, ...")
        half = interpolate(model, frames, between // 2, cyclic=cyclic, batch=batch)
        return interpolate(model, half, 1, cyclic=cyclic, batch=batch)
    pairs = count if cyclic else count - 1
    left = torch.arange(pairs, device=frames.device).repeat_interleave(between)
    right = (left + 1) % count
    t = (torch.arange(1, between + 1, device=frames.device) / (between + 1)).repeat(pairs)
    inserted = torch.cat(
        [
            frame_at(model, frames[left[i : i + batch]], frames[right[i : i + batch]], t[i : i + batch])
            for i in range(0, len(left), batch)
        ]
    )
    groups = torch.cat([frames[:pairs, None], inserted.unflatten(0, (pairs, between))], 1).flatten(0, 1)
    return groups if cyclic else torch.cat([groups, frames[-1:]])


# The authors' checkpoints


@dataclass(frozen=True)
class OneSize:
    """Configuration of RIFE 3.x, which has one size only."""


def _rife4_config(named: Named, source: Path) -> IFNetConfig:
    """Widths and depth by the shapes; the scales of 4.x are 8, 4, 2, 1."""
    firsts = [named.parts.get(f"block{i}.conv0.1.0.weight") for i in range(4)]
    widths = tuple(parts[0].shape[0] for parts in firsts if parts and len(parts[0].shape) == 4)
    if len(widths) != 4:
        raise InputError(f"{source} is a RIFE of another version: give 3.x, or 4.x with four residual blocks")
    convolutions = {m[1] for m in (re.match(r"block0\.convblock\.(\d+)\.", n) for n in named.parts) if m}
    return IFNetConfig(widths=widths, depth=len(convolutions))


NETWORK_3 = Network(
    kind="rife3",
    title="RIFE 3.x",
    build=lambda _: IFNet3(),
    config=OneSize,
    configs=(OneSize(),),
    marks=("block0.convblock0.",),
    prefixes={"block": "block"},
    left_out={r"block_tea\..*": "the teacher of RIFE's training"},
)
NETWORK_4 = Network(
    kind="rife4",
    title="RIFE 4.x",
    build=IFNet,
    config=IFNetConfig,
    marks=("block0.convblock.0.beta",),
    find_config=_rife4_config,
    prefixes={"block": "block"},
)
"""Layout of the authors' RIFE checkpoints."""
