"""Image matrices as folders: ours, and the layouts of other tools.

Our layout, which anyone may write by hand or from a script::

    FOLDER/
      cameras.json          what is described below
      images/000.png ...    one strip per time: all views from left to right, 8-bit RGBA
      confidence/000.png    the same strips, 16-bit grey: confidence * 65535 (optional)
      input/000.png ...     the reference frames of the input video, 8-bit RGBA (optional)

`cameras.json`::

    {"views":  [{"azimuth": 0, "elevation": 30, "distance": 1.5}, ...],
     "images": "images/{time:03d}.png"}

- A view is `azimuth` and `elevation` in degrees (`distance` 1.5 if not given), or `world_to_camera`, a 4x4
  rigid matrix with OpenCV axes. `focal` in pixels or `fov` in degrees over the picture's width, per view or
  for all; the ring's 49.1 degrees if neither is given. The principal point is the picture's centre.
- `images` holds `{time}` alone (strips of all views), `{view}` and `{time}` (one file per image), or `{view}`
  alone (one video per view). Numbers count from 0; a format such as `{time:03d}` pads them.
- Optional: `format`; `width` and `height` of an image, which must be the pictures'; `times` in [0, 1] (evenly
  spaced if not given), `seconds`, `cyclic`, `confidence` (a pattern like `images`), `input` with `images`,
  `times` and `camera` (a view with `width` and `height`), `also` with a list of such inputs: what other
  cameras saw, which is believed as the input is.

Images without alpha get one by keying: the plain background that is connected to the border becomes
transparent (see `vid4d.media.keying`).
"""

from __future__ import annotations

import itertools
import json
import os
import re
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from vid4d.cameras import Cameras
from vid4d.compute.threads import free_threads
from vid4d.errors import InputError
from vid4d.files.records import LONGEST, SHORTEST
from vid4d.files.write import folder_written_whole
from vid4d.matrix import layouts
from vid4d.matrix.descriptions import FORMAT, Inputs, MatrixRecord, cameras_of, check_size, read_described
from vid4d.matrix.files import (
    Picture,
    as_rgba,
    check_room,
    read_grey,
    read_picture,
    read_video,
    split_grid,
    stack,
    write_picture,
)
from vid4d.matrix.matrix import ImageMatrix, TrustedView

OURS = "cameras-json"
LAYOUTS = (OURS, *layouts.LAYOUTS)
NEAREST = 0.05
"""Distance of a camera from the object's middle below which it sees nothing of it, world units."""


def detect_layout(folder: str | os.PathLike[str]) -> str:
    """Layout of a folder, one of `LAYOUTS`.

    `cameras-json` (ours), `transforms` (transforms_train.json), `sv4d`, `sv4d2`, `sv4d2-8views` (videos
    NNNNNN_vKKK.mp4), `efficient4d` (strips of 16 square views), `zero123plus-v1.2` (3 x 2 grids), `stag4d`
    (zero123/ and ref/). Layouts that look the same: `layouts.rivals`.
    """
    path = _existing(folder)
    layout = OURS if (path / "cameras.json").is_file() else layouts.detect(path)
    if layout is None:
        if (path / "matrix" / "cameras.json").is_file():
            raise InputError(f"{path} is a run: give its image matrix, {path / 'matrix'}")
        raise InputError(
            f"{path} holds no known image matrix (no cameras.json, transforms_train.json, *_v001.mp4, strips "
            "of 16 views or 3 x 2 grids): write a cameras.json that says where its images and cameras are."
        )
    return layout


def load_matrix(folder: str | os.PathLike[str], *, layout: str | None = None) -> ImageMatrix:
    """Reads an image matrix from a folder of any known layout (`detect_layout` where none is given).

    Raises InputError for missing or damaged files, pictures of different sizes, NaN, empty masks.
    """
    path = _existing(folder)
    layout = layout or detect_layout(path)
    if layout not in LAYOUTS:
        raise InputError(f"there is no layout {layout!r}: choose one of {', '.join(LAYOUTS)}")
    matrix = _read_ours(path) if layout == OURS else layouts.read(path, layout)
    check_matrix(matrix)
    return matrix


