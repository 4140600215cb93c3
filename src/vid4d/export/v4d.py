"""`.v4d`: a whole asset in one small file that can be played while it arrives. docs/v4d.md has it byte by
byte.

Splats as `MovingGaussians` has them, in words of 2 to 16 bits between a least and a largest value, column by
column, low bytes apart from high bytes, in chunks of splats that begin to be seen at about the same time;
every chunk is one zlib stream. `v4d.js` reads it in a browser (the player does), `read_v4d` in Python.
"""

from __future__ import annotations

import json
import math
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from msgspec import Meta, Struct

from vid4d.errors import InputError
from vid4d.export.moving import MovingGaussians, moving
from vid4d.export.options import ExportOptions
from vid4d.files.records import Seconds, Time, checked
from vid4d.gaussians.culling import REACH

if TYPE_CHECKING:
    from vid4d.asset import Asset

MAGIC, VERSION = b"V4DS", 1
CHUNK = 2048
"""Splats in a chunk."""
ROOT_HALF = math.sqrt(0.5)
LARGEST = 1e6
MOST_NUMBERS = 1 << 26
"""Of all splats together that are read: some zeros in a small file inflate to any number of them."""


class Column(Struct, omit_defaults=True, forbid_unknown_fields=True):
    """How a number of every splat is stored.

    The value is low + word / (2^bits - 1) (high - low), or `log`: exp of that. delta: words are differences
    to the splat before in the chunk, modulo 2^16.
    """

    name: str
    bits: Annotated[int, Meta(ge=1, le=16)]
    low: Annotated[float, Meta(ge=-LARGEST, le=LARGEST)]
    high: Annotated[float, Meta(ge=-LARGEST, le=LARGEST)]
    log: bool = False
    delta: bool = False

    @property
    def step(self) -> float:
        """Between two neighbouring values (of their logarithms, for `log`)."""
        return (self.high - self.low) / (2**self.bits - 1)


class Chunk(Struct, forbid_unknown_fields=True):
    """count: splats. bytes: of its zlib stream. begin, end: clip times between which they can be seen."""

    count: Annotated[int, Meta(ge=0, le=1 << 24)]
    bytes: Annotated[int, Meta(ge=0, le=1 << 31)]
    begin: Time
    end: Time


class Header(Struct):
    """What stands before the chunks, as JSON."""

    count: Annotated[int, Meta(ge=0, le=1 << 24)]
    seconds: Seconds
    cyclic: bool
    period: Annotated[float, Meta(gt=0, le=1e6)]
    harmonics: Literal[1, 4, 9, 16]
    fourier: Annotated[int, Meta(ge=1, le=64)]
    columns: Annotated[list[Column], Meta(max_length=4096)]
    chunks: Annotated[list[Chunk], Meta(max_length=1 << 16)]
    axes: Literal["z-up"] = "z-up"
    elevation: Annotated[float, Meta(ge=-90, le=90)] = 0.0


class V4D(NamedTuple):
    """A file that was read: the splats, in the order of their chunks, and what it says of them."""

    splats: MovingGaussians
    header: Header


def write(asset: Asset, out: Path, options: ExportOptions) -> list[Path]:
    """Writes the file."""
    out.write_bytes(packed(moving(asset.gaussians), seconds=asset.seconds, elevation=asset.elevation))
    options.report_progress(1, 1)
    return [out]


def packed(splats: MovingGaussians, *, seconds: float = 1.0, elevation: float = 0.0) -> bytes:
    """The bytes of a file. seconds: of the clip. elevation: of its camera, degrees."""
    t, reach = splats.times.double().numpy(), REACH * splats.deviations.double().numpy()
    begin, end = (t - reach).clip(0, 1), (t + reach).clip(0, 1)
    if splats.cyclic:
        around = (t - reach < 0) | (t + reach > 1)
        begin, end = np.where(around, 0.0, begin), np.where(around, 1.0, end)
    order = np.lexsort((t, begin))
    columns, words = _words(splats)
    chunks, streams = [], []
    for start in range(0, len(splats), CHUNK):
        some = order[start : start + CHUNK]
        some = some[np.argsort(t[some], kind="stable")]
        data = b"".join(_plane(column, words[column.name][some]) for column in columns)
        streams.append(zlib.compress(data, 9))
        ends = (float(begin[some].min()), float(end[some].max()))
        chunks.append(Chunk(len(some), len(streams[-1]), *(round(e, 6) for e in ends)))
    header = {
        "count": len(splats),
        "seconds": seconds,
        "cyclic": splats.cyclic,
        "period": splats.period,
        "harmonics": splats.sh.shape[1],
        "fourier": splats.sh.shape[2],
        "axes": "z-up",
        "elevation": elevation,
        "columns": [_plain(column) for column in columns],
        "chunks": [_plain(chunk) for chunk in chunks],
    }
    text = json.dumps(header, separators=(",", ":")).encode("ascii")
    return MAGIC + struct.pack("<II", VERSION, len(text)) + text + b"".join(streams)


