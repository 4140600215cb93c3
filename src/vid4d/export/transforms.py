"""Cameras of rendered pictures, for others: a JSON file in the style of NeRF's `transforms_train.json`.

Each picture has the camera-to-world matrix with OpenGL axes (x right, y up, z backward) in vid4d's world (z
up, front +x), and the clip's time in [0, 1], as in D-NeRF's data sets. `vid4d reconstruct` reads it, too.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from vid4d.cameras import Cameras
from vid4d.conventions import to_opengl
from vid4d.export.camera_path import Shots
from vid4d.files.write import write_json

FILE = "transforms_train.json"
"""Its name in a folder of pictures."""


def transforms(
    cameras: Cameras, times: Sequence[float] | Float[Tensor, " n"], names: Sequence[str]
) -> dict[str, Any]:
    """What the file holds. names: of the pictures, as they are found from it; PNGs without their ending.

    Focal lengths that differ, as a camera path may have them, stand at each picture.
    """
    poses = to_opengl(cameras).double().cpu()
    focals = cameras.focal.double().cpu().tolist()
    width, height = cameras.width, cameras.height
    one = max(focals) - min(focals) < 1e-4 * max(focals)
    entries = []
    for name, pose, focal, time in zip(names, poses, focals, torch.as_tensor(times).tolist(), strict=True):
        entry: dict[str, Any] = {"file_path": name, "time": round(float(time), 6)}
        if not one:
            entry |= _intrinsics(focal, width)
        entries.append(entry | {"transform_matrix": [[round(v, 8) for v in row] for row in pose.tolist()]})
    shared = _intrinsics(focals[0], width) if one else {}
    return shared | {"w": width, "h": height, "cx": width / 2, "cy": height / 2, "frames": entries}


def _intrinsics(focal: float, width: int) -> dict[str, float]:
    return {"camera_angle_x": 2 * math.atan(width / 2 / focal), "fl_x": focal, "fl_y": focal}


def write_transforms(
    path: Path, cameras: Cameras, times: Sequence[float] | Float[Tensor, " n"], names: Sequence[str]
) -> Path:
    """Writes `transforms`, whole or not at all."""
    write_json(path, transforms(cameras, times, names))
    return path


def beside_pictures(folder: Path, shots: Shots, files: Sequence[Path]) -> Path:
    """Writes the cameras of numbered pictures, one view each, into their folder."""
    return write_transforms(folder / FILE, shots.views[0], shots.times, [f"./{f.stem}" for f in files])


def beside_video(video: Path, shots: Shots) -> Path:
    """Writes the cameras of a video's pictures as NAME_transforms.json; each has the video and its number."""
    path = video.with_name(f"{video.stem}_transforms.json")
    content = transforms(shots.views[0], shots.times, [video.name] * len(shots))
    for i, entry in enumerate(content["frames"]):
        entry["frame"] = i
    write_json(path, content | {"fps": float(shots.fps)})
    return path
