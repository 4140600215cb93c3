"""Holes that come and go are filled, gaps between limbs are not; outlines that fade are told."""

from __future__ import annotations

import numpy as np
import pytest

from vid4d.clip.holes import fill_brief_holes
from vid4d.clip.matting import remove_plain_background

TIMES = np.arange(10) / 10


def plates(holes: dict[int, tuple[int, int]]) -> list[np.ndarray]:
    """Ten square plates that go one pixel to the right a frame; the row and column of a hole in some."""
    result = []
    for i in range(10):
        frame = np.zeros((60, 60, 4), np.uint8)
        frame[10:50, 5 + i : 45 + i] = (90, 90, 200, 255)
        if i in holes:
            y, x = holes[i]
            frame[y : y + 8, x + i : x + i + 8] = 0
        result.append(frame)
    return result


def opaque(frames: list[np.ndarray]) -> list[np.ndarray]:
    whole = plates({})
    return [np.dstack([f[..., :3], np.full(f.shape[:2], 255, np.uint8)]) for f in whole[: len(frames)]]


def test_a_hole_of_three_frames_is_filled_with_the_pictures_colors() -> None:
    frames = plates({3: (20, 20), 4: (20, 20), 5: (20, 20)})
    filled, said = fill_brief_holes(frames, opaque(frames), TIMES)
    assert said is not None
    assert "at 0.30, 0.40, 0.50 s" in said
    for frame, whole in zip(filled, plates({}), strict=True):
        assert np.array_equal(frame, whole)
    assert np.array_equal(filled[0], frames[0])


def test_frames_far_apart_say_nothing_of_gaps_between_limbs() -> None:
    frames = plates({4: (20, 20)})
    assert fill_brief_holes(frames, opaque(frames), 3 * TIMES)[1] is None
    assert fill_brief_holes(frames, opaque(frames), 2 * TIMES)[1] is not None


@pytest.mark.parametrize(
    "holes",
    [
        {i: (20, 20) for i in range(2, 8)},  # open for longer
        {0: (20, 20), 1: (20, 20)},  # nobody knows for how long it was open before
        {i: (20, 12 + 3 * i) for i in range(3, 7)} | {2: (20, 18), 7: (20, 33)},  # a gap that moves
    ],
)
def test_gaps_stay(holes: dict[int, tuple[int, int]]) -> None:
    frames = plates(holes)
    kept, said = fill_brief_holes(frames, opaque(frames), TIMES)
    assert said is None
    assert all(a is b for a, b in zip(kept, frames, strict=True))


@pytest.mark.parametrize(("level", "fades"), [(150, False), (247, True)])
def test_an_object_in_the_color_of_its_background_is_told(level: int, fades: bool) -> None:
    """A ball that is white at its top, before white; and one that is grey."""
    v, u = np.mgrid[:120, :120] + 0.5
    frames = []
    for x in (55, 60, 65):
        alpha = np.clip(40.5 - np.hypot(u - x, v - 60), 0, 1)
        shade = np.clip(level + 8 - (v - 35) * 1.5, 40, level + 8)
        frames.append(np.rint(np.stack([alpha * shade + (1 - alpha) * 255] * 3, -1)).astype(np.uint8))
    result = remove_plain_background(frames)
    assert any("of its outline" in n for n in result.notes) == fades
    assert (result.confidence < 0.9) == fades


def test_a_mug_that_is_lost_above_and_dark_at_its_foot_is_told() -> None:
    """White at the upper left, before white; what may be a shadow at the foot does not hide that."""
    v, u = np.mgrid[:200, :240] + 0.5
    frames = []
    for x in (110, 113):
        body = np.clip(40 - np.abs(u - x), 0, 1) * np.clip(50 - np.abs(v - 100), 0, 1)
        handle = np.clip(6.5 - np.abs(np.hypot(u - x - 45, v - 100) - 22), 0, 1)
        alpha = np.maximum(body, handle)
        shade = (238 * (1 - 0.35 * ((u - x) + (v - 100)) / 84)).clip(0, 255)
        frames.append(np.rint(np.stack([alpha * shade + (1 - alpha) * 255] * 3, -1)).astype(np.uint8))
    result = remove_plain_background(frames)
    assert any("at the foot" in n for n in result.notes)
    assert any("of its outline" in n for n in result.notes)
    assert result.confidence < 0.5
