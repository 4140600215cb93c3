"""Conversion of the files that authors publish to safetensors of our networks.

Sources are told apart by their keys, never by their names, and are opened by `checkpoints`, which runs
nothing of what is in them. Every tensor of a source is either used, or compared with what we compute, or on a
list of what is left out (`convert_layouts`); anything else is an error, as is anything that is missing.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vid4d.errors import InputError
from vid4d.files.checkpoints import not_finite, open_tensors
from vid4d.priors.weights import registry
from vid4d.priors.weights.checkpoint_reader import (
    Entry,
    Report,
    StoredTensor,
    open_checkpoint,
    write_safetensors,
)
from vid4d.priors.weights.convert_layouts import Named, averaged, check_constants, in_our_names
from vid4d.priors.weights.files import config_from_json, config_to_json, read_metadata
from vid4d.priors.weights.network import Network


def network_in(source: Path, networks: Sequence[Network] | None = None) -> Network:
    """The network that a checkpoint holds, by its keys; a folder is in the layout of diffusers.

    networks: to choose from; those of the published weights where not given.
    Raises InputError for files that are damaged, that would run code, or that hold something else.
    """
    candidates = registry.networks() if networks is None else networks
    titles = " or ".join(", ".join(n.title for n in candidates).rsplit(", ", 1))
    if source.is_dir():
        if not (source / "unet").is_dir():
            raise InputError(f"{source} is no folder of diffusers (it has no unet/): give {titles}")
        return next(n for n in candidates if n.folder is not None)
    names = {name.removeprefix("module.") for name in open_checkpoint(source)}

    def has(start: str) -> bool:
        return any(name.startswith(start) for name in names)

    if fitting := [n for n in candidates if all(map(has, n.marks))]:
        return max(fitting, key=lambda n: len(n.marks))
    if has("block0."):
        found = ", ".join(sorted({".".join(n.split(".")[:2]) for n in names if n.startswith("block0.")}))
        raise InputError(
            f"{source} is a RIFE of a version that is not known here (a refinement of it has {found}): "
            "give one of 3.5 to 3.9, or of 4.0 to 4.26"
        )
    if has("unet.") and has("autoencoder."):
        raise InputError(f"{source} is converted already: use it as it is")
    some = ", ".join(sorted(names)[:3])
    raise InputError(
        f"{source} is none of the networks that are known here (it holds {some}, ...): give {titles}"
    )


def convert(
    source: Path,
    out: Path,
    *,
    licence: str = "",
    ema: bool = False,
    networks: Sequence[Network] | None = None,
    report: Report | None = None,
) -> Path:
    """Writes a published checkpoint as one safetensors file under our names; returns `out`.

    source: a file, or a folder in the layout of diffusers. licence: goes into the metadata, which also
    carries the kind, the configuration, the source's name and SHA-256 and what was left out. ema: takes the
    averaged copy of a UNet (`model_ema.*`), as the programs of Zero123's authors do, and `vid4d weights`
    where `WeightSpec.ema` says so. networks: as for `network_in`. report: progress.

    Numbers keep their type. One tensor is in memory at a time (of a Consistent4D run, which is small: all),
    and the file appears whole or not at all, so an interrupted conversion is simply run again.

    Raises InputError for files that are damaged, would run code, or lack or exceed the network's tensors.
    """
    source, out = Path(source), Path(out)
    network = network_in(source, networks)
    if out.resolve() == source.resolve():
        raise InputError(f"{source} would be overwritten: give another name for the converted file")
    if out.is_dir() or out.suffix != ".safetensors":
        raise InputError(f"{out} is no name for the converted file: give one that ends with .safetensors")
    if network.read is not None:
        config, entries, left_out = network.read(open_checkpoint(source), source)
    else:
        named = network.folder(source) if network.folder and source.is_dir() else _named(network, source, ema)
        config, expected = _fitting(network, named, source)
        entries = [_entry(name, named, expected[name]) for name in expected]
        left_out = named.left_out
    metadata = {
        "format": "pt",
        "kind": network.kind,
        "config": config_to_json(config),
        "source": source.name,
        "source_sha256": source_sha256(source),
        "licence": licence,
        "averaged": str(ema).lower(),
        "left_out": json.dumps(left_out, sort_keys=True),
    }
    write_safetensors(out, entries, metadata, report)
    return out


def load_converted(
    path: Path,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    *,
    networks: Sequence[Network] | None = None,
) -> nn.Module:
    """The network that `convert` wrote, in evaluation mode, its weights on `device` in `dtype` and fixed.

    networks: that it may be; those of the published weights where not given. Tensors go to the device one at
    a time; on a CPU, in the type of the file, they stay mapped to it. Raises InputError for files that
    `convert` did not write, and for other networks.
    """
    metadata = read_metadata(Path(path))
    kinds = {n.kind: n for n in (registry.networks() if networks is None else networks)}
    network = kinds.get(metadata.get("kind", ""))
    if network is None:
        raise InputError(
            f"{path} was not written by the converter, or holds another network than {', '.join(kinds)}: "
            "run `vid4d weights convert` on the original"
        )
    config: Any = config_from_json(network.config, metadata.get("config"))
    with _weightless():
        model = network.build(config).eval()
    expected = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    with open_tensors(path) as file:
        shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
        compare_shapes(expected, shapes, Path(path))
        for name in shapes:
            value = file.get_tensor(name).to(device)  # which looks through it sooner than a processor does
            if not_finite({name: value}):
                raise InputError(f"{path} holds NaN or infinity in {name}: convert the original again")
            value = value.to(dtype)
            owner, _, leaf = name.rpartition(".")
            setattr(model.get_submodule(owner), leaf, nn.Parameter(value, requires_grad=False))
    return model.to(device)


def load_published(
    source: Path, device: torch.device | str = "cpu", *, networks: Sequence[Network] | None = None
) -> nn.Module:
    """The network of a published file that was not converted, as `load_converted` gives it, in float32.

    networks: that it may be; those of the published weights where not given. For small files: they are read
    as a whole. Raises InputError as `convert` does.
    """
    network = network_in(source, networks)
    named = _named(network, source, ema=False)
    config, expected = _fitting(network, named, source)
    with _weightless():
        model = network.build(config).eval()
    state = {name: _entry(name, named, shape).read().float() for name, shape in expected.items()}
    if broken := not_finite(state):
        raise InputError(f"{source} holds NaN or infinity in {broken}: get it again")
    model.load_state_dict(state, assign=True)
    return model.requires_grad_(False).to(device)


def source_sha256(source: Path) -> str:
    """The SHA-256 of a file in hexadecimal; of a folder, that of the lines "sha256  name" of its files."""
    if not source.is_dir():
        return registry.sha256_of(source)
    files = sorted(f for f in source.rglob("*") if f.is_file() and ".cache" not in f.parts)
    lines = [f"{registry.sha256_of(file)}  {file.relative_to(source).as_posix()}\n" for file in files]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


# Layouts of single files


def _named(network: Network, source: Path, ema: bool) -> Named:
    """A checkpoint in our names."""
    state: Mapping[str, Any] = open_checkpoint(source)
    check_constants(state, source)
    if ema:
        state = averaged(state, source)
    plain = {name.removeprefix("module."): value for name, value in state.items()}
    return in_our_names(plain, network.prefixes, network.left_out, source)


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


def expected_shapes(network: Network, config: Any) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a network's tensors."""
    with _weightless():
        return {name: tuple(v.shape) for name, v in network.build(config).state_dict().items()}


