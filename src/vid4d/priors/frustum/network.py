"""One solid volume from one picture: occupancy and color in the view frustum of the input camera.

The frustum prior, trained by `vid4d train --stage frustum` (docs/experiments.md). The volume is
aligned with the picture: its columns are the picture's pixels, its third axis is depth along the optical
axis. So what the picture shows needs no lifting (it is broadcast along its rays), the silhouette holds
exactly, and a wrong guess of the elevation turns the thing but does not bend it. A transformer over picture
and volume tokens decides what lies along each ray (in the spirit of 2311.04400, with a solid volume in place
of a triplane); a small 3D convolutional network draws the boundary.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from vid4d.cameras import FOCAL_PER_WIDTH, RING_DISTANCE
from vid4d.priors.frustum.matter import visibility, without_detail
from vid4d.priors.layers.residual import ResBlock


@dataclass(frozen=True)
class FrustumConfig:
    """Sizes of the network and of its volume.

    image_size: pixels of the input picture. crop: of its middle, which the volume covers (clips are framed to
    fill 200 of 256). patch: pixels per feature position. volume_size: voxels an edge. near, far: of the
    volume, depths along the optical axis in world units. width: of the tokens. picture_blocks: of the
    transformer over the picture alone; joint_blocks: over picture and volume. cells: channels of the 3D
    network, which works at the resolution of the feature positions; each cell holds several voxels an edge.
    gated: say voxel by voxel how much of the picture's color reaches it along its ray; all of it without.
    detail_stops: the detail of that color stops at the first matter that its ray meets; behind it, color is
    blurred (`matter`).
    """

    image_size: int = 128
    crop: int = 112
    patch: int = 4
    volume_size: int = 84
    near: float = RING_DISTANCE - 0.6
    far: float = RING_DISTANCE + 0.6
    width: int = 512
    heads: int = 8
    picture_blocks: int = 6
    joint_blocks: int = 12
    stem: int = 128
    cells: int = 64
    cell_blocks: int = 3
    gated: bool = False
    detail_stops: bool = False

    @property
    def positions(self) -> int:
        """Feature positions along an edge of the crop; also cells along an edge of the volume."""
        return self.crop // self.patch

    @property
    def width_per_depth(self) -> float:
        """Width of the crop over its depth, in the world."""
        return self.crop / (self.image_size * FOCAL_PER_WIDTH)

    @property
    def voxel(self) -> float:
        """Depth of a voxel, world units."""
        return (self.far - self.near) / self.volume_size

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
        self.stem_block = ResBlock(2, c.stem, c.stem)
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
        self.fine_block = ResBlock(2, c.cells, c.cells)
        self.to_cells = nn.Linear(c.width, c.cells * 64)
        self.depth_place = nn.Parameter(torch.randn(1, c.cells, c.positions, 1, 1) * 0.02)
        self.fine_to_cells = nn.Conv2d(c.cells, 2 * c.cells, 1)
        self.cell_blocks = nn.ModuleList([ResBlock(3, c.cells, c.cells) for _ in range(c.cell_blocks)])
        self.leave_norm = nn.GroupNorm(8, c.cells)
        self.leave = nn.Conv3d(c.cells, 4 * c.voxels**3, 1)
        self.gate = nn.Conv3d(c.cells, c.voxels**3, 1) if c.gated else None
        if self.gate is not None:  # at first, all of the color reaches everything
            nn.init.zeros_(self.gate.weight)
            nn.init.zeros_(self.gate.bias)  # type: ignore[arg-type]

    def cropped(self, picture: Float[Tensor, "b c h w"]) -> Tensor:
        """The middle of a picture, which the volume covers."""
        c = self.config
        edge = (c.image_size - c.crop) // 2
        return picture[..., edge : edge + c.crop, edge : edge + c.crop]

    def columns(self, picture: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c q q"]:
        """Picture sampled at the volume's columns."""
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

    def attend(
        self, tokens: Float[Tensor, "b n c"], elevation: Float[Tensor, " b"]
    ) -> tuple[Float[Tensor, "b n c"], Float[Tensor, "b m c"]]:
        """Tokens of the picture and of the volume after the joint transformer.

        elevation: of the input camera, radians.
        """
        half = self.config.positions // 2
        angle = self.elevation(torch.stack([elevation.sin(), elevation.cos()], 1).to(tokens.dtype))[:, None]
        column = F.avg_pool2d(tokens.transpose(1, 2).unflatten(2, (half, half)), 2).flatten(2).transpose(1, 2)
        volume = self.volume_place + self.to_volume(column)[:, None]
        x = torch.cat([tokens + angle, volume.flatten(1, 2).to(tokens.dtype) + angle], 1)
        for block in self.joint_blocks:
            x = block(x)
        return x[:, : half**2], x[:, half**2 :]

    def voxels(
        self,
        fine: Float[Tensor, "b s p p"],
        picture_tokens: Float[Tensor, "b n c"],
        volume_tokens: Float[Tensor, "b m c"],
        picture: Float[Tensor, "b 4 h w"],
    ) -> tuple[Tensor, Tensor]:
        """Logits and colors (`Solid`) of volume tokens, in the detail of their picture."""
        c = self.config
        half, k = c.positions // 2, c.tokens
        flat = self.to_fine(self.picture_norm(picture_tokens)).transpose(1, 2).unflatten(2, (half, half))
        flat = self.fine_block(F.pixel_shuffle(flat, 2) + self.stem_to_fine(fine))
        cells = self.to_cells(self.volume_norm(volume_tokens))
        cells = cells.unflatten(2, (c.cells, 4, 4, 4)).unflatten(1, (k, k, k))
        cells = cells.permute(0, 4, 1, 5, 2, 6, 3, 7).reshape(len(cells), c.cells, *[c.positions] * 3)
        scale, shift = self.fine_to_cells(flat)[:, :, None].chunk(2, 1)
        y = cells * (1 + scale) + shift + self.depth_place.to(cells.dtype)
        for block in self.cell_blocks:
            y = block(y)
        y = F.silu(self.leave_norm(y))
        logits, color = self._spread(self.leave(y)).split([1, 3], 1)
        columns = self.columns(picture)
        shown = columns[:, :3, None]
        if c.detail_stops:
            soft = without_detail(columns)[:, :, None]
            shown = soft + (shown - soft) * visibility(logits, c.voxel)
        if self.gate is not None:
            shown = shown * (1 + self._spread(self.gate(y)))
        return logits, color + shown

    def _spread(self, y: Float[Tensor, "b c d h w"]) -> Float[Tensor, "b k vd vh vw"]:
        """Channels of cells as voxels of k channels: output by output, depth, row and column in the cell."""
        n = self.config.voxels
        y = y.unflatten(1, (-1, n, n, n)).permute(0, 1, 5, 2, 6, 3, 7, 4)
        return y.reshape(*y.shape[:2], *[self.config.volume_size] * 3)

    def decode(
        self,
        fine: Float[Tensor, "b s p p"],
        tokens: Float[Tensor, "b n c"],
        elevation: Float[Tensor, " b"],
        picture: Float[Tensor, "b 4 h w"],
    ) -> tuple[Tensor, Tensor]:
        """Logits and colors (`Solid`) of what `encode` made. elevation: of the input camera, radians."""
        return self.voxels(fine, *self.attend(tokens, elevation), picture)

    def forward(self, picture: Float[Tensor, "b 4 h w"], elevation: Float[Tensor, " b"]) -> Solid:
        """elevation: of the input camera as far as it is known, radians."""
        fine, tokens, guess = self.encode(picture)
        return Solid(*self.decode(fine, tokens, elevation, picture), guess)
