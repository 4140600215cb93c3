"""Places of what is left out are those of the source, and no kind is named that an outline does not show."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from boxes import folder_of, moving, on_white

from vid4d.clip.clip import read_clip
from vid4d.clip.places import Places, still_note

TIMES = np.array([0.0, 0.5, 1.0])


def told(*boxes: tuple[int, int, int, int]) -> str:
    """What is said of boxes (left, top, right, bottom) that are seen at 0.5 s in a picture of 100 x 60."""
    masks = np.zeros((3, 60, 100), bool)
    for left, top, right, bottom in boxes:
        masks[1, top:bottom, left:right] = True
    return still_note(list(masks), TIMES, 1, Places((100, 60)))


@pytest.mark.parametrize(
    ("boxes", "words"),
    [
        (
            [(2, 3, 30, 9)],
            "text or another small thing at the upper left, 2,3 to 30,9 of 100 x 60, at 0.50 s;",
        ),
        ([(2, 3, 5, 6), (8, 3, 11, 6)], "thing at the upper left, 2,3 to 11,6 of 100 x 60, at 0.50 s;"),
        ([(40, 20, 60, 40)], "something in the middle, 40,20 to 60,40 of 100 x 60, at 0.50 s;"),
        ([(0, 50, 100, 60)], "a bar along the bottom, 0,50 to 100,60 of 100 x 60, at 0.50 s;"),
        ([(0, 50, 100, 60), (20, 35, 40, 50)], "something at the bottom, 0,35 to 100,60 of 100 x 60,"),
        ([(0, 0, 4, 60), (0, 0, 100, 4)], "a bar along the top and the left, 0,0 to 100,60 of 100 x 60,"),
    ],
)
def test_kind_and_place(boxes: list[tuple[int, int, int, int]], words: str) -> None:
    assert words in told(*boxes)


def test_three_are_named_the_others_counted() -> None:
    spots = [(10, 10, 20, 16), (50, 10, 58, 16), (80, 10, 87, 16), (10, 40, 15, 46), (50, 40, 54, 46)]
    said = told(*spots)
    assert said.count("small thing") == 3
    assert said.endswith("; 2 more things; --keep keeps it")


def test_places_are_pixels_of_the_source() -> None:
    """Three times smaller, 5 and 2 of these pixels cut off, blocks of 2: left 3 * (2 * 4 + 5), and so on."""
    places = Places((120, 90), 3, (5, 2))
    assert places.of_box((slice(1, 6), slice(4, 9)), 2) == (39, 12, 69, 42)
    assert places.of_box((slice(1, 20), slice(4, 30)), 2) == (39, 12, 120, 90)


def test_of_a_part_of_a_large_picture(tmp_path: Path) -> None:
    """A caption at 60,70 to 80,76 of a picture, enlarged 12 times, at 24,36 in a larger one."""
    pictures = []
    for picture in moving(6):
        picture[70:76, 60:80] = (10, 10, 10, 255)
        large = np.full((1000, 1200, 3), 255, np.uint8)
        large[36:996, 24:1176] = on_white(picture).repeat(12, 0).repeat(12, 1)
        pictures.append(large)
    clip = read_clip(folder_of(tmp_path / "f", pictures), frames=0, size=32, crop="24,36,1176,996")
    said = next(w for w in clip.warnings if "stands still" in w)
    places = said.split("right, ")[1].split(" of 1200 x 1000")[0].replace(" to ", ",").split(",")
    expected = (24 + 12 * 60, 36 + 12 * 70, 24 + 12 * 80, 36 + 12 * 76)
    assert [int(p) for p in places] == pytest.approx(expected, abs=6)
