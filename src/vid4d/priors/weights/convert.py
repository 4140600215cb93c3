"""From the files that authors publish to safetensors of our networks.

Sources are told apart by their keys, never by their names, and are opened by `checkpoints`, which runs
nothing of what is in them. Every tensor of a source is either used, or compared with what we compute, or on a
list of what is left out (`convert_layouts`); anything else is an error, as is anything that is missing.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from vid4d.dynerf import CascadeField, FieldConfig, from_geometry_state
from vid4d.errors import InputError
from vid4d.priors import rife, syncdreamer, zero123
from vid4d.priors.weights.checkpoint_reader import (
    Entry,
    Report,
    StoredTensor,
    open_checkpoint,
    write_safetensors,
)
from vid4d.priors.weights.convert_diffusers import diffusers_folder
from vid4d.priors.weights.convert_layouts import (
    KPLANES,
    KPLANES_LEFT_OUT,
    RIFE3_LEFT_OUT,
    SYNCDREAMER,
    SYNCDREAMER_LEFT_OUT,
    ZERO123,
    ZERO123_LEFT_OUT,
    Named,
    averaged,
    check_constants,
    in_our_names,
    unexpected,
)
from vid4d.priors.weights.files import config_from_json, config_to_json, read_metadata

Kind = Literal["zero123", "syncdreamer", "rife3", "rife4", "kplanes"]


@dataclass(frozen=True)
class NoConfig:
    """Of a network of one size only."""


@dataclass(frozen=True)
class Network:
    """A network that can be converted: how it is built, its configuration, and the sizes to choose from."""

    build: Callable[[Any], nn.Module]
    config: type
    configs: tuple[Any, ...] = ()


NETWORKS: dict[str, Network] = {
    "zero123": Network(zero123.Zero123, zero123.Zero123Config, tuple(zero123.CONFIGS.values())),
    "syncdreamer": Network(
        syncdreamer.SyncDreamer, syncdreamer.SyncDreamerConfig, tuple(syncdreamer.CONFIGS.values())
    ),
    "rife3": Network(lambda _: rife.IFNet3(), NoConfig, (NoConfig(),)),
    "rife4": Network(rife.IFNet, rife.IFNetConfig),
    "kplanes": Network(CascadeField, FieldConfig),
}

KNOWN = "Zero123, SyncDreamer, RIFE 3.x or 4.x, or a Consistent4D run"


def kind_of(source: Path) -> Kind:
    """Which network a checkpoint holds, by its keys. A folder is Zero123 in the layout of diffusers.

    Raises InputError for files that are damaged, that would run code, or that hold something else.
    """
    if source.is_dir():
        if not (source / "unet").is_dir():
            raise InputError(f"{source} is no Zero123 folder of diffusers (it has no unet/): give {KNOWN}")
        return "zero123"
    return _kind(open_checkpoint(source), source)


def _kind(state: dict[str, Any], source: Path) -> Kind:
    names = {name.removeprefix("module.") for name in state}

    def has(start: str) -> bool:
        return any(name.startswith(start) for name in names)

    if has("spatial_volume.") and has("model.diffusion_model."):
        return "syncdreamer"
    if has("model.diffusion_model.") and has("cc_projection."):
        return "zero123"
    if has("geometry.grids."):
        return "kplanes"
    if has("block0.convblock0."):
        return "rife3"
    if has("block0.convblock.0.beta"):
        return "rife4"
    if has("block0."):
        raise InputError(f"{source} is a RIFE of another version: give 3.x, or 4.x with residual blocks")
    if has("unet.") and has("autoencoder."):
        raise InputError(f"{source} is converted already: use it as it is")
    some = ", ".join(sorted(names)[:3])
    raise InputError(
        f"{source} is none of the networks that are known here (it holds {some}, ...): give {KNOWN}"
    )


def convert(
    source: Path, out: Path, *, licence: str = "", ema: bool = False, report: Report | None = None
) -> Path:
    """Writes a published checkpoint as one safetensors file under our names; returns `out`.

    source: a file, or a folder in the layout of diffusers. licence: goes into the metadata, which also
    carries the kind, the configuration, the source's name and SHA-256 and what was left out. ema: takes the
    averaged copy of a UNet (`model_ema.*`); the published Zero123 configurations do not. report: progress.

    Numbers keep their type. One tensor is in memory at a time (of a Consistent4D run, which is small: all),
    and the file appears whole or not at all, so an interrupted conversion is simply run again.

    Raises InputError for files that are damaged, would run code, or lack or exceed the network's tensors.
    """
    source, out = Path(source), Path(out)
    kind = kind_of(source)
    if out.resolve() == source.resolve():
        raise InputError(f"{source} would be overwritten: give another name for the converted file")
    if out.is_dir() or out.suffix != ".safetensors":
        raise InputError(f"{out} is no name for the converted file: give one that ends with .safetensors")
    config: Any
    if kind == "kplanes":
        config, entries, left_out = _kplanes(source)
    else:
        named = diffusers_folder(source) if source.is_dir() else _named(kind, source, ema)
        config, expected = _fitting(kind, named, source)
        entries = [_entry(name, named, expected[name]) for name in expected]
        left_out = named.left_out
    metadata = {
        "format": "pt",
        "kind": kind,
        "config": config_to_json(config),
        "source": source.name,
        "source_sha256": sha256_of(source),
        "licence": licence,
        "averaged": str(ema).lower(),
        "left_out": json.dumps(left_out, sort_keys=True),
    }
    write_safetensors(out, entries, metadata, report)
    return out


def load_converted(
    path: Path, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
) -> nn.Module:
    """The network that `convert` wrote, in evaluation mode, its weights on `device` in `dtype` and fixed.

    Zero123, SyncDreamer, IFNet (RIFE 4.x), IFNet3 (RIFE 3.x) or CascadeField. Tensors go to the device one at
    a time; on a CPU, in the type of the file, they stay mapped to it. Raises InputError for files that
    `convert` did not write.
    """
    from safetensors import safe_open

    metadata = read_metadata(Path(path))
    kind = metadata.get("kind", "")
    if kind not in NETWORKS:
        raise InputError(
            f"{path} was not written by the converter: run `vid4d weights convert` on the original"
        )
    network = NETWORKS[kind]
    config: Any = config_from_json(network.config, metadata.get("config"))
    with _weightless():
        model = network.build(config).eval()
    expected = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    with safe_open(path, "pt") as file:
        found = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
        _compare(expected, found, Path(path))
        for name in found:
            value = file.get_tensor(name).to(device, dtype)
            owner, _, leaf = name.rpartition(".")
            setattr(model.get_submodule(owner), leaf, nn.Parameter(value, requires_grad=False))
    return model.to(device)


def sha256_of(source: Path) -> str:
    """The SHA-256 of a file in hexadecimal; of a folder, that of the lines "sha256  name" of its files."""
    if source.is_dir():
        files = sorted(f for f in source.rglob("*") if f.is_file() and ".cache" not in f.parts)
        lines = [f"{sha256_of(file)}  {file.relative_to(source).as_posix()}\n" for file in files]
        return hashlib.sha256("".join(lines).encode()).hexdigest()
    with source.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# Layouts of single files


def _named(kind: Kind, source: Path, ema: bool) -> Named:
    """A checkpoint in our names."""
    state = open_checkpoint(source)
    check_constants(state, source)
    if ema:
        state = averaged(state, source)
    if kind == "zero123":
        return in_our_names(state, ZERO123, ZERO123_LEFT_OUT, source)
    if kind == "syncdreamer":
        return in_our_names(state, SYNCDREAMER, SYNCDREAMER_LEFT_OUT, source)
    plain = {name.removeprefix("module."): value for name, value in state.items()}
    return in_our_names(plain, {"block": "block"}, RIFE3_LEFT_OUT if kind == "rife3" else {}, source)


def _kplanes(source: Path) -> tuple[FieldConfig, list[Entry], dict[str, int]]:
    """The field of a Consistent4D run; `dynerf.official_checkpoint` knows its layout."""
    state = open_checkpoint(source)
    check_constants(state, source)
    named = in_our_names(state, {"geometry.": "geometry."}, KPLANES_LEFT_OUT, source)
    if unknown := [name for name in named.parts if not re.fullmatch(KPLANES, name)]:
        raise unexpected(unknown, source)
    config, tensors = from_geometry_state({name: part.read() for name, (part,) in named.parts.items()})
    used = sum(value.numel() for value in tensors.values())
    if used != sum(math.prod(part.shape) for (part,) in named.parts.values()):
        raise InputError(f"{source} holds more of a field than is known here: give a Consistent4D checkpoint")
    _compare(
        expected_shapes("kplanes", config), {name: tuple(t.shape) for name, t in tensors.items()}, source
    )
    entries = [Entry(name, t.dtype, tuple(t.shape), t.clone) for name, t in tensors.items()]
    return config, entries, named.left_out


# Comparing with the network


@contextmanager
def _weightless() -> Iterator[None]:
    """Networks that are built inside have parameters without values, on the meta device; buffers are real."""
    register = nn.Module.register_parameter

    def registered(module: nn.Module, name: str, parameter: nn.Parameter | None) -> None:
        if parameter is not None:
            parameter = nn.Parameter(parameter.to("meta"), requires_grad=False)
        register(module, name, parameter)

    nn.Module.register_parameter = registered  # type: ignore
    try:
        yield
    finally:
        nn.Module.register_parameter = register  # type: ignore


def expected_shapes(kind: str, config: Any) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a network's tensors."""
    with _weightless():
        return {name: tuple(v.shape) for name, v in NETWORKS[kind].build(config).state_dict().items()}


