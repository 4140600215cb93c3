"""SOG: 3D Gaussians as pictures, a file per moment. Facts: PlayCanvas' public description, version 2.

A ZIP of meta.json and lossless WebP pictures in which the same pixel is the same splat:
- means_l, means_u: low and high byte of 16-bit places between `mins` and `maxs` of sign(x) ln(1 + |x|)
- scales: three indices into a codebook of logarithms of standard deviations
- quats: the three smaller of w x y z, 255 (q sqrt(2) + 1) / 2, and 252 + which one is largest (and positive)
- sh0: three indices into a codebook of f_dc, and the opacity
- shN_labels: 16-bit index into a palette of harmonics of higher degrees; shN_centroids: that palette, 64 a
  row, a pixel per coefficient, indices into a codebook

The axes of what is stored are those of captured splats, y down, front -z: programs turn them as they turn
PLY.
"""

from __future__ import annotations

import io
import json
import math
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, Int, UInt8
from PIL import Image

from vid4d.export.moments import write_moments
from vid4d.export.options import ExportOptions
from vid4d.export.splats import ellipsoids, morton_order, of_degree
from vid4d.gaussians import sh as harmonics
from vid4d.gaussians.model import Gaussians3D

if TYPE_CHECKING:
    from vid4d.asset import Asset

CODES = 256
PALETTE_ROW = 64
ROUNDS = 8
"""Of k-means."""
DAY = (1980, 1, 1, 0, 0, 0)
"""Of all files in the ZIP: the same asset gives the same bytes."""


def write(asset: Asset, out: Path, options: ExportOptions) -> list[Path]:
    """One file for `options.time`, else a folder of numbered ones with their times in times.json."""

    def write_one(path: Path, splats: Gaussians3D, time: float) -> None:
        path.write_bytes(packed(splats, options.sh_degree))

    return write_moments(asset, out, options, ".sog", write_one)


def packed(splats: Gaussians3D, degree: int | None = None) -> bytes:
    """The bytes of a bundle. degree: of the harmonics; where not given, that of the splats."""
    degree = harmonics.degree_of(splats.sh.shape[1]) if degree is None else degree
    order = morton_order(splats.means)
    parts = (splats.means, splats.covariances, splats.opacities, splats.sh)
    splats = Gaussians3D(*(part[order] for part in parts))
    n = len(splats)
    width = max(4, 4 * math.ceil(math.sqrt(n) / 4))
    height = max(4, 4 * math.ceil(n / width / 4))
    pictures: dict[str, UInt8[np.ndarray, "h w 4"]] = {}

    def put(name: str, *channels: Int[np.ndarray, "n _"]) -> None:
        values = np.concatenate(channels, 1)
        picture = np.full((height * width, 4), 255, np.uint8)
        picture[:n, : values.shape[1]] = values
        picture[:n, values.shape[1] : 3] = 0
        pictures[name] = picture.reshape(height, width, 4)

    means = splats.means.double().numpy()
    places = np.sign(means) * np.log1p(np.abs(means))
    low, high = (places.min(0), places.max(0)) if n else (np.zeros(3), np.zeros(3))
    words = np.rint(65535 * (places - low) / np.maximum(high - low, 1e-12)).astype(np.int64)
    put("means_l", words & 255)
    put("means_u", words >> 8)
    scales, wxyz = ellipsoids(splats.covariances)
    scale_codes, indices = codebook(np.log(scales.astype(np.float64)))
    put("scales", indices)
    put("quats", *_quaternions(wxyz))
    sh = of_degree(splats.sh, degree).double().numpy()
    color_codes, indices = codebook(sh[:, 0])
    put("sh0", indices, np.rint(255 * splats.opacities.double().numpy().clip(0, 1))[:, None].astype(np.int64))
    meta: dict[str, Any] = {
        "version": 2,
        "count": n,
        "antialias": True,
        "model": "antialiased",
        "asset": {"generator": "vid4d"},
        "means": {"mins": low.tolist(), "maxs": high.tolist(), "files": ["means_l.webp", "means_u.webp"]},
        "scales": {"codebook": scale_codes.tolist(), "files": ["scales.webp"]},
        "quats": {"files": ["quats.webp"]},
        "sh0": {"codebook": color_codes.tolist(), "files": ["sh0.webp"]},
    }
    if degree and n:
        palette, labels = _palette(sh[:, 1:].reshape(n, -1))
        codes, indices = codebook(palette)
        put("shN_labels", (labels & 255)[:, None], (labels >> 8)[:, None])
        pictures["shN_centroids"] = _palette_picture(indices.reshape(len(palette), -1, 3))
        meta["shN"] = {
            "count": len(palette),
            "bands": degree,
            "codebook": codes.tolist(),
            "files": ["shN_centroids.webp", "shN_labels.webp"],
        }
    return _bundle(meta, pictures)


