"""One file of splats that move, for players: Spacetime Gaussians (2312.16812) as PLY, and `.splatv`.

Facts of the formats, read off the programs that read them (November 2026):

`stg`, as SuperSplat 4D and OpenSplat4D (Unreal) read it: the properties of a PLY of 3D Gaussians, and
trbf_center, trbf_scale (natural logarithm), motion_0..8 (x y z of the linear, square and cubic term),
omega_0..3 (the quaternion's change, zero), and the same once more as t and scale_t, under the names that
OpenSplat4D looks for. Colors are harmonics. Times are seconds; the comment `cfg_args` says how long the clip
lasts.

`stg-lite`, as the authors' own code saves and splaTV reads it: times in [0, 1] over the clip, f_dc is the
color itself in [0, 1], without harmonics.

Opacity over time is exp(-((time - trbf_center) / exp(trbf_scale))^2): exp(trbf_scale) is the square root of
two times the standard deviation. scale_t is the logarithm of the standard deviation.

`.splatv`: uint32 0x674b, uint32 length of a JSON text, that text, and an image of 32-bit words, 16 a splat,
1,024 splats a row. The words: x y z as float32; then pairs of float16: rotation w x, y z; standard
deviations x y, z 0; a word of 8-bit red, green, blue, opacity; motion_0..8 and 0; omega_0..3; trbf_center
and exp(trbf_scale).
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float, UInt32

from vid4d import conventions
from vid4d.cameras import FOCAL_PER_WIDTH, Cameras
from vid4d.export.moving import MovingGaussians, moving
from vid4d.export.options import ExportOptions
from vid4d.export.ply import comments, degree_in_file, logits, write_table
from vid4d.export.splats import fixed_colors, of_degree
from vid4d.gaussians.model import Gaussians3D

if TYPE_CHECKING:
    from vid4d.asset import Asset

SPLATV_MAGIC = 0x674B
PER_ROW = 1024
"""Splats in a row of the image: 4,096 pixels of four words."""
LARGEST_HALF = 65504.0


def write_stg(asset: Asset, out: Path, options: ExportOptions) -> list[Path]:
    """Writes the PLY for players."""
    splats = moving(asset.gaussians).unrolled().turned(options.axes_in_file())
    colors = splats.mean_colors()
    degree = degree_in_file(colors, options.sh_degree)
    rest = of_degree(colors, degree)[:, 1:].transpose(1, 2).flatten(1).numpy()
    columns = _columns(splats, asset.seconds, colors[:, 0].numpy(), rest)
    deviations = np.log(splats.deviations.numpy() * asset.seconds)
    columns |= {("t",): columns["trbf_center",], ("scale_t",): deviations[:, None]}
    clip = f"cfg_args: start=0 duration={asset.seconds:.6g} fps={_fps(asset):.6g} sh_degree={degree}"
    _write(out, columns, (*comments(options.axes_in_file()), clip))
    options.report_progress(1, 1)
    return [out]


def write_stg_lite(asset: Asset, out: Path, options: ExportOptions) -> list[Path]:
    """Writes the PLY as the authors' code does."""
    splats, colors = _plain(asset, options)
    _write(out, _columns(splats, 1.0, colors), comments(options.axes_in_file()))
    options.report_progress(1, 1)
    return [out]


def write_splatv(asset: Asset, out: Path, options: ExportOptions) -> list[Path]:
    """Writes the file of splaTV. It begins with the clip's camera."""
    splats, colors = _plain(asset, options)
    words = splatv_words(splats, colors)
    about = {
        "type": "splat",
        "size": words.nbytes,
        "texwidth": 4 * PER_ROW,
        "texheight": len(words) // PER_ROW,
        "cameras": [_camera(asset, options.axes_in_file())],
    }
    text = json.dumps([about]).encode("ascii")
    text += b" " * (-len(text) % 4)
    head = np.array([SPLATV_MAGIC, len(text)], "<u4").tobytes()
    out.write_bytes(head + text + words.tobytes())
    options.report_progress(1, 1)
    return [out]


