"""The small frame interpolator that ships with the package."""

from __future__ import annotations

from pathlib import Path

import torch

from vid4d.priors.rife import CONFIGS, IFNet
from vid4d.priors.weights.files import load_into
from vid4d.priors.weights.loaded import loaded_once

SHIPPED = Path(__file__).parent / "data" / "interpolation.safetensors"


@loaded_once
def load_interpolator(device: torch.device | str = "cpu", weights: Path = SHIPPED) -> IFNet:
    """RIFE 4.x at a small size, RGBA, in float32. weights: the shipped ones, or what `vid4d train` made."""
    model = IFNet(CONFIGS["small"]).eval().requires_grad_(False)
    load_into(model, weights)
    return model.to(device)
