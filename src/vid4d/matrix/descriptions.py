"""Records of the descriptions of an image matrix: cameras.json, and NeRF's transforms_train.json."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from jaxtyping import Float
from msgspec import Meta, Struct
from torch import Tensor

from vid4d.cameras import FOCAL_PER_WIDTH, RING_DISTANCE, Cameras
from vid4d.errors import InputError
from vid4d.files.records import Finite, Seconds, Time, read_record

Row = Annotated[list[Finite], Meta(min_length=4, max_length=4)]
Pose = Annotated[list[Row], Meta(min_length=4, max_length=4)]
Focal = Annotated[float, Meta(gt=0, le=1e7)]
Fov = Annotated[float, Meta(ge=0.1, le=170)]
Side = Annotated[int, Meta(ge=1, le=16384)]
Count = Annotated[int, Meta(ge=0, le=1_000_000)]
Distance = Annotated[float, Meta(ge=1e-3, le=1e4)]
Name = Annotated[str, Meta(min_length=1)]
WIDEST = 0.04
"""Focal length over width of a field of view of 170 degrees, about the least that is believed."""


class ViewRecord(Struct):
    """A camera. Degrees, pixels and world units, as `vid4d.matrix.io` describes."""

    azimuth: Finite | None = None
    elevation: Annotated[float, Meta(ge=-90.001, le=90.001)] | None = None
    distance: Distance | None = None
    world_to_camera: Pose | None = None
    focal: Focal | None = None
    fov: Fov | None = None
    width: Side | None = None
    height: Side | None = None


class Inputs(Struct):
    """The reference frames of the input video, or of another camera."""

    images: Name
    times: Annotated[list[Time], Meta(min_length=1)]
    camera: ViewRecord


FORMAT = "vid4d image matrix 1"


class MatrixRecord(Struct):
    """cameras.json. width, height: of an image in pixels, which is for the pictures to say."""

    views: Annotated[list[ViewRecord], Meta(min_length=1, max_length=1024)]
    images: Name
    format: Name | None = None
    width: Side | None = None
    height: Side | None = None
    times: list[Time] | None = None
    seconds: Seconds | None = None
    cyclic: bool = False
    confidence: Name | None = None
    input: Inputs | None = None
    also: Annotated[list[Inputs], Meta(max_length=64)] | None = None
    distance: Distance | None = None
    focal: Focal | None = None
    fov: Fov | None = None


class Frame(Struct):
    """An entry of transforms_train.json: camera-to-world, OpenGL axes."""

    file_path: Name
    transform_matrix: Annotated[list[Row], Meta(min_length=3, max_length=4)]
    time: Finite = 0.0
    conf_ssim: Name | None = None


class Transforms(Struct):
    """transforms_train.json."""

    frames: Annotated[list[Frame], Meta(min_length=1, max_length=1_000_000)]
    camera_angle_x: Annotated[float, Meta(gt=0.002, le=2.97)] | None = None
    fl_x: Focal | None = None
    cx: Finite | None = None
    cy: Finite | None = None


def read_described(file: Path) -> MatrixRecord:
    """Reads and checks a cameras.json. Raises InputError, with the field, for what cannot be."""
    described = read_record(file, MatrixRecord, "correct it as docs/cameras_json.md says, or write it again.")
    if re.match(r"vid4d image matrix \d", described.format or "") and described.format != FORMAT:
        raise InputError(
            f"{file} is {described.format!r:.80}, this vid4d reads {FORMAT!r}: use a newer vid4d or write it "
            "again."
        )
    return described


def read_transforms(file: Path) -> Transforms:
    """Reads and checks a transforms_train.json, as `read_described` does a cameras.json."""
    return read_record(file, Transforms, "correct it, or write it again.")


def is_rotation(matrix: Float[np.ndarray, "3 3"] | Float[Tensor, "3 3"], tolerance: float = 1e-3) -> bool:
    """Test for orthonormal axes, of a rotation or of a mirrored one."""
    axes = np.asarray(matrix, np.float64)
    return bool(np.allclose(axes @ axes.T, np.eye(3), atol=tolerance))


def cameras_of(
    views: list[ViewRecord], described: MatrixRecord | None, width: int, height: int, file: Path
) -> Cameras:
    """The cameras of views, whose images have so many pixels. described: what holds for all of them.

    Raises InputError with the view, and where they, or all, are described with other sizes.
    """
    poses, focals = [], []
    for i, view in enumerate(views):
        if (view.width or width, view.height or height) != (width, height):
            raise _other_size(file, f"view {i}", view, width, height)
        try:
            poses.append(_pose(view, described))
            focals.append(_focal(view, described, width))
        except ValueError as e:
            raise InputError(
                f"View {i} in {file} is no camera ({e}): give azimuth and elevation, or world_to_camera."
            ) from e
    return Cameras(torch.stack(poses), torch.tensor(focals), width, height)


def check_size(described: MatrixRecord, width: int, height: int, file: Path) -> None:
    """Raises InputError for images of another size than all are said to have: their focal lengths differ."""
    if (described.width or width, described.height or height) != (width, height):
        raise _other_size(file, "its images", described, width, height)


def _other_size(
    file: Path, what: str, said: ViewRecord | MatrixRecord, width: int, height: int
) -> InputError:
    return InputError(
        f"{file} says of {what} {said.width or width} x {said.height or height} pixels, but they have "
        f"{width} x {height}: correct 'width' and 'height', and 'focal' with them, or leave them out."
    )


def _pose(view: ViewRecord, described: MatrixRecord | None) -> Float[Tensor, "4 4"]:
    if view.world_to_camera is not None:
        pose = torch.tensor(view.world_to_camera, dtype=torch.float32)
        rotation = pose[:3, :3].double()
        bottom = torch.tensor([0.0, 0.0, 0.0, 1.0])
        rigid = is_rotation(rotation) and torch.allclose(pose[3], bottom, atol=1e-5)
        if not rigid or torch.linalg.det(rotation) < 0:
            raise ValueError("world_to_camera is not a rigid 4x4 matrix")
        return pose
    if view.azimuth is None or view.elevation is None:
        raise ValueError("it lacks 'azimuth' or 'elevation'")
    distance = view.distance or (described.distance if described else None) or RING_DISTANCE
    return Cameras.orbit([view.azimuth], view.elevation, distance=distance).world_to_camera[0]


def _focal(view: ViewRecord, described: MatrixRecord | None, width: int) -> float:
    own = view.focal is not None or view.fov is not None
    given = view if own or described is None else described
    if given.focal is not None:
        focal = given.focal
    elif given.fov is not None:
        focal = width / 2 / math.tan(math.radians(given.fov) / 2)
    else:
        focal = FOCAL_PER_WIDTH * width
    if not WIDEST <= focal / width <= 1e4:
        raise ValueError(f"a focal length of {focal:g} pixels for a width of {width} pixels")
    return focal
