"""Files of weights, opened safely and written as safetensors, one tensor in memory at a time.

Read are PyTorch's zip archives, its older format, and safetensors.
"""

from __future__ import annotations

import io
import json
import math
import shutil
import struct
import zipfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from vid4d.errors import FAULTS, InputError
from vid4d.files.write import written_whole
from vid4d.priors.weights.safe_pickle import PickledTensor, unpickled

Report = Callable[[int, int], None]
"""Called with bytes done and bytes in all."""

MAGIC = 0x1950A86A20F9469CFC6C
"""The first pickle of PyTorch's older format."""

LARGEST_PICKLE = 2**26
"""Bytes; the pickle of a real checkpoint has a few megabytes beside its tensors."""


SAFETENSORS_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}


@dataclass(frozen=True)
class StoredTensor:
    """A tensor in a file. start: byte at which its storage begins; offset, stride: in elements."""

    path: Path
    start: int
    dtype: torch.dtype
    shape: tuple[int, ...]
    stride: tuple[int, ...]
    offset: int = 0

    @property
    def extent(self) -> int:
        """Elements from the first to the last, gaps included."""
        return _extent(self.shape, self.stride)

    def read(self) -> Tensor:
        """The values, from the file."""
        size = self.extent * self.dtype.itemsize
        if size == 0:
            return torch.empty(self.shape, dtype=self.dtype)
        buffer = bytearray(size)
        with self.path.open("rb", buffering=0) as file:
            file.seek(self.start + self.offset * self.dtype.itemsize)
            view = memoryview(buffer)
            while view:
                count = file.readinto(view)
                if not count:
                    raise _damaged(self.path, "it ends in the middle of a tensor")
                view = view[count:]
        return torch.frombuffer(buffer, dtype=self.dtype).as_strided(self.shape, self.stride)


def _extent(shape: tuple[int, ...], stride: tuple[int, ...]) -> int:
    if 0 in shape:
        return 0
    return 1 + sum((n - 1) * s for n, s in zip(shape, stride, strict=True))


def _damaged(path: Path, why: str) -> InputError:
    return InputError(f"{path} is not a whole file of weights ({why}): fetch or copy it again")


def open_checkpoint(path: Path) -> dict[str, Any]:
    """The state dict of a file: name -> StoredTensor (or whatever else a checkpoint keeps there).

    A training checkpoint's `state_dict` is taken, and the rest of it is ignored. Nothing of the file is run
    (see `pickles`), and no values are read yet.

    Raises InputError for files that are missing, damaged, of another format, or that would run code.
    """
    if not path.is_file():
        raise InputError(f"there is no file {path}: give a checkpoint")
    with path.open("rb") as file:
        head = file.read(10)
        file.seek(0)
        if head[8:9] == b"{":  # behind the header's size, which may look like either of the others
            return _safetensors(file, path)
        if head[:4] == b"PK\x03\x04":
            return _zipped(file, path)
        if head[:1] == b"\x80":
            return _older(file, path)
    raise InputError(f"{path} is neither a PyTorch checkpoint nor a safetensors file: give one of these")


def _state_dict(tree: Any, path: Path) -> dict[str, Any]:
    """The part of a checkpoint that holds the network."""
    if isinstance(tree, dict) and isinstance(tree.get("state_dict"), dict):
        tree = tree["state_dict"]
    if not isinstance(tree, dict) or not any(isinstance(v, PickledTensor) for v in tree.values()):
        raise InputError(f"{path} holds no state dict (names with tensors): give the checkpoint of a network")
    return {str(name): value for name, value in tree.items()}


def _placed(state: Mapping[str, Any], records: Mapping[str, tuple[int, int]], path: Path) -> dict[str, Any]:
    """The state dict with its tensors found in the file. records: start and size of each storage."""

    def located(tensor: PickledTensor) -> StoredTensor:
        start, size = records[tensor.storage.key]
        end = (tensor.offset + _extent(tensor.shape, tensor.stride)) * tensor.dtype.itemsize
        if end > size or start + size > length:
            raise _damaged(path, "it ends in the middle of a tensor")
        return StoredTensor(path, start, tensor.dtype, tensor.shape, tensor.stride, tensor.offset)

    length = path.stat().st_size
    return {name: located(v) if isinstance(v, PickledTensor) else v for name, v in state.items()}