def codebook(
    values: Float[np.ndarray, "n c"], rounds: int = ROUNDS
) -> tuple[Float[np.ndarray, "256"], Int[np.ndarray, "n c"]]:
    """256 numbers, rising, and for each value the index of the nearest: k-means in one dimension.

    It begins with quantiles and with even steps in turn, so that rare large values keep their place.
    """
    flat = values.reshape(-1)
    if not len(flat):
        return np.zeros(CODES), np.zeros(values.shape, np.int64)
    half = CODES // 2
    even = np.linspace(flat.min(), flat.max(), half)
    codes = np.sort(np.concatenate([np.quantile(flat, np.linspace(0, 1, half)), even]))
    for _ in range(rounds):
        nearest = _nearest(flat, codes)
        count = np.bincount(nearest, minlength=CODES)
        total = np.bincount(nearest, flat, minlength=CODES)
        codes = np.sort(np.where(count > 0, total / np.maximum(count, 1), codes))
    return codes, _nearest(flat, codes).reshape(values.shape)


def _nearest(values: Float[np.ndarray, " n"], codes: Float[np.ndarray, " c"]) -> Int[np.ndarray, " n"]:
    return np.searchsorted((codes[1:] + codes[:-1]) / 2, values)


def _palette(rest: Float[np.ndarray, "n d"]) -> tuple[Float[np.ndarray, "p d"], Int[np.ndarray, " n"]]:
    """Rows that stand for all rows, and which one stands for each: k-means, begun with rows spread evenly."""
    n = len(rest)
    count = min(n, 1024 * min(64, 2 ** max(0, int(math.log2(max(n, 1024) / 1024)))))
    palette = rest[np.linspace(0, n - 1, count).round().astype(int)].copy()
    labels = np.zeros(n, np.int64)
    for _ in range(ROUNDS):
        size = (palette**2).sum(1)
        for i in range(0, n, 4096):
            labels[i : i + 4096] = (size - 2 * rest[i : i + 4096] @ palette.T).argmin(1)
        total = np.zeros_like(palette)
        np.add.at(total, labels, rest)
        used = np.bincount(labels, minlength=count)
        palette = np.where(used[:, None] > 0, total / np.maximum(used, 1)[:, None], palette)
    return palette, labels


def _palette_picture(indices: Int[np.ndarray, "p k 3"]) -> UInt8[np.ndarray, "h w 4"]:
    count, k, _ = indices.shape
    rows = math.ceil(count / PALETTE_ROW)
    picture = np.full((rows * PALETTE_ROW, k, 4), 255, np.uint8)
    picture[:count, :, :3] = indices
    return picture.reshape(rows, PALETTE_ROW * k, 4)


def _quaternions(wxyz: Float[np.ndarray, "n 4"]) -> tuple[Int[np.ndarray, "n 3"], Int[np.ndarray, "n 1"]]:
    largest = np.abs(wxyz).argmax(1)
    sign = np.where(np.take_along_axis(wxyz, largest[:, None], 1) < 0, -1.0, 1.0)
    others = np.array([[j for j in range(4) if j != i] for i in range(4)])[largest]
    rest = np.take_along_axis(wxyz * sign, others, 1).astype(np.float64)
    words = np.rint(255 * (rest * math.sqrt(2) + 1) / 2).clip(0, 255).astype(np.int64)
    return words, (252 + largest)[:, None]


def _bundle(meta: dict[str, Any], pictures: dict[str, UInt8[np.ndarray, "h w 4"]]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as bundle:
        bundle.writestr(zipfile.ZipInfo("meta.json", DAY), json.dumps(meta))
        for name, picture in pictures.items():
            data = io.BytesIO()
            Image.fromarray(picture).save(data, "WEBP", lossless=True, exact=True, quality=80, method=4)
            bundle.writestr(zipfile.ZipInfo(f"{name}.webp", DAY), data.getvalue())
    return packed.getvalue()
