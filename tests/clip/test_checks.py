"""Warnings about clips."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from boxes import box, folder_of
from scipy import ndimage

from vid4d.clip.checks import warn
from vid4d.clip.clip import read_clip


def warned(tmp_path: Path, pictures: Sequence[np.ndarray], **options: object) -> str:
    return " | ".join(read_clip(folder_of(tmp_path / "w", pictures), **options).warnings)  # type: ignore[arg-type]


def large(x: int = 60, blur: float = 0, seed: int = 0) -> np.ndarray:
    """A 240-pixel box with random texture in a 360-pixel picture."""
    from scipy import ndimage

    texture = np.random.default_rng(seed).integers(0, 256, (240, 240, 3)).astype(np.float32)
    texture = ndimage.gaussian_filter(texture, (1 + blur, 1 + blur, 0))
    picture = np.zeros((360, 360, 4), np.uint8)
    picture[60:300, x : x + 240, :3] = np.clip(128 + 3 * (texture - 128), 0, 255)
    picture[60:300, x : x + 240, 3] = 255
    return picture


def test_a_good_clip_has_no_warnings(tmp_path: Path) -> None:
    assert warned(tmp_path, [large(x) for x in (40, 50, 60, 70)]) == ""


def test_warnings_say_what_and_when(tmp_path: Path) -> None:
    assert "touches the border of the picture at 0.12 s" in warned(
        tmp_path / "border", [large(40), large(60), large(80), large(120)]
    )
    jump = [large() for _ in range(6)]
    for late in jump[3:]:
        late[230:] = 0
    assert "area jumps at 0.12 s" in warned(tmp_path / "jump", jump)
    two = large()
    two[140:200] = 0
    assert "several separate objects" in warned(tmp_path / "two", [two, two])
    soft = [large(), large(), large(blur=2.5), large()]
    assert "soft frames at 0.08 s" in warned(tmp_path / "soft", soft)


@pytest.mark.parametrize("way", [0, 40])
@pytest.mark.parametrize("side", [59, 60])
def test_few_pixels_are_said_whatever_the_window(tmp_path: Path, side: int, way: int) -> None:
    """Of a still object, which fills its window, and of one that needs a larger one for its way."""
    pictures = [np.zeros((120, 160, 4), np.uint8) for _ in range(3)]
    for i, picture in enumerate(pictures):
        picture[20 : 20 + side, 10 + i * way : 50 + i * way] = (200, 40, 40, 255)
    told = warned(tmp_path, pictures, follow="no")
    words = "very low resolution: the object is 59 pixels large in the source, and details need 60"
    assert (words in told) == (side == 59)
    assert ("low resolution" in told) == (side == 59)


def test_holes_that_come_and_go_are_said(tmp_path: Path) -> None:
    pictures = [large(60 + i) for i in range(6)]
    assert "holes" not in warned(tmp_path / "none", pictures)
    pictures[2][150:190, 150:190, 3] = 0
    assert "holes in the mask come and go at 0.08 s" in warned(tmp_path / "hole", pictures)


def test_a_hole_that_moves_along_does_not_come_and_go(tmp_path: Path) -> None:
    """A ring that goes by more than its hole's width from frame to frame."""
    pictures = [box(5 + 15 * i) for i in range(5)]
    for i, picture in enumerate(pictures):
        picture[36:44, 11 + 15 * i : 19 + 15 * i] = 0
    assert "holes" not in warned(tmp_path / "ring", pictures, follow="no", frames=0)


def test_an_object_that_is_half_clear_is_said(tmp_path: Path) -> None:
    """A patch of alpha 110 over a corner is, the opaque pixel in it is no speck, and soft edges are not."""
    pictures = [box(10 + i) for i in range(5)]
    for picture in pictures:
        edge = ndimage.gaussian_filter(picture[..., 3].astype(float), 1.2)
        picture[..., 3] = np.where(edge > 30, edge, 0).astype(np.uint8)
    assert "half clear" not in warned(tmp_path / "soft", pictures)
    for i, picture in enumerate(pictures):
        rows, columns = np.nonzero(picture[..., 3] > 250)
        corner = slice(rows.min(), rows.min() + 12), slice(columns.min(), columns.min() + 12)
        picture[(*corner, 3)] = 110
        picture[rows.min() + 1, columns.min() + 1 + i % 2, 3] = 255
    told = warned(tmp_path / "half", pictures)
    assert "half clear in places at 0.00, 0.04, 0.08, 0.12, 0.17 s (alpha of about 110 of 255)" in told
    assert "specks" not in told


def test_motion_between_the_key_frames_is_said(tmp_path: Path) -> None:
    """Back and forth five times: 6 key frames see it in one place, and as many as are advised do not."""
    around = [box(38 + round(24 * np.sin(2 * np.pi * i / 9))) for i in range(46)]
    folder = folder_of(tmp_path / "f", around)
    told = " ".join(read_clip(folder, frames=6, dense=64, cyclic=False, follow="no").warnings)
    advice = re.search("moves faster than the 6 key frames show: --frames ([0-9]+) follows it", told)
    assert advice is not None
    enough = read_clip(folder, frames=int(advice[1]), dense=64, cyclic=False, follow="no")
    assert not any("moves faster" in w for w in enough.warnings)
    slow = folder_of(tmp_path / "s", [box(10 + i) for i in range(46)])
    assert not any("moves faster" in w for w in read_clip(slow, frames=6, dense=64).warnings)


def test_low_confidence_is_said(tmp_path: Path) -> None:
    picture = np.random.default_rng(1).integers(199, 202, (120, 120, 3)).astype(np.uint8)
    picture[30:90, 30:90] = 207
    picture[30:90, 30:33] = picture[30:90, 87:90] = picture[30:33, 30:90] = picture[87:90, 30:90] = 60
    clip = read_clip(folder_of(tmp_path / "f", [picture, picture]))
    assert clip.matting_confidence < 0.6
    assert any("low confidence" in w for w in clip.warnings)


@pytest.mark.parametrize("left_out", [False, True])
def test_low_confidence_names_keep_where_something_was_left_out(left_out: bool) -> None:
    told = warn(
        [box(30)],
        [np.full_like(box(30), 200)],
        np.zeros(1),
        confidence=0.3,
        has_background=True,
        object_pixels=240,
        left_out=left_out,
    )
    (sentence,) = (w for w in told if "low confidence" in w)
    assert ("--keep" in sentence) == left_out
    assert "--crop" in sentence


def test_a_moving_camera_is_said(tmp_path: Path) -> None:
    from scipy import ndimage

    from vid4d.clip.checks import warn

    wide = ndimage.gaussian_filter(np.random.default_rng(0).normal(size=(360, 420)), 3)
    wide = (128 + 40 * wide / wide.std()).clip(0, 255).astype(np.uint8)

    def frames(shift: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
        cut, seen = [], []
        for i in range(3):
            rgba = large(60 + 3 * i)
            back = wide[:, i * shift : i * shift + 360, None].repeat(3, -1)
            cut.append(rgba)
            seen.append(
                np.dstack([np.where(rgba[..., 3:] > 0, rgba[..., :3], back), np.full((360, 360), 255)])
            )
        return cut, [s.astype(np.uint8) for s in seen]

    for shift, expected in ((0, False), (9, True)):
        cut, seen = frames(shift)
        said = warn(cut, seen, np.arange(3.0), confidence=1.0, has_background=True, object_pixels=240)
        assert any("camera seems to move" in w for w in said) == expected
