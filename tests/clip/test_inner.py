"""A picture within the picture is found where the whole has no plain background."""

from __future__ import annotations

import numpy as np
import pytest
from boxes import on_white

from vid4d.clip.inner import is_plate, largest_rectangle, matte_inside, parts, runs_out
from vid4d.clip.matting import Matte, matte
from vid4d.errors import InputError

SIZE = (96, 128)
"""Rows and columns of the inner picture."""


def inner(count: int = 8, x: float = 40, color: tuple[int, int, int] = (90, 140, 200)) -> list[np.ndarray]:
    """A disc that moves before one color."""
    v, u = np.mgrid[: SIZE[0], : SIZE[1]]
    result = []
    for i in range(count):
        disc = np.hypot(u - x - 5 * i, v - 48 - 6 * np.sin(i)) < 16
        result.append(np.where(disc[..., None], (200, 60, 40), color).astype(np.uint8))
    return result


def framed(pictures: list[np.ndarray], frame: np.ndarray, top: int, left: int) -> list[np.ndarray]:
    result = []
    for picture in pictures:
        whole = frame.copy()
        whole[top : top + SIZE[0], left : left + SIZE[1]] = picture
        result.append(np.dstack([whole, np.full(whole.shape[:2], 255)]).astype(np.uint8))
    return result


def found(pictures: list[np.ndarray]) -> tuple[tuple[slice, slice] | None, Matte]:
    result = matte_inside(pictures, lambda p: matte(p, "plain"), lambda box: f"{box[1].start},{box[0].start}")
    return result.box, result.cut


def wood() -> np.ndarray:
    rows = np.arange(140)[:, None, None]
    return np.broadcast_to(np.array((120, 75, 40)) + 30 * np.sin(rows / 2), (140, 180, 3)).astype(np.uint8)


def bezel() -> np.ndarray:
    screen = np.full((140, 180, 3), 150, np.uint8)
    screen[8:-10, 10:-12] = 20
    return screen


def ticker() -> np.ndarray:
    band = np.full((140, 128, 3), (90, 140, 200), np.uint8)
    band[97:] = (170, 10, 20)
    band[108:124, 6:120:4] = 255
    return band


@pytest.mark.parametrize(("frame", "top", "left"), [(wood(), 20, 26), (bezel(), 20, 24), (ticker(), 0, 0)])
def test_a_frame_a_screen_and_a_band_are_left_out(frame: np.ndarray, top: int, left: int) -> None:
    box, cut = found(framed(inner(), frame, top, left))
    assert box is not None
    rows, columns = box
    assert top <= rows.start <= top + 4
    assert top + SIZE[0] - 4 <= rows.stop <= top + SIZE[0] + 4
    for masked, picture in zip(cut.frames, inner(), strict=True):
        true = np.zeros(frame.shape[:2], bool)
        true[top : top + SIZE[0], left : left + SIZE[1]] = picture[..., 0] == 200
        a, b = masked[..., 3] > 127, true[rows, columns]
        assert b.sum() == true.sum()
        assert (a & b).sum() / (a | b).sum() > 0.95


@pytest.mark.parametrize("reach", [128, 122])
def test_a_line_of_text_that_runs_through_the_picture_is_left_out(reach: int) -> None:
    """Bars as letters, moving to the left, below the disc; a line that ends before the side is none."""
    u = np.arange(128)
    pictures = framed(inner(), np.full((140, 128, 3), (90, 140, 200), np.uint8), 0, 0)
    for i, picture in enumerate(pictures):
        letters = ((u + 3 * i) % 9 < 6) & (u >= 60 - 3 * i) & (u < reach)
        picture[115:127, letters] = (30, 30, 30, 255)
    box, cut = found(pictures)
    assert runs_out([p[::-1] for p in matte(pictures, "plain").frames]) == (reach == 128)
    if reach < 128:
        assert box is None
        return
    assert box is not None
    assert box[0].stop <= 115
    assert all(
        (f[..., 3] > 127).sum() == (p[..., 0] == 200).sum() for f, p in zip(cut.frames, inner(), strict=True)
    )


def test_a_plain_background_is_taken_as_it_is() -> None:
    pictures = framed(inner(), np.full((140, 180, 3), (90, 140, 200), np.uint8), 20, 26)
    assert found(pictures)[0] is None


def test_one_of_two_pictures_is_to_be_chosen() -> None:
    both = [
        np.hstack([a, np.zeros((96, 8, 3)), b])
        for a, b in zip(inner(), inner(color=(70, 170, 90)), strict=True)
    ]
    pictures = [np.dstack([p, np.full(p.shape[:2], 255)]).astype(np.uint8) for p in both]
    with pytest.raises(InputError, match="choose one by --crop 0,0 or --crop 140,0"):
        found(pictures)


def test_a_thing_across_the_border_is_no_part_and_the_reason_stays() -> None:
    """It stands before a wall and a floor: each of them cuts it off."""
    v = np.arange(96)[:, None, None]
    pictures = []
    for picture in inner():
        ground = np.where(v < 48, (215, 205, 190), (140, 100, 70))
        whole = np.where(picture[..., :1] == 200, picture, ground)
        pictures.append(np.dstack([whole, np.full(whole.shape[:2], 255)]).astype(np.uint8))
    with pytest.raises(InputError, match=r"(plain|reaches from one side).*no part of it was found"):
        found(pictures)


def test_masks_that_never_change_while_their_picture_does() -> None:
    pictures = framed(inner(), np.zeros((120, 160, 3), np.uint8), 12, 16)
    for picture in pictures:
        picture[..., 3] = 0
        picture[12 : 12 + SIZE[0], 16 : 16 + SIZE[1], 3] = 255
    assert is_plate(pictures)
    assert not is_plate(pictures[:1] * 8)
    for i, picture in enumerate(pictures):
        picture[:, : 16 + 4 * i, 3] = 0
    assert not is_plate(pictures)


def test_the_largest_rectangle_is_that_of_all() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        mask = rng.random((7, 9)) < 0.75
        rows, columns = largest_rectangle(mask)
        assert mask[rows, columns].all()
        sizes = [
            (y1 - y0) * (x1 - x0)
            for y0 in range(7)
            for y1 in range(y0 + 1, 8)
            for x0 in range(9)
            for x1 in range(x0 + 1, 10)
            if mask[y0:y1, x0:x1].all()
        ]
        assert (rows.stop - rows.start) * (columns.stop - columns.start) == max(sizes, default=0)


def test_a_part_is_not_the_whole() -> None:
    assert (
        parts(
            [np.dstack([on_white(np.zeros((80, 96, 4), np.uint8)), np.full((80, 96), 255)]).astype(np.uint8)]
        )
        == []
    )
