"""Key frames that are too far apart for what the object does."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from boxes import box, folder_of

from vid4d.clip.clip import read_clip
from vid4d.clip.pace import faster_than_keys

WIDTH = 20


def told(
    x: list[int], keys: list[int], rate: float | None = None, moved: np.ndarray | float = 0.0
) -> str | None:
    """Of boxes of 20 x 20 pixels at these places."""
    frames = [box(i) for i in x]
    rows, columns = np.nonzero(frames[0][..., 3])
    center = np.array([(i - x[0] + columns.mean(), rows.mean()) for i in x])
    return faster_than_keys(frames, center, [len(rows)] * len(x), keys, moved, rate)


def test_outlines_that_hardly_overlap_are_told_in_numbers() -> None:
    """A box that moves by a share s of its width has (1 - s) / (1 + s) in common with itself before."""
    keys = [0, 2, 4, 7, 9]
    assert told([10, 11, 12, 13, 14, 13, 12, 11, 10, 10], keys) is None
    to_and_fro = [10, 15, 20, 15, 10, 15, 20, 20, 15, 10]
    said = told(to_and_fro, keys)
    assert said is not None
    assert "have 33% in common" in said
    assert "--frames 10" in said
    said = told(to_and_fro, keys, rate=2.0)
    assert said is not None
    assert "--key-frames-per-second 6 " in said


def test_motion_that_windows_take_away_does_not_count() -> None:
    x = (2 + np.arange(9) * WIDTH // 6).tolist()
    keys = [0, 4, 8]
    assert told(x, keys) is not None
    away = np.array([(i, 0) for i in x], np.float64)
    assert told(x, keys, moved=away) is None


def test_a_long_clip_names_the_rate(tmp_path: Path) -> None:
    """What goes to and fro, at two key frames a second and at as many as are advised."""
    to_and_fro = [box(22 + round(16 * np.sin(2 * np.pi * 0.9 * i / 12))) for i in range(72)]
    folder = folder_of(tmp_path / "f", to_and_fro)
    options = {"frames": 8, "dense": 9, "dense_rate": 6.0, "fps": 12, "cyclic": False, "follow": "no"}
    said = " ".join(read_clip(folder, rate=2.0, **options).warnings)
    advised = re.search("--key-frames-per-second ([0-9.]+) follows", said)
    assert advised is not None
    again = read_clip(folder, rate=float(advised[1]), **options).warnings
    assert not any("in common" in w for w in again)
