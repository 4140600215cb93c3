"""Sizes of the latent-diffusion UNet and of its attention to view frustums."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class DepthAttentionConfig:
    """Attention of every pixel to the features along its ray in a view frustum.

    volume_channels: channels of the frustum features at each UNet level, finest first.
    heads: attention heads; each has half as many channels as the frustum features.
    norm_groups: groups of the normalisations inside.
    """

    volume_channels: tuple[int, ...] = (64, 128, 256, 512)
    heads: int = 4
    norm_groups: int = 8


@dataclass(frozen=True)
class UNetConfig:
    """Sizes of a UNet; the defaults are Zero123's.

    channel_mult: channels of a level over model_channels, finest level first; each level halves the size.
    attention_levels: which levels have transformers (the middle always has one).
    num_heads: attention heads; head_dim, where given, fixes the channels of a head instead.
    context_dim: channels of the cross-attention tokens; None leaves the cross-attention out.
    norm_groups: groups of all normalisations; must divide every channel count.
    dropout: in the residual blocks, while training.
    depth_attention: SyncDreamer's attention to frustum features, or None.
    """

    in_channels: int = 8
    out_channels: int = 4
    model_channels: int = 320
    channel_mult: tuple[int, ...] = (1, 2, 4, 4)
    num_res_blocks: int = 2
    attention_levels: tuple[bool, ...] = (True, True, True, False)
    num_heads: int = 8
    head_dim: int | None = None
    context_dim: int | None = 768
    transformer_depth: int = 1
    norm_groups: int = 32
    dropout: float = 0.0
    depth_attention: DepthAttentionConfig | None = None

    def __post_init__(self) -> None:
        levels = len(self.channel_mult)
        if len(self.attention_levels) != levels:
            raise ValueError(
                f"{levels} levels in channel_mult, {len(self.attention_levels)} in attention_levels"
            )
        for mult in (1, *self.channel_mult):
            if mult * self.model_channels % self.norm_groups:
                raise ValueError(
                    f"{mult * self.model_channels} channels do not split into {self.norm_groups} norm groups"
                )
        if self.depth_attention is not None and len(self.depth_attention.volume_channels) != levels:
            raise ValueError(
                f"{levels} levels in channel_mult, "
                f"{len(self.depth_attention.volume_channels)} in depth_attention"
            )

    def heads(self, channels: int) -> tuple[int, int]:
        """Number of heads and channels per head at a level with this many channels."""
        count = self.num_heads if self.head_dim is None else channels // self.head_dim
        if count < 1 or channels % count:
            raise ValueError(f"{channels} channels do not split into {count} attention heads")
        return count, channels // count
