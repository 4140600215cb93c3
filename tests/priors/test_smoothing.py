"""The weights that smooth a clip's volumes over time, by hand and by what must hold for any clip."""

from __future__ import annotations

import pytest
import torch

from vid4d.priors.smoothing import smoothing_matrix

OPEN = {
    1: ["1"],
    2: ["3 1 of 4", "1 3 of 4"],
    3: ["7 2 1 of 10", "2 6 2 of 10", "1 2 7 of 10"],
    4: ["14 4 2 0 of 20", "3 12 3 2 of 20", "2 3 12 3 of 20", "0 2 4 14 of 20"],
}
CYCLIC = {
    1: "1",
    2: "3 1 of 4",
    3: "14 3 3 of 20",
    4: "7 1 1 1 of 10",
    5: "6 1 1 1 1 of 10",
    6: "6 1 1 0 1 1 of 10",
    7: "6 1 1 1 1 1 1 of 12",
    8: "6 1 1 1 0 1 1 1 of 12",
    12: "6 1 1 1 0 0 0 0 0 1 1 1 of 12",
    13: "14 2 1 1 1 1 1 1 1 1 1 1 2 of 28",
    14: "14 2 1 1 1 1 1 0 1 1 1 1 1 2 of 28",
}
"""The row of the first frame; those of the others are the same, turned."""


def row(text: str) -> torch.Tensor:
    """Shares, told as whole numbers of a whole."""
    parts, _, whole = text.partition(" of ")
    values = torch.tensor([float(x) for x in parts.split()], dtype=torch.float64)
    assert float(values.sum()) == float(whole or 1)
    return values / values.sum()


@pytest.mark.parametrize("frames", OPEN)
def test_tables_of_short_open_clips(frames):
    expected = torch.stack([row(text) for text in OPEN[frames]])
    torch.testing.assert_close(smoothing_matrix(frames), expected)


@pytest.mark.parametrize("frames", CYCLIC)
def test_tables_of_loops(frames):
    first = row(CYCLIC[frames])
    expected = torch.stack([first.roll(i) for i in range(frames)])
    torch.testing.assert_close(smoothing_matrix(frames, cyclic=True), expected)


@pytest.mark.parametrize(("frames", "kernel"), [(5, "6 1 1 1 0"), (12, "6 1 1 1"), (13, "14 2 1 1 1 1 1 0")])
def test_the_first_frame_of_a_longer_open_clip_looks_ahead_only(frames, kernel):
    """Its weights fall with the distance; what lies outside of the clip is left out."""
    values = torch.tensor([float(x) for x in kernel.split()], dtype=torch.float64)
    expected = torch.zeros(frames, dtype=torch.float64)
    expected[: len(values)] = values / values.sum()
    torch.testing.assert_close(smoothing_matrix(frames)[0], expected)


@pytest.mark.parametrize("cyclic", [False, True])
@pytest.mark.parametrize("frames", range(1, 17))
def test_a_clip_played_backwards_is_smoothed_alike(frames, cyclic):
    matrix = smoothing_matrix(frames, cyclic)
    torch.testing.assert_close(matrix.flip(0, 1), matrix)
    assert (matrix.argmax(1) == torch.arange(frames)).all(), "a frame's own volume counts most"
