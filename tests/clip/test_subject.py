"""What is the object: what never moves, specks and haze are told from it."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from boxes import H, W, box, folder_of, moving

from vid4d.clip.clip import read_clip
from vid4d.clip.places import Places
from vid4d.clip.subject import keep_subject

TIMES = np.arange(12) / 24
PLACES = Places((W, H))


def with_added(pictures: list[np.ndarray], add: Callable[[int], np.ndarray | None]) -> list[np.ndarray]:
    """Pictures with a second RGBA picture behind each."""
    result = []
    for i, picture in enumerate(pictures):
        extra = add(i)
        result.append(picture if extra is None else np.where(picture[..., 3:] > 0, picture, extra))
    return result


def letters(color: tuple[int, int, int] = (10, 10, 10), x: int = 60, y: int = 70) -> np.ndarray:
    picture = np.zeros((H, W, 4), np.uint8)
    for k in range(5):
        picture[y : y + 6, x + 6 * k : x + 6 * k + 4] = (*color, 255)
    return picture


def speck(i: int) -> np.ndarray | None:
    return {3: box(2, 2, 2, 2), 7: box(90, 60, 2, 2)}.get(i)


def haze(i: int) -> np.ndarray:
    picture = np.full((H, W, 4), 180, np.uint8)
    picture[..., 3] = np.random.default_rng(i).integers(0, 20, (H, W))
    return picture


def bars(i: int) -> np.ndarray:
    picture = np.zeros((H, W, 4), np.uint8)
    picture[:12, :, 3] = picture[-12:, :, 3] = 255
    return picture


CASES: dict[str, tuple[Callable[[int], np.ndarray | None], str]] = {
    "specks": (speck, r"specks beside the object are left out, at 0\.12, 0\.29 s"),
    "haze": (haze, "haze around the object is left out .alpha up to 19 of 255"),
    "caption": (
        lambda i: letters(),
        "what stands still is left out: text or another small thing at the lower right, "
        r"60,70 to 88,76 of 96 x 80, from 0\.00 to 0\.46 s; --keep",
    ),
    "subtitles": (
        lambda i: letters(x=4 + 12 * (i // 4)),
        "small thing at the lower left, 4,70 to 56,76 of 96 x 80, from 0.00 to 0.46",
    ),
    "bars": (
        bars,
        r"left out: a bar along the top, 0,0 to 96,12 of 96 x 80, from 0\.00 to 0\.46 s; a bar along the "
        r"bottom, 0,68 to 96,80 from 0\.00 to 0\.46 s; --keep",
    ),
    "passed": (lambda i: letters(x=30, y=42), "small thing in the middle, 30,42 to 58,48 of 96 x 80"),
    "large": (
        lambda i: box(70, 4, 24, 18, (20, 90, 20)),
        "left out: something at the upper right, 70,4 to 94,22 of 96 x 80",
    ),
}


@pytest.mark.parametrize("name", list(CASES))
def test_the_object_alone_is_left(name: str) -> None:
    add, said = CASES[name]
    clean = moving(12)
    found = keep_subject(with_added(clean, add), TIMES, PLACES)
    frames, notes = found.frames, found.left_out
    assert len(notes) == 1
    assert notes[0].endswith("--keep keeps it") or notes[0].endswith("--keep keeps them")
    assert re.search(said, notes[0])
    for frame, truth in zip(frames, clean, strict=True):
        a, b = frame[..., 3] > 127, truth[..., 3] > 127
        assert (a & b).sum() / (a | b).sum() > 0.97
        assert np.array_equal(frame[b], truth[b])


def test_a_clean_clip_is_left_as_it_is() -> None:
    """A soft edge, a half-clear part and a small part that moves along belong to the object."""
    pictures = moving(12)
    for i, picture in enumerate(pictures):
        x = 10 + round(50 * i / 11)
        picture[29, x : x + 20] = (200, 40, 40, 90)
        picture[35:45, x + 5 : x + 15, 3] = 100
        picture[20:24, x : x + 5] = (0, 0, 200, 255)  # a ball above it: a twentieth of its area
    found = keep_subject(pictures, TIMES, PLACES)
    frames, notes = found.frames, found.left_out
    assert notes == []
    assert all(np.array_equal(a, b) for a, b in zip(frames, pictures, strict=True))


def test_a_thing_that_stands_still_is_kept_where_nothing_moves() -> None:
    still = [np.where(box(20)[..., 3:] > 0, box(20), letters())] * 12
    found = keep_subject(still, TIMES, PLACES)
    frames, notes = found.frames, found.left_out
    assert notes == []
    assert all(np.array_equal(a, b) for a, b in zip(frames, still, strict=True))


def test_the_object_may_rest() -> None:
    """Half of the time it stands still, and it is larger than the caption: it is what moves."""
    pictures = [box(10)] * 6 + [box(10 + 4 * i) for i in range(6)]
    found = keep_subject(with_added(pictures, lambda i: letters()), TIMES, PLACES)
    frames, notes = found.frames, found.left_out
    assert len(notes) == 1
    assert all(np.array_equal(f[..., 3], p[..., 3]) for f, p in zip(frames, pictures, strict=True))


def test_what_was_left_out_does_not_enter_the_crop_and_can_be_kept(tmp_path: Path) -> None:
    plain = read_clip(folder_of(tmp_path / "a", moving(12)), frames=12)
    dirty = folder_of(tmp_path / "b", with_added(moving(12), speck))
    cleaned, kept = read_clip(dirty, frames=12), read_clip(dirty, frames=12, keep=True)
    assert np.array_equal(cleaned.frames[0], plain.frames[0])
    assert any("specks" in w for w in cleaned.warnings)
    assert not np.array_equal(kept.frames[0], plain.frames[0])
    assert not any("specks" in w for w in kept.warnings)


@pytest.mark.parametrize("hidden", [5, 7])
def test_a_thing_whose_part_comes_out_now_and_then_is_whole(hidden: int) -> None:
    """A cup turns, its handle behind it in so many of 12 frames: nothing of it stands still for good."""
    cup = box(30, 20, 30, 40, (240, 240, 230))
    frames = [
        cup if i < hidden else np.maximum(cup, box(58, 30, 4 + 2 * (i - hidden), 16, (240, 240, 230)))
        for i in range(12)
    ]
    found = keep_subject(frames, TIMES, PLACES)
    kept, notes = found.frames, found.left_out
    assert notes == []
    assert all(np.array_equal(a, b) for a, b in zip(kept, frames, strict=True))
