"""Names of pictures: the order that people mean, and which names belong together."""

from __future__ import annotations

import glob
import random
from collections.abc import Sequence
from pathlib import Path

import pytest

from vid4d.clip.naming import Series, picking_glob, series_of

ROOT = Path("/clips/a")


def found(names: Sequence[str]) -> list[Series]:
    files = [ROOT / n for n in names]
    random.Random(0).shuffle(files)
    return series_of(ROOT, files)


@pytest.mark.parametrize(
    "names",
    [
        [f"{i}.png" for i in range(12)],
        ["0.png", "0.0625.png", "0.125.png", "0.5.png", "1.png", "1.5.png", "10.png"],
        ["0.5.png", "0.75.png", "1.25.png", "10.125.png"],
        ["t6e-05.png", "t0.001.png", "t0.25.png"],
        ["a_1.8.png", "a_1.9.png", "a_1.10.png", "a_1.11.png"],
        ["-10.png", "-2.png", "-1.png", "0.png", "3.png"],
        ["f_-1.5.png", "f_-0.5.png", "f_0.5.png", "f_1.5.png"],
        ["f-2.png", "f-1.png", "f0.png", "f1.png"],
        ["f-1.png", "f-2.png", "f-10.png"],  # hyphens
        ["IMG (1).png", "IMG (2).png", "IMG (10).png"],
        ["IMG.png", "IMG (1).png", "IMG (2).png"],
        ["shot copy 1.png", "shot copy 2.png", "shot copy 10.png"],
        ["2024-01-05_23-59-58.png", "2024-01-05_23-59-59.png", "2024-01-06_00-00-00.png"],
        ["at 9.58.10.png", "at 9.58.11.png", "at 10.01.02.png"],
        ["render.0009.png", "render.0010.png", "render.0011.png"],
        ["F1.PNG", "F2.png", "F10.png"],
        ["1.jpg", "2.png", "3.jpg"],
    ],
)
def test_order(names: list[str]) -> None:
    (series,) = found(names)
    assert [f.name for f in series.files] == names
    assert series.notes == ()


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize("step", [1, 3])
def test_counters_that_roll_over(first: int, step: int) -> None:
    names = [f"IMG_{n:04d}.JPG" for n in (*range(9990, 10000, step), *range(first, 8, step))]
    (series,) = found(names)
    assert [f.name for f in series.files] == names
    assert "rolls over" in series.notes[0]
    assert f"{names[0]} ... {names[-1]}" in series.notes[0]


def test_gaps_are_no_roll_over() -> None:
    for names in ([f"{n:04d}.png" for n in (1, 2, 3, 9000, 9001)], [f"{n:03d}.png" for n in range(1000)]):
        (series,) = found(names)
        assert [f.name for f in series.files] == names
        assert "rolls over" not in " ".join(series.notes)


def test_doubts_are_told() -> None:
    (series,) = found(["-3.png", "-2.png", "-1.png"])
    assert [f.stem for f in series.files] == ["-3", "-2", "-1"]
    assert "negative" in series.notes[0]
    (series,) = found(["a1.png", "a01.png", "a2.png"])
    assert "same number" in series.notes[0]


def both(a: str, b: str, count: int = 5) -> list[str]:
    return [n.format(i) for n in (a, b) for i in range(count)]


@pytest.mark.parametrize(
    "names",
    [
        both("left_{:04d}.png", "right_{:04d}.png"),
        both("cam0_{:04d}.png", "cam1_{:04d}.png"),
        both("{:04d}_cam0.png", "{:04d}_cam1.png"),
        both("{}.jpg", "{}.png"),
        both("view_0/{}.png", "view_1/{}.png"),
        both("IMG_{:04d}.jpg", "IMG_{:04d} (1).jpg"),
        both("a{}.png", "a{}b.png"),
        both("[x] {:02d}.png", "[y] {:02d}.png"),
    ],
)
def test_two_series_and_the_globs_that_pick_one(tmp_path: Path, names: list[str]) -> None:
    files = [tmp_path / "in [1]" / n for n in names]
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    root = tmp_path / "in [1]"
    two = series_of(root, files)
    assert sorted(f for s in two for f in s.files) == sorted(files)
    assert [len(s.files) for s in two] == [5, 5]
    for series in two:
        pattern = picking_glob(root, series, files)
        assert pattern is not None
        assert sorted(map(Path, glob.glob(pattern))) == sorted(series.files)


def test_a_number_that_never_changes_tells_nothing_apart() -> None:
    (series,) = found([f"toy2_{i}_v3.png" for i in range(20)])
    assert [c for (c,) in series.counters] == list(range(20))


def test_missing_numbers_are_told_and_even_steps_are_not() -> None:
    (series,) = found([f"{i:03}.png" for i in (0, 1, 3, 4, 5, 42, 43)])
    assert "numbers are missing between 001 and 003 and at 1 more places" in series.notes[0]
    for numbers in (range(0, 40, 5), range(7), (3, 90, 104, 260, 301)):
        (series,) = found([f"f_{i}.png" for i in numbers])
        assert series.notes == ()
