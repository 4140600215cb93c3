"""Exported splats against the asset, for benchmarks/round_trip.py: numbers, bounds, colors, pictures."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from comparisons import SIDES, Say, decibels, duration, span
from readers import read_ply
from readers_splats import (
    TO_Z_UP,
    V4D,
    read_ply4d,
    read_sog,
    read_splatv,
    read_spz,
    read_stg,
    vertices,
    z_up,
)

from vid4d.asset import Asset
from vid4d.cameras import Cameras
from vid4d.gaussians import raster
from vid4d.gaussians.model import Gaussians3D
from vid4d.gaussians.sh import C0
from vid4d.media.images import over

FAINTEST = 1 / 255
READERS: dict[str, tuple[Callable[[Path], Gaussians3D], float, float]] = {
    "ply": (read_ply, 2e-5, 50.0),
    "spz": (read_spz, 5e-3, 30.0),
    "sog": (read_sog, 5e-3, 30.0),
}
"""Of files of a moment: the reader, tolerance of bounds and colors, dB that pictures must reach."""
TIMES = (0.0, 0.21, 0.5, 0.73, 0.96)
MOVING_SHARPNESS = {"stg": 36.0, "stg-lite": 30.0, "splatv": 30.0, "ply4d": 50.0, "v4d": 45.0}
"""dB that pictures of what is read back must reach. Without harmonics a splat has one color for all sides."""


def visible_splats(splats: Gaussians3D) -> Gaussians3D:
    visible = splats.opacities >= FAINTEST * (1 - 1e-6)
    parts = (splats.means, splats.covariances, splats.opacities, splats.sh)
    return Gaussians3D(*(part[visible].double() for part in parts))


def summary(splats: Gaussians3D) -> tuple[Any, ...]:
    """How many, bounds of their centres (6 numbers), mean color."""
    box = torch.cat([splats.means.amin(0), splats.means.amax(0)]).numpy()
    weight = splats.opacities[:, None] / splats.opacities.sum()
    return len(splats), box, ((0.5 + C0 * splats.sh[:, 0]) * weight).sum(0).numpy()


def compare_splats(
    asset: Asset, times: Sequence[float], back: Callable[[int], Gaussians3D], say: Say, *, tolerance: float
) -> None:
    """Number, bounds and colors at every moment; tolerance: of bounds (world units) and colors.

    A splat whose opacity lies within rounding of the faintest may be seen or not; bounds and colors then
    are not changed by more than the tolerance either.
    """
    true = [summary(visible_splats(asset.gaussians.at(t))) for t in times]
    exported = [summary(visible_splats(back(i))) for i in range(len(times))]
    counts = [np.array([entry[0] for entry in some]) for some in (true, exported)]
    slack = 0 if tolerance < 1e-4 else 0.002
    agrees = bool((np.abs(counts[1] - counts[0]) <= slack * counts[0]).all())
    moments = f"at each of {len(times)} moments" if len(times) > 1 else ""
    values = [f"{c.min():,} to {c.max():,}, sum {c.sum():,}" for c in counts]
    say(f"splats {moments}" + (f" (± {slack:.1%})" if slack else ""), *values, agrees)
    middle = len(times) // 2
    for k, name in ((1, "bounds of their centres"), (2, "mean color")):
        worst = max(float(np.abs(a[k] - b[k]).max()) for a, b in zip(true, exported, strict=True))
        values = [
            f"{span(some[middle][k][:3])} to {span(some[middle][k][3:])}" if k == 1 else span(some[middle][k])
            for some in (true, exported)
        ]
        say(f"{name} (± {tolerance:g}; most {worst:.1g}; shown: the middle)", *values, worst <= tolerance)


def plan(asset: Asset, fps: float) -> list[float]:
    """The clip times that a sequence holds where nothing is asked for."""
    count = max(2, round(asset.seconds * fps))
    return [i / (count if asset.cyclic else count - 1) for i in range(count)]


def looks(
    asset: Asset,
    at: Callable[[float], Gaussians3D],
    axes: str,
    size: int,
    times: Sequence[float] = TIMES,
) -> list[float]:
    """dB of pictures of what was read back, in a file's axes, at some times from six sides, over white."""
    cameras = Cameras.cat([Cameras.orbit([a], e, size=size) for a, e in SIDES])
    pose = cameras.world_to_camera.clone()
    pose[:, :3, :3] = pose[:, :3, :3] @ torch.tensor(TO_Z_UP[axes], dtype=pose.dtype)
    turned = replace(cameras, world_to_camera=pose)
    values = []
    for time in times:
        picture = raster.rasterize(at(time).to(dtype=torch.float32), turned).color.clamp(0, 1).numpy()
        true = over(asset.render(cameras, time).numpy(), 1.0)
        values.append(min(decibels(*pair) for pair in zip(picture, true, strict=True)))
    return values


def pictures_agree(values: Sequence[float], least: float, say: Say) -> None:
    what = f"pictures of what is read back, 6 sides at {len(values)} moments (≥ {least:g} dB)"
    say(what, "renders", f"{min(values):.1f} dB at worst", min(values) >= least)


def size_of(files: Sequence[Path], say: Say) -> None:
    total = sum(file.stat().st_size for file in files)
    say("size", "", f"{total / 1e6:.2f} MB" if total > 1e6 else f"{total / 1e3:.1f} kB", True)


def check_moments(asset: Asset, to: str, files: list[Path], say: Say, *, size: int) -> None:
    """Numbered files of one moment each."""
    read, tolerance, sharpness = READERS[to]
    metadata = json.loads(files[-1].read_text())
    times = plan(asset, 24.0)
    say("moments", str(len(times)), str(len(files) - 1), len(files) - 1 == len(times))
    stand = [frame["time"] for frame in metadata["frames"]]
    right = len(stand) == len(times) and np.allclose(stand, times, atol=1e-6)
    say("clip times of the moments", f"0 to {times[-1]:.3f}", f"0 to {stand[-1]:.3f}", right)
    duration(asset, metadata["seconds"], say)
    back = [z_up(read(file), metadata["axes"]) for file in files[:-1]]
    compare_splats(asset, times, lambda i: back[i], say, tolerance=tolerance)
    some = stand[:: max(1, len(stand) // 5)]
    at = {time: file for time, file in zip(stand, files, strict=False)}
    seen = looks(asset, lambda time: read(at[time]), metadata["axes"], size, some)
    pictures_agree(seen, sharpness, say)
    size_of(files, say)


def check_moving(asset: Asset, to: str, files: list[Path], say: Say, *, size: int) -> None:
    """Files that hold all moments."""
    (path,) = files
    packed = V4D(path.read_bytes()) if to == "v4d" else None

    def at(time: float) -> Gaussians3D:
        if to == "splatv":
            return read_splatv(path, time)[0]
        if to == "ply4d":
            return read_ply4d(path, time)
        if packed is not None:
            return packed.at(time)
        back = read_stg(path, time * (asset.seconds if to == "stg" else 1.0))
        return replace(back, sh=(back.sh - 0.5) / C0) if to == "stg-lite" else back

    if to == "stg":
        said = next(c for c in vertices(path)[2] if c.startswith("cfg_args"))
        duration(asset, float(said.split("duration=")[1].split()[0]), say)
    if packed is not None:
        duration(asset, packed.header["seconds"], say)
        compare_splats(asset, TIMES, lambda i: at(TIMES[i]), say, tolerance=2e-3)
    axes = "z-up" if to == "v4d" else "y-down"
    pictures_agree(looks(asset, at, axes, size), MOVING_SHARPNESS[to], say)
    size_of(files, say)
