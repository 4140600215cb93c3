"""3D Gaussian PLY: one file per moment, in the layout that 3D Gaussian Splatting (2308.04079) made common.

Per splat, little-endian float32: x y z, nx ny nz (zero), f_dc_0..2, f_rest_*, opacity (logit), scale_0..2
(natural logarithms of standard deviations), rot_0..3 (w x y z). Harmonics of the higher degrees stand channel
by channel: all of red, then green, then blue. Readers take one of two lengths for granted, none or those of
degree 3, so degrees between are filled up with zeros.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from vid4d.export.options import ExportOptions, FrameTimes, frame_name, frame_times
from vid4d.export.splats import ellipsoids, splats_at
from vid4d.files.write import write_json
from vid4d.gaussians import sh as harmonics

if TYPE_CHECKING:
    from vid4d.asset import Asset
    from vid4d.gaussians.model import Gaussians3D

OPAQUEST = 1 - 1e-6
"""Of full opacity the logit is infinite."""
TIMES = "times.json"


def rows(splats: Gaussians3D) -> tuple[list[str], Float[np.ndarray, "n p"]]:
    """Names of the properties and a row of them per splat."""
    scales, rotation = ellipsoids(splats.covariances)
    opacity = splats.opacities.double().clamp(0, OPAQUEST).numpy()
    rest = splats.sh[:, 1:]
    if rest.shape[1]:
        full = rest.new_zeros(len(splats), harmonics.terms(harmonics.MAX_DEGREE) - 1, 3)
        full[:, : rest.shape[1]] = rest
        rest = full
    columns = {
        ("x", "y", "z"): splats.means.numpy(),
        ("nx", "ny", "nz"): np.zeros((len(splats), 3)),
        tuple(f"f_dc_{i}" for i in range(3)): splats.sh[:, 0].numpy(),
        tuple(f"f_rest_{i}" for i in range(3 * rest.shape[1])): rest.transpose(1, 2).flatten(1).numpy(),
        ("opacity",): np.log(opacity / (1 - opacity))[:, None],
        tuple(f"scale_{i}" for i in range(3)): np.log(scales),
        tuple(f"rot_{i}" for i in range(4)): rotation,
    }
    names = [name for group in columns for name in group]
    return names, np.concatenate(list(columns.values()), 1).astype("<f4")


def write_splats(path: Path, splats: Gaussians3D, comments: tuple[str, ...] = ()) -> None:
    """Writes splats (on the CPU) as one PLY."""
    names, table = rows(splats)
    header = ["ply", "format binary_little_endian 1.0", *(f"comment {c}" for c in comments)]
    header += [f"element vertex {len(table)}", *(f"property float {name}" for name in names), "end_header\n"]
    path.write_bytes("\n".join(header).encode("ascii") + table.tobytes())


def write(asset: Asset, out: Path, options: ExportOptions) -> list[Path]:
    """One PLY for `options.time`, else a folder of numbered ones with their times in times.json."""
    plan = frame_times(asset, options)
    if options.time is not None:
        write_splats(
            out, splats_at(asset, options.time, walking=options.root_motion), _comments(options.time)
        )
        return [out]
    files = []
    for i, time in enumerate(plan.times):
        files.append(out / frame_name(i, ".ply"))
        write_splats(files[-1], splats_at(asset, time, walking=options.root_motion), _comments(time))
        options.report_progress(i + 1, len(plan.times))
    write_json(out / TIMES, _times(asset, plan, files))
    return [*files, out / TIMES]


def _comments(time: float) -> tuple[str, ...]:
    return ("vid4d: z up, right-handed, object in [-0.5, 0.5]^3, sRGB", f"time {time:.6g} of 0 to 1")


def _times(asset: Asset, plan: FrameTimes, files: list[Path]) -> dict[str, object]:
    """Metadata for players of the sequence."""
    return {
        "fps": plan.fps,
        "seconds": plan.seconds,
        "cyclic": asset.cyclic,
        "up_axis": "z",
        "frames": [{"file": f.name, "time": t} for f, t in zip(files, plan.times, strict=True)],
    }
