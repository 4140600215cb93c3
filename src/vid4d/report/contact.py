"""contact.png: views x times with their labels, the input video's frames on top."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from vid4d.cameras import DEFAULT_ELEVATION, Cameras
from vid4d.files.write import written_whole
from vid4d.gaussians.model import Gaussians4D
from vid4d.media.images import over_white, to_uint8
from vid4d.render import render_asset

LABEL = 92
"""Width of the column of labels and, over four, height of their row, in pixels."""
GAP = 2
INK, PALE, PAPER = (34, 39, 46), (110, 118, 128), (255, 255, 255)


def pick(count: int, most: int) -> list[int]:
    """At most `most` of `count` indices, evenly spread, first and last included."""
    if count <= most:
        return list(range(count))
    return [round(i * (count - 1) / (most - 1)) for i in range(most)]


def draw_sheet(
    rows: list[tuple[str, str, list[Float[np.ndarray, "_ _ 3"] | None]]], columns: list[str], cell: int
) -> Image.Image:
    """A sheet of pictures. rows: title, smaller second line, one picture (or None) per column."""
    top = LABEL // 4
    width = LABEL + len(columns) * (cell + GAP)
    sheet = Image.new("RGB", (width, top + len(rows) * (cell + GAP)), PAPER)
    draw = ImageDraw.Draw(sheet)
    font, small = ImageFont.load_default(14), ImageFont.load_default(11)
    for i, words in enumerate(columns):
        draw.text((LABEL + i * (cell + GAP) + cell / 2, top / 2), words, INK, font, anchor="mm")
    for j, (title, second, pictures) in enumerate(rows):
        y = top + j * (cell + GAP)
        draw.text((8, y + cell / 2 - 9), title, INK, font, anchor="lm")
        draw.text((8, y + cell / 2 + 9), second, PALE, small, anchor="lm")
        for i, picture in enumerate(pictures):
            if picture is None:
                continue
            image = Image.fromarray(to_uint8(picture), "RGB")
            if image.size != (cell, cell):
                image = image.resize((cell, cell), Image.Resampling.LANCZOS)
            sheet.paste(image, (LABEL + i * (cell + GAP), y))
    return sheet


def write_contact(
    path: str | Path,
    gaussians: Gaussians4D,
    *,
    input_images: Float[Tensor, "s hi wi 4"] | None = None,
    input_times: Float[Tensor, " s"] | None = None,
    input_camera: Cameras | None = None,
    elevation: float = DEFAULT_ELEVATION,
    views: int = 8,
    times: int = 8,
    cell: int = 128,
) -> Path:
    """Writes the sheet: rows are the input, the asset from the input's camera, and `views` azimuths.

    Where the input's camera is that of azimuth 0, one row stands for both.

    input_images, input_times, input_camera: the frames of the input video (RGBA), their times in [0, 1] and
        their camera, where known; the columns then show (at most `times` of) these moments.
    elevation: of the azimuth rows, degrees. cell: width of a picture in pixels.
    """
    if input_times is not None:
        shown = pick(len(input_times), times)
        shown_times = [float(input_times[i]) for i in shown]
    else:
        shown = []
        shown_times = [i / max(times - 1, 1) for i in range(times)]
    rows: list[tuple[str, str, list[np.ndarray | None]]] = []
    if input_images is not None and shown:
        rows.append(("input", "the clip", list(over_white(input_images[shown]).cpu().numpy())))
    from_clip = None if input_camera is None else input_camera.resized(cell)
    ring = [360.0 * view / views for view in range(views)]
    cameras = [Cameras.orbit([azimuth], elevation, size=cell) for azimuth in ring]
    is_first = from_clip is not None and _same(from_clip, cameras[0])
    if from_clip is not None and not is_first:
        rows.append(("asset", "clip's camera", _row(gaussians, from_clip, shown_times)))
    for i, (azimuth, camera) in enumerate(zip(ring, cameras, strict=True)):
        second = "clip's camera" if is_first and i == 0 else f"elevation {round(elevation)}°"
        rows.append((f"{azimuth:g}°", second, _row(gaussians, camera, shown_times)))
    sheet = draw_sheet(rows, [f"t = {m:.2f}" for m in shown_times], cell)
    with written_whole(path) as temporary:
        sheet.save(temporary)
    return Path(path)


def _same(one: Cameras, other: Cameras) -> bool:
    """Whether two cameras give the same picture, but for hundredths of a degree."""
    poses = torch.allclose(one.world_to_camera, other.world_to_camera, atol=1e-3)
    return poses and torch.allclose(one.focal, other.focal, rtol=1e-3) and one.height == other.height


def _row(gaussians: Gaussians4D, camera: Cameras, shown_times: list[float]) -> list[np.ndarray | None]:
    cameras = Cameras.cat([camera] * len(shown_times))
    pictures = render_asset(gaussians, cameras, torch.tensor(shown_times), background=1.0).cpu().numpy()
    return list(pictures)
