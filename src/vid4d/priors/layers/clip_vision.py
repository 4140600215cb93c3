"""The image tower of CLIP (2103.00020), as Zero123 and SyncDreamer see their input picture.

Parameter names are those of the authors' `visual` module.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)


@dataclass(frozen=True)
class CLIPVisionConfig:
    """Sizes of a vision transformer; the defaults are ViT-L/14's."""

    image_size: int = 224
    patch_size: int = 14
    width: int = 1024
    layers: int = 24
    heads: int = 16
    embed_dim: int = 768


class Layer(nn.Module):
    """Self-attention and a feed-forward network, with the sigmoid approximation of GELU."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attn = nn.MultiheadAttention(width, heads, batch_first=True)
        self.ln_1 = nn.LayerNorm(width)
        self.mlp = nn.ModuleDict({"c_fc": nn.Linear(width, 4 * width), "c_proj": nn.Linear(4 * width, width)})
        self.ln_2 = nn.LayerNorm(width)

    def forward(self, x: Float[Tensor, "b n c"]) -> Float[Tensor, "b n c"]:
        y = self.ln_1(x)
        x = x + self.attn(y, y, y, need_weights=False)[0]
        y = self.mlp["c_fc"](self.ln_2(x))
        return x + self.mlp["c_proj"](y * torch.sigmoid(1.702 * y))


class Transformer(nn.Module):
    def __init__(self, config: CLIPVisionConfig) -> None:
        super().__init__()
        self.resblocks = nn.Sequential(*(Layer(config.width, config.heads) for _ in range(config.layers)))

    def forward(self, x: Tensor) -> Tensor:
        return self.resblocks(x)


class CLIPVision(nn.Module):
    """One embedding per picture."""

    def __init__(self, config: CLIPVisionConfig) -> None:
        super().__init__()
        self.config = config
        patches = (config.image_size // config.patch_size) ** 2
        scale = config.width**-0.5
        self.conv1 = nn.Conv2d(3, config.width, config.patch_size, stride=config.patch_size, bias=False)
        self.class_embedding = nn.Parameter(scale * torch.randn(config.width))
        self.positional_embedding = nn.Parameter(scale * torch.randn(patches + 1, config.width))
        self.ln_pre = nn.LayerNorm(config.width)
        self.transformer = Transformer(config)
        self.ln_post = nn.LayerNorm(config.width)
        self.proj = nn.Parameter(scale * torch.randn(config.width, config.embed_dim))

    def preprocess(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 3 s s"]:
        """Pictures in [-1, 1], resized and normalised as Zero123 does it (bicubic, corners aligned)."""
        size = (self.config.image_size, self.config.image_size)
        images = F.interpolate(images, size=size, mode="bicubic", align_corners=True)
        mean, std = (torch.tensor(v, device=images.device)[:, None, None] for v in (MEAN, STD))
        return ((images + 1) / 2 - mean) / std

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b e"]:
        """Embeddings of pictures in [-1, 1], of any size, not normalised."""
        return self.embed(self.preprocess(images.float()).to(self.proj.dtype))

    def embed(self, pixels: Float[Tensor, "b 3 s s"]) -> Float[Tensor, "b e"]:
        """Embeddings of pictures that are resized and normalised already."""
        x = self.conv1(pixels).flatten(2).transpose(1, 2)
        first = self.class_embedding.expand(x.shape[0], 1, -1)
        x = self.ln_pre(torch.cat([first, x], 1) + self.positional_embedding)
        return self.ln_post(self.transformer(x)[:, 0]) @ self.proj
