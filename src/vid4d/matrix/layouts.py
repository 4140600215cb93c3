"""Image matrices of other tools: Efficient4D, NeRF-style transforms, SV4D, Zero123++."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from vid4d.cameras import RING_VIEWS, Cameras
from vid4d.conventions import from_opengl
from vid4d.errors import InputError
from vid4d.files.paths import natural_order
from vid4d.matrix.descriptions import Frame, is_rotation
from vid4d.matrix.descriptions import read_transforms as read_transforms_file
from vid4d.matrix.files import (
    as_rgba,
    picture_size,
    pictures_in,
    read_grey,
    read_picture,
    read_video,
    split_grid,
    stack,
)
from vid4d.matrix.matrix import ImageMatrix

SV4D_AZIMUTHS = {
    "sv4d": [360.0 * i / 21 for i in (0, 2, 5, 7, 9, 12, 14, 16, 19)],
    "sv4d2": [0.0, 60.0, 120.0, 180.0, 240.0],
    "sv4d2-8views": [0.0, 30.0, 75.0, 120.0, 165.0, 210.0, 255.0, 300.0, 330.0],
}
"""Azimuth by view number; view 0 is the input. From the tools' sampling scripts."""
SV4D_ELEVATION = {"sv4d": 10.0, "sv4d2": 0.0, "sv4d2-8views": 0.0}
SV4D_FOV, SV4D_DISTANCE = 33.8, 2.0
"""As the authors of SV3D state them (generative-models, issue 342)."""

ZERO123PLUS_AZIMUTHS = [30.0, 90.0, 150.0, 210.0, 270.0, 330.0]
ZERO123PLUS_RIG = {
    "zero123plus-v1.1": ((30.0, -20.0), 2 * math.degrees(math.atan(16 / 35)), 1.5),
    "zero123plus-v1.2": ((20.0, -10.0), 30.0, 0.5 / math.tan(math.radians(15.0))),
}
"""Elevations of odd and even views, field of view in degrees, distance.

v1.2 fixes them around a sphere of radius 0.5; v1.1 has Zero123's field of view and no fixed distance, for
which 1.5 (SyncDreamer's) stands.
"""


STAG4D = {"stag4d": "zero123plus-v1.1", "stag4d-v1.2": "zero123plus-v1.2"}
"""STAG4D's folders hold what Zero123++ drew; by which of its rigs."""


def rivals(layout: str) -> tuple[str, ...]:
    """Layouts that a folder of this layout may as well be in: the two rigs of Zero123++ look alike."""
    return next((tuple(some) for some in (ZERO123PLUS_RIG, STAG4D) if layout in some), (layout,))


def even_times(count: int) -> list[float]:
    """Times from 0 to 1 in even steps; a single one is 0."""
    return [i / (count - 1) for i in range(count)] if count > 1 else [0.0]


def strips_of(path: Path) -> list[Path]:
    """One picture per time; Efficient4D keeps the interpolated sequence in data/."""
    return pictures_in(path / "data" if (path / "data").is_dir() else path)


def sv4d_videos(path: Path) -> dict[int, Path]:
    """View number -> video NNNNNN_vKKK.mp4, of the last run in the folder."""
    runs: dict[str, dict[int, Path]] = {}
    for file in sorted(path.glob("*.mp4")):
        match = re.fullmatch(r"(\d+)_v(\d+)\.mp4", file.name)
        if match:
            runs.setdefault(match[1], {})[int(match[2])] = file
    return runs[max(runs)] if runs else {}


def detect(path: Path) -> str | None:
    """Name of a folder's layout, one of `LAYOUTS`; None where it has none of them."""
    if (path / "transforms_train.json").is_file():
        return "transforms"
    if (path / "zero123").is_dir() and (path / "ref").is_dir():
        return "stag4d"
    videos = sv4d_videos(path)
    if videos:
        if any(re.search(r"_(t000|diag)\.mp4$", p.name) for p in path.glob("*.mp4")):
            return "sv4d"
        return "sv4d2" if max(videos) <= 4 else "sv4d2-8views"
    strips = strips_of(path)
    if strips:
        width, height = picture_size(strips[0])
        if width == RING_VIEWS * height:
            return "efficient4d"
        if 3 * width == 2 * height:
            return "zero123plus-v1.2"
    return None


def _grids(path: Path, columns: int, rows: int) -> tuple[torch.Tensor, list[Path]]:
    files = strips_of(path)
    if not files:
        raise InputError(f"{path} holds no pictures: give the folder with one picture of all views per time.")
    frames = [
        stack([as_rgba(cell) for cell in split_grid(read_picture(f), columns, rows, f)], f) for f in files
    ]
    return torch.from_numpy(stack(frames, path)).transpose(0, 1).contiguous(), files


