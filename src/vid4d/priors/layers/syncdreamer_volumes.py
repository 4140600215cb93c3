"""SyncDreamer's volume networks (2309.03453, section 3.3): from noisy views to a volume to view frustums.

The noisy latents of all views are turned into features, unprojected into one volume around the object and
fused; for each target view the volume is resampled into the view's frustum, where a second network makes the
pyramid to which the UNet attends along depth. Parameter names are those of the authors' checkpoint.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from vid4d.cameras import Cameras
from vid4d.priors.layers.fused_ops import group_norm, plus, sample_volume, without_bias


@dataclass(frozen=True)
class VolumeConfig:
    """Sizes of the volume networks; the defaults are SyncDreamer's.

    views: number of views of the ring. latent_channels, latent_size: of the noisy views.
    view_channels: features per view. channels: of both 3D networks, finest level first.
    size, half_width: voxels along an edge of the volume and half its edge in world units.
    depths, half_depth: samples along a ray, and how far they reach to both sides of the origin (world units).
    time_dim, view_dim: channels of the time and view embeddings.
    """

    views: int = 16
    latent_channels: int = 4
    latent_size: int = 32
    view_channels: int = 16
    channels: tuple[int, int, int, int] = (64, 128, 256, 512)
    size: int = 32
    half_width: float = 0.5
    depths: int = 48
    half_depth: float = 0.86603
    time_dim: int = 256
    view_dim: int = 4
    norm_groups: int = 8

    def __post_init__(self) -> None:
        for name in ("size", "depths", "latent_size"):
            if getattr(self, name) % 8:
                raise ValueError(f"{name} is {getattr(self, name)}: it must be divisible by 8")


class ViewBlock(nn.Module):
    """A residual block on a view's features that knows the time step and the view."""

    def __init__(self, c: VolumeConfig) -> None:
        super().__init__()
        dim = c.view_channels
        self.time_embed = nn.Conv2d(c.time_dim, dim, 1)
        self.view_embed = nn.Conv2d(c.view_dim, dim, 1)
        self.conv = nn.Sequential(
            nn.GroupNorm(c.norm_groups, dim),
            nn.SiLU(),
            nn.Conv2d(dim, dim, 3, padding=1),
            nn.GroupNorm(c.norm_groups, dim),
            nn.SiLU(),
            nn.Conv2d(dim, dim, 3, padding=1),
        )

    def forward(self, x: Tensor, time: Tensor, view: Tensor) -> Tensor:
        return x + self.conv(x + self.time_embed(time) + self.view_embed(view))


class NoisyTargetViewEncoder(nn.Module):
    """Features of one noisy view."""

    def __init__(self, c: VolumeConfig) -> None:
        super().__init__()
        dim = c.view_channels
        self.init_conv = nn.Conv2d(c.latent_channels, dim, 3, padding=1)
        self.out_conv0 = ViewBlock(c)
        self.out_conv1 = ViewBlock(c)
        self.out_conv2 = ViewBlock(c)
        self.final_out = nn.Sequential(
            nn.GroupNorm(c.norm_groups, dim), nn.SiLU(), nn.Conv2d(dim, dim, 3, padding=1)
        )

    def forward(
        self, x: Float[Tensor, "b c h w"], time: Float[Tensor, "b t"], view: Float[Tensor, "b v"]
    ) -> Float[Tensor, "b f h w"]:
        time, view = time[:, :, None, None], view[:, :, None, None]
        x = self.init_conv(x)
        for block in (self.out_conv0, self.out_conv1, self.out_conv2):
            x = block(x, time, view)
        return self.final_out(x)


class Unbiased(NamedTuple):
    """Features whose last bias is still to be added, which whoever reads them does on the way."""

    x: Float[Tensor, "b c d h w"]
    bias: Float[Tensor, " c"] | None

    @classmethod
    def convolved(cls, conv: nn.Module, x: Float[Tensor, "b i d2 h2 w2"]) -> Unbiased:
        return cls(without_bias(conv, x), cast(Tensor, conv.bias))

    def plus(self, other: Unbiased) -> Unbiased:
        """The sum; both lack a bias."""
        assert self.bias is not None
        assert other.bias is not None
        return Unbiased(plus(self.x, other.x, self.bias + other.bias), None)


