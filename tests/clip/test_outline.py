"""Masks are the less sure the more of their pixels lie along the outline."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from boxes import box, folder_of, on_white

from vid4d.clip.clip import read_clip
from vid4d.clip.outline import sure_share


def square(side: int) -> np.ndarray:
    return box(20, 20, side, side)


@pytest.mark.parametrize("side", [2, 4, 10, 40])
def test_half_of_the_outline_may_be_wrong(side: int) -> None:
    along = side**2 - (side - 2) ** 2
    assert sure_share([square(side)]) == pytest.approx(1 - along / 2 / side**2, abs=1e-3)


def test_frames_and_sizes() -> None:
    """The usual frame counts, those that show nothing do not; a pixel of a small copy is several."""
    nothing = np.zeros_like(square(4))
    assert sure_share([square(4), square(10), square(10), nothing]) == sure_share([square(10)])
    assert sure_share([nothing]) == 1.0
    assert 1 - sure_share([square(10)], 2.0) == pytest.approx((1 - sure_share([square(10)])) / 2)


def test_confidence_falls_for_tiny_objects(tmp_path: Path) -> None:
    for side, kind in ((8, on_white), (8, np.asarray), (60, on_white)):
        pictures = [kind(box(8 + 3 * i, 10, side, side)) for i in range(4)]
        clip = read_clip(folder_of(tmp_path / f"{side}{kind.__name__}", pictures), frames=0, cyclic=False)
        right = 1 - 28 / 2 / 64 if side == 8 and kind is on_white else 1.0
        assert clip.matting_confidence == pytest.approx(right, abs=0.03)