def read_efficient4d(path: Path) -> ImageMatrix:
    """Strips of 16 square views, one PNG per time, with conf_map/NN_ssim.png beside where computed."""
    images, files = _grids(path, RING_VIEWS, 1)
    if images.shape[2] != images.shape[3]:
        raise InputError(f"{files[0]} is not a strip of {RING_VIEWS} square views.")
    matrix = ImageMatrix(
        images,
        Cameras.ring(size=images.shape[2]),
        torch.tensor(even_times(len(files))),
        seconds=len(files) / 30,
    )
    maps = [f.parent / "conf_map" / f"{f.stem}_ssim.png" for f in files]
    if not all(m.is_file() for m in maps):
        return matrix
    confidence = stack([stack(split_grid(read_grey(m), RING_VIEWS, 1, m), m) for m in maps], path)[..., 0]
    if confidence.shape[2:] != images.shape[2:4]:
        raise InputError(f"{maps[0]} has another size than its images: compute the confidence again.")
    return matrix.with_confidence(torch.from_numpy(confidence).transpose(0, 1).contiguous())


def read_transforms(path: Path) -> ImageMatrix:
    """NeRF's transforms_train.json: camera-to-world with OpenGL axes, one entry per view and time.

    Efficient4D's converter writes mirrored rotations (x points left): a left-handed matrix gets its x axis
    turned. Frames of one pose form a view; each view needs the same times.
    """
    file = path / "transforms_train.json"
    transforms = read_transforms_file(file)
    poses: dict[tuple[float, ...], int] = {}
    cells: dict[tuple[int, float], Frame] = {}
    for entry in transforms.frames:
        pose = np.asarray(entry.transform_matrix, dtype=np.float64)[:3]
        if not is_rotation(pose[:, :3], 1e-2):
            raise InputError(
                f"{file} has no rotation in the transform_matrix of {entry.file_path}: correct or remove it."
            )
        cells[poses.setdefault(tuple(np.round(pose, 5).ravel()), len(poses)), entry.time] = entry
    times = sorted({t for _, t in cells})
    views = range(len(poses))
    if len(cells) != len(poses) * len(times):
        raise InputError(
            f"{file} has {len(cells)} images for {len(poses)} cameras and {len(times)} times: "
            "an image matrix needs every camera at every time."
        )

    def picture(entry: Frame) -> Path:
        named, usual = path / entry.file_path, path / f"{entry.file_path}.png"
        return usual if usual.is_file() or not named.suffix else named

    images = stack(
        [stack([as_rgba(read_picture(picture(cells[v, t]))) for t in times], path) for v in views], path
    )
    height, width = images.shape[2:4]
    cx, cy = (
        (width / 2 if transforms.cx is None else transforms.cx),
        (height / 2 if transforms.cy is None else transforms.cy),
    )
    if max(abs(cx - width / 2), abs(cy - height / 2)) > 1:
        raise InputError(
            f"{file} has its principal point off the picture's centre: crop the images around it."
        )
    to_world = np.array(list(poses)).reshape(-1, 3, 4)
    to_world[np.linalg.det(to_world[:, :, :3]) < 0, :, 0] *= -1
    if transforms.fl_x is not None:
        focal = transforms.fl_x
    elif transforms.camera_angle_x is not None:
        focal = width / 2 / math.tan(transforms.camera_angle_x / 2)
    else:
        raise InputError(f"{file} has neither fl_x nor camera_angle_x: add the focal length.")
    seconds = times[-1] - times[0]
    matrix = ImageMatrix(
        torch.from_numpy(images),
        from_opengl(torch.from_numpy(to_world), torch.full((len(poses),), focal), width, height),
        torch.tensor([(t - times[0]) / seconds if seconds > 0 else 0.0 for t in times]),
        seconds=seconds or 1.0,
    )
    pictures = {cell.file_path for cell in cells.values()}
    named = [[cells[v, t].conf_ssim for t in times] for v in views]
    if any(n is None or n in pictures for row in named for n in row):  # without confidence: the image itself
        return matrix
    maps = [stack([read_grey(path / str(n)) for n in row], path) for row in named]
    return matrix.with_confidence(torch.from_numpy(stack(maps, path)[..., 0].copy()))