def _fitting(kind: str, named: Named, source: Path) -> tuple[Any, dict[str, tuple[int, ...]]]:
    """The configuration whose network has exactly these tensors, and their names and shapes."""
    configs = NETWORKS[kind].configs or (_rife4_config(named, source),)
    found = {name: _shape(name, named) for name in named.parts}
    first = found.get("unet.input_blocks.0.0.weight")
    if first is not None:  # the width of a UNet tells its configuration
        configs = tuple(c for c in configs if c.unet.model_channels == first[0]) or configs
    expected = expected_shapes(kind, configs[0])
    _compare(expected, found, source)
    return configs[0], expected


def _rife4_config(named: Named, source: Path) -> rife.IFNetConfig:
    """Widths and depth by the shapes; the scales of 4.x are 8, 4, 2, 1."""
    firsts = [named.parts.get(f"block{i}.conv0.1.0.weight") for i in range(4)]
    widths = tuple(parts[0].shape[0] for parts in firsts if parts and len(parts[0].shape) == 4)
    if len(widths) != 4:
        raise InputError(f"{source} is a RIFE of another version: give 3.x, or 4.x with four residual blocks")
    convolutions = {m[1] for m in (re.match(r"block0\.convblock\.(\d+)\.", n) for n in named.parts) if m}
    return rife.IFNetConfig(widths=widths, depth=len(convolutions))


