"""Weight files: safetensors only, written whole, loaded strictly."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from vid4d.errors import InputError
from vid4d.files.checkpoints import not_finite, open_tensors, save_tensors
from vid4d.files.records import parsed, unknown_field

T = TypeVar("T")


def save_weights(
    path: Path, state: Mapping[str, Tensor], metadata: Mapping[str, str], dtype: torch.dtype = torch.bfloat16
) -> None:
    """Writes a state dict as safetensors, floating tensors in `dtype`; appears whole or not at all."""
    save_tensors(path, {k: v.to(dtype) if v.is_floating_point() else v for k, v in state.items()}, metadata)


def read_weights(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata of a safetensors file."""

    def everything(file: Any) -> tuple[dict[str, Tensor], dict[str, str]]:
        return {k: file.get_tensor(k) for k in file.keys()}, file.metadata() or {}  # noqa: SIM118

    return _opened(path, everything)


def _opened(path: Path, read: Callable[[Any], T]) -> T:
    from safetensors import SafetensorError

    if not path.is_file():
        raise InputError(f"no weights at {path}: give a safetensors file")
    try:
        with open_tensors(path) as file:
            return read(file)
    except SafetensorError as error:
        raise InputError(
            f"{path} is not a whole safetensors file ({error}): fetch or copy it again"
        ) from error


def load_into(model: nn.Module, path: Path, prefix: str = "") -> dict[str, str]:
    """Fills a model from a file, as `fill` does; returns the metadata."""
    state, metadata = read_weights(path)
    fill(model, state, path, prefix)
    return metadata


def fill(model: nn.Module, state: Mapping[str, Tensor], path: Path, prefix: str = "") -> None:
    """Fills a model with what was read from `path`, every tensor accounted for.

    prefix: takes only the entries that start with it, without it. Raises InputError for another network's.
    """
    if prefix:
        state = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
    expected = model.state_dict()
    missing, extra = sorted(expected.keys() - state.keys()), sorted(state.keys() - expected.keys())
    wrong = sorted(k for k in expected.keys() & state.keys() if expected[k].shape != state[k].shape)
    if missing or extra or wrong:
        first = (missing or extra or wrong)[0]
        raise InputError(
            f"{path} does not fit this network: {len(missing)} tensors missing, {len(extra)} unknown, "
            f"{len(wrong)} of another shape (first: {first})"
        )
    broken = not_finite(state)
    whole = (k for k, v in expected.items() if v.is_floating_point() != state[k].is_floating_point())
    if broken or (broken := next(whole, None)):
        raise InputError(f"{path} holds something else than finite numbers in {broken}: fetch it again")
    model.load_state_dict(state)


def read_metadata(path: Path) -> dict[str, str]:
    """The metadata of a safetensors file, without its tensors."""
    return _opened(path, lambda file: file.metadata() or {})


def config_to_json(config: object) -> str:
    """A configuration (a dataclass, perhaps of dataclasses) for the metadata of a weight file."""
    return json.dumps(asdict(config), sort_keys=True)  # type: ignore[call-overload]


def config_from_json(kind: type[T], text: str | None) -> T:
    """The configuration that `config_to_json` wrote; the defaults where a file carries none.

    Raises InputError for settings that this version does not know.
    """
    if not text:
        return kind()
    where, advice = "the configuration of the weights", "fetch them again"
    if unknown := unknown_field(kind, parsed(text, dict[str, Any], where, advice)):
        raise InputError(f"the weights were made for a newer version: it has {unknown}")
    return parsed(text, kind, where, advice)
