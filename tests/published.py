"""Checkpoints as authors publish them, of the tiny configurations, with random weights."""

from __future__ import annotations

from pathlib import Path

import torch

from vid4d.priors import syncdreamer, zero123
from vid4d.priors.weights.convert import convert
from vid4d.priors.weights.convert_layouts import SYNCDREAMER, ZERO123

NAMES = {"syncdreamer": "syncdreamer", "zero123-xl": "zero123"}
"""Names of weights, and the kinds of their networks."""


def write_published(path: Path, kind: str) -> torch.nn.Module:
    """A Lightning checkpoint of a tiny SyncDreamer or Zero123, and the network that it holds."""
    with torch.random.fork_rng():
        torch.manual_seed(7)
        model: torch.nn.Module
        if kind == "syncdreamer":
            model, names = syncdreamer.SyncDreamer(syncdreamer.CONFIGS["tiny"]), SYNCDREAMER
        else:
            model, names = zero123.Zero123(zero123.CONFIGS["tiny"]), ZERO123
        for parameter in model.parameters():
            if parameter.ndim >= 2:
                torch.nn.init.normal_(parameter, std=parameter[0].numel() ** -0.5)
    state = {
        theirs + name.removeprefix(ours): value
        for name, value in model.state_dict().items()
        for theirs, ours in names.items()
        if name.startswith(ours)
    }
    assert len(state) == len(model.state_dict())
    torch.save({"state_dict": state, "global_step": 3}, path)
    return model.eval().requires_grad_(False)


def write_weights(folder: Path) -> Path:
    """Fills a weights folder: under each of `NAMES` a tiny network, converted from its checkpoint."""
    for name, kind in NAMES.items():
        write_published(folder / f"{kind}.ckpt", kind)
        convert(folder / f"{kind}.ckpt", folder / f"{name}.safetensors")
    return folder
