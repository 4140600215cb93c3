"""Pictures of a box that moves, and clips that are refused."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vid4d.clip.clip import read_clip
from vid4d.errors import InputError

W, H = 96, 80


def box(x: int, y: int = 30, w: int = 20, h: int = 20, color: Sequence[int] = (200, 40, 40)) -> np.ndarray:
    """A transparent picture with one opaque box that carries a little texture."""
    picture = np.zeros((H, W, 4), np.uint8)
    v, u = np.mgrid[:h, :w]
    picture[y : y + h, x : x + w, :3] = np.array(color) + 12 * ((u + v) % 2)[..., None]
    picture[y : y + h, x : x + w, 3] = 255
    return picture


def on_white(rgba: np.ndarray) -> np.ndarray:
    return np.where(rgba[..., 3:] > 0, rgba[..., :3], 255).astype(np.uint8)


def folder_of(folder: Path, pictures: Sequence[np.ndarray]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for i, picture in enumerate(pictures):
        Image.fromarray(picture).save(folder / f"f{i}.png")
    return folder


def moving(count: int) -> list[np.ndarray]:
    return [box(10 + round(50 * i / max(count - 1, 1))) for i in range(count)]


def circling(count: int, closed: bool) -> list[np.ndarray]:
    """A box on a circle: one period in `count` frames; `closed` repeats the first frame at the end."""
    angles = 2 * np.pi * np.arange(count) / (count - 1 if closed else count)
    return [box(38 + round(20 * np.cos(a)), 30 + round(20 * np.sin(a))) for a in angles]


def refuse(match: str, path: Path | str, **options: object) -> None:
    with pytest.raises(InputError, match=match) as caught:
        read_clip(path, **options)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