def check_matrix(matrix: ImageMatrix) -> None:
    """Raises InputError where images, cameras, times or confidence are not finite, or nothing is visible."""
    for name in ("images", "confidence", "input_images", "times", "input_times"):
        values = getattr(matrix, name)
        if values is not None and not torch.isfinite(values).all():
            where = tuple(int(i) for i in (~torch.isfinite(values)).nonzero()[0][:2])
            raise InputError(
                f"The image matrix holds NaN or infinite values in its {name} (first at index {where}): "
                "generate that image again or remove its frame."
            )
    if not all(torch.isfinite(view.images).all() for view in matrix.also):
        raise InputError("A view of another camera beside the image matrix holds NaN: read it again.")
    if not torch.isfinite(matrix.cameras.world_to_camera).all() or not (matrix.cameras.focal > 0).all():
        raise InputError(
            "The image matrix has a camera that is not finite: correct its pose and focal length."
        )
    away = matrix.cameras.position.norm(dim=-1)
    if (away < NEAREST).any():
        raise InputError(
            f"Camera {int(away.argmin())} of the image matrix stands in the object's middle: correct its "
            "pose; the object is about 1 wide, around 0."
        )
    if not SHORTEST <= matrix.seconds <= LONGEST:
        raise InputError(
            f"The image matrix lasts {matrix.seconds:g} seconds: give {SHORTEST:g} to {LONGEST:g}."
        )
    if matrix.frames > 1 and not (matrix.times.diff() > 0).all():
        raise InputError("The times of the image matrix do not increase: sort its frames by time.")
    if not -1e-6 <= float(matrix.times.min()) <= float(matrix.times.max()) <= 1 + 1e-6:
        raise InputError("The times of the image matrix leave 0 to 1: 0 is the clip's start and 1 its end.")
    empty = matrix.images[..., 3].amax((0, 2, 3)) < 0.5
    if empty.any():
        raise InputError(
            f"The masks of all views are empty at time index {int(empty.nonzero()[0])} of the image matrix: "
            "give images with alpha or on a plain background."
        )


def save_matrix(matrix: ImageMatrix, folder: str | os.PathLike[str]) -> Path:
    """Writes our layout: images in 8 bits, confidence in 16; loading gives that rounding of it back.

    An image matrix that was saved in this folder before is replaced; any other content is refused.
    """
    check_matrix(matrix)
    path = Path(folder)
    if path.exists() and not (path / "cameras.json").is_file() and (not path.is_dir() or any(path.iterdir())):
        raise InputError(f"{path} exists and holds something else: choose a new folder for the image matrix.")
    with folder_written_whole(path) as part:

        def write(t: int) -> None:
            write_moment(part, "images", t, matrix.images[:, t])
            if matrix.confidence is not None:
                write_moment(part, "confidence", t, matrix.confidence[:, t, :, :, None])

        with ThreadPoolExecutor(free_threads()) as pool:
            list(pool.map(write, range(matrix.frames)))
        clip = None
        if not (matrix.input_images is None or matrix.input_camera is None or matrix.input_times is None):
            clip = TrustedView(matrix.input_images, matrix.input_camera, matrix.input_times)
        write_description(
            part,
            matrix.cameras,
            matrix.times,
            seconds=matrix.seconds,
            cyclic=matrix.cyclic,
            confidence=matrix.confidence is not None,
            clip=clip,
            also=matrix.also,
        )
    return path


def write_moment(part: Path, kind: str, moment: int, images: Float[Tensor, "v h w c"]) -> None:
    """Writes all views of one moment. kind: 'images', or 'confidence', which has one channel."""
    (part / kind).mkdir(parents=True, exist_ok=True)
    write_picture(part / kind / f"{moment:03d}.png", _strip(images))


def write_description(
    part: Path,
    cameras: Cameras,
    times: Float[Tensor, " t"],
    *,
    seconds: float,
    cyclic: bool,
    confidence: bool,
    clip: TrustedView | OneByOne | None = None,
    also: Sequence[TrustedView] = (),
) -> None:
    """Writes cameras.json beside what `write_moment` wrote, and the pictures of the clip and of others."""
    meta: dict[str, Any] = {
        "format": FORMAT,
        "width": cameras.width,
        "height": cameras.height,
        "images": "images/{time:03d}.png",
        "times": times.tolist(),
        "seconds": seconds,
        "cyclic": cyclic,
        "views": [_view_to_json(cameras[i]) for i in range(len(cameras))],
    }
    if confidence:
        meta["confidence"] = "confidence/{time:03d}.png"
    if clip is not None:
        meta["input"] = _write_view(clip, part, "input")
    if also:
        meta["also"] = [_write_view(view, part, f"also_{i}") for i, view in enumerate(also)]
    (part / "cameras.json").write_text(json.dumps(meta, indent=1) + "\n", encoding="utf-8")


class OneByOne(NamedTuple):
    """As `TrustedView`, but pictures that are made when they are written."""

    images: Iterable[Float[Tensor, "h w 4"]]
    camera: Cameras
    times: Float[Tensor, " s"]


def _write_view(view: TrustedView | OneByOne, part: Path, name: str) -> dict[str, Any]:
    """Pictures of one camera in a folder of that name; their entry in cameras.json."""
    (part / name).mkdir()
    for i, image in enumerate(view.images):
        write_picture(part / name / f"{i:03d}.png", image.detach().cpu().clamp(0, 1).numpy())
    size = {"width": view.camera.width, "height": view.camera.height}
    return {
        "images": f"{name}/{{time:03d}}.png",
        "times": view.times.tolist(),
        "camera": _view_to_json(view.camera) | size,
    }


def _existing(folder: str | os.PathLike[str]) -> Path:
    path = Path(folder)
    if not path.is_dir():
        raise InputError(f"There is no folder {path}: give the folder that holds the image matrix.")
    return path


def _strip(images: Float[Tensor, "v h w c"]) -> Picture:
    return np.concatenate(list(images.detach().cpu().clamp(0, 1).numpy()), axis=1)


