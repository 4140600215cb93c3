"""Camera paths of videos: turntables, cameras that stand still, paths from JSON.

A camera path (docs/formats.md) is a JSON object with a list `keys`. Each key says where the camera is at `at`
seconds of the video:

    {"seconds": 6, "keys": [
        {"at": 0, "azimuth": 0, "elevation": 10, "distance": 1.5, "time": 0},
        {"at": 6, "azimuth": 720, "elevation": 40, "distance": 1.2, "time": 1}]}

Instead of angles and distance a key may give a `position`. `target` (the origin), `fov` (degrees, 49.1) and
`time` (of the clip; beyond 1 it starts again) are optional. Between keys everything runs smoothly, without
overshooting, or linearly with `"interpolation": "linear"`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from vid4d.cameras import DEFAULT_ELEVATION, FOCAL_PER_WIDTH, RING_DISTANCE, Cameras
from vid4d.errors import InputError
from vid4d.export.root_motion import beside, overview, root_motion
from vid4d.files.records import read_record
from vid4d.render import frames_of, loops_to_play

if TYPE_CHECKING:
    from vid4d.asset import Asset
    from vid4d.export.options import ExportOptions

FOV = math.degrees(2 * math.atan(0.5 / FOCAL_PER_WIDTH))
"""Of the ring's cameras, degrees."""
FURTHEST = 100.0
KEYS = {"at", "azimuth", "elevation", "distance", "position", "target", "fov", "time"}
TOP = {"seconds", "interpolation", "keys"}


@dataclass(frozen=True)
class Shots:
    """The pictures of a video.

    views: a camera for each frame, once or (for two views side by side) twice. times: of the clip, in [0, 1].
    """

    views: tuple[Cameras, ...]
    times: Float[Tensor, " n"]
    fps: float

    def __len__(self) -> int:
        return len(self.times)


def plan(asset: Asset, options: ExportOptions, *, fps: float = 24.0) -> Shots:
    """Cameras and times of a video of an asset, frame by frame. fps: the format's default.

    The clip plays at its own speed, again and again; with `options.time` it stands still. The turntable turns
    once. Where `options.fps` names no rate, it is as close to the format's as lets the duration be exact.
    """
    clip = max(asset.seconds, 1e-3)
    path = None if options.cameras is None else read_path(options.cameras, asset.elevation)
    if path is not None:
        duration = options.seconds or path.seconds or loops_to_play(clip) * clip
    elif options.view == "fixed" and options.seconds is None:
        duration = clip
    else:
        duration = options.seconds or loops_to_play(clip) * clip
    count, frame_rate = frames_of(duration, options.fps or fps)
    if options.frames is not None:
        count, frame_rate = options.frames, options.frames / duration
    frame_rate = options.fps or frame_rate
    seconds = torch.arange(count) / frame_rate
    if options.time is not None:
        times = torch.full((count,), float(options.time))
    else:
        times = (seconds / clip) % 1.0
    if path is not None:
        cameras, path_times = path.sample(seconds.numpy(), count / frame_rate, options.size)
        if path_times is not None and options.time is None:
            times = path_times
        return Shots((_beside(asset, cameras, times, options),), times, frame_rate)
    elevation = options.elevation_for(asset)
    middle, farther = overview(asset) if options.root_motion else (np.zeros(3), 1.0)
    distance = RING_DISTANCE * farther
    turn = options.azimuth + 360.0 * torch.arange(count) / count
    still, turning = (
        beside(Cameras.orbit(a, elevation, distance=distance, size=options.size), -middle[None])
        for a in (torch.full((count,), options.azimuth), turn)
    )
    still, turning = (_beside(asset, cameras, times, options) for cameras in (still, turning))
    views = {"turntable": (turning,), "fixed": (still,), "both": (still, turning)}
    return Shots(views[options.view], times, frame_rate)


def _beside(asset: Asset, cameras: Cameras, times: Float[Tensor, " n"], options: ExportOptions) -> Cameras:
    """Cameras that see the asset where it goes, if the options ask for that."""
    return beside(cameras, root_motion(asset, times.numpy())) if options.root_motion else cameras


@dataclass(frozen=True)
class CameraPath:
    """Keys of a camera path. at: seconds, rising. fov and angles: degrees. time: of the clip, or None."""

    at: Float[np.ndarray, " k"]
    angles: Float[np.ndarray, "k 3"]
    """Azimuth, elevation, distance."""
    target: Float[np.ndarray, "k 3"]
    fov: Float[np.ndarray, " k"]
    time: Float[np.ndarray, " k"] | None
    seconds: float | None
    smooth: bool

    def sample(
        self, seconds: Float[np.ndarray, " n"], duration: float, size: int
    ) -> tuple[Cameras, Float[Tensor, " n"] | None]:
        """Cameras, and times of the clip where the path says them, at moments of a video of some duration.

        A path without seconds of its own is stretched over the video.
        """
        scale = duration if self.seconds is None else 1.0
        values = [self.angles, self.target, self.fov[:, None]]
        if self.time is not None:
            values.append(self.time[:, None])
        moved = self._between(np.concatenate(values, 1), seconds / scale)
        azimuth, elevation, distance = moved[:, :3].T
        focal = size / 2 / np.tan(np.radians(moved[:, 6]) / 2)
        orbit = Cameras.orbit(
            torch.from_numpy(azimuth),
            torch.from_numpy(elevation),
            distance=torch.from_numpy(distance),
            size=size,
        )
        pose = orbit.world_to_camera.clone()
        target = torch.from_numpy(moved[:, 3:6]).float()
        pose[:, :3, 3] -= torch.einsum("nij,nj->ni", pose[:, :3, :3], target)
        cameras = Cameras(pose, torch.from_numpy(focal).float(), size, size)
        if self.time is None:
            return cameras, None
        times = moved[:, 7]
        return cameras, torch.from_numpy(np.where((times < 0) | (times > 1), times % 1.0, times)).float()

    def _between(self, values: Float[np.ndarray, "k c"], at: Float[np.ndarray, " n"]) -> np.ndarray:
        at = np.clip(at, self.at[0], self.at[-1])
        if len(self.at) == 1:
            return np.repeat(values, len(at), 0)
        if self.smooth and len(self.at) > 2:
            from scipy.interpolate import PchipInterpolator

            return PchipInterpolator(self.at, values)(at)
        return np.stack([np.interp(at, self.at, column) for column in values.T], 1)