def _fitting(network: Network, named: Named, source: Path) -> tuple[Any, dict[str, tuple[int, ...]]]:
    """The configuration whose network has exactly these tensors, and their names and shapes."""
    configs = network.configs if network.find_config is None else (network.find_config(named, source),)
    shapes = {name: _shape(name, named) for name in named.parts}
    first = shapes.get("unet.input_blocks.0.0.weight")
    if first is not None:  # the width of a UNet tells its configuration
        configs = tuple(c for c in configs if c.unet.model_channels == first[0]) or configs
    for config in configs:
        expected = expected_shapes(network, config)
        if not _differences(expected, shapes):
            return config, expected
    expected = expected_shapes(network, configs[0])
    compare_shapes(expected, shapes, source)
    return configs[0], expected


def _shape(name: str, named: Named) -> tuple[int, ...]:
    """Shape of an entry, whose parts are joined along their first dimension."""
    parts = named.parts[name]
    shape = (sum(part.shape[0] for part in parts), *parts[0].shape[1:]) if len(parts) > 1 else parts[0].shape
    return shape[::-1] if name in named.swapped else shape


def _same(expected: tuple[int, ...], actual: tuple[int, ...]) -> bool:
    """Equality of shapes; 1x1 convolutions may come as matrices."""
    return actual == expected or (len(expected) == 4 and expected[2:] == (1, 1) and actual == expected[:2])


def _differences(expected: dict[str, tuple[int, ...]], actual: dict[str, tuple[int, ...]]) -> list[str]:
    """Tensors that are missing, unknown, or of another shape, as words."""
    both = expected.keys() & actual.keys()
    lists = {
        "missing": sorted(expected.keys() - actual.keys()),
        "unknown": sorted(actual.keys() - expected.keys()),
        "of another shape": sorted(name for name in both if not _same(expected[name], actual[name])),
    }
    return [f"{len(names)} {what} (first: {names[0]})" for what, names in lists.items() if names]


def compare_shapes(
    expected: dict[str, tuple[int, ...]], actual: dict[str, tuple[int, ...]], path: Path
) -> None:
    """Raises InputError where tensors are missing, unknown, or of another shape than the network's."""
    if wrong := _differences(expected, actual):
        raise InputError(f"{path} does not fit its network: tensors {', '.join(wrong)}: fetch it again")


def _entry(name: str, named: Named, shape: tuple[int, ...]) -> Entry:
    parts = named.parts[name]
    return Entry(name, parts[0].dtype, shape, partial(_read, parts, shape, name in named.swapped))


def _read(parts: list[StoredTensor], shape: tuple[int, ...], swapped: bool) -> Tensor:
    value = parts[0].read() if len(parts) == 1 else torch.cat([part.read() for part in parts])
    return (value.T if swapped else value).reshape(shape)
