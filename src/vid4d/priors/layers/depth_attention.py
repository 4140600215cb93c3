"""SyncDreamer's depth-wise attention: pixels look along their rays in a frustum (2309.03453, section 3.3)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from vid4d.priors.layers.blocks import layers, zeroed
from vid4d.priors.layers.fused_ops import along_rays, group_norm, is_channels_last, usable, without_bias
from vid4d.priors.layers.unet_config import DepthAttentionConfig


def _rays(volume: Float[Tensor, "b k d h w"]) -> Float[Tensor, "b h w d k"]:
    """Ray by ray, channels last."""
    return volume.permute(0, 3, 4, 2, 1)


def _of_rays(rays: Float[Tensor, "b h w d k"]) -> Float[Tensor, "b k d h w"]:
    return rays.permute(0, 4, 3, 1, 2)


def ray_ordered(volume: Float[Tensor, "b k d h w"]) -> Float[Tensor, "b k d h w"]:
    """The same volume; in memory the depths of a pixel's ray lie together."""
    return _of_rays(_rays(volume).contiguous())


class DepthAttention(nn.Module):
    """Each pixel attends to the depths of its own ray.

    Keys and values have no biases, so their projections are applied to the query and to the attended mean
    instead of to every depth: the same result at a fraction of the work.
    """

    def __init__(self, dim: int, volume_channels: int, heads: int) -> None:
        super().__init__()
        self.head_count = heads
        self.to_q = nn.Conv2d(dim, dim, 1, bias=False)
        self.to_k = nn.Conv3d(volume_channels, dim, 1, bias=False)
        self.to_v = nn.Conv3d(volume_channels, dim, 1, bias=False)
        self.to_out = nn.Conv2d(dim, dim, 1, bias=False)

    def forward(
        self, x: Float[Tensor, "b c h w"], volume: Float[Tensor, "b k d h w"]
    ) -> Float[Tensor, "b c h w"]:
        n = self.head_count
        head_dim = self.to_k.out_channels // n
        key = self.to_k.weight.reshape(n, head_dim, -1)
        value = self.to_v.weight.reshape(n, head_dim, -1)
        query = self.to_q(x).permute(0, 2, 3, 1).unflatten(-1, (n, head_dim))
        query = torch.einsum("bhwnc,nck->bhwnk", query, key)
        rays = _rays(volume)
        if usable(query):
            query = query.contiguous()
        mean = torch.einsum("bhwnk,nck->bhwnc", along_rays(query, rays, head_dim**-0.5), value)
        return self.to_out(mean.flatten(3).permute(0, 3, 1, 2))


class DepthTransformer(nn.Module):
    """Adds to a feature map what depth attention finds in the frustum (2309.03453, section 3.3)."""

    def __init__(self, channels: int, volume_channels: int, config: DepthAttentionConfig) -> None:
        super().__init__()
        groups = config.norm_groups
        inner = config.heads * (volume_channels // 2)
        self.proj_in = nn.Sequential(nn.Conv2d(channels, inner, 1), nn.GroupNorm(groups, inner), nn.SiLU())
        self.proj_context = nn.Sequential(
            nn.Conv3d(volume_channels, volume_channels, 1, bias=False),
            nn.GroupNorm(groups, volume_channels),
            nn.ReLU(),
        )
        self.depth_attn = DepthAttention(inner, volume_channels, config.heads)
        self.proj_out = nn.Sequential(
            nn.GroupNorm(groups, inner),
            nn.ReLU(),
            nn.Conv2d(inner, inner, 3, padding=1, bias=False),
            nn.GroupNorm(groups, inner),
            nn.ReLU(),
            zeroed(nn.Conv2d(inner, channels, 3, padding=1, bias=False)),
        )

    def features(self, volume: Float[Tensor, "b k d h w"]) -> Float[Tensor, "b k d h w"]:
        """Keys and values of a volume, the same for all that see it; in memory a ray lies together."""
        if not usable(volume):
            return self.proj_context(volume)
        conv, norm, _ = layers(self.proj_context)
        mixed = F.linear(_rays(ray_ordered(volume)), conv.weight[:, :, 0, 0, 0])  # b h w d k
        return _of_rays(group_norm(norm, mixed.movedim(-1, 1), "relu").movedim(1, -1))

    def residual(
        self, x: Float[Tensor, "b c h w"], features: Float[Tensor, "b k d h w"]
    ) -> Float[Tensor, "b c h w"]:
        """Residual of depth attention for a feature map."""
        if not (usable(x) and is_channels_last(x)):
            return self.proj_out(self.depth_attn(self.proj_in(x), features))
        conv, norm, _ = layers(self.proj_in)
        h = self.depth_attn(group_norm(norm, without_bias(conv, x), "silu", conv.bias), features)
        norm, _, conv, other, _, last = layers(self.proj_out)
        return last(group_norm(other, conv(group_norm(norm, h, "relu")), "relu"))

    def forward(
        self, x: Float[Tensor, "b c h w"], volume: Float[Tensor, "b k d h w"]
    ) -> Float[Tensor, "b c h w"]:
        return x + self.residual(x, self.features(volume))
