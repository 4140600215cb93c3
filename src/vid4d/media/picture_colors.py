"""Colors of picture files as sRGB: by their ICC profile (LittleCMS, through Pillow), or a PNG's gamma."""

from __future__ import annotations

import io
from functools import lru_cache
from typing import Any

import numpy as np
from PIL import Image

from vid4d.media.color import linear_to_srgb

PROFILE_MODES = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}
"""Color space of a profile, and the mode of pictures it is for."""
USUAL_GAMMA, NEAR = 1 / 2.2, 0.05
"""A PNG that states this gamma means sRGB."""


def in_srgb(image: Image.Image) -> Image.Image:
    """The picture with sRGB colors; itself where they are sRGB already, or where nothing says otherwise."""
    profile = image.info.get("icc_profile")
    if profile:
        transform, mode = _transform(bytes(profile))
        if transform is None or image.mode.startswith("I") or image.mode == "F":
            return image
        from PIL import ImageCms

        alpha = image.convert("RGBA").getchannel("A") if image.has_transparency_data else None
        if (image.mode == "CMYK") != (mode == "CMYK") or (mode == "L" and not image.mode.startswith("L")):
            return image  # a profile of something else
        colors = ImageCms.applyTransform(image.convert(mode), transform)
        if colors is None:
            return image
        if alpha is not None:
            colors.putalpha(alpha)
        return colors
    gamma = image.info.get("gamma")
    if not gamma or "srgb" in image.info or abs(gamma - USUAL_GAMMA) <= NEAR or not 0.1 <= gamma <= 4:
        return image
    if image.mode.startswith("I") or image.mode == "F":
        return image
    rgba = image.convert("RGBA")
    table = np.rint(linear_to_srgb((np.arange(256) / 255) ** (1 / gamma)) * 255).astype(int).tolist()
    return rgba.point(table * 3 + list(range(256)))


def color_note(image: Image.Image) -> str | None:
    """What cannot be read of a picture's colors, in words; None where all can."""
    profile = image.info.get("icc_profile")
    if profile and _transform(bytes(profile))[1] == "":
        return "the color profile of the pictures cannot be read: their colors are taken for sRGB"
    if image.mode == "CMYK" and not profile:
        return "the pictures are CMYK without a profile: their colors are a guess, export them as sRGB"
    return None


@lru_cache(maxsize=16)
def _transform(profile: bytes) -> tuple[Any, str]:
    """Transform to sRGB, None where it changes nothing; the mode it takes, empty where it fails."""
    from PIL import ImageCms

    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        mode = PROFILE_MODES.get(source.profile.xcolor_space.strip(), "")
        if not mode:
            return None, ""
        transform = ImageCms.buildTransform(
            source,
            ImageCms.createProfile("sRGB"),
            mode,
            "RGB",
            ImageCms.Intent.RELATIVE_COLORIMETRIC,
            ImageCms.Flags.BLACKPOINTCOMPENSATION | ImageCms.Flags.HIGHRESPRECALC,
        )
        if mode == "RGB":
            steps = np.linspace(0, 255, 18).round().astype(np.uint8)
            grid = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), -1).reshape(18, -1, 3)
            shown = np.asarray(ImageCms.applyTransform(Image.fromarray(grid), transform), np.int16)
            if np.abs(shown - grid).max() <= 2:
                return None, mode
        return transform, mode
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return None, ""
