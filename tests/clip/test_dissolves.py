"""Dissolves are cuts; what moves, grows or gets darker is none."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from boxes import box, folder_of

from vid4d.clip.clip import read_clip

GROUND = (200, 204, 196)


def before_ground(picture: np.ndarray) -> np.ndarray:
    """An opaque picture of a box, float."""
    alpha = picture[..., 3:] / 255.0
    return picture[..., :3] * alpha + np.array(GROUND) * (1 - alpha)


def told(folder: Path, pictures: Sequence[np.ndarray], **options: object) -> tuple[int, str]:
    """Number of frames, and all that is said, of a clip of 24 a second."""
    opaque = [np.rint(p).clip(0, 255).astype(np.uint8) for p in pictures]
    clip = read_clip(folder_of(folder, opaque), frames=4, dense=64, fps=24, cyclic=False, **options)  # type: ignore[arg-type]
    return len(clip), " | ".join(clip.warnings)


@pytest.mark.parametrize("walks", [0.0, 0.4])
def test_a_dissolve_is_a_cut_with_its_range(walks: float, tmp_path: Path) -> None:
    """From one box to another over frames 16 to 24 of 40: half there at 20; the first take is the longest."""
    one = [before_ground(box(10 + round(walks * i), 20, 30, 30, (200, 40, 40))) for i in range(40)]
    other = [before_ground(box(50 + round(walks * i), 34, 20, 40, (30, 60, 190))) for i in range(40)]
    share = np.clip((np.arange(40) - 18) / 8, 0, 1)
    mixed = [(1 - s) * a + s * b for s, a, b in zip(share, one, other, strict=True)]
    _, said = told(tmp_path / "f", mixed)
    found = re.search(r"dissolves into another from ([0-9.]+) to ([0-9.]+) s: a cut", said)
    assert found is not None
    begin, end = (float(x) * 24 for x in found.groups())
    assert 18 <= begin <= 20
    assert 24 <= end <= 26
    assert re.search(r"--start 0\.00 --end 0\.[78]\d* for the longest take", said)
    count, _ = told(tmp_path / "g", mixed, trim="auto")
    assert 16 <= count <= 20


def test_what_moves_grows_or_gets_darker_is_no_dissolve(tmp_path: Path) -> None:
    moves = [before_ground(box(4 + 2 * i, 30, 24, 24)) for i in range(30)]
    grows = [before_ground(box(40 - i, 40 - i, 10 + 2 * i, 10 + 2 * i)) for i in range(24)]
    darker = [before_ground(box(40, 30, 30, 30)) * (1 - 0.02 * i) for i in range(24)]
    for name, pictures in (("moves", moves), ("grows", grows), ("darker", darker)):
        assert "dissolves" not in told(tmp_path / name, pictures)[1], name
