"""The small sharpener: a network that makes blurred renders sharp, of which no object has to be known.

It stands where Consistent4D's authors have a diffusion super-resolver. What it makes of renders is what an
object's own network gets, and is all that is known of sides that the clip does not show.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from vid4d.priors.weights.files import config_from_json, load_into, read_metadata
from vid4d.priors.weights.loaded import loaded_once

SHIPPED = Path(__file__).parent / "data" / "sharpener.safetensors"


@dataclass(frozen=True)
class SharpenerConfig:
    """width: channels. blocks: of two convolutions. shuffle: pixels along a side that become channels."""

    width: int = 32
    blocks: int = 4
    shuffle: int = 2


class Sharpener(nn.Module):
    """What a blurred picture lacks, by a residual network (EDSR, 1707.02921, without growing it)."""

    def __init__(self, config: SharpenerConfig) -> None:
        super().__init__()
        self.config = config
        channels = 3 * config.shuffle**2
        self.enter = nn.Conv2d(channels, config.width, 3, 1, 1)
        self.first = nn.ModuleList(
            nn.Conv2d(config.width, config.width, 3, 1, 1) for _ in range(config.blocks)
        )
        self.second = nn.ModuleList(
            nn.Conv2d(config.width, config.width, 3, 1, 1) for _ in range(config.blocks)
        )
        self.leave = nn.Conv2d(config.width, channels, 3, 1, 1)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)  # type: ignore[arg-type]

    def forward(self, pictures: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n 3 h w"]:
        """pictures: RGB over white, in [0, 1], of sides that `shuffle` divides."""
        r = self.config.shuffle
        x = self.enter(F.pixel_unshuffle(2 * pictures - 1, r))
        for first, second in zip(self.first, self.second, strict=True):
            x = x + second(F.relu(first(x)))
        return pictures + F.pixel_shuffle(self.leave(x), r)


@loaded_once
def load_sharpener(device: torch.device | str = "cpu", weights: Path = SHIPPED) -> Sharpener:
    """The sharpener that ships with the package, or one that `vid4d train --stage sharpening` made.

    Raises InputError where the file holds none.
    """
    model = Sharpener(config_from_json(SharpenerConfig, read_metadata(weights).get("config")))
    load_into(model, weights)
    return model.eval().requires_grad_(False).to(device, torch.float32)


@torch.no_grad()
def sharpened(
    model: Sharpener, pictures: Float[Tensor, "n 3 h w"], batch: int = 8
) -> Float[Tensor, "n 3 h w"]:
    """Pictures made sharp, in [0, 1], on the CPU. batch: pictures at a time."""
    device = next(model.parameters()).device
    return torch.cat([model(p.to(device)).clamp(0, 1).cpu() for p in pictures.split(batch)])
