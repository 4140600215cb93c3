"""What changes in a source right after the frames that were read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from vid4d.clip.right_after import RightAfter


class _Counting:
    """Frame i is black but for its pixel (1, i), which is white."""

    times = np.arange(12) / 24
    duration, has_alpha, notes = 0.5, False, ()

    def read(self, indices: Sequence[int], max_side: int | None = None) -> Iterator[np.ndarray]:
        for i in indices:
            picture = np.zeros((4, 14, 4), np.uint8)
            picture[1, i] = 255
            yield picture


def changes(chosen: list[int], corner: tuple[int, int] = (0, 0)) -> list[np.ndarray]:
    source = _Counting()
    x, y = corner
    pictures = [p[y:, x:] for p in source.read(chosen)]
    return list(RightAfter(source, chosen, pictures, corner, 14).changes(1))  # type: ignore[arg-type]


def test_the_next_frame_of_the_source_is_compared() -> None:
    found = changes([0, 4, 8])
    assert [np.nonzero(f)[1].tolist() for f in found] == [[0, 1], [4, 5], [8, 9]]


def test_pictures_may_be_cut() -> None:
    assert np.nonzero(changes([2, 6], (1, 1))[0])[1].tolist() == [1, 2]


def test_nothing_is_read_where_the_next_ones_are_known() -> None:
    assert changes([3, 4, 5, 6]) == []
