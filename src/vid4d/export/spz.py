"""SPZ: compressed 3D Gaussians, a file per moment. Facts: the public description and code of the format.

Version 3 of Niantic's format (4 needs zstd): a gzip stream of a header (magic 0x5053474e, version, number of
splats as uint32; degree of harmonics, fractional bits of positions, flags, zero as bytes) and then, property
by property for all splats:
- positions, 24-bit fixed point, x y z
- opacities, 8 bits
- colors: 255 (0.15 f_dc + 0.5), red green blue
- standard deviations: 16 (ln s + 10), x y z
- rotations, 32 bits: which of x y z w is largest (2 bits), then the other three in order, each a sign and
  nine bits of |q| sqrt(2)
- harmonics of degree 1 and more: 128 + 128 c, coefficient by coefficient, red green blue in each

Its axes are y up, z towards the viewer, so the front is +z where nothing else is asked for; but PlayCanvas'
tools take them for those of PLY, y down. Flag 1: drawn with the filter of Mip-Splatting.
"""

from __future__ import annotations

import gzip
import math
import struct
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, UInt8

from vid4d.export.moments import write_moments
from vid4d.export.options import ExportOptions
from vid4d.export.splats import ellipsoids, of_degree
from vid4d.gaussians import sh as harmonics

if TYPE_CHECKING:
    from vid4d.asset import Asset
    from vid4d.gaussians.model import Gaussians3D

MAGIC, VERSION = 0x5053474E, 3
FRACTIONAL_BITS = 20
"""Positions are exact to 5e-7 and lie within 8 of the origin; fewer bits where they reach farther."""
ANTIALIASED = 1


def write(asset: Asset, out: Path, options: ExportOptions) -> list[Path]:
    """One file for `options.time`, else a folder of numbered ones with their times in times.json."""

    def write_one(path: Path, splats: Gaussians3D, time: float) -> None:
        path.write_bytes(packed(splats, options.sh_degree))

    return write_moments(asset, out, options, ".spz", write_one, usual="y-up")


def packed(splats: Gaussians3D, degree: int | None = None) -> bytes:
    """The bytes of a file. degree: of the harmonics; where not given, that of the splats."""
    degree = harmonics.degree_of(splats.sh.shape[1]) if degree is None else degree
    means = splats.means.double().numpy()
    reach = float(np.abs(means).max()) if len(means) else 0.0
    bits = min(FRACTIONAL_BITS, 22 - max(0, math.ceil(math.log2(max(reach, 1e-9)) + 1e-6)))
    scales, rotations = ellipsoids(splats.covariances)
    sh = of_degree(splats.sh, degree).double().numpy()
    parts = [
        _fixed24(np.rint(means * 2.0**bits)),
        _bytes(255 * splats.opacities.double().numpy()),
        _bytes(255 * (0.15 * sh[:, 0] + 0.5)),
        _bytes(16 * (np.log(scales.astype(np.float64)) + 10)),
        smallest_three(rotations).tobytes(),
        _bytes(128 + 128 * sh[:, 1:]),
    ]
    header = struct.pack("<IIIBBBB", MAGIC, VERSION, len(splats), degree, bits, ANTIALIASED, 0)
    return gzip.compress(header + b"".join(parts), mtime=0)


def smallest_three(wxyz: Float[np.ndarray, "n 4"]) -> UInt8[np.ndarray, "n 4"]:
    """Unit quaternions in 32 bits each, little-endian."""
    q = wxyz.astype(np.float64)[:, [1, 2, 3, 0]]
    largest = np.abs(q).argmax(1)
    q = q * np.where(np.take_along_axis(q, largest[:, None], 1) < 0, -1, 1)
    others = np.array([[j for j in range(4) if j != i] for i in range(4)])[largest]
    rest = np.take_along_axis(q, others, 1)
    words = largest.astype(np.uint32)
    for value in rest.T:
        size = np.minimum(np.floor(511 * math.sqrt(2) * np.abs(value) + 0.5), 511).astype(np.uint32)
        words = (words << 10) | ((value < 0).astype(np.uint32) << 9) | size
    return words.astype("<u4")[:, None].view(np.uint8)


def _fixed24(values: Float[np.ndarray, "n 3"]) -> bytes:
    words = values.astype("<i4").reshape(-1, 1).view(np.uint8)
    return words[:, :3].tobytes()


def _bytes(values: Float[np.ndarray, "..."]) -> bytes:
    return np.rint(values).clip(0, 255).astype(np.uint8).tobytes()