def _zipped(file: BinaryIO, path: Path) -> dict[str, Any]:
    """PyTorch's format since 1.6: a zip archive of one pickle and one uncompressed record per storage."""
    try:
        with zipfile.ZipFile(file) as archive:
            entries = {info.filename: info for info in archive.infolist()}
            pickles = [name for name in entries if name.endswith("/data.pkl") and name.count("/") == 1]
            if len(pickles) != 1:
                raise InputError(f"{path} is a zip archive, but not of PyTorch: give a checkpoint")
            root = pickles[0].removesuffix("data.pkl")
            if entries[pickles[0]].file_size > LARGEST_PICKLE:
                raise _damaged(path, "its pickle is too large")
            order = entries.get(f"{root}byteorder")
            if order is not None and (order.file_size > 8 or archive.read(order) != b"little"):
                raise InputError(f"{path} was written on a big-endian machine: convert it there")
            tree, _ = unpickled(io.BytesIO(archive.read(pickles[0])), path)
    except InputError:
        raise
    except (zipfile.BadZipFile, *FAULTS) as error:
        raise _damaged(path, f"not a PyTorch archive: {error}") from error
    state = _state_dict(tree, path)
    records: dict[str, tuple[int, int]] = {}
    for key in {v.storage.key for v in state.values() if isinstance(v, PickledTensor)}:
        info = entries.get(f"{root}data/{key}")
        if info is None or info.compress_type != zipfile.ZIP_STORED:
            raise _damaged(path, f"its record data/{key} is missing or compressed")
        file.seek(info.header_offset)
        header = file.read(30)
        if len(header) < 30 or header[:4] != b"PK\x03\x04":
            raise _damaged(path, f"its record data/{key} is missing")
        name_size, extra_size = struct.unpack("<HH", header[26:30])
        records[key] = (info.header_offset + 30 + name_size + extra_size, info.file_size)
    return _placed(state, records, path)


def _older(file: BinaryIO, path: Path) -> dict[str, Any]:
    """PyTorch's format before 1.6: pickles of magic number, version, machine, tree and keys; storages."""
    magic, _ = unpickled(file, path)
    if magic != MAGIC:
        raise InputError(f"{path} is a pickle, but not one that PyTorch wrote: give a checkpoint")
    unpickled(file, path)
    machine, _ = unpickled(file, path)
    if not isinstance(machine, dict) or machine.get("little_endian") is not True:
        raise InputError(f"{path} was written on a big-endian machine: convert it there")
    tree, storages = unpickled(file, path)
    keys, _ = unpickled(file, path)
    if not isinstance(keys, list):
        raise _damaged(path, "it has no list of storages")
    state = _state_dict(tree, path)
    records: dict[str, tuple[int, int]] = {}
    for key in map(str, keys):
        head = file.read(8)
        if len(head) < 8 or key not in storages:
            raise _damaged(path, "it ends before its tensors do")
        size = struct.unpack("<q", head)[0] * (storages[key].dtype or torch.uint8).itemsize
        records[key] = (file.tell(), size)
        if size < 0:
            raise _damaged(path, "a storage of negative size")
        file.seek(size, io.SEEK_CUR)
    if missing := {v.storage.key for v in state.values() if isinstance(v, PickledTensor)} - records.keys():
        raise _damaged(path, f"it has no storage {min(missing)}")
    return _placed(state, records, path)


def _safetensors(file: BinaryIO, path: Path) -> dict[str, Any]:
    """https://huggingface.co/docs/safetensors: the size of a JSON header, the header, the values."""
    length = path.stat().st_size
    size = struct.unpack("<Q", file.read(8))[0]
    if size > min(length - 8, LARGEST_PICKLE):
        raise _damaged(path, "its header is cut off")
    try:
        header = json.loads(file.read(size))
        header.pop("__metadata__", None)
        tensors = {}
        for name, entry in header.items():
            shape, (begin, end) = tuple(entry["shape"]), entry["data_offsets"]
            dtype = SAFETENSORS_DTYPES[entry["dtype"]]
            stride = tuple(math.prod(shape[i + 1 :]) for i in range(len(shape)))
            if end - begin != math.prod(shape) * dtype.itemsize or begin < 0 or 8 + size + end > length:
                raise _damaged(path, f"{name} is cut off")
            tensors[name] = StoredTensor(path, 8 + size + begin, dtype, shape, stride)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise _damaged(path, f"its header is broken: {error}") from error
    return tensors


@dataclass(frozen=True)
class Entry:
    """A tensor to be written: its name, type and shape are known before its values are read."""

    name: str
    dtype: torch.dtype
    shape: tuple[int, ...]
    read: Callable[[], Tensor]

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize


def write_safetensors(
    path: Path, entries: Iterable[Entry], metadata: Mapping[str, str], report: Report | None = None
) -> None:
    """Writes tensors one at a time to a safetensors file, which appears whole or not at all.

    report: called with bytes written and bytes in all.
    """
    names = {dtype: name for name, dtype in SAFETENSORS_DTYPES.items()}
    ordered = sorted(entries, key=lambda e: (-e.dtype.itemsize, e.name))  # keeps all values aligned
    header: dict[str, Any] = {"__metadata__": dict(metadata)}
    total = 0
    for entry in ordered:
        span = [total, total + entry.nbytes]
        header[entry.name] = {"dtype": names[entry.dtype], "shape": list(entry.shape), "data_offsets": span}
        total += entry.nbytes
    path.parent.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(path.parent).free
    if free < total + 2**20:
        raise InputError(
            f"{path.parent} has {free / 1e9:.1f} GB left, {path.name} needs {total / 1e9:.1f}: make room"
        )
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with written_whole(path) as temporary, temporary.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        done = 0
        for entry in ordered:
            value = entry.read()
            if value.shape != entry.shape or value.dtype != entry.dtype:
                raise RuntimeError(f"{entry.name} is {value.dtype} {tuple(value.shape)}, not as announced")
            value.contiguous().reshape(-1).view(torch.uint8).numpy().tofile(file)
            del value
            done += entry.nbytes
            if report is not None:
                report(done, total)
