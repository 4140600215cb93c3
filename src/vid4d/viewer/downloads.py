"""Downloads of a page: screenshots, turntables, exports; made in a temporary folder."""

from __future__ import annotations

import io
import math
import tempfile
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from vid4d import api
from vid4d.export.formats import FORMATS, export
from vid4d.export.options import ExportOptions


def exported(asset: api.Asset, name: str, to: str, options: ExportOptions | None = None) -> tuple[str, bytes]:
    """The asset in a format of `FORMATS`: a file's name and its bytes; several files come as a ZIP.

    Raises InputError as `vid4d.export.formats.export` does.
    """
    options = options or ExportOptions()
    chosen = FORMATS[to]
    folder = chosen.sequence and options.time is None
    with tempfile.TemporaryDirectory(prefix="vid4d-") as scratch:
        out = Path(scratch) / (name if folder else f"{name}{chosen.ending}")
        files = export(asset, to, out, options)
        if len(files) == 1:
            return files[0].name, files[0].read_bytes()
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
            for file in files:
                archive.write(file, file.relative_to(scratch))
        return f"{name}-{to}.zip", packed.getvalue()


def turntable(
    asset: api.Asset, name: str, position: Float[np.ndarray, " 3"], options: ExportOptions | None = None
) -> tuple[str, bytes]:
    """An MP4 that goes once around the object, from the side and height of a camera at `position` (world)."""
    x, y, z = (float(p) for p in position)
    azimuth = math.degrees(math.atan2(y, x)) % 360
    elevation = math.degrees(math.atan2(z, math.hypot(x, y)))
    options = replace(options or ExportOptions(), view="turntable", azimuth=azimuth, elevation=elevation)
    file_name, data = exported(asset, f"{name}-turntable", "mp4", options)
    return file_name, data


def screenshot(picture: UInt8[np.ndarray, "h w c"], background: tuple[int, int, int] | None) -> bytes:
    """A PNG of what a page shows. background: laid under transparent places; None keeps them."""
    image = Image.fromarray(np.ascontiguousarray(picture))
    if image.mode == "RGBA" and background is not None:
        under = Image.new("RGBA", image.size, (*background, 255))
        image = Image.alpha_composite(under, image).convert("RGB")
    file = io.BytesIO()
    image.save(file, "png")
    return file.getvalue()
