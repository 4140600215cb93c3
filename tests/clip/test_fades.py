"""Fades are seen by the object's colors; what is lit, comes in or turns is none."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from boxes import box, folder_of

from vid4d.clip.clip import read_clip
from vid4d.clip.fades import without_fades
from vid4d.clip.takes import Takes

N = 32
GROUND = np.array((236.0, 236.0, 240.0))


def clip(
    colors: Sequence[Sequence[int]], shares: Sequence[float], faded_to: Sequence[float] = GROUND
) -> list[np.ndarray]:  # type: ignore[assignment]
    """A box that hops, so much of each picture and for the rest one color; opaque RGBA."""
    pictures = []
    for i, (color, share) in enumerate(zip(colors, shares, strict=True)):
        rgba = box(8 + 2 * i, 30 - (i * 7) % 12, 22, 26, color)
        alpha = rgba[..., 3:] / 255.0
        whole = alpha * rgba[..., :3] + (1 - alpha) * GROUND
        mixed = share * whole + (1 - share) * np.asarray(faded_to)
        pictures.append(np.dstack([np.rint(mixed), np.full(mixed.shape[:2], 255)]).astype(np.uint8))
    return pictures


def bad(pictures: Sequence[np.ndarray]) -> list[int]:
    """Frames that are not good any more, of masks that are right."""
    cut = [
        np.dstack([p[..., :3], box(8 + 2 * i, 30 - (i * 7) % 12, 22, 26)[..., 3]])
        for i, p in enumerate(pictures)
    ]
    takes = without_fades(Takes(np.ones(len(pictures), bool)), pictures, cut, np.arange(len(pictures)) / 24)
    assert bool(takes.reasons) == (not takes.good.all())
    return np.nonzero(~takes.good)[0].tolist()


@pytest.mark.parametrize("faded_to", [GROUND, (255, 255, 255)])
def test_frames_that_are_less_than_themselves_are_not_good(faded_to: Sequence[float]) -> None:
    """In over frames 0 to 9, out over the last four: 0.9 of itself is a fade, all of itself is not."""
    shares = np.minimum(np.arange(1, N + 1) / 10, np.arange(N, 0, -1) / 4).clip(max=1)
    assert bad(clip([(190, 60, 40)] * N, shares, faded_to)) == [*range(9), *range(N - 3, N)]


def test_no_fade(tmp_path: Path) -> None:
    steady, turns = [1.0] * N, [(190 - 4 * i, 60 + 5 * i, 40) for i in range(N)]
    assert bad(clip([(190, 60, 40)] * N, steady)) == []
    assert bad(clip(turns, steady)) == []
    assert bad(clip([(190, 60, 40)] * N, 0.5 + 0.1 * np.sin(np.arange(N)))) == []


def test_the_range_that_is_named_shows_no_ghost(tmp_path: Path) -> None:
    shares = (np.arange(N) / 10).clip(max=1)
    folder = folder_of(tmp_path / "f", [p[..., :3] for p in clip([(190, 60, 40)] * N, shares)])
    options = {"frames": 4, "dense": 64, "fps": 24, "cyclic": False, "trim": "auto"}
    found = read_clip(folder, **options)  # type: ignore[arg-type]
    assert "the picture fades" in " | ".join(found.warnings)
    assert N - 10 <= len(found) <= N - 9
