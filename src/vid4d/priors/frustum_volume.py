"""From one picture to one solid thing: occupancy and colour in the view frustum of the input camera.

The volume is aligned with the picture: its columns are the picture's pixels, its third axis is depth along
the optical axis. So what the picture shows needs no lifting (it is broadcast along its rays), the silhouette
holds exactly, and a wrong guess of the elevation turns the thing but does not bend it. A transformer over
picture and volume tokens decides what lies along each ray (in the spirit of 2311.04400, with a solid volume
in place of a triplane); a small 3D convolutional network draws the boundary.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from vid4d.cameras import FOCAL_PER_WIDTH, RIG_DISTANCE, Cameras


@dataclass(frozen=True)
class FrustumConfig:
    """Sizes of the network and of its volume.

    image_size: pixels of the input picture. crop: of its middle, which the volume covers (clips are framed to
    fill 200 of 256). patch: pixels per feature position. volume_size: voxels an edge. near, far: of the
    volume, depths along the optical axis in world units. width: of the tokens. picture_blocks: of the
    transformer over the picture alone; joint_blocks: over picture and volume. cells: channels of the 3D
    network, which works at the resolution of the feature positions; each cell holds several voxels an edge.
    """

    image_size: int = 128
    crop: int = 112
    patch: int = 4
    volume_size: int = 84
    near: float = RIG_DISTANCE - 0.6
    far: float = RIG_DISTANCE + 0.6
    width: int = 512
    heads: int = 8
    picture_blocks: int = 6
    joint_blocks: int = 12
    stem: int = 128
    cells: int = 64
    cell_blocks: int = 3

    @property
    def positions(self) -> int:
        """Feature positions along an edge of the crop; also cells along an edge of the volume."""
        return self.crop // self.patch

    @property
    def voxels(self) -> int:
        """Voxels along an edge of a cell."""
        return self.volume_size // self.positions

    @property
    def tokens(self) -> int:
        """Volume tokens along an edge; each is 4 cells wide, and two picture tokens."""
        return self.positions // 4


class Block(nn.Module):
    """Pre-norm transformer block with normalised queries and keys."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width, bias=False), nn.LayerNorm(width, bias=False)
        self.qkv, self.out = nn.Linear(width, 3 * width, bias=False), nn.Linear(width, width, bias=False)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.query_norm, self.key_norm = nn.RMSNorm(width // heads), nn.RMSNorm(width // heads)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.down.weight)

    def forward(self, x: Float[Tensor, "b n c"]) -> Float[Tensor, "b n c"]:
        q, k, v = self.qkv(self.norm1(x)).unflatten(-1, (3, self.heads, -1)).unbind(2)
        q, k = self.query_norm(q).to(v.dtype), self.key_norm(k).to(v.dtype)
        y = F.scaled_dot_product_attention(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2))
        x = x + self.out(y.transpose(1, 2).flatten(2))
        return x + self.down(F.gelu(self.up(self.norm2(x))))


class ResBlock(nn.Module):
    """GroupNorm, SiLU, 3-wide convolution, twice; the second convolution starts at zero."""

    def __init__(self, dims: int, channels: int) -> None:
        super().__init__()
        conv = nn.Conv2d if dims == 2 else nn.Conv3d
        self.norm1, self.norm2 = nn.GroupNorm(8, channels), nn.GroupNorm(8, channels)
        self.conv1, self.conv2 = conv(channels, channels, 3, padding=1), conv(channels, channels, 3, padding=1)
        nn.init.zeros_(self.conv2.weight)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv2(F.silu(self.norm2(self.conv1(F.silu(self.norm1(x))))))


class Solid(NamedTuple):
    """A thing in the view frustum of its picture.

    logits (b, 1, d, h, w): of occupancy, d along the depth. color (b, 3, d, h, w): in [-1, 1] over the clip's
    sRGB, meaningful where there is matter. elevation (b,): the guess for the input camera, radians.
    """

    logits: Tensor
    color: Tensor
    elevation: Tensor