def read_sv4d(path: Path, version: str) -> ImageMatrix:
    """Square videos on white, one per view. The input is view 0 where that was saved, else
    NNNNNN_process_input.mp4 beside the views."""
    azimuths = SV4D_AZIMUTHS[version]
    videos = sv4d_videos(path)
    if not videos or max(videos) >= len(azimuths):
        raise InputError(
            f"{path} has videos of views {sorted(videos)}, but {version} has 0 to {len(azimuths) - 1}."
        )
    numbers = sorted(videos)
    clips = {v: read_video(videos[v]) for v in numbers}
    if len({len(frames) for frames, _ in clips.values()}) != 1:
        raise InputError(f"The videos in {path} have different numbers of frames: generate them again.")
    rows = [stack([as_rgba(frame) for frame in clips[v][0]], path) for v in numbers]
    images = torch.from_numpy(stack(rows, path))
    size = images.shape[3]
    cameras = Cameras.orbit(
        [azimuths[v] for v in numbers],
        SV4D_ELEVATION[version],
        distance=SV4D_DISTANCE,
        size=size,
        focal=size / 2 / math.tan(math.radians(SV4D_FOV) / 2),
    )
    times = torch.tensor(even_times(images.shape[1]))
    matrix = ImageMatrix(images, cameras, times, seconds=clips[numbers[0]][1])
    if numbers[0] == 0:
        return replace(matrix, input_images=images[0], input_camera=cameras[0], input_times=times)
    name = re.sub(r"_v\d+\.mp4$", "_process_input.mp4", videos[numbers[0]].name)
    if not (path / name).is_file():
        return matrix
    frames = torch.from_numpy(stack([as_rgba(f) for f in read_video(path / name)[0]], path))
    if len(frames) != len(times):
        raise InputError(
            f"{path / name} has {len(frames)} frames, the views beside it {len(times)}: "
            "remove it, or generate them again."
        )
    side = frames.shape[2]
    camera = Cameras.orbit(
        [azimuths[0]],
        SV4D_ELEVATION[version],
        distance=SV4D_DISTANCE,
        size=side,
        focal=side / 2 / math.tan(math.radians(SV4D_FOV) / 2),
    )
    return replace(matrix, input_images=frames, input_camera=camera, input_times=times)


def read_zero123plus(path: Path, version: str) -> ImageMatrix:
    """Grids of 3 rows x 2 columns, one picture per time, views row by row; a grey background is keyed out."""
    return _zero123plus(_grids(path, 2, 3)[0], version)


def read_stag4d(path: Path, layout: str) -> ImageMatrix:
    """zero123/N_rgba/0.png to 5.png: the views of Zero123++ at time N.

    ref/ holds the clip's frames, which are left aside: nothing says from which elevation they were taken.
    """
    moments = natural_order(p for p in (path / "zero123").iterdir() if p.is_dir())
    if not moments:
        raise InputError(
            f"{path / 'zero123'} holds no folders, one a moment: give the folder of STAG4D's data."
        )
    rows = []
    for moment in moments:
        files = [moment / f"{view}.png" for view in range(len(ZERO123PLUS_AZIMUTHS))]
        if missing := next((f for f in files if not f.is_file()), None):
            raise InputError(f"{missing} is missing: a moment has six views; add it, or remove its folder.")
        rows.append(stack([as_rgba(read_picture(f)) for f in files], moment))
    images = torch.from_numpy(stack(rows, path)).transpose(0, 1).contiguous()
    return _zero123plus(images, STAG4D[layout])


def _zero123plus(images: torch.Tensor, version: str) -> ImageMatrix:
    """Six views of Zero123++, (6, t, h, w, 4), in the rig of that version."""
    elevations, fov, distance = ZERO123PLUS_RIG[version]
    size = images.shape[3]
    cameras = Cameras.orbit(
        ZERO123PLUS_AZIMUTHS,
        torch.tensor(elevations * 3),
        distance=distance,
        size=size,
        focal=size / 2 / math.tan(math.radians(fov) / 2),
    )
    return ImageMatrix(images, cameras, torch.tensor(even_times(images.shape[1])))


def read(path: Path, layout: str) -> ImageMatrix:
    """Reads one of LAYOUTS."""
    if layout == "transforms":
        return read_transforms(path)
    if layout == "efficient4d":
        return read_efficient4d(path)
    if layout in STAG4D:
        return read_stag4d(path, layout)
    return read_sv4d(path, layout) if layout in SV4D_AZIMUTHS else read_zero123plus(path, layout)


LAYOUTS: Sequence[str] = ("transforms", "efficient4d", *SV4D_AZIMUTHS, *ZERO123PLUS_RIG, *STAG4D)