def splatv_words(
    splats: MovingGaussians, colors: Float[np.ndarray, "n 3"]
) -> UInt32[np.ndarray, "padded 16"]:
    """The words of splats, and of as many that are never there as fill the last row."""
    n = len(splats)
    padded = max(1, math.ceil(n / PER_ROW)) * PER_ROW
    halves = np.zeros((padded, 32), np.float16)
    halves[n:, 6] = 1.0  # an upright rotation and a moment long before the clip: nothing is divided by zero
    halves[n:, 30:] = -10.0, 0.01
    halves[:n, 6:10] = splats.rotations.numpy()
    halves[:n, 10:13] = splats.scales.numpy()
    halves[:n, 16:19] = splats.velocities.numpy().clip(-LARGEST_HALF, LARGEST_HALF)
    halves[:n, 30] = splats.times.numpy()
    halves[:n, 31] = (math.sqrt(2) * splats.deviations.numpy()).clip(None, LARGEST_HALF)
    words = halves.view("<u4").copy()
    words[:n, :3] = splats.means.numpy().astype("<f4").view("<u4")
    rgba = np.concatenate([colors, splats.opacities.numpy()[:, None]], 1)
    bytes_ = np.zeros((padded, 4), np.uint8)
    bytes_[:n] = np.rint(255 * rgba.clip(0, 1))
    words[:, 7] = bytes_.view("<u4")[:, 0]
    return words


def _plain(asset: Asset, options: ExportOptions) -> tuple[MovingGaussians, Float[np.ndarray, "n 3"]]:
    """Splats, and one color of each from all sides and at all times."""
    splats = moving(asset.gaussians).unrolled()
    none = torch.zeros(len(splats), 3, 3)
    colors = fixed_colors(Gaussians3D(splats.means, none, splats.opacities, splats.mean_colors()))
    return splats.turned(options.axes_in_file()), colors.numpy()


def _columns(
    splats: MovingGaussians,
    seconds: float,
    colors: Float[np.ndarray, "n 3"],
    rest: Float[np.ndarray, "n r"] | None = None,
) -> dict[tuple[str, ...], Float[np.ndarray, "n c"]]:
    """Properties in the authors' order. seconds: of a clip, in the file's unit of time."""
    n = len(splats)
    rest = np.zeros((n, 0)) if rest is None else rest
    motion = np.zeros((n, 9))
    motion[:, :3] = splats.velocities.numpy() / seconds
    return {
        ("x", "y", "z"): splats.means.numpy(),
        ("trbf_center",): splats.times.numpy()[:, None] * seconds,
        ("trbf_scale",): np.log(math.sqrt(2) * splats.deviations.numpy()[:, None] * seconds),
        ("nx", "ny", "nz"): np.zeros((n, 3)),
        tuple(f"motion_{i}" for i in range(9)): motion,
        tuple(f"f_dc_{i}" for i in range(3)): colors,
        tuple(f"f_rest_{i}" for i in range(rest.shape[1])): rest,
        ("opacity",): logits(splats.opacities)[:, None],
        tuple(f"scale_{i}" for i in range(3)): np.log(splats.scales.numpy()),
        tuple(f"rot_{i}" for i in range(4)): splats.rotations.numpy(),
        tuple(f"omega_{i}" for i in range(4)): np.zeros((n, 4)),
    }


def _write(
    out: Path, columns: dict[tuple[str, ...], Float[np.ndarray, "n c"]], said: tuple[str, ...]
) -> None:
    names = [name for group in columns for name in group]
    write_table(out, names, np.concatenate(list(columns.values()), 1), said)


def _fps(asset: Asset) -> float:
    return max(2, round(asset.seconds * 24)) / asset.seconds


def _camera(asset: Asset, axes: str, size: int = 512) -> dict[str, object]:
    """The clip's camera as splaTV lists them: place, and rotation from camera to world.

    size: splaTV takes the focal length for pixels of its window, so this is how large that must be.
    """
    camera = Cameras.orbit([0.0], asset.elevation, size=size)
    turn = conventions.axes(axes)
    return {
        "id": 0,
        "img_name": "clip",
        "width": size,
        "height": size,
        "position": (turn @ camera.position[0]).tolist(),
        "rotation": (turn @ camera.rotation[0].T).tolist(),
        "fx": FOCAL_PER_WIDTH * size,
        "fy": FOCAL_PER_WIDTH * size,
    }
