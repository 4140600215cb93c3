"""Checkpoints of optimisations: tensors and numbers in one safetensors file, and what they belong to."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import torch
from msgspec import Struct
from torch import Tensor

from vid4d.errors import InputError
from vid4d.files.paths import refuse_special
from vid4d.files.records import Kind, parsed
from vid4d.files.write import written_whole

T = TypeVar("T")

KEY = "vid4d-checkpoint-1"
"""Of the metadata: the only entry, since several would lie in the file in any order."""


class _Identity(Struct):
    identity: str = ""
    contents: str = ""


def identity_of(plain: Any, *parts: bytes | Tensor) -> str:
    """Hash of everything a result depends on, besides the step.

    plain: what JSON can hold (configurations as dicts, seeds, texts). parts: bytes and tensors.
    """
    digest = hashlib.sha256(json.dumps(plain, sort_keys=True).encode())
    for part in parts:
        digest.update(part if isinstance(part, bytes) else part.contiguous().cpu().numpy().tobytes())
    return digest.hexdigest()


def save_checkpoint(
    path: Path, tensors: Mapping[str, Tensor], state: Mapping[str, Any], identity: str
) -> None:
    """Writes all that is needed to go on, whole or not at all. state: plain numbers and texts."""
    kept = {k: v.detach().cpu().contiguous() for k, v in tensors.items()}
    contents = _digest(kept, state)
    save_tensors(path, kept, {KEY: json.dumps({**state, "identity": identity, "contents": contents})})


def _digest(tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> str:
    """Hash of all that a checkpoint holds: one that was changed or damaged is not gone on from."""
    names = sorted(tensors)
    plain: list[Any] = [{**state}]
    plain += [[name, str(tensors[name].dtype), list(tensors[name].shape)] for name in names]
    return identity_of(plain, *(tensors[name].reshape(-1).view(torch.uint8) for name in names))


@contextmanager
def restoring(path: Path) -> Iterator[None]:
    """A block that puts what a checkpoint holds into its place; what does not fit there is an InputError."""
    try:
        yield
    except InputError:
        raise
    except (AttributeError, LookupError, RuntimeError, TypeError, ValueError) as e:
        raise InputError(f"The checkpoint {path} is damaged ({e}): delete it to start anew.") from e


def load_checkpoint(path: Path, identity: str, what: str, kind: Kind[T]) -> tuple[dict[str, Tensor], T]:
    """Tensors and state that `save_checkpoint` wrote.

    what: the identity is made of, for people ('clip, configuration or seed'). kind: of the state.
    Raises InputError for files that are damaged or were changed, for one of another identity, and for
    a checkpoint of another version.
    """
    tensors, metadata = load_tensors(path)
    text, advice = metadata.get(KEY, "{}"), "delete it to start anew."
    stored = parsed(text, _Identity, str(path), advice)
    if stored.identity != identity:
        raise InputError(
            f"The checkpoint {path} belongs to another {what}, or to another version of vid4d: "
            "delete it to start anew."
        )
    state = parsed(text, kind, str(path), advice)
    plain = parsed(text, dict[str, Any], str(path), advice)
    if stored.contents != _digest(tensors, {k: plain[k] for k in plain.keys() - {"identity", "contents"}}):
        raise InputError(f"The checkpoint {path} was changed or is damaged: {advice}")
    return tensors, state


def check_step(step: int, last: int) -> None:
    """Raises ValueError for a step that an optimisation of so many steps never comes to."""
    if step > last:
        raise ValueError(f"step {step} of {last}")


def save_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Writes a safetensors file from tensors of any device, whole or not at all."""
    from safetensors.torch import save_file

    kept = {k: v.detach().cpu().contiguous() for k, v in tensors.items()}
    with written_whole(path) as temporary:
        save_file(kept, temporary, dict(metadata))


def load_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata of a safetensors file of a run.

    Raises InputError for one that is damaged, and for numbers that are not finite.
    """
    from safetensors import SafetensorError

    refuse_special(path)
    try:
        with open_tensors(path) as file:
            tensors = {k: file.get_tensor(k) for k in file.keys()}  # noqa: SIM118
            metadata = file.metadata() or {}
    except (SafetensorError, OSError) as e:
        raise InputError(f"{path} cannot be read ({e}): delete it to have it made anew.") from e
    if broken := not_finite(tensors):
        raise InputError(f"{path} holds NaN or infinity in {broken!r}: delete it to have it made anew.")
    return tensors, metadata


@contextmanager
def open_tensors(path: str | Path) -> Iterator[Any]:
    """`safetensors.safe_open` for PyTorch. Paths that are no UTF-8, which it refuses, by a link to them."""
    from safetensors import safe_open

    if os.fsencode(path).decode("utf-8", "ignore") == str(path):
        with safe_open(path, framework="pt") as file:
            yield file
        return
    with tempfile.TemporaryDirectory(prefix="vid4d-") as folder:
        link = Path(folder) / "file.safetensors"
        link.symlink_to(Path(path).absolute())
        with safe_open(link, framework="pt") as file:
            yield file


def not_finite(tensors: Mapping[str, Tensor]) -> str | None:
    """The name of the first tensor that holds NaN or infinity; None where all are finite."""
    broken = (k for k, v in tensors.items() if v.is_floating_point() and not bool(v.isfinite().all()))
    return next(broken, None)


def with_prefix(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Tensors whose names begin with a prefix, under the rest of their names."""
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
