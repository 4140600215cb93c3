"""3D Gaussian PLY: one file per moment, in the layout that 3D Gaussian Splatting (2308.04079) made common.

Per splat, little-endian float32: x y z, nx ny nz (zero), f_dc_0..2, f_rest_*, opacity (logit), scale_0..2
(natural logarithms of standard deviations), rot_0..3 (w x y z). Harmonics of the higher degrees stand channel
by channel: all of red, then green, then blue. Readers take one of two lengths for granted, none or those of
degree 3, so degrees between are filled up with zeros. A comment says that splats are drawn with the filter of
Mip-Splatting (2311.16493), as some programs read it; another one tells the axes.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float
from torch import Tensor

from vid4d.export.moments import write_moments
from vid4d.export.options import ExportOptions
from vid4d.export.splats import ellipsoids, of_degree
from vid4d.gaussians import sh as harmonics

if TYPE_CHECKING:
    from vid4d.asset import Asset
    from vid4d.gaussians.model import Gaussians3D

OPAQUEST = 1 - 1e-6
"""Of full opacity the logit is infinite."""


def logits(opacities: Float[Tensor, " n"]) -> Float[np.ndarray, " n"]:
    """Opacities as viewers want them: their sigmoid is the opacity."""
    opacity = opacities.double().clamp(0, OPAQUEST).numpy()
    return np.log(opacity / (1 - opacity))


def degree_in_file(sh: Float[Tensor, "n k 3"], wanted: int | None) -> int:
    """Degree of harmonics to write: the wanted one, else none or the largest."""
    usual = 0 if sh.shape[1] == 1 else harmonics.MAX_DEGREE
    return usual if wanted is None else wanted


def rows(splats: Gaussians3D, degree: int | None = None) -> tuple[list[str], Float[np.ndarray, "n p"]]:
    """Names of the properties and a row of them per splat. degree: of the harmonics, see `degree_in_file`."""
    scales, rotation = ellipsoids(splats.covariances)
    rest = of_degree(splats.sh, degree_in_file(splats.sh, degree))[:, 1:]
    columns = {
        ("x", "y", "z"): splats.means.numpy(),
        ("nx", "ny", "nz"): np.zeros((len(splats), 3)),
        tuple(f"f_dc_{i}" for i in range(3)): splats.sh[:, 0].numpy(),
        tuple(f"f_rest_{i}" for i in range(3 * rest.shape[1])): rest.transpose(1, 2).flatten(1).numpy(),
        ("opacity",): logits(splats.opacities)[:, None],
        tuple(f"scale_{i}" for i in range(3)): np.log(scales),
        tuple(f"rot_{i}" for i in range(4)): rotation,
    }
    names = [name for group in columns for name in group]
    return names, np.concatenate(list(columns.values()), 1)


def write_table(
    path: Path, names: list[str], table: Float[np.ndarray, "n p"], comments: tuple[str, ...] = ()
) -> None:
    """Writes a PLY of one kind of element, `vertex`, with properties of type float."""
    table = table.astype("<f4")
    header = ["ply", "format binary_little_endian 1.0", *(f"comment {c}" for c in comments)]
    header += [f"element vertex {len(table)}", *(f"property float {name}" for name in names), "end_header\n"]
    path.write_bytes("\n".join(header).encode("ascii") + table.tobytes())


def write(asset: Asset, out: Path, options: ExportOptions) -> list[Path]:
    """One PLY for `options.time`, else a folder of numbered ones with their times in times.json."""

    def write_one(path: Path, splats: Gaussians3D, time: float) -> None:
        names, table = rows(splats, options.sh_degree)
        write_table(path, names, table, (*comments(options.axes_in_file()), f"time {time:.6g} of 0 to 1"))

    return write_moments(asset, out, options, ".ply", write_one)


def comments(axes: str) -> tuple[str, ...]:
    """What a header says of its splats."""
    front = {"z-up": "+x", "y-up": "+z", "y-down": "-z"}[axes]
    return (
        f"vid4d axes: {axes}, front {front}, right-handed, object in [-0.5, 0.5]^3, sRGB",
        "SplatRenderMode: mip",
    )
