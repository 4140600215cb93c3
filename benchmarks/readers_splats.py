"""Splats in files of one moment or of all, read back by plyfile or word by word, for the tests and
benchmarks/round_trip.py. Nothing here comes from the exporters.
"""

from __future__ import annotations

import base64
import gzip
import json
import re
import struct
import zipfile
import zlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from readers import covariance

from vid4d.gaussians.model import Gaussians3D

TO_Z_UP = {
    "z-up": [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
    "y-up": [[0, 0, 1], [1, 0, 0], [0, 1, 0]],
    "y-down": [[0, 0, -1], [1, 0, 0], [0, -1, 0]],
}
"""Rotations from a file's axes to those of assets; fronts at +z and -z go to +x."""


def z_up(splats: Gaussians3D, axes: str) -> Gaussians3D:
    """Splats in the axes of assets. Harmonics stay as they are, which is right for those of degree 0 only."""
    turn = torch.tensor(TO_Z_UP[axes], dtype=torch.float64)
    return Gaussians3D(splats.means @ turn.T, turn @ splats.covariances @ turn.T, splats.opacities, splats.sh)


def vertices(path: str | Path) -> tuple[Callable[..., np.ndarray], list[str], list[str]]:
    """A reader of columns by name, the names of all columns, the comments."""
    from plyfile import PlyData

    data = PlyData.read(str(path))
    table = data["vertex"]

    def columns(*names: str) -> np.ndarray:
        return np.stack([np.asarray(table[name], np.float64) for name in names], 1)

    return columns, [p.name for p in table.properties], list(data.comments)


def read_spz(path: str | Path) -> Gaussians3D:
    """Niantic's format, version 3, bit by bit."""
    data = gzip.decompress(Path(path).read_bytes())
    magic, version, n, degree, bits, _, _ = struct.unpack_from("<IIIBBBB", data)
    assert (magic, version) == (0x5053474E, 3), "no SPZ of version 3"
    k = (degree + 1) ** 2 - 1
    sizes = {"means": 9, "opacity": 1, "color": 3, "scale": 3, "rotation": 4, "sh": 3 * k}
    parts, start = {}, 16
    for name, size in sizes.items():
        parts[name] = np.frombuffer(data, np.uint8, n * size, start).reshape(n, size)
        start += n * size
    assert start == len(data)
    low = parts["means"].reshape(n, 3, 3).astype(np.int64) @ [1, 256, 65536]
    means = np.where(low >= 2**23, low - 2**24, low) / 2.0**bits
    words = parts["rotation"].copy().view("<u4")[:, 0]
    xyzw = np.zeros((n, 4))
    for i, word in enumerate(words.tolist()):
        largest, values = word >> 30, []
        for shift in (20, 10, 0):
            field = (word >> shift) & 1023
            values.append((-1 if field & 512 else 1) * (field & 511) / 511 * 0.5**0.5)
        xyzw[i, [j for j in range(4) if j != largest]] = values
        xyzw[i, largest] = max(0.0, 1 - sum(v * v for v in values)) ** 0.5
    sh = (parts["sh"].astype(float) - 128) / 128
    dc = (parts["color"] / 255 - 0.5) / 0.15
    return Gaussians3D(
        torch.from_numpy(means),
        torch.from_numpy(covariance(np.exp(parts["scale"] / 16 - 10), xyzw[:, [3, 0, 1, 2]])),
        torch.from_numpy(parts["opacity"][:, 0] / 255),
        torch.from_numpy(np.concatenate([dc[:, None], sh.reshape(n, k, 3)], 1)),
    )


def read_sog(path: str | Path) -> Gaussians3D:
    """PlayCanvas' pictures in a ZIP, version 2, pixel by pixel."""
    with zipfile.ZipFile(path) as bundle:
        meta = json.loads(bundle.read("meta.json"))

        def pixels(name: str) -> np.ndarray:
            return np.asarray(Image.open(BytesIO(bundle.read(name))).convert("RGBA")).reshape(-1, 4)

        def named(part: str) -> list[np.ndarray]:
            return [pixels(name) for name in meta[part]["files"]]

        assert meta["version"] == 2
        n = meta["count"]
        low, high = (p[:n, :3].astype(int) for p in named("means"))
        mins, maxs = np.array(meta["means"]["mins"]), np.array(meta["means"]["maxs"])
        places = mins + (low + 256 * high) / 65535 * (maxs - mins)
        scales = np.exp(np.array(meta["scales"]["codebook"])[named("scales")[0][:n, :3]])
        turns = named("quats")[0][:n].astype(int)
        wxyz = np.zeros((n, 4))
        for i, (*values, largest) in enumerate(turns.tolist()):
            rest = [(v / 255 * 2 - 1) * 0.5**0.5 for v in values]
            wxyz[i, [j for j in range(4) if j != largest - 252]] = rest
            wxyz[i, largest - 252] = max(0.0, 1 - sum(v * v for v in rest)) ** 0.5
        sh0 = named("sh0")[0][:n]
        sh = np.array(meta["sh0"]["codebook"])[sh0[:, :3]][:, None]
        if "shN" in meta:
            k = (meta["shN"]["bands"] + 1) ** 2 - 1
            palette, labels = named("shN")
            palette = palette.reshape(-1, 64, k, 4).reshape(-1, k, 4)[: meta["shN"]["count"], :, :3]
            label = labels[:n, :2].astype(int) @ [1, 256]
            sh = np.concatenate([sh, np.array(meta["shN"]["codebook"])[palette][label]], 1)
    return Gaussians3D(
        torch.from_numpy(np.sign(places) * np.expm1(np.abs(places))),
        torch.from_numpy(covariance(scales, wxyz)),
        torch.from_numpy(sh0[:, 3] / 255),
        torch.from_numpy(sh),
    )


def numbered(stem: str, count: int) -> list[str]:
    return [f"{stem}_{i}" for i in range(count)]


def read_stg(path: str | Path, time: float) -> Gaussians3D:
    """A PLY of Spacetime Gaussians at a time in its own unit, as its authors' renderer puts them.

    Colors as harmonics, with f_rest and without.
    """
    columns, names, _ = vertices(path)
    dt = time - columns("trbf_center")
    motion, turned = columns(*numbered("motion", 9)), columns(*numbered("omega", 4))
    means = columns("x", "y", "z") + motion[:, :3] * dt + motion[:, 3:6] * dt**2 + motion[:, 6:] * dt**3
    presence = np.exp(-((dt / np.exp(columns("trbf_scale"))) ** 2))[:, 0]
    rest = [name for name in names if name.startswith("f_rest_")]
    shape = covariance(np.exp(columns(*numbered("scale", 3))), columns(*numbered("rot", 4)) + turned * dt)
    higher = columns(*numbered("f_rest", len(rest))) if rest else np.zeros((len(dt), 0))
    higher = higher.reshape(len(dt), 3, -1).transpose(0, 2, 1)
    return Gaussians3D(
        torch.from_numpy(means),
        torch.from_numpy(shape),
        torch.from_numpy(presence / (1 + np.exp(-columns("opacity")[:, 0]))),
        torch.from_numpy(np.concatenate([columns(*numbered("f_dc", 3))[:, None], higher], 1)),
    )


def read_splatv(path: str | Path, time: float) -> tuple[Gaussians3D, dict[str, Any]]:
    """The splats at a time in [0, 1], and what the file says of them; colors as degree-0 harmonics."""
    data = Path(path).read_bytes()
    magic, length = struct.unpack_from("<II", data)
    assert magic == 0x674B, "no splatv file"
    (about,) = json.loads(data[8 : 8 + length])
    assert about["size"] == 16 * about["texwidth"] * about["texheight"] == len(data) - 8 - length
    words = np.frombuffer(data, "<u4", offset=8 + length).reshape(-1, 16)
    halves = words.view(np.float16).astype(np.float64)
    dt = time - halves[:, 30:31]
    motion, turned = halves[:, 16:25], halves[:, 26:30]
    means = words[:, :3].copy().view("<f4").astype(np.float64)
    means = means + motion[:, :3] * dt + motion[:, 3:6] * dt**2 + motion[:, 6:] * dt**3
    rgba = words[:, 7:8].copy().view(np.uint8) / 255
    presence = np.exp(-((dt / halves[:, 31:]) ** 2))[:, 0]
    splats = Gaussians3D(
        torch.from_numpy(means),
        torch.from_numpy(covariance(halves[:, 10:13], halves[:, 6:10] + turned * dt)),
        torch.from_numpy(rgba[:, 3] * np.where(presence >= 0.02, presence, 0)),
        torch.from_numpy((rgba[:, None, :3] - 0.5) / 0.28209479177387814),
    )
    return splats, about


def read_ply4d(path: str | Path, time: float) -> Gaussians3D:
    """Native 4D Gaussians at a clip time, conditioned as the code of 2310.10642 does."""
    columns, names, _ = vertices(path)
    a, b, c, d, p, q, r, s = columns(*numbered("rot", 8)).T
    left = np.array([[a, -b, -c, -d], [b, a, -d, c], [c, d, a, -b], [d, -c, b, a]])
    right = np.array([[p, q, r, s], [-q, p, -s, r], [-r, s, p, -q], [-s, -r, q, p]])
    factor = np.einsum("ijn,jkn->nik", left, right) * np.exp(columns(*numbered("scale", 4)))[:, None]
    whole = factor @ factor.transpose(0, 2, 1)
    cross, variance = whole[:, :3, 3], whole[:, 3, 3:]
    dt = time - columns("t")
    every = columns(*numbered("f_dc", 3))[:, :, None]
    if rest := [name for name in names if name.startswith("f_rest_")]:
        higher = columns(*numbered("f_rest", len(rest))).reshape(len(dt), 3, -1)
        every = np.concatenate([every, higher], 2)
    terms = max(1, every.shape[2] // 16)
    series = np.cos(2 * np.pi * np.arange(terms) * dt)
    sh = (every.reshape(len(dt), 3, terms, -1) * series[:, None, :, None]).sum(2)
    presence = np.exp(-0.5 * dt**2 / variance)[:, 0]
    return Gaussians3D(
        torch.from_numpy(columns("x", "y", "z") + cross / variance * dt),
        torch.from_numpy(whole[:, :3, :3] - cross[:, :, None] * cross[:, None] / variance[:, :, None]),
        torch.from_numpy(np.where(presence > 0.05, presence, 0) / (1 + np.exp(-columns("opacity")[:, 0]))),
        torch.from_numpy(sh.transpose(0, 2, 1)),
    )


class V4D:
    """A .v4d file, taken apart by docs/v4d.md."""

    def __init__(self, data: bytes) -> None:
        assert data[:4] == b"V4DS"
        version, length = struct.unpack_from("<II", data, 4)
        assert version == 1
        self.header: dict[str, Any] = json.loads(data[12 : 12 + length])
        start, parts = 12 + length, []
        for chunk in self.header["chunks"]:
            raw = np.frombuffer(zlib.decompress(data[start : start + chunk["bytes"]]), np.uint8)
            parts.append(self._columns(raw.astype(np.int64).reshape(-1, chunk["count"])))
            start += chunk["bytes"]
        assert start == len(data)
        names = [column["name"] for column in self.header["columns"]]
        self.columns = {n: np.concatenate([np.zeros(0), *(part[n] for part in parts)]) for n in names}

    def _columns(self, planes: np.ndarray) -> dict[str, np.ndarray]:
        values, rows = {}, iter(planes)
        for column in self.header["columns"]:
            words = next(rows)
            if column["bits"] > 8:
                words = words + 256 * next(rows)
            if column.get("delta"):
                words = np.cumsum(words) % 65536
            share = words / (2 ** column["bits"] - 1)
            number = column["low"] + share * (column["high"] - column["low"])
            values[column["name"]] = np.exp(number) if column.get("log") else number
        return values

    def at(self, time: float) -> Gaussians3D:
        """The splats of a clip time."""

        def stack(*names: str) -> np.ndarray:
            return np.stack([self.columns[name] for name in names], 1)

        dt = time - self.columns["t"]
        if self.header["cyclic"]:
            dt -= np.round(dt)
        sigma = self.columns["deviation"]
        means = stack("x", "y", "z") + stack("dx", "dy", "dz") * (dt / sigma)[:, None]
        three, largest = stack("q0", "q1", "q2"), self.columns["q"].round().astype(int)
        wxyz = np.zeros((len(dt), 4))
        for i, (which, rest) in enumerate(zip(largest, three, strict=True)):
            wxyz[i] = np.insert(rest, which, max(0.0, 1 - (rest**2).sum()) ** 0.5)
        presence = np.exp(-0.5 * (dt / sigma) ** 2)
        opacity = self.columns["opacity"] * np.where(presence >= 0.05, presence, 0)
        k, f = self.header["harmonics"], self.header["fourier"]
        names = [f"sh_{i}_{j}_{c}" for i in range(k) for j in range(f) for c in range(3)]
        sh = stack(*names).reshape(-1, k, f, 3)
        series = np.cos(2 * np.pi / self.header["period"] * dt[:, None] * np.arange(f))
        parts = (
            means,
            covariance(stack("sx", "sy", "sz"), wxyz),
            opacity,
            np.einsum("nf,nkfc->nkc", series, sh),
        )
        return Gaussians3D(*(torch.from_numpy(np.ascontiguousarray(part)) for part in parts))


class PlayerPage:
    """The data of a page, unpacked with nothing but what stands in it."""

    def __init__(self, path: str | Path) -> None:
        text = Path(path).read_text(encoding="utf-8")
        notes, data = re.findall(r'<script[^>]*type="(?:application/json|text/plain)"[^>]*>([^<]*)<', text)
        self.about: dict[str, Any] = json.loads(notes)
        self.at = V4D(base64.b64decode(data)).at