class FrustumVolume(nn.Module):
    """Picture (RGBA over white in [-1, 1]) and elevation of its camera -> `Solid`."""

    def __init__(self, config: FrustumConfig | None = None) -> None:
        super().__init__()
        self.config = c = config or FrustumConfig()
        half, k = c.positions // 2, c.tokens
        self.stem = nn.Conv2d(4 * c.patch**2, c.stem, 3, padding=1)
        self.stem_block = ResBlock(2, c.stem)
        self.to_tokens = nn.Conv2d(c.stem, c.width, 2, 2)
        self.place = nn.Parameter(torch.randn(1, half**2, c.width) * 0.02)
        self.picture_blocks = nn.ModuleList([Block(c.width, c.heads) for _ in range(c.picture_blocks)])
        self.guess = nn.Sequential(
            nn.LayerNorm(c.width), nn.Linear(c.width, c.width), nn.GELU(), nn.Linear(c.width, 1)
        )
        self.elevation = nn.Sequential(nn.Linear(2, c.width), nn.SiLU(), nn.Linear(c.width, c.width))
        self.volume_place = nn.Parameter(torch.randn(1, k, k * k, c.width) * 0.02)
        self.to_volume = nn.Linear(c.width, c.width, bias=False)
        self.joint_blocks = nn.ModuleList([Block(c.width, c.heads) for _ in range(c.joint_blocks)])
        self.picture_norm, self.volume_norm = nn.LayerNorm(c.width), nn.LayerNorm(c.width)
        self.to_fine = nn.Linear(c.width, 4 * c.cells)
        self.stem_to_fine = nn.Conv2d(c.stem, c.cells, 1)
        self.fine_block = ResBlock(2, c.cells)
        self.to_cells = nn.Linear(c.width, c.cells * 64)
        self.depth_place = nn.Parameter(torch.randn(1, c.cells, c.positions, 1, 1) * 0.02)
        self.fine_to_cells = nn.Conv2d(c.cells, 2 * c.cells, 1)
        self.cell_blocks = nn.ModuleList([ResBlock(3, c.cells) for _ in range(c.cell_blocks)])
        self.leave_norm = nn.GroupNorm(8, c.cells)
        self.leave = nn.Conv3d(c.cells, 4 * c.voxels**3, 1)

    def cropped(self, picture: Float[Tensor, "b c h w"]) -> Tensor:
        """The middle of a picture, which the volume covers."""
        c = self.config
        edge = (c.image_size - c.crop) // 2
        return picture[..., edge : edge + c.crop, edge : edge + c.crop]

    def columns(self, picture: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c q q"]:
        """What a picture shows at the volume's columns."""
        return F.interpolate(
            self.cropped(picture), (self.config.volume_size,) * 2, mode="bilinear", align_corners=False
        )

    def encode(self, picture: Float[Tensor, "b 4 h w"]) -> tuple[Tensor, Tensor, Tensor]:
        """Features (b, s, p, p), tokens (b, n, c) and the guess of the elevation (b,), radians."""
        fine = self.stem_block(self.stem(F.pixel_unshuffle(self.cropped(picture), self.config.patch)))
        x = self.to_tokens(fine).flatten(2).transpose(1, 2) + self.place
        for block in self.picture_blocks:
            x = block(x)
        return fine, x, self.guess(x.mean(1))[:, 0]

    def decode(
        self,
        fine: Float[Tensor, "b s p p"],
        tokens: Float[Tensor, "b n c"],
        elevation: Float[Tensor, " b"],
        picture: Float[Tensor, "b 4 h w"],
    ) -> tuple[Tensor, Tensor]:
        """Logits and colours (`Solid`). elevation: of the input camera, radians."""
        c = self.config
        half, k = c.positions // 2, c.tokens
        told = self.elevation(torch.stack([elevation.sin(), elevation.cos()], 1).to(tokens.dtype))[:, None]
        column = F.avg_pool2d(tokens.transpose(1, 2).unflatten(2, (half, half)), 2).flatten(2).transpose(1, 2)
        volume = self.volume_place + self.to_volume(column)[:, None]
        x = torch.cat([tokens + told, volume.flatten(1, 2).to(tokens.dtype) + told], 1)
        for block in self.joint_blocks:
            x = block(x)
        seen, inside = x[:, : half**2], x[:, half**2 :]
        flat = self.to_fine(self.picture_norm(seen)).transpose(1, 2).unflatten(2, (half, half))
        flat = self.fine_block(F.pixel_shuffle(flat, 2) + self.stem_to_fine(fine))
        cells = self.to_cells(self.volume_norm(inside)).unflatten(2, (c.cells, 4, 4, 4)).unflatten(1, (k, k, k))
        cells = cells.permute(0, 4, 1, 5, 2, 6, 3, 7).reshape(len(x), c.cells, *[c.positions] * 3)
        scale, shift = self.fine_to_cells(flat)[:, :, None].chunk(2, 1)
        y = cells * (1 + scale) + shift + self.depth_place.to(cells.dtype)
        for block in self.cell_blocks:
            y = block(y)
        y = self.leave(F.silu(self.leave_norm(y))).unflatten(1, (4, *[c.voxels] * 3))
        y = y.permute(0, 1, 5, 2, 6, 3, 7, 4).reshape(len(x), 4, *[c.volume_size] * 3)
        return y[:, :1], y[:, 1:] + self.columns(picture)[:, :3, None]

    def forward(self, picture: Float[Tensor, "b 4 h w"], elevation: Float[Tensor, " b"]) -> Solid:
        """elevation: of the input camera as far as it is known, radians."""
        fine, tokens, guess = self.encode(picture)
        return Solid(*self.decode(fine, tokens, elevation, picture), guess)


def frustum_points(config: FrustumConfig, device: torch.device | str | None = None) -> Float[Tensor, "p 3"]:
    """Voxel centres in the input camera's axes (x right, y down, z forward), depth slowest, column fastest."""
    n = config.volume_size
    z, v, u = torch.meshgrid(*[(torch.arange(n, device=device) + 0.5) / n] * 3, indexing="ij")
    depth = config.near + z * (config.far - config.near)
    slope = config.crop / (config.image_size * FOCAL_PER_WIDTH)
    return torch.stack([(u - 0.5) * slope * depth, (v - 0.5) * slope * depth, depth], -1).reshape(-1, 3)


def to_frustum(
    points: Float[Tensor, "b ... 3"], inputs: Cameras, config: FrustumConfig
) -> Float[Tensor, "b ... 3"]:
    """World points in the frustum's coordinates, in [-1, 1]: column, row, depth (as `grid_sample` wants them).

    inputs: the input camera of each of the b things.
    """
    shape = points.shape
    x, y, z = points.flatten(1, -2).unbind(-1)
    pose = inputs.world_to_camera[:, :3, :, None]
    u, v, w = (m[:, 0] * x + m[:, 1] * y + m[:, 2] * z + m[:, 3] for m in pose.unbind(1))
    scale = 2 * config.image_size * FOCAL_PER_WIDTH / config.crop / w.clamp(min=1e-3)
    depth = (w - config.near) * (2 / (config.far - config.near)) - 1
    return torch.stack([u * scale, v * scale, depth], -1).view(shape)


def sampled(volume: Float[Tensor, "b c d h w"], at: Float[Tensor, "b p 3"]) -> Float[Tensor, "b p c"]:
    """Trilinear samples at frustum coordinates; zero outside."""
    found = F.grid_sample(volume, at[:, None, None], mode="bilinear", align_corners=False)
    return found[:, :, 0, 0].transpose(1, 2)


def march_points(cameras: Cameras, pixels: int, samples: int, reach: float = 0.65) -> Float[Tensor, "n s p 3"]:
    """World points along the rays of all pixels (p = pixels^2), samples of depth around RIG_DISTANCE."""
    origin, direction = cameras.resized(pixels).rays()
    depth = RIG_DISTANCE + reach * (2 * (torch.arange(samples, device=origin.device) + 0.5) / samples - 1)
    return origin[:, None, None] + depth[:, None, None] * direction.flatten(1, 2)[:, None]


def opacity_along(
    occupancy: Float[Tensor, "n s p"], step: float, thickness: float = 0.02
) -> Float[Tensor, "n s p"]:
    """Alpha of every sample of a ray: occupancy is the opacity of a layer of the given thickness."""
    return 1 - (1 - occupancy.clamp(0, 0.999)) ** (step / thickness)


@torch.no_grad()
def render_solid(
    solid: Solid,
    inputs: Cameras,
    cameras: Cameras,
    config: FrustumConfig,
    *,
    size: int = 128,
    samples: int = 112,
    sharpness: float = 3.0,
    reach: float = 0.65,
) -> Float[Tensor, "b v h w 4"]:
    """Straight-alpha RGBA of b things from the same v cameras. sharpness: factor of the logits."""
    points = march_points(cameras, size, samples, reach)
    rows = []
    for i in range(len(solid.logits)):
        occupancy = torch.sigmoid(solid.logits[i : i + 1].float() * sharpness)
        volume = torch.cat([occupancy, solid.color[i : i + 1].float() * 0.5 + 0.5], 1)
        views = []
        for part in points:
            at = to_frustum(part[None], inputs[i], config)
            values = F.grid_sample(volume[:, :1], at[:, None], align_corners=False)[0, 0, 0]
            alpha = opacity_along(values[None], 2 * reach / samples)[0]
            through = torch.cumprod(1 - alpha, 0)
            weight = alpha * torch.cat([torch.ones_like(alpha[:1]), through[:-1]])
            color = F.grid_sample(
                volume[:, 1:], at[:, None], align_corners=False, padding_mode="border"
            )[0, :, 0]
            total = weight.sum(0)
            rgb = (color * weight).sum(1) / total.clamp(min=1e-4)
            views.append(torch.cat([rgb.clamp(0, 1), total[None]]).T.reshape(size, size, 4))
        rows.append(torch.stack(views))
    return torch.stack(rows)