class _Block3D(nn.Module):
    """Normalisation and convolution in 3D with the embeddings added first; `up` doubles the size.

    The authors call the normalisation `bn` where the size stays or shrinks and `norm` where it grows.
    """

    def __init__(
        self,
        c: VolumeConfig,
        dim: int,
        out_dim: int,
        *,
        stride: int = 1,
        up: bool = False,
        view: bool = False,
    ) -> None:
        super().__init__()
        self.up = up
        self.t_conv = nn.Conv3d(c.time_dim, dim, 1)
        if view:
            self.v_conv = nn.Conv3d(c.view_dim, dim, 1)
        norm = nn.GroupNorm(c.norm_groups, dim)
        self.conv: nn.Module
        if up:
            self.norm = norm
            self.conv = nn.ConvTranspose3d(dim, out_dim, 3, stride=2, padding=1, output_padding=1)
        else:
            self.bn = norm
            self.conv = nn.Conv3d(dim, out_dim, 3, stride=stride, padding=1)

    def forward(self, features: Unbiased, time: Tensor, view: Tensor | None = None) -> Unbiased:
        embedding = self.t_conv(time[:, :, None, None, None])
        if view is not None:
            embedding = embedding + self.v_conv(view[:, :, None, None, None])
        added = embedding.flatten(1)
        if features.bias is not None:
            added = added + features.bias
        norm = self.norm if self.up else self.bn
        return Unbiased.convolved(self.conv, group_norm(norm, features.x, "silu", added))


class SpatialTime3DNet(nn.Module):
    """Fuses the unprojected features of all views: a 3D U-Net with four levels."""

    def __init__(self, c: VolumeConfig) -> None:
        super().__init__()
        d0, d1, d2, d3 = c.channels
        self.init_conv = nn.Conv3d(c.views * c.view_channels, d0, 3, padding=1)
        self.conv0 = _Block3D(c, d0, d0)
        self.conv1 = _Block3D(c, d0, d1, stride=2)
        self.conv2_0 = _Block3D(c, d1, d1)
        self.conv2_1 = _Block3D(c, d1, d1)
        self.conv3 = _Block3D(c, d1, d2, stride=2)
        self.conv4_0 = _Block3D(c, d2, d2)
        self.conv4_1 = _Block3D(c, d2, d2)
        self.conv5 = _Block3D(c, d2, d3, stride=2)
        self.conv6_0 = _Block3D(c, d3, d3)
        self.conv6_1 = _Block3D(c, d3, d3)
        self.conv7 = _Block3D(c, d3, d2, up=True)
        self.conv8 = _Block3D(c, d2, d1, up=True)
        self.conv9 = _Block3D(c, d1, d0, up=True)

    def forward(
        self, x: Float[Tensor, "b vf s s s"], time: Float[Tensor, "b t"]
    ) -> Float[Tensor, "b d0 s s s"]:
        fine = self.conv0(Unbiased.convolved(self.init_conv, x), time)
        half = self.conv2_1(self.conv2_0(self.conv1(fine, time), time), time)
        quarter = self.conv4_1(self.conv4_0(self.conv3(half, time), time), time)
        eighth = self.conv6_1(self.conv6_0(self.conv5(quarter, time), time), time)
        quarter = quarter.plus(self.conv7(eighth, time))
        half = half.plus(self.conv8(quarter, time))
        return fine.plus(self.conv9(half, time)).x


class FrustumTV3DNet(nn.Module):
    """Makes the pyramid of frustum features, keyed by width in pixels."""

    def __init__(self, c: VolumeConfig) -> None:
        super().__init__()
        d0, d1, d2, d3 = c.channels
        self.conv0 = nn.Conv3d(d0, d0, 3, padding=1)
        self.conv1 = _Block3D(c, d0, d1, stride=2, view=True)
        self.conv2 = _Block3D(c, d1, d1, view=True)
        self.conv3 = _Block3D(c, d1, d2, stride=2, view=True)
        self.conv4 = _Block3D(c, d2, d2, view=True)
        self.conv5 = _Block3D(c, d2, d3, stride=2, view=True)
        self.conv6 = _Block3D(c, d3, d3, view=True)
        self.up0 = _Block3D(c, d3, d2, up=True, view=True)
        self.up1 = _Block3D(c, d2, d1, up=True, view=True)
        self.up2 = _Block3D(c, d1, d0, up=True, view=True)

    def forward(
        self, x: Float[Tensor, "b c d h w"], time: Float[Tensor, "b t"], view: Float[Tensor, "b v"]
    ) -> dict[int, Float[Tensor, "b _ _ _ _"]]:
        fine = Unbiased.convolved(self.conv0, x)
        half = self.conv2(self.conv1(fine, time, view), time, view)
        quarter = self.conv4(self.conv3(half, time, view), time, view)
        eighth = self.conv6(self.conv5(quarter, time, view), time, view)
        quarter = quarter.plus(self.up0(eighth, time, view))
        half = half.plus(self.up1(quarter, time, view))
        fine = fine.plus(self.up2(half, time, view))
        assert eighth.bias is not None
        coarsest = eighth.x + eighth.bias[:, None, None, None]
        return {level.shape[-1]: level for level in (fine.x, half.x, quarter.x, coarsest)}