def _shape(name: str, named: Named) -> tuple[int, ...]:
    """Of an entry when its parts are joined along their first dimension."""
    parts = named.parts[name]
    shape = (sum(part.shape[0] for part in parts), *parts[0].shape[1:]) if len(parts) > 1 else parts[0].shape
    return shape[::-1] if name in named.swapped else shape


def _same(expected: tuple[int, ...], found: tuple[int, ...]) -> bool:
    """Whether a tensor fits; 1x1 convolutions may come as matrices."""
    return found == expected or (len(expected) == 4 and expected[2:] == (1, 1) and found == expected[:2])


def _differences(expected: dict[str, tuple[int, ...]], found: dict[str, tuple[int, ...]]) -> list[str]:
    """What is missing, too much, or of another shape, as words."""
    both = expected.keys() & found.keys()
    lists = {
        "missing": sorted(expected.keys() - found.keys()),
        "unknown": sorted(found.keys() - expected.keys()),
        "of another shape": sorted(name for name in both if not _same(expected[name], found[name])),
    }
    return [f"{len(names)} {what} (first: {names[0]})" for what, names in lists.items() if names]


def _compare(expected: dict[str, tuple[int, ...]], found: dict[str, tuple[int, ...]], path: Path) -> None:
    if wrong := _differences(expected, found):
        raise InputError(f"{path} does not fit its network: tensors {', '.join(wrong)}: fetch it again")


def _entry(name: str, named: Named, shape: tuple[int, ...]) -> Entry:
    parts = named.parts[name]
    return Entry(name, parts[0].dtype, shape, partial(_read, parts, shape, name in named.swapped))


def _read(parts: list[StoredTensor], shape: tuple[int, ...], swapped: bool) -> Tensor:
    value = parts[0].read() if len(parts) == 1 else torch.cat([part.read() for part in parts])
    return (value.T if swapped else value).reshape(shape)