def _plain(record: Struct) -> dict[str, Any]:
    import msgspec

    plain: dict[str, Any] = msgspec.to_builtins(record)
    return plain


def _words(splats: MovingGaussians) -> tuple[list[Column], dict[str, Int[np.ndarray, " n"]]]:
    """Every column, and its word for every splat."""
    columns: list[Column] = []
    words: dict[str, Int[np.ndarray, " n"]] = {}

    def put(
        name: str,
        values: Float[np.ndarray, " n"],
        bits: int,
        ends: tuple[float, float] | None = None,
        *,
        log: bool = False,
        delta: bool = False,
    ) -> None:
        numbers = np.log(values.astype(np.float64)) if log else values.astype(np.float64)
        low, high = ends or ((float(numbers.min()), float(numbers.max())) if len(numbers) else (0.0, 1.0))
        if high <= low:
            high = low + 1e-6
        columns.append(Column(name, bits, low, high, log, delta))
        share = (numbers - low) / (high - low)
        words[name] = np.rint(share.clip(0, 1) * (2**bits - 1)).astype(np.int64)

    put("t", splats.times.numpy(), 16, delta=True)
    for i, name in enumerate("xyz"):
        put(name, splats.means[:, i].numpy(), 14)
    moved = splats.velocities * splats.deviations[:, None]
    for i, name in enumerate("xyz"):
        put(f"d{name}", moved[:, i].numpy(), 12)
    put("deviation", splats.deviations.numpy(), 10, log=True)
    for i, name in enumerate("xyz"):
        put(f"s{name}", splats.scales[:, i].numpy(), 7, log=True)
    largest, rest = _smallest_three(splats.rotations.double().numpy())
    put("q", largest.astype(np.float64), 2, (0.0, 3.0))
    for i in range(3):
        put(f"q{i}", rest[:, i], 8, (-ROOT_HALF, ROOT_HALF))
    put("opacity", splats.opacities.numpy(), 10, (0.0, 1.0))
    for k in range(splats.sh.shape[1]):
        for f in range(splats.sh.shape[2]):
            for c in range(3):
                put(f"sh_{k}_{f}_{c}", splats.sh[:, k, f, c].numpy(), 8)
    return columns, words


def _smallest_three(wxyz: Float[np.ndarray, "n 4"]) -> tuple[Int[np.ndarray, " n"], Float[np.ndarray, "n 3"]]:
    """Which component is largest, and the other three in order, of the sign that makes it positive."""
    largest = np.abs(wxyz).argmax(1)
    sign = np.where(np.take_along_axis(wxyz, largest[:, None], 1) < 0, -1.0, 1.0)
    others = np.array([[j for j in range(4) if j != i] for i in range(4)])[largest]
    return largest, np.take_along_axis(wxyz * sign, others, 1)


def _plane(column: Column, words: Int[np.ndarray, " n"]) -> bytes:
    """The low bytes of all splats, then, of more than 8 bits, the high bytes."""
    if column.delta:
        words = np.diff(words, prepend=0) & 0xFFFF
    low = (words & 255).astype(np.uint8).tobytes()
    return low + (words >> 8).astype(np.uint8).tobytes() if column.bits > 8 else low


def read_v4d(path: str | Path) -> V4D:
    """Reads a file. Raises InputError for what is no `.v4d`, of another version, cut off or damaged."""
    path = Path(path)
    if not path.is_file():
        raise InputError(f"there is no {path}: give a .v4d file")
    return unpacked(path.read_bytes(), str(path))