def unprojection_grid(cameras: Cameras, size: int, half_width: float) -> Float[Tensor, "n size size2 2"]:
    """Position of each voxel in each view, for `grid_sample` (align_corners, voxels in z, y, x order).

    The cameras' picture size is that of the feature maps. As in the authors' code, a projection of (0, 0)
    means the *centre* of the first pixel, and voxel centres span the volume from face to face.
    """
    axis = torch.linspace(-half_width, half_width, size)
    z, y, x = torch.meshgrid(axis, axis, axis, indexing="ij")
    pixels, _ = cameras.project(torch.stack([x, y, z], -1).reshape(-1, 3))
    extent = torch.tensor([cameras.width - 1, cameras.height - 1]) / 2
    return (pixels / extent - 1).reshape(len(cameras), size, size * size, 2)


def frustum_grid(
    cameras: Cameras, depths: int, near: float, far: float, half_width: float
) -> Float[Tensor, "n d h w 3"]:
    """Position of each frustum sample in the volume, for `grid_sample` (x, y, z, align_corners).

    The cameras' picture size is that of the feature maps; the pixel convention is unprojection_grid's.
    """
    y, x = torch.meshgrid(
        torch.arange(cameras.height) - cameras.height / 2,
        torch.arange(cameras.width) - cameras.width / 2,
        indexing="ij",
    )
    f = cameras.focal[:, None, None]
    rays = torch.stack([x / f, y / f, torch.ones_like(x).expand(len(cameras), -1, -1)], -1)
    depth = torch.linspace(0, 1, depths) * (far - near) + near
    points = rays[:, None] * depth[:, None, None, None]
    world = torch.einsum(
        "nji,ndhwj->ndhwi", cameras.rotation, points - cameras.translation[:, None, None, None]
    )
    return world / half_width


def _lifted(features: Tensor, grid: Tensor) -> Tensor:
    """Linear interpolation, zero outside; in float32, because half precision misplaces samples."""
    values = F.grid_sample(features.float(), grid, mode="bilinear", padding_mode="zeros", align_corners=True)
    return values.to(features.dtype)


class SpatialVolumes(nn.Module):
    """The volume networks together with the geometry of their ring.

    cameras: the ring, one camera per view, of any picture size. The ring is not part of the state.
    """

    def __init__(self, config: VolumeConfig, cameras: Cameras) -> None:
        super().__init__()
        if len(cameras) != config.views:
            raise ValueError(f"{len(cameras)} cameras for {config.views} views")
        self.config = config
        self.target_encoder = NoisyTargetViewEncoder(config)
        self.spatial_volume_feats = SpatialTime3DNet(config)
        self.frustum_volume_feats = FrustumTV3DNet(config)
        small = cameras.resized(config.latent_size)
        distance = cameras.position.norm(dim=-1).mean().item()
        near, far = distance - config.half_depth, distance + config.half_depth
        self.voxels: Tensor
        self.frustums: Tensor
        self.register_buffer(
            "voxels", unprojection_grid(small, config.size, config.half_width), persistent=False
        )
        self.register_buffer(
            "frustums", frustum_grid(small, config.depths, near, far, config.half_width), persistent=False
        )

    def _apply(self, fn, recurse: bool = True):  # type: ignore[no-untyped-def]
        """Moves with the weights, but the geometry stays in float32: half precision misplaces samples."""
        kept = {name: getattr(self, name) for name in ("voxels", "frustums")}
        super()._apply(fn, recurse)
        for name, grid in kept.items():
            if not grid.is_meta:
                setattr(self, name, grid.to(getattr(self, name).device))
        return self

    def spatial(
        self,
        latents: Float[Tensor, "b n c h w"],
        time: Float[Tensor, "b t"],
        view: Float[Tensor, "b n v"],
    ) -> Float[Tensor, "b d0 s s s"]:
        """One volume per batch entry from the noisy latents of all its views."""
        b, n = latents.shape[:2]
        s = self.config.size
        times = time[:, None].expand(-1, n, -1)
        features = self.target_encoder(latents.flatten(0, 1), times.flatten(0, 1), view.flatten(0, 1))
        grid = self.voxels.expand(b, -1, -1, -1, -1).flatten(0, 1)
        lifted = _lifted(features, grid)
        return self.spatial_volume_feats(lifted.reshape(b, -1, s, s, s), time)

    def frustum(
        self,
        volume: Float[Tensor, "t d0 s s s"],
        frame: Int[Tensor, " b"],
        time: Float[Tensor, "b t2"],
        view: Float[Tensor, "b v"],
        target: Int[Tensor, " b"],
    ) -> dict[int, Float[Tensor, "b _ _ _ _"]]:
        """The pyramid of one target view of one frame's volume per batch entry.

        view: that view's embedding; target: its index.
        """
        rays = sample_volume(volume, frame, self.frustums, target)
        return self.frustum_volume_feats(rays, time, view)