def _view_to_json(camera: Cameras) -> dict[str, Any]:
    """azimuth and elevation are for the reader's eye; the matrix counts."""
    return {
        "azimuth": round(float(camera.azimuth[0]), 4),
        "elevation": round(float(camera.elevation[0]), 4),
        "focal": float(camera.focal[0]),
        "world_to_camera": camera.world_to_camera[0].tolist(),
    }


def _read_ours(path: Path) -> ImageMatrix:
    file = path / "cameras.json"
    described = read_described(file)
    views, pattern = described.views, described.images
    seconds: float | None = None
    if "{view" in pattern and "{time" not in pattern:
        clips = [read_video(path / _fill(pattern, file, view=v)) for v in range(len(views))]
        seconds = clips[0][1]
        if len({len(frames) for frames, _ in clips}) != 1:
            raise InputError(
                f"The videos in {path} have different numbers of frames: cut them to one length."
            )
        images = stack([stack([as_rgba(f) for f in frames], path) for frames, _ in clips], path)
    else:
        images = _read_pattern(path, pattern, len(views), grey=False)
    check_size(described, images.shape[3], images.shape[2], file)
    times = described.times or layouts.even_times(images.shape[1])
    if len(times) != images.shape[1]:
        raise InputError(f"{path} holds images for {images.shape[1]} times but {file} lists {len(times)}.")
    matrix = ImageMatrix(
        images=torch.from_numpy(images),
        cameras=cameras_of(views, described, images.shape[3], images.shape[2], file),
        times=torch.tensor(times, dtype=torch.float32),
        seconds=described.seconds or seconds or 1.0,
        cyclic=described.cyclic,
    )
    if described.confidence is not None:
        confidence = _read_pattern(path, described.confidence, len(views), grey=True)[..., 0]
        if confidence.shape != images.shape[:4]:
            raise InputError(f"The confidence in {path} has another size than its images: compute it again.")
        matrix = matrix.with_confidence(torch.from_numpy(np.ascontiguousarray(confidence)))
    also = tuple(_read_view(path, view, described) for view in described.also or ())
    if described.input is None:
        return replace(matrix, also=also)
    clip = _read_view(path, described.input, described)
    return replace(
        matrix, input_images=clip.images, input_camera=clip.camera, input_times=clip.times, also=also
    )


def _read_view(path: Path, given: Inputs, described: MatrixRecord) -> TrustedView:
    """Pictures of one camera."""
    file = path / "cameras.json"
    frames = [
        as_rgba(read_picture(path / _fill(given.images, file, time=i))) for i in range(len(given.times))
    ]
    images = torch.from_numpy(stack(frames, path))
    camera = cameras_of([given.camera], described, images.shape[2], images.shape[1], file)
    return TrustedView(images, camera, torch.tensor(given.times, dtype=torch.float32))


PLACE = re.compile(r"\{(view|time)(?::0?([1-9])?d)?\}")
"""A number in a file name: {time}, or {time:03d} with at most 9 digits. Nothing else of format strings."""


def _fill(pattern: str, file: Path, **numbers: int) -> str:
    """The file name that a pattern gives; see `PLACE`. Raises InputError for any other use of braces."""
    if re.search(r"[{}\0]", PLACE.sub("", pattern)) or {m[1] for m in PLACE.finditer(pattern)} - set(numbers):
        raise InputError(
            f"{file} names files by {pattern!r:.80}: use {{view}} and {{time}}, or {{time:03d}}, only."
        )
    return PLACE.sub(lambda m: str(numbers[m[1]]).zfill(int(m[2] or 1)), pattern)


def _read_pattern(path: Path, pattern: str, views: int, *, grey: bool) -> Float[np.ndarray, "v t h w c"]:
    """Strips per time, or one picture per view and time; as many times as there are files."""
    file = path / "cameras.json"
    if "{time" not in pattern:
        raise InputError(
            f"{file} needs 'images', a file name with {{time}} such as \"images/{{time:03d}}.png\", "
            "and likewise for confidence."
        )

    def read(name: Path) -> Picture:
        return read_grey(name) if grey else read_picture(name)

    def finish(picture: Picture) -> Picture:
        return picture if grey else as_rgba(picture)

    def name(t: int, view: int = 0) -> Path:
        return path / _fill(pattern, file, view=view, time=t)

    def moment(t: int) -> np.ndarray:
        if "{view" in pattern:
            return stack([finish(read(name(t, v))) for v in range(views)], path)
        return stack([finish(p) for p in split_grid(read(name(t)), views, 1, name(t))], path)

    times = itertools.takewhile(lambda t: name(t).exists(), itertools.count())
    frames = [moment(0)] if next(times, None) is not None else []
    if frames:
        rest = list(times)
        check_room(path, (1 + len(rest)) * frames[0].nbytes)
        with ThreadPoolExecutor(free_threads()) as pool:
            frames += pool.map(moment, rest)
    if not frames:
        raise InputError(
            f"{path} holds no file {_fill(pattern, file, view=0, time=0)}: see 'images' in {file}."
        )
    return np.ascontiguousarray(stack(frames, path).swapaxes(0, 1))
