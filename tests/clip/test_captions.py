"""Captions that change in place are told from the object, and parts of it that rest now and then are not."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from boxes import H, W, box
from scipy import ndimage

from vid4d.clip.places import Places
from vid4d.clip.subject import Subject, keep_subject

COUNT = 24
ROWS = slice(62, 74)


def word(number: int, width: int = 60, scale: float = 1.0, row: int = ROWS.start) -> np.ndarray:
    """White strokes of two pixels in black, in the middle of a row; the next number has the others."""
    strokes = (np.random.default_rng(0).random((6, 48))[:, : width // 2] < 0.5) ^ (number % 2 > 0)
    letters = np.full((12, width, 4), 255, np.uint8)
    letters[..., :3] = 255 * np.repeat(np.repeat(strokes, 2, 0), 2, 1)[:12, :width, None]
    letters[:3, np.repeat(strokes[0], 2)] = 0  # no plain box
    if scale != 1:
        letters = ndimage.zoom(letters, (scale, scale, 1), order=0)
    h, w = letters.shape[:2]
    picture = np.zeros((H, W, 4), np.uint8)
    top, left = row + 6 - h // 2, (W - w) // 2
    picture[top : top + h, left : left + w] = letters
    return picture


def behind(thing: np.ndarray, caption: np.ndarray) -> np.ndarray:
    return np.where(caption[..., 3:] > 0, caption, thing)


def kept(pictures: list[np.ndarray], **how: object) -> Subject:
    return keep_subject(pictures, np.arange(len(pictures)) / 24, Places((W, H)), **how)  # type: ignore[arg-type]


def least_overlap(found: Subject, things: list[np.ndarray]) -> float:
    pairs = [(f[..., 3] > 127, t[..., 3] > 127) for f, t in zip(found.frames, things, strict=True)]
    return float(min((a & b).sum() / (a | b).sum() for a, b in pairs))


def things(rows: int = 30) -> list[np.ndarray]:
    return [box(10 + 2 * i, rows) for i in range(COUNT)]


@pytest.mark.parametrize("holds", [4, 6, 8])
def test_words_that_change_in_place_are_left_out(holds: int) -> None:
    """They are larger than the object, and one lies where the one before it was."""
    widths = [60, 44, 56, 36, 64, 48]
    pictures = [behind(t, word(i // holds, widths[i // holds])) for i, t in enumerate(things())]
    found = kept(pictures)
    assert least_overlap(found, things()) == 1
    assert "is left out: text or another small thing at the bottom" in found.left_out[0]
    assert found.covered is None


def test_words_that_grow_to_their_size() -> None:
    sizes = [0.6, 0.8, 1.1, 1, 1, 1, 1, 1]
    pictures = [behind(t, word(i // 8, 52, sizes[i % 8])) for i, t in enumerate(things())]
    assert least_overlap(kept(pictures), things()) == 1


def test_a_sticker_that_comes_and_stays() -> None:
    sticker = box(70, 4, 22, 20, (250, 200, 40))
    pictures = [behind(t, sticker) if i >= 9 else t for i, t in enumerate(things())]
    assert least_overlap(kept(pictures), things()) == 1


def test_what_touches_the_object_for_a_while_is_cut_off_from_it() -> None:
    """The object goes down to the caption and up again."""
    own = [box(10 + 2 * i, 20 + round(22 * np.sin(np.pi * i / 23))) for i in range(COUNT)]
    found = kept([behind(t, word(i // 6)) for i, t in enumerate(own)])
    assert least_overlap(found, own) > 0.98


def test_what_lies_over_the_object_is_told_and_stays() -> None:
    own = [box(20 + i // 2, 20 + i % 5, 40, 40) for i in range(COUNT)]
    pictures = [behind(t, word(i // 5, 22, row=34)) for i, t in enumerate(own)]
    found = kept(pictures)
    assert found.covered is not None
    assert "lies over the object" in found.covered
    assert least_overlap(found, own) == 1


def test_frames_that_are_far_apart_are_asked_for_what_follows() -> None:
    """Another word in every frame: whether it rests is seen in the source alone."""
    own = [box(10 + 5 * (i % 12), 30) for i in range(COUNT)]
    pictures = [behind(t, word(i, 40 + 4 * (i % 5))) for i, t in enumerate(own)]

    def changes(step: int) -> Iterator[np.ndarray]:
        for thing in own:
            yield thing[::step, ::step, 3] > 0

    assert least_overlap(kept(pictures), own) < 0.5
    assert least_overlap(kept(pictures, changes=changes), own) == 1


def blocks_that_hop() -> list[np.ndarray]:
    """Four in a row: each hops in its turn, and rests otherwise."""
    result = []
    for i in range(COUNT):
        at = [40 - (8 * (3 - abs(i % 6 - 3)) if i // 6 == k else 0) for k in range(4)]
        result.append(
            np.max([box(6 + 22 * k, y, 16, 16, (60 * k + 40, 90, 200)) for k, y in enumerate(at)], 0)
        )
    return result


def a_ball_that_is_thrown() -> list[np.ndarray]:
    """It leaves the thing that throws it, and rests for a moment at the top."""
    result = []
    for i in range(COUNT):
        u = i % 12 / 6 - 1
        result.append(
            np.maximum(box(30 + i // 4, 50, 30, 24), box(40 + i, 8 + round(30 * u * u), 8, 8, (40, 90, 220)))
        )
    return result


def drawn_for_four_frames_each() -> list[np.ndarray]:
    """Feet apart from the body; nothing moves in between."""
    result = []
    for i in range(COUNT):
        k = i // 4
        feet = [box(14 + 6 * k + 16 * q + 3 * ((k + q) % 2), 60, 10, 6, (60, 40, 30)) for q in (0, 1)]
        result.append(np.max([box(12 + 6 * k, 20, 30, 36), *feet], 0))
    return result


def a_print_that_goes_along() -> list[np.ndarray]:
    return [
        np.roll(behind(box(10, 20, 44, 40), np.roll(word(3, 30), (-30, -20), (0, 1))), i, 1)
        for i in range(COUNT)
    ]


@pytest.mark.parametrize(
    "clip", [blocks_that_hop, a_ball_that_is_thrown, drawn_for_four_frames_each, a_print_that_goes_along]
)
def test_parts_of_an_object_stay(clip: object) -> None:
    pictures = clip()  # type: ignore[operator]
    found = kept(pictures)
    assert found.left_out == []
    assert found.covered is None
    assert all(np.array_equal(a, b) for a, b in zip(found.frames, pictures, strict=True))
