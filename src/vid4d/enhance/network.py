"""Networks of the video enhancer: a U-Net whose bottleneck attends to neighbouring frames, and a PatchGAN.

Both are pix2pix (1611.07004, section 6.1 of its appendix), made for few pictures and little time: the U-Net
predicts a change of its input, which is none at first, has no dropout, so that the same picture gives the
same answer, and grows its pictures by pixel shuffle, which leaves no checkerboard. Five halvings by default:
at 256 px a frame then attends to 8x8 places, where pix2pix's eight would leave one.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

SLOPE = 0.2
"""Of the leaky ReLUs of encoder and PatchGAN."""


@dataclass(frozen=True)
class GeneratorConfig:
    """Sizes of the U-Net.

    width: channels of the first level; each further level has twice as many, eight times as many at most.
    halvings: levels; pictures are a multiple of 2^halvings pixels. heads: of the attention.
    """

    width: int = 64
    halvings: int = 5
    heads: int = 4

    def channels(self, level: int) -> int:
        return self.width * min(2**level, 8)


def _norm(channels: int) -> nn.Module:
    return nn.GroupNorm(max(1, channels // 8), channels)


class CrossFrameAttention(nn.Module):
    """Attention of each frame to the frames before and after it (Consistent4D, 2311.02848, section 3.5).

    Queries are the places of a frame, keys and values all places of its two neighbours. The first and the
    last frame stand in for the neighbour that they lack; in a loop they are neighbours.
    """

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = _norm(channels)
        self.to_query = nn.Conv2d(channels, channels, 1)
        self.to_key_value = nn.Conv2d(channels, 2 * channels, 1)
        self.leave = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Float[Tensor, "t c h w"], cyclic: bool = False) -> Float[Tensor, "t c h w"]:
        h = self.norm(x)
        query = self._tokens(self.to_query(h))
        key, value = (self._neighbours(self._tokens(p), cyclic) for p in self.to_key_value(h).chunk(2, 1))
        mixed = F.scaled_dot_product_attention(query, key, value)
        return x + self.leave(mixed.transpose(2, 3).flatten(1, 2).unflatten(2, x.shape[2:]))

    def _tokens(self, x: Float[Tensor, "t c h w"]) -> Float[Tensor, "t heads n d"]:
        """Places as tokens, channels parted into heads."""
        return x.unflatten(1, (self.heads, -1)).flatten(3).transpose(2, 3)

    @staticmethod
    def _neighbours(tokens: Float[Tensor, "t heads n d"], cyclic: bool) -> Float[Tensor, "t heads m d"]:
        """Tokens of the frame before and of the frame after each frame, one behind the other."""
        first, last = (tokens[-1:], tokens[:1]) if cyclic else (tokens[:1], tokens[-1:])
        before, after = torch.cat([first, tokens[:-1]]), torch.cat([tokens[1:], last])
        return torch.cat([before, after], 2)


class Generator(nn.Module):
    """The U-Net: consecutive frames to the same frames, changed."""

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__()
        self.config = config
        sizes = [config.channels(i) for i in range(config.halvings)]
        inputs = [3, *sizes[:-1]]
        self.down = nn.ModuleList(nn.Conv2d(a, b, 4, 2, 1) for a, b in zip(inputs, sizes, strict=True))
        self.down_norms = nn.ModuleList(_norm(c) for c in sizes[1:])
        self.attention = CrossFrameAttention(sizes[-1], config.heads)
        ups = list(zip(reversed(sizes[1:]), reversed(sizes[:-1]), strict=True))
        self.up = nn.ModuleList(
            nn.Conv2d(a if i == 0 else 2 * a, 4 * b, 3, 1, 1) for i, (a, b) in enumerate(ups)
        )
        self.up_norms = nn.ModuleList(_norm(b) for _, b in ups)
        self.leave = nn.Conv2d(2 * sizes[0], 12, 3, 1, 1)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)  # type: ignore[arg-type]

    def forward(self, pictures: Float[Tensor, "t 3 h w"], cyclic: bool = False) -> Float[Tensor, "t 3 h w"]:
        """pictures: consecutive frames in [0, 1]. cyclic: the last is followed by the first.

        Raises ValueError for pictures that cannot be halved so often.
        """
        step = 2**self.config.halvings
        if pictures.shape[-1] % step or pictures.shape[-2] % step:
            raise ValueError(f"pictures of {tuple(pictures.shape[-2:])} pixels, expected multiples of {step}")
        x, skips = 2 * pictures - 1, []
        for i, convolve in enumerate(self.down):
            x = convolve(x)
            x = F.leaky_relu(x if i == 0 else self.down_norms[i - 1](x), SLOPE)
            skips.append(x)
        x = self.attention(skips.pop(), cyclic)
        for convolve, norm in zip(self.up, self.up_norms, strict=True):
            x = torch.cat([F.relu(norm(F.pixel_shuffle(convolve(x), 2))), skips.pop()], 1)
        return pictures + F.pixel_shuffle(self.leave(x), 2)


class PatchDiscriminator(nn.Module):
    """Judge of patches of 70 pixels: whether a picture beside the render it was made from is a sharp one."""

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        sizes = [6, width, 2 * width, 4 * width, 8 * width]
        layers: list[nn.Module] = []
        for i, (a, b) in enumerate(pairwise(sizes)):
            layers += [nn.Conv2d(a, b, 4, 2 if i < 3 else 1, 1), nn.LeakyReLU(SLOPE)]
            if i:
                layers.insert(-1, _norm(b))
        self.layers = nn.Sequential(*layers, nn.Conv2d(sizes[-1], 1, 4, 1, 1))

    def forward(
        self, render: Float[Tensor, "t 3 h w"], picture: Float[Tensor, "t 3 h w"]
    ) -> Float[Tensor, "t 1 ph pw"]:
        """Logits, a patch each; higher is sharper."""
        return self.layers(2 * torch.cat([render, picture], 1) - 1)  # type: ignore[no-any-return]
