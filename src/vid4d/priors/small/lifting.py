"""Feature volume lifted from one picture: the deterministic half of the small prior.

The input view's features are lifted along their rays into a volume over the object (a camera put into the
network instead of learned), with a guess of where on each ray the surface lies (as in 2008.05711), completed
by a 3D U-Net whose coarsest level is a transformer, and rendered from any camera by alpha compositing.
SyncDreamer (2309.03453, section 3.2) has only the noisy target views to build a volume from; the joint
diffusion on top of this one (`model.py`) adds such a volume in every step.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from vid4d.cameras import RING_DISTANCE, Cameras
from vid4d.priors.layers.residual import ResBlock, conv


@dataclass(frozen=True)
class LiftConfig:
    """Sizes of the lifting networks.

    patch: pixels per feature position (pixel-unshuffle). channels: of the picture encoder at 1, 1/2, 1/4 of
    the feature resolution. volume_channels: of the 3D U-Net at full, half and quarter resolution. extent:
    half the edge of the volume's cube in world units. outside: raw density of what lies outside of it, -10 is
    empty. features: channels composited along a ray. depths: samples a ray, over distance +- depth_range.
    """

    image_size: int = 128
    patch: int = 4
    channels: tuple[int, int, int] = (80, 160, 256)
    volume_size: int = 32
    volume_channels: tuple[int, int, int] = (48, 128, 320)
    transformer_blocks: int = 5
    heads: int = 4
    volume_heads: int = 5
    extent: float = 0.6
    outside: float = -10.0
    features: int = 48
    depths: int = 32
    depth_range: float = 0.75
    embedding: int = 256
    head_channels: int = 128

    @property
    def positions(self) -> int:
        """Feature positions along an edge of the picture."""
        return self.image_size // self.patch

    @property
    def latent_channels(self) -> int:
        """Channels of a pixel-unshuffled RGBA picture."""
        return 4 * self.patch**2


class Attention(nn.Module):
    """Multi-head attention over tokens (b, n, c), to themselves or to a context (b, m, c')."""

    def __init__(self, channels: int, heads: int, context: int | None = None) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(channels, channels, bias=False)
        self.key_value = nn.Linear(context or channels, 2 * channels, bias=False)
        self.out = nn.Linear(channels, channels)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        def split(y: Tensor) -> Tensor:
            return y.unflatten(-1, (self.heads, -1)).transpose(1, 2)

        key, value = self.key_value(x if context is None else context).chunk(2, -1)
        y = F.scaled_dot_product_attention(split(self.query(x)), split(key), split(value))
        return self.out(y.transpose(1, 2).flatten(2))


class TransformerBlock(nn.Module):
    """Pre-norm self-attention, cross-attention to a context (optional), MLP of four times the width."""

    def __init__(self, channels: int, heads: int, context: int | None = None) -> None:
        super().__init__()
        self.norm1, self.norm3 = nn.LayerNorm(channels), nn.LayerNorm(channels)
        self.attention = Attention(channels, heads)
        self.norm2 = nn.LayerNorm(channels) if context else None
        self.cross = Attention(channels, heads, context) if context else None
        self.mlp = nn.Sequential(
            nn.Linear(channels, 4 * channels), nn.GELU(), nn.Linear(4 * channels, channels)
        )

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        x = x + self.attention(self.norm1(x))
        if self.cross is not None and self.norm2 is not None:
            x = x + self.cross(self.norm2(x), context)
        return x + self.mlp(self.norm3(x))


class EncoderOutput(NamedTuple):
    """Encoded picture: features at full (p) and half resolution, tokens, guesses.

    elevation (b,): of the camera, radians. depth (b, d + 1, p, p): logits of where the ray of each feature
    position hits first, at one of d depths (`ray_points`) or nowhere.
    """

    fine: Tensor
    half: Tensor
    tokens: Tensor
    elevation: Tensor
    depth: Tensor


class PictureEncoder(nn.Module):
    """A small 2D U-Net over the input picture; also guesses its depth and the camera's elevation."""

    def __init__(self, config: LiftConfig) -> None:
        super().__init__()
        a, b, c = config.channels
        self.patch = config.patch
        self.stem = conv(2, config.latent_channels, a)
        self.down0 = nn.ModuleList([ResBlock(2, a, a), ResBlock(2, a, a)])
        self.down1 = nn.ModuleList([conv(2, a, b, 3, 2), ResBlock(2, b, b), ResBlock(2, b, b)])
        self.down2 = nn.ModuleList([conv(2, b, c, 3, 2), ResBlock(2, c, c), ResBlock(2, c, c)])
        side = config.positions // 4
        self.position = nn.Parameter(torch.randn(1, side * side, c) * 0.02)
        self.middle = nn.ModuleList([TransformerBlock(c, config.heads) for _ in range(2)])
        self.up1 = nn.ModuleList([ResBlock(2, c + b, b), ResBlock(2, b, b)])
        self.up0 = nn.ModuleList([ResBlock(2, b + a, a), ResBlock(2, a, a)])
        self.elevation = nn.Sequential(nn.LayerNorm(c), nn.Linear(c, c), nn.GELU(), nn.Linear(c, 1))
        self.tokens = nn.Linear(b, c)
        self.depth = conv(2, a, config.depths + 1, 1)

    def forward(self, picture: Float[Tensor, "b 4 h w"]) -> EncoderOutput:
        """Features and guesses of a picture in RGBA over white, [-1, 1]."""
        x0 = self.stem(F.pixel_unshuffle(picture, self.patch))
        for layer in self.down0:
            x0 = layer(x0)
        x1 = x0
        for layer in self.down1:
            x1 = layer(x1)
        x2 = x1
        for layer in self.down2:
            x2 = layer(x2)
        side = x2.shape[-1]
        coarse = x2.flatten(2).transpose(1, 2) + self.position
        for layer in self.middle:
            coarse = layer(coarse)
        x2 = coarse.transpose(1, 2).unflatten(2, (side, side))
        y1 = torch.cat([F.interpolate(x2, scale_factor=2.0, mode="nearest"), x1], 1)
        for layer in self.up1:
            y1 = layer(y1)
        y0 = torch.cat([F.interpolate(y1, scale_factor=2.0, mode="nearest"), x0], 1)
        for layer in self.up0:
            y0 = layer(y0)
        tokens = torch.cat([coarse, self.tokens(y1.flatten(2).transpose(1, 2))], 1)
        return EncoderOutput(y0, y1, tokens, self.elevation(coarse.mean(1))[:, 0], self.depth(y0))


def voxel_centres(size: int, extent: float, device: torch.device | str | None = None) -> Float[Tensor, "p 3"]:
    """World positions of a cube's voxels; index order (z, y, x), as grid_sample reads a volume."""
    axis = ((torch.arange(size, device=device) + 0.5) / size * 2 - 1) * extent
    z, y, x = torch.meshgrid(axis, axis, axis, indexing="ij")
    return torch.stack([x, y, z], -1).reshape(-1, 3)


@torch.compiler.disable
def lift(
    features: Float[Tensor, "n c h w"], cameras: Cameras, size: int, extent: float
) -> Float[Tensor, "n c size size size"]:
    """Features of one picture per camera, spread along their rays through a cube of voxels.

    With fewer cameras than pictures, the pictures are groups of one picture per camera.
    """
    points = voxel_centres(size, extent, features.device)
    pixels, _ = cameras.project(points)
    grid = (pixels / (cameras.width / 2) - 1).reshape(len(cameras), size, size * size, 2)
    grid = grid.repeat(len(features) // len(cameras), 1, 1, 1)
    out = F.grid_sample(features.float(), grid, mode="bilinear", padding_mode="border", align_corners=False)
    return out.unflatten(3, (size, size)).to(features.dtype)


@torch.compiler.disable
def lift_depth(
    logits: Float[Tensor, "n d1 p p"], cameras: Cameras, size: int, extent: float, depth_range: float
) -> Float[Tensor, "n 2 size size size"]:
    """Guessed depths in a cube of voxels: how likely the surface is here (times d / 8), and before here."""
    hit = torch.softmax(logits.float(), 1)[:, :-1]
    depths = hit.shape[1]
    ahead = torch.cumsum(hit, 1) - hit / 2
    pixels, depth = cameras.project(voxel_centres(size, extent, logits.device))
    coordinates = torch.cat(
        [pixels / (cameras.width / 2) - 1, (depth[..., None] - RING_DISTANCE) / depth_range], 2
    )
    grid = coordinates.unflatten(1, (size, size, size))
    volume = torch.stack([hit * (depths / 8), ahead], 1)
    out = F.grid_sample(volume, grid, mode="bilinear", padding_mode="border", align_corners=False)
    return out.to(logits.dtype)


class VolumeNet(nn.Module):
    """Lifted features -> a volume of density and features."""

    def __init__(self, config: LiftConfig) -> None:
        super().__init__()
        self.config = config
        a, b, _ = config.channels
        v0, v1, v2 = config.volume_channels
        e = config.embedding
        self.base = nn.Parameter(torch.randn(e) * 0.5)
        self.height = nn.Linear(2, e, bias=False)
        nn.init.zeros_(self.height.weight)
        self.lift0, self.lift1 = conv(2, a, v0, 1), conv(2, b, v1, 1)
        self.enter = conv(3, 2 * v0 + 6, v0, 1)
        self.enter1 = conv(3, v1 + 4, v1, 1)
        self.down0 = ResBlock(3, v0, v0, e)
        self.to1 = nn.Conv3d(v0, v1, 2, 2)
        self.down1 = nn.ModuleList([ResBlock(3, v1, v1, e), ResBlock(3, v1, v1, e)])
        self.to2 = nn.Conv3d(v1, v2, 2, 2)
        side = config.volume_size // 4
        self.position = nn.Parameter(torch.randn(1, side**3, v2) * 0.02)
        self.embed = nn.Linear(e, v2)
        self.blocks = nn.ModuleList(
            [
                TransformerBlock(v2, config.volume_heads, config.channels[2])
                for _ in range(config.transformer_blocks)
            ]
        )
        self.from2 = nn.ConvTranspose3d(v2, v1, 2, 2)
        self.up1 = nn.ModuleList([ResBlock(3, v1, v1, e), ResBlock(3, v1, v1, e)])
        self.from1 = nn.ConvTranspose3d(v1, v0, 2, 2)
        self.up0 = nn.ModuleList([ResBlock(3, v0, v0, e), ResBlock(3, v0, v0, e)])
        self.leave = nn.Sequential(nn.GroupNorm(8, v0), nn.SiLU(), nn.Conv3d(v0, config.features + 1, 1))

    @torch.compiler.disable
    def _coordinates(self, cameras: Cameras, size: int) -> Tensor:
        """World position and depth seen from the input camera, per voxel: (b, 4, size, size, size)."""
        points = voxel_centres(size, self.config.extent, cameras.focal.device)
        _, depth = cameras.project(points)
        fixed = points.T[None].expand(len(cameras), -1, -1)
        return torch.cat([fixed / self.config.extent, (depth - RING_DISTANCE)[:, None]], 1).unflatten(
            2, (size, size, size)
        )

    def forward(self, encoded: EncoderOutput, cameras: Cameras) -> Float[Tensor, "b c s s s"]:
        """Raw density (channel 0) and features. cameras: the input cameras."""
        size, extent = self.config.volume_size, self.config.extent
        fine, half, tokens = encoded.fine, encoded.half, encoded.tokens
        elevation = torch.deg2rad(cameras.elevation)
        height = torch.stack([elevation.sin(), elevation.cos()], 1).to(fine.dtype)
        embedding = self.base + self.height(height)
        x = lift(self.lift0(fine), cameras, size, extent)
        surface = lift_depth(encoded.depth, cameras, size, extent, self.config.depth_range).to(x.dtype)
        coordinates = self._coordinates(cameras, size).to(x.dtype)
        x = self.enter(torch.cat([x, coordinates, surface, x * surface[:, :1]], 1))
        x0 = self.down0(x, embedding)
        y = lift(self.lift1(half), cameras, size // 2, extent)
        x1 = self.to1(x0) + self.enter1(torch.cat([y, self._coordinates(cameras, size // 2).to(y.dtype)], 1))
        for block in self.down1:
            x1 = block(x1, embedding)
        x2 = self.to2(x1).flatten(2).transpose(1, 2)
        x2 = x2 + self.position + self.embed(F.silu(embedding))[:, None]
        for block in self.blocks:
            x2 = block(x2, tokens)
        side = size // 4
        x1 = x1 + self.from2(x2.transpose(1, 2).unflatten(2, (side, side, side)))
        for block in self.up1:
            x1 = block(x1, embedding)
        x0 = x0 + self.from1(x1)
        for block in self.up0:
            x0 = block(x0, embedding)
        return self.leave(x0)


def ray_points(
    cameras: Cameras, positions: int, depths: int, depth_range: float
) -> Float[Tensor, "n d p p 3"]:
    """Sample points of a grid of positions x positions rays per camera, near to far."""
    origin, direction = cameras.resized(positions).rays()
    step = 2 * depth_range / depths
    depth = RING_DISTANCE - depth_range + (torch.arange(depths, device=origin.device) + 0.5) * step
    return origin[:, None, None, None] + depth[:, None, None, None] * direction[:, None]


@torch.compiler.disable
def sample_volume(
    volume: Float[Tensor, "b c s s s"], points: Float[Tensor, "b n d p p 3"], extent: float
) -> Float[Tensor, "b c n d p p"]:
    """Trilinear samples of each volume at the points of its n views; zero outside."""
    b, n, d, p, q, _ = points.shape
    grid = (points / extent).reshape(b, n * d, p, q, 3)
    return F.grid_sample(volume.float(), grid, mode="bilinear", align_corners=False).unflatten(2, (n, d))


def ray_weights(density: Float[Tensor, "b n d p p"], step: float) -> Float[Tensor, "b n d p p"]:
    """Compositing weights of raw densities along the depth axis; they sum to alpha."""
    optical = F.softplus(density.float() - 4.0) * (25.0 * step)
    through = torch.exp(-(torch.cumsum(optical, 2) - optical))
    return through * (1 - torch.exp(-optical))


def composite_features(
    frustum: Float[Tensor, "b c n d p p"], weight: Float[Tensor, "b n d p p"]
) -> Float[Tensor, "b n c2 p p"]:
    """Features (all channels but the density), alpha, mean depth in [-1, 1] along each ray (c2 = c + 1)."""
    features = torch.einsum("bcndpq,bndpq->bncpq", frustum[:, 1:], weight.to(frustum.dtype))
    depth = torch.linspace(-1, 1, weight.shape[2], device=weight.device)[:, None, None]
    extra = torch.stack([weight.sum(2), (weight * depth).sum(2)], 2).to(frustum.dtype)
    return torch.cat([features, extra], 2)


class RenderHead(nn.Module):
    """Composited features of one view -> its RGBA picture (over white, in [-1, 1])."""

    def __init__(self, config: LiftConfig) -> None:
        super().__init__()
        c = config.head_channels
        self.enter = conv(2, config.features + 2, c)
        self.blocks = nn.ModuleList([ResBlock(2, c, c) for _ in range(4)])
        self.widen = nn.Conv2d(c, 4 * (c // 2), 1)
        self.fine = ResBlock(2, c // 2, c // 2)
        self.leave = nn.Conv2d(c // 2, 4 * (config.patch // 2) ** 2, 3, padding=1)
        self.patch = config.patch

    def forward(self, x: Float[Tensor, "n c p p"]) -> Float[Tensor, "n 4 h w"]:
        x = self.enter(x)
        for block in self.blocks:
            x = block(x)
        x = self.fine(F.pixel_shuffle(self.widen(x), 2))
        return F.pixel_shuffle(self.leave(x), self.patch // 2)


class Lifted(NamedTuple):
    """Pictures (b, views, 4, h, w) in [-1, 1], compositing weights (b, views, d, p, p), encoder output."""

    pictures: Tensor
    weight: Tensor
    encoded: EncoderOutput


class Lifter(nn.Module):
    """Volume generator: picture -> feature volume -> picture from any camera, deterministic."""

    def __init__(self, config: LiftConfig | None = None) -> None:
        super().__init__()
        self.config = config or LiftConfig()
        self.encoder = PictureEncoder(self.config)
        self.volume = VolumeNet(self.config)
        self.head = RenderHead(self.config)

    def frustum(self, volume: Tensor, cameras: Cameras, views: int) -> Float[Tensor, "b c n d p p"]:
        """The volume along the rays of `views` cameras per object (cameras: b * views, objects outermost)."""
        c = self.config
        points = ray_points(cameras, c.positions, c.depths, c.depth_range)
        return sample_volume(volume, points.unflatten(0, (-1, views)), c.extent)

    def padded_frustum(self, volume: Tensor, cameras: Cameras, views: int) -> Float[Tensor, "b c n d p p"]:
        """`frustum` of the lifted volume (channel 0: raw density), padded with empty density (`outside`)."""
        shift = volume.new_zeros(1, volume.shape[1], 1, 1, 1)
        shift[:, 0] = self.config.outside
        return self.frustum(volume - shift, cameras, views) + shift[..., None]

    @property
    def step(self) -> float:
        """World units between samples of a ray."""
        return 2 * self.config.depth_range / self.config.depths

    def forward(
        self, picture: Float[Tensor, "b 4 h w"], input_cameras: Cameras, targets: Cameras, views: int
    ) -> Lifted:
        """RGBA pictures from `views` cameras per object (targets: b * views, objects outermost)."""
        encoded = self.encoder(picture)
        frustum = self.padded_frustum(self.volume(encoded, input_cameras), targets, views)
        weight = ray_weights(frustum[:, 0], self.step)
        rays = composite_features(frustum, weight)
        pictures = self.head(rays.flatten(0, 1).to(encoded.fine.dtype))
        return Lifted(pictures.unflatten(0, (-1, views)), weight, encoded)
