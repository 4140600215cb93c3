"""Checkpoints as authors publish them: their names, their file formats, deterministic values."""

from __future__ import annotations

import subprocess
import sys
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Union

import numpy as np
import torch
from reference import arrays, fill, keys
from torch import Tensor, nn

from vid4d.priors.samplers import NoiseSchedule

SCHEDULE = NoiseSchedule.scaled_linear().alphas_cumprod


def filled(name: str) -> dict[str, Tensor]:
    """The state dict of `data/<name>_keys.json`, filled by name; constants have their real values."""
    fixed: dict[str, Tensor] = {"alphas_cumprod": SCHEDULE, "betas": 1 - SCHEDULE / before()}
    if name == "syncdreamer":
        ring = arrays("schedules")
        fixed |= {key: torch.from_numpy(ring[key]) for key in ("poses", "Ks", "azimuth")}
    return {key: fixed[key] if key in fixed else fill(key, shape) for key, shape in keys(name).items()}


def before() -> Tensor:
    """alphas_cumprod one step earlier."""
    return torch.cat([torch.ones(1), SCHEDULE[:-1]])


def in_their_names(model: nn.Module, names: Mapping[str, str]) -> dict[str, Tensor]:
    """Our network's state dict under the authors' names. names: their prefixes -> ours."""
    state = {}
    for ours, value in model.state_dict().items():
        (theirs,) = (t for t, o in names.items() if ours.startswith(o))
        state[theirs + ours.removeprefix(names[theirs])] = value.clone()
    return state


def randomised(model: nn.Module, seed: int = 0) -> nn.Module:
    """The network without the zeros that would hide its branches."""
    torch.manual_seed(seed)
    for parameter in model.parameters():
        if parameter.ndim >= 2:
            nn.init.normal_(parameter, std=parameter[0].numel() ** -0.5)
    return model.eval()


def save_as_lightning(path: Path, state: Mapping[str, Tensor], *, zipped: bool = True) -> None:
    """A training checkpoint as Lightning writes it, with objects of classes that are not installed here."""
    names = ("pytorch_lightning", "pytorch_lightning.callbacks", "omegaconf", "omegaconf.dictconfig")
    present = {name: sys.modules.get(name) for name in names}
    modules = {name: types.ModuleType(name) for name in names}

    def made(module: str, name: str, **content: object) -> object:
        kind = type(name, (), {"__module__": module})
        setattr(modules[module], name, kind)
        value = kind()
        value.__dict__.update(content)
        return value

    checkpoint = made("pytorch_lightning.callbacks", "ModelCheckpoint", best=torch.tensor(0.5))
    config = made("omegaconf.dictconfig", "DictConfig", content={"lr": 1e-4}, parent=None)
    sys.modules.update(modules)
    try:
        envelope = {
            "epoch": 7,
            "global_step": 105000,
            "pytorch-lightning_version": "1.4.2",
            "state_dict": dict(state),
            "callbacks": {type(checkpoint): checkpoint},
            "optimizer_states": [{"state": {0: {"exp_avg": torch.zeros(3)}}, "param_groups": [{"lr": 1e-4}]}],
            "hyper_parameters": {
                "config": config,
                "where": Path("logs"),
                "seed": np.float64(3),
                "types": (Union[int, None], list[str], Any),  # noqa: UP007,
            },
        }
        torch.save(envelope, path, _use_new_zipfile_serialization=zipped)
    finally:
        for name, module in present.items():
            sys.modules.pop(name)
            if module is not None:
                sys.modules[name] = module


CONVERSION = """
import sys
from pathlib import Path
from typing import Any, Union
from vid4d.priors.rife import IFNetConfig
from vid4d.priors.rife_versions import VERSIONS
from vid4d.priors.weights import registry
from vid4d.priors.weights.convert import convert

VERSIONS["wide"] = IFNetConfig(widths=(1024, 64, 64, 64))

def memory(kind):
    line = next(line for line in open("/proc/self/status") if line.startswith(kind))
    return int(line.split()[1]) * 1024

registry.networks()  # imported
Path("/proc/self/clear_refs").write_text("5")  # the peak is counted from here
before = memory("VmRSS")
convert(Path(sys.argv[1]), Path(sys.argv[2]))
print(memory("VmHWM") - before)
"""


def conversion_memory(source: Path, out: Path) -> int:
    """Converts in a process of its own; the bytes by which its memory grew at most. Linux only."""
    command = [sys.executable, "-c", CONVERSION, str(source), str(out)]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
