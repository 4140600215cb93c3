"""Inputs spoiled at random: bytes, values of JSON, tensors, GLB, pictures, .v4d."""

from __future__ import annotations

import json
import random
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

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


def changed_glb(data: bytes, chance: random.Random) -> bytes:
    """A GLB whose JSON is changed and whose lengths are right again."""
    size = int.from_bytes(data[12:16], "little")
    told, _ = changed_json(data[20 : 20 + size], chance)
    told += b" " * (-len(told) % 4)
    rest = data[20 + size :]
    lengths = [(20 + len(told) + len(rest)).to_bytes(4, "little"), len(told).to_bytes(4, "little")]
    return data[:8] + lengths[0] + lengths[1] + b"JSON" + told + rest


ABSURD = [0, 1, 3, 17, 4096, (1 << 24) - 1, 1 << 24, 1 << 31, 1 << 40, -1, 1e6, -1e6, 1e308, float("nan")]
"""Numbers of the right type that a header cannot mean."""


def changed_v4d(data: bytes, chance: random.Random) -> tuple[bytes, str]:
    """A .v4d file whose header, or whose splats, are others; what cannot be believed, as `changed_json`."""
    size = int.from_bytes(data[8:12], "little")
    header, streams = json.loads(data[12 : 12 + size]), data[12 + size :]
    kind, wrong = chance.randrange(6), ""
    if kind == 0:
        text, wrong = changed_json(json.dumps(header).encode(), chance)
        return _v4d(text, streams), wrong
    if kind == 1:
        holder = chance.choice([header, header, *header["chunks"]])
        key = chance.choice([k for k, v in holder.items() if isinstance(v, int | float)])
        holder[key] = chance.choice(ABSURD)
    elif kind == 2:
        column = chance.choice(header["columns"])
        key = chance.choice(["bits", "low", "high", "log", "delta"])
        odd = {"bits": [0, 1, 8, 9, 16, 17], "log": [True], "delta": [True]}
        column[key] = chance.choice(odd.get(key, ABSURD))
    elif kind == 3:
        raw = bytearray(zlib.decompress(streams[: header["chunks"][0]["bytes"]]))
        for _ in range(chance.choice([1, 32, len(raw)])):
            raw[chance.randrange(len(raw))] = chance.randrange(256)
        streams = _other_stream(header, bytes(raw), streams)
    elif kind == 4:
        absurd = chance.choice([0, 1, size - 1, size + 1, 1 << 31, (1 << 32) - 1])
        return data[:8] + struct.pack("<I", absurd) + data[12:], ""
    else:  # one that inflates to much more than it is
        planes = sum(1 + (column["bits"] > 8) for column in header["columns"])
        header["chunks"][0]["count"] = header["count"] = chance.choice([1 << 18, 1 << 20, 1 << 22])
        zeros = bytes(header["count"] * planes)
        streams = _other_stream(header, zeros, streams)
    return _v4d(json.dumps(header).encode(), streams), wrong


def _v4d(text: bytes, streams: bytes) -> bytes:
    return b"V4DS" + struct.pack("<II", 1, len(text)) + text + streams


def _other_stream(header: dict, raw: bytes, streams: bytes) -> bytes:
    """The streams with another first one, of which the header knows the length."""
    first, rest = zlib.compress(raw, 1), streams[header["chunks"][0]["bytes"] :]
    header["chunks"][0]["bytes"] = len(first)
    return first + rest


def changed_picture(file: Path, chance: random.Random) -> None:
    """Another picture in the place of one, of another size, mode or format; or none."""
    with Image.open(file) as opened:
        before = opened.convert("RGB")
    kind, size = chance.randrange(6), before.size
    file.unlink()
    if kind == 0:
        chance.choice([file.mkdir, file.touch, lambda: None])()
    elif kind == 1:
        other = chance.choice([(1, 1), (size[0], 1), (size[0] * 2, size[1]), (7, 7), (6000, 6000)])
        before.resize(other).save(file)
    elif kind == 2:
        mode = chance.choice(["1", "L", "LA", "P", "RGBA", "I;16", "F", "CMYK"])
        grey = np.asarray(before.convert("L"))
        if mode == "I;16":
            Image.fromarray(grey.astype(np.uint16) * 257).save(file)
        else:
            before.convert(mode).save(file, format={"F": "TIFF", "CMYK": "JPEG"}.get(mode, "PNG"))
    elif kind == 3:
        noise = np.random.default_rng(chance.randrange(1 << 30)).integers(0, 256, (*size, 3), np.uint8)
        Image.fromarray(noise).save(file)
    elif kind == 4:
        Image.new("RGBA", size, (0, 0, 0, 0)).save(file)
    else:
        before.save(file, format="GIF", save_all=True, append_images=[before.transpose(Image.ROTATE_90)] * 3)
