"""What a draft knows of its clip, apart from what it says in words."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from boxes import H, W, box, folder_of, moving, on_white
from scipy import ndimage

from vid4d.clip import judging
from vid4d.clip.clip import read_clip


def in_a_shadow() -> list[np.ndarray]:
    """A lollipop's place in a soft shadow on light grey."""
    pictures = []
    for i in range(6):
        x = 24 + 5 * i
        y, u = np.mgrid[: 2 * H, : 2 * W]
        soft = ndimage.gaussian_filter((np.hypot((u - x - 30) / 2, y - 130) < 14).astype(float), 5)
        picture = (235 * (1 - 0.4 * soft))[..., None] * np.ones(3)
        picture[np.hypot(u - x - 20, y - 90) < 24] = (200, 60, 40)
        picture[(abs(u - x - 20) < 5) & (y > 90) & (y < 132)] = (200, 60, 40)
        pictures.append(np.rint(picture).astype(np.uint8))
    return pictures


def with_specks() -> list[np.ndarray]:
    pictures = moving(6)
    for picture in pictures[2:3]:
        picture[4:6, 80:82] = (10, 10, 10, 255)
    return pictures


def two_things() -> list[np.ndarray]:
    return [np.maximum(p, box(70, 4, 14, 14, (40, 40, 200))) for p in moving(4)]


CASES = {
    "nothing": (moving(6), {}, False),
    "nothing, plain": ([on_white(p) for p in moving(6)], {}, False),
    "specks": (with_specks(), {}, True),
    "specks that are kept": (with_specks(), {"keep": True}, False),
    "a shadow": (in_a_shadow(), {}, True),
    "a shadow that is kept": (in_a_shadow(), {"keep": True}, False),
    "what was not chosen": (two_things(), {"click": ("20,40",)}, False),
}


@pytest.mark.parametrize("name", list(CASES))
def test_whether_keep_would_keep_more(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pictures, options, expected = CASES[name]
    told: list[bool] = []

    def warn(*_: object, left_out: bool, **__: object) -> list[str]:
        told.append(left_out)
        return []

    monkeypatch.setattr(judging, "warn", warn)
    read_clip(folder_of(tmp_path / "f", pictures), frames=0, **options)  # type: ignore[arg-type]
    assert told == [expected]


def test_several_things_are_doubted_until_one_is_chosen(tmp_path: Path) -> None:
    pictures = []
    for i in range(12):
        picture = box(6 + i, 4, 26, 30)
        other = box(60 - i, 44, 26, 30, (30, 60, 190))
        pictures.append(on_white(np.where(other[..., 3:] > 0, other, picture)))
    folder = folder_of(tmp_path / "f", pictures)
    clip = read_clip(folder, frames=0, cyclic=False)
    assert clip.matting_confidence == judging.QUESTIONED
    assert any("several separate objects" in w for w in clip.warnings)
    chosen = read_clip(folder, frames=0, cyclic=False, click=("18,18",))
    assert chosen.matting_confidence > judging.QUESTIONED
