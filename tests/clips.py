"""Clips made up for tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image


def disc(folder: Path, count: int, *, size: int = 48, radius: float = 14, drift: float = 4) -> Path:
    """A disc that rises by so many pixels a frame and turns red, with alpha."""
    folder.mkdir()
    y, x = np.mgrid[:size, :size] + 0.5
    for i in range(count):
        picture = np.zeros((size, size, 4), np.uint8)
        inside = (x - size / 2) ** 2 + (y - size / 2 - 4 + drift * i) ** 2 < radius**2
        picture[inside] = (100 + 60 * i % 156, 80, 40, 255)
        Image.fromarray(picture).save(folder / f"{i:03}.png")
    return folder
