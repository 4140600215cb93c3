"""Inputs spoiled at random: bytes, values of JSON, tensors."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np

ODD = [None, True, -1, 0, 180, 1e6, 1e308, float("nan"), float("inf")]
ODD += ["", "false", "0.8", [], {}, [[0] * 4] * 4]


def changed_bytes(data: bytes, chance: random.Random) -> bytes:
    """The data with some bytes replaced, a part cut out, repeated or left out at its end."""
    a, b = sorted(chance.randrange(len(data) + 1) for _ in range(2))
    kind = chance.randrange(4)
    if kind == 0:
        return data[:a]
    if kind == 1:
        return data[:a] + data[b:]
    if kind == 2:
        return data[:b] + data[a:]
    changed = bytearray(data)
    for _ in range(chance.choice([1, 4, 32])):
        changed[chance.randrange(len(data))] = chance.randrange(256)
    return bytes(changed)


def changed_json(data: bytes, chance: random.Random) -> tuple[bytes, str]:
    """The description with one of its values, however deep, replaced by an odd one or left out.

    Also 'cyclic: False -> "false"' where the new value has another type, so that nobody may believe it.
    """
    value = json.loads(data)
    holder, key, name = chance.choice(places(value))
    if chance.random() < 0.2:
        del holder[key]
        return json.dumps(value).encode(), ""
    before, holder[key] = holder[key], chance.choice(ODD)
    wrong = before is not None and holder[key] is not None and _type(before) != _type(holder[key])
    return json.dumps(value).encode(), f"{name}: {before!r} -> {holder[key]!r}" if wrong else ""


def places(value: dict | list, name: str = "") -> list[tuple]:
    """Holder, key and name of all values in a description, however deep."""
    found: list[tuple] = []
    for key in value if isinstance(value, dict) else range(len(value)):
        found.append((value, key, f"{name}.{key}"))
        if isinstance(value[key], dict | list):
            found += places(value[key], f"{name}.{key}")
    return found


def retyped(data: bytes) -> Iterator[tuple[str, bytes]]:
    """All descriptions in which one value has another type than it had, each with its name."""
    value = json.loads(data)
    for holder, key, name in places(value):
        before = holder[key]
        for odd in ODD:
            if odd is not None and before is not None and _type(odd) != _type(before):
                holder[key] = odd
                yield f"{name}: {before!r} -> {odd!r}", json.dumps(value).encode()
        holder[key] = before


def _type(value: object) -> str:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return "number" if np.isfinite(value) else "no number"
    return type(value).__name__


def changed_tensors(file: Path, chance: random.Random) -> str:
    """A safetensors file with one tensor that cannot be, or one of its metadata. Returns what is wrong."""
    import torch
    from safetensors import safe_open
    from safetensors.torch import save_file

    with safe_open(file, "pt") as f:
        tensors, metadata = {k: f.get_tensor(k) for k in f.keys()}, f.metadata() or {}  # noqa: SIM118
    name = chance.choice(sorted(tensors))
    kind, wrong = chance.randrange(6), ""
    if kind == 0:
        odd = chance.choice([float("nan"), float("inf"), -float("inf")])
        if tensors[name].is_floating_point() and tensors[name].numel():
            tensors[name].view(-1)[chance.randrange(tensors[name].numel())] = odd
            wrong = f"{odd} in {name}"
    elif kind == 1:
        dtype = chance.choice([torch.float64, torch.float16, torch.int64, torch.uint8, torch.bool])
        tensors[name] = tensors[name].to(dtype)
    elif kind == 2:
        tensors[name] = tensors[name].flatten()[: chance.randrange(tensors[name].numel() + 1)].clone()
    elif kind == 3:
        del tensors[name]
    elif kind == 4:
        tensors[name] = tensors[name].float() * chance.choice([0.0, -1.0, 1e30, 1e-30, 1e6])
    elif metadata:
        key = chance.choice(sorted(metadata))
        metadata[key] = chance.choice(["", "x", "nan", "inf", "-1", "0", "1e6", "1e308", "{}", "null"])
    save_file({k: v.contiguous() for k, v in tensors.items()}, file, metadata)
    return wrong