def unpacked(data: bytes, name: str = "the file") -> V4D:
    """The splats in the bytes of a file. name: of it, for errors. Raises InputError as `read_v4d`."""
    if data[:4] != MAGIC or len(data) < 12:
        raise InputError(f"{name} is no .v4d file: export one with `vid4d export --to v4d`")
    version, length = struct.unpack_from("<II", data, 4)
    if version != VERSION:
        raise InputError(f"{name} has format version {version}, this program reads {VERSION}: update it")
    damaged = InputError(f"{name} is damaged or cut off: export it again")
    try:
        told = json.loads(data[12 : 12 + length], parse_constant=int)  # which NaN is not
    except (ValueError, RecursionError):
        raise damaged from None
    header = checked(told, Header, name, "export it again")
    if header.count * len(header.columns) > MOST_NUMBERS:
        raise InputError(
            f"{name} has {header.count} splats of {len(header.columns)} numbers, and {MOST_NUMBERS} "
            "numbers are read: export an asset with fewer"
        )
    names = {column.name for column in header.columns}
    if sum(c.count for c in header.chunks) != header.count or len(names) != len(header.columns):
        raise damaged
    values = {column.name: np.zeros(header.count, np.float32) for column in header.columns}
    start, first = 12 + length, 0
    try:
        for chunk in header.chunks:
            numbers = _numbers(header.columns, chunk.count, data[start : start + chunk.bytes])
            for column, of_chunk in zip(header.columns, numbers, strict=True):
                values[column.name][first : first + chunk.count] = of_chunk
            start, first = start + chunk.bytes, first + chunk.count
        splats = _splats(header, values)
    except KeyError as missing:
        raise InputError(f"{name} has no column {missing}: export it again") from None
    except (ValueError, zlib.error):
        raise damaged from None
    return V4D(splats, header)


def _numbers(columns: list[Column], count: int, stream: bytes) -> Iterator[Float[np.ndarray, " n"]]:
    """The numbers of a chunk, column by column. Raises ValueError or zlib.error where it is damaged."""
    bytes_each = sum(1 + (column.bits > 8) for column in columns)
    inflating = zlib.decompressobj()
    raw = inflating.decompress(stream, count * bytes_each + 1)
    if not inflating.eof:
        raise ValueError("the stream is cut off, or holds more")
    planes = iter(np.frombuffer(raw, np.uint8).reshape(bytes_each, count))
    for column in columns:
        words = next(planes).astype(np.int64)
        if column.bits > 8:
            words |= next(planes).astype(np.int64) << 8
        if column.delta:
            words = np.cumsum(words) & 0xFFFF
        if len(words) and words.max() >> column.bits:
            raise ValueError("a word of more bits than its column has")
        numbers = column.low + words * column.step
        with np.errstate(over="ignore"):  # what is infinite is refused below
            yield np.exp(numbers) if column.log else numbers


def _splats(header: Header, values: dict[str, Float[np.ndarray, " n"]]) -> MovingGaussians:
    """Raises KeyError for a column that is missing, ValueError for numbers that no splat has."""

    def columns(*names: str) -> torch.Tensor:
        numbers = torch.from_numpy(np.stack([values.pop(name) for name in names], 1))
        if not bool(numbers.isfinite().all()):
            raise ValueError("NaN or infinity")
        return numbers

    rest, largest = columns("q0", "q1", "q2"), columns("q")[:, 0].long()
    if bool(((largest < 0) | (largest > 3)).any()):
        raise ValueError("no component of a quaternion")
    filled = torch.cat([rest, (1 - (rest**2).sum(1, keepdim=True)).clamp(min=0).sqrt()], 1)
    places = [[j if j < i else j - 1 if j > i else 3 for j in range(4)] for i in range(4)]
    rotations = filled.gather(1, torch.tensor(places)[largest])
    k, f = header.harmonics, header.fourier
    sh = columns(*(f"sh_{i}_{j}_{c}" for i in range(k) for j in range(f) for c in range(3)))
    deviations = columns("deviation")
    splats = MovingGaussians(
        columns("t")[:, 0],
        columns("x", "y", "z"),
        columns("dx", "dy", "dz") / deviations,
        columns("sx", "sy", "sz"),
        torch.nn.functional.normalize(rotations, dim=1),
        deviations[:, 0],
        columns("opacity")[:, 0],
        sh.view(-1, k, f, 3),
        header.period,
        header.cyclic,
    )
    opacities = splats.opacities
    possible = (
        (deviations > 0).all() & (splats.scales >= 0).all() & (opacities >= 0).all() & (opacities <= 1).all()
    )
    if not bool(possible & splats.velocities.isfinite().all()):
        raise ValueError("sizes, opacities or velocities that cannot be")
    return splats
