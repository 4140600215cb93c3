"""3D Gaussians out of PLY files, as 3D Gaussian Splatting (2308.04079) and the tools after it write them.

Per splat x y z, f_dc_0..2, f_rest_* (harmonics of the higher degrees, channel by channel), opacity (logit),
scale_0..2 (natural logarithms) and rot_0..3 (w x y z, of any length). Other properties are ignored.
`vid4d.export.ply` writes them.
"""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from vid4d.errors import FAULTS, InputError
from vid4d.files.paths import refuse_special
from vid4d.gaussians import sh as harmonics
from vid4d.gaussians.model import Gaussians3D

TYPES = {
    **{"char": "i1", "int8": "i1", "uchar": "u1", "uint8": "u1", "short": "i2", "int16": "i2"},
    **{"ushort": "u2", "uint16": "u2", "int": "i4", "int32": "i4", "uint": "u4", "uint32": "u4"},
    **{"float": "f4", "float32": "f4", "double": "f8", "float64": "f8"},
}
ORDERS = {"binary_little_endian": "<", "binary_big_endian": ">", "ascii": "="}
NEEDED = (
    *("x", "y", "z", "f_dc_0", "f_dc_1", "f_dc_2", "opacity"),
    *("scale_0", "scale_1", "scale_2", "rot_0", "rot_1", "rot_2", "rot_3"),
)
LONGEST_HEADER = 1 << 16
MOST_SPLATS = 20_000_000
LARGEST = 1e6
LARGEST_SCALE = 40.0
"""Logarithm of a standard deviation; exp(2 * 40) is still float32. Thinner splats count as of exp(-40)."""


def read_splats(path: Path) -> Gaussians3D:
    """The splats of a PLY file, float32 on the CPU, in the file's own axes and units.

    Raises InputError for what is no PLY of 3D Gaussians, is damaged, or holds values that no splat has.
    """
    refuse_special(path)
    try:
        with path.open("rb") as file:
            table = _table(file, path)
    except InputError:
        raise
    except FAULTS as error:
        raise InputError(f"{path} is damaged or cut off ({error}): export it again") from error
    names = table.dtype.names or ()
    if missing := [name for name in NEEDED if name not in names]:
        kind = "compressed, " if any("packed" in name for name in names) else ""
        raise InputError(
            f"{path} holds no 3D Gaussians ({kind}without {missing[0]}): export it in the layout of 3D "
            "Gaussian Splatting, uncompressed"
        )
    for name in names:
        if name in NEEDED or name.startswith("f_rest_"):
            values = table[name]
            most = LARGEST_SCALE if name.startswith("scale_") else LARGEST
            if not np.isfinite(values).all() or (values > most).any() or (values < -LARGEST).any():
                raise InputError(f"{path} has values in {name} that no splat has: export it again")
    return _splats(table, names, path)


def _splats(table: np.ndarray, names: tuple[str, ...], path: Path) -> Gaussians3D:
    def columns(prefix: str, count: int) -> Float[Tensor, "n c"]:
        every = [np.asarray(table[f"{prefix}{i}"], np.float32) for i in range(count)]
        return torch.from_numpy(np.stack(every, 1) if every else np.zeros((len(table), 0), np.float32))

    rest = sum(name.startswith("f_rest_") for name in names)
    if rest % 3 or rest // 3 + 1 not in [harmonics.terms(d) for d in range(harmonics.MAX_DEGREE + 1)]:
        raise InputError(f"{path} has {rest} f_rest values a splat: there are 0, 9, 24 or 45")
    if any(f"f_rest_{i}" not in names for i in range(rest)):
        raise InputError(f"{path} has f_rest values that are not numbered from 0: export it again")
    scales = columns("scale_", 3).clamp(min=-LARGEST_SCALE).exp()
    turned = _rotations(columns("rot_", 4)) * scales[:, None, :]
    return Gaussians3D(
        torch.from_numpy(np.stack([np.asarray(table[a], np.float32) for a in "xyz"], 1)),
        turned @ turned.transpose(1, 2),
        torch.from_numpy(np.array(table["opacity"], np.float32)).sigmoid(),
        torch.cat([columns("f_dc_", 3)[:, None], columns("f_rest_", rest).unflatten(1, (3, -1)).mT], 1)
        if rest
        else columns("f_dc_", 3)[:, None],
    )


def _rotations(quaternions: Float[Tensor, "n 4"]) -> Float[Tensor, "n 3 3"]:
    """Rotation matrices of quaternions (w x y z); of those without length, the identity."""
    unit = torch.nn.functional.normalize(quaternions.double(), dim=1)
    unit[quaternions.norm(dim=1) < 1e-12] = torch.tensor([1.0, 0, 0, 0], dtype=torch.float64)
    w, x, y, z = unit.unbind(1)
    rows = [
        *(1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)),
        *(2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)),
        *(2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)),
    ]
    return torch.stack(rows, 1).view(-1, 3, 3).float()


def _table(file: BinaryIO, path: Path) -> np.ndarray:
    """The vertices as a structured array, a field per property."""
    if file.readline(LONGEST_HEADER).strip() != b"ply":
        raise InputError(f"{path} is no PLY file: give one that a splat tool wrote")
    order, count, fields = "", -1, []
    inside = False
    while True:
        line = file.readline(LONGEST_HEADER)
        words = line.decode("ascii", "replace").split()
        if not line or file.tell() > LONGEST_HEADER:
            raise InputError(f"{path} has no end of its header: export it again")
        if words == ["end_header"]:
            break
        if words[:1] == ["format"]:
            order = ORDERS.get(words[1], "")
        elif words[:1] == ["element"]:
            if count < 0 and words[1] != "vertex":
                raise InputError(f"{path} begins with {words[1]} instead of splats: export it uncompressed")
            inside = words[1] == "vertex"
            count = int(words[2]) if inside else count
        elif words[:1] == ["property"] and inside:
            if words[1] not in TYPES:
                raise InputError(f"{path} has splats with a property of type {words[1]}: export it again")
            fields.append((words[-1], order + TYPES[words[1]]))
    if not order or not 0 <= count <= MOST_SPLATS:
        raise InputError(f"{path} has a header without a format, or with {count} splats: export it again")
    dtype = np.dtype(fields)
    if order == "=":
        text = np.loadtxt(file, ndmin=2, max_rows=count) if count else np.zeros((0, len(fields)))
        if text.shape != (count, len(fields)):
            raise InputError(f"{path} ends before its splats do: export it again")
        return np.rec.fromarrays(list(text.T), dtype=dtype)
    data = file.read(count * dtype.itemsize)
    if len(data) < count * dtype.itemsize:
        raise InputError(f"{path} ends before its splats do: export it again")
    return np.frombuffer(data, dtype)