def read_path(file: str | Path, elevation: float = DEFAULT_ELEVATION) -> CameraPath:
    """Reads a camera path. Raises InputError, which names the key, for what it does not understand.

    elevation: degrees, of the first keys where they name none.
    """
    file = Path(file)
    layout = read_record(file, dict[str, Any], "see the documented layout")
    _check_keys(file, layout, TOP, "the camera path")
    keys = layout.get("keys")
    if not isinstance(keys, list) or not keys or not all(isinstance(k, dict) for k in keys):
        raise InputError(f"{file} has no list 'keys' of camera positions: see the documented layout")
    smooth = layout.get("interpolation", "smooth")
    if smooth not in ("smooth", "linear"):
        raise InputError(f"{file}: interpolation is {smooth!r}, expected 'smooth' or 'linear'")
    seconds = None if layout.get("seconds") is None else _number(file, layout, "seconds", None, 0.05, 600)
    rows = []
    before = [0.0, elevation, RING_DISTANCE, 0.0, 0.0, 0.0, FOV, 0.0]
    for i, key in enumerate(keys):
        before = _read_key(file, key, f"key {i}", before, first=i == 0)
        rows.append(before)
    timed = ["at" in key for key in keys]
    if any(timed) and not all(timed):
        raise InputError(f"{file}: some keys have 'at' and some have not: give it to all or to none")
    if all(timed):
        at = np.array([_number(file, k, "at", None, 0, 600, f"key {i}") for i, k in enumerate(keys)])
        seconds = seconds or (float(at[-1]) if at[-1] > 0 else None)
        if (np.diff(at) <= 0).any():
            raise InputError(f"{file}: 'at' must rise from key to key")
        at = at if seconds is not None else at * 0.0
    else:
        at = np.linspace(0, 1, len(keys)) * (seconds or 1.0)
    has_time = ["time" in key for key in keys]
    if any(has_time) and not all(has_time):
        raise InputError(f"{file}: some keys have 'time' and some have not: give it to all or to none")
    table = np.array(rows)
    return CameraPath(
        at=at,
        angles=table[:, :3],
        target=table[:, 3:6],
        fov=table[:, 6],
        time=table[:, 7] if all(has_time) else None,
        seconds=seconds,
        smooth=smooth == "smooth",
    )


def _read_key(file: Path, key: dict[str, Any], where: str, last: list[float], *, first: bool) -> list[float]:
    """Azimuth, elevation, distance, target, fov, time. What a key leaves out is as in the last before it."""
    _check_keys(file, key, KEYS, where)
    target = _point(file, key, "target", where) if "target" in key else last[3:6]
    if "position" in key:
        if {"azimuth", "elevation", "distance"} & set(key):
            raise InputError(f"{file}: {where} has a position and angles: give one of them")
        x, y, z = (a - b for a, b in zip(_point(file, key, "position", where), target, strict=True))
        distance = math.sqrt(x * x + y * y + z * z)
        if not 1e-3 <= distance <= FURTHEST:
            raise InputError(f"{file}: {where} puts the camera on its target or too far from it: move it")
        azimuth = math.degrees(math.atan2(y, x))
        azimuth += 0 if first else 360 * round((last[0] - azimuth) / 360)  # the short way round
        angles = [azimuth, math.degrees(math.asin(max(-1.0, min(1.0, z / distance)))), distance]
    else:
        angles = [
            _number(file, key, "azimuth", last[0], -36000, 36000, where),
            _number(file, key, "elevation", last[1], -90, 90, where),
            _number(file, key, "distance", last[2], 1e-3, FURTHEST, where),
        ]
    fov = _number(file, key, "fov", last[6], 1, 170, where)
    return [*angles, *target, fov, _number(file, key, "time", 0.0, -1000, 1000, where)]


def _check_keys(file: Path, entries: dict[str, Any], allowed: set[str], where: str) -> None:
    if strange := sorted(set(entries) - allowed):
        raise InputError(
            f"{file}: {where} has unknown {strange[0]!r}: it may have {', '.join(sorted(allowed))}"
        )


def _number(
    file: Path,
    entries: dict[str, Any],
    name: str,
    default: float | None,
    least: float,
    most: float,
    where: str = "the camera path",
) -> float:
    value = entries.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
        raise InputError(
            f"{file}: {name} of {where} is {value!r}, expected a number of {least:g} to {most:g}"
        )
    return float(value)


def _point(file: Path, entries: dict[str, Any], name: str, where: str) -> list[float]:
    value = entries[name]
    if not isinstance(value, list) or len(value) != 3:
        raise InputError(f"{file}: {name} of {where} is {value!r}, expected three numbers")
    return [_number(file, {name: v}, name, None, -FURTHEST, FURTHEST, where) for v in value]
