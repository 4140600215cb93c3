"""Windows around an object that moves, against numbers worked by hand."""

from __future__ import annotations

import pytest
import torch

from vid4d.priors.frustum.framing import LEAST, SLACK, SMALLEST, VOLUME, follow, whole, windows


def frames() -> torch.Tensor:
    """A block of 20 by 10 pixels of 100, red, whose left upper corner is at (10, 40), then at (60, 70)."""
    pictures = torch.zeros(2, 100, 100, 4)
    for picture, (x, y) in zip(pictures, ((10, 40), (60, 70)), strict=True):
        picture[y : y + 10, x : x + 20] = torch.tensor([1.0, 0.2, 0.0, 1.0])
    return pictures


def test_windows_follow_the_object_as_far_as_they_have_to() -> None:
    framing = follow(frames()[..., 3])
    assert framing.scale == pytest.approx(0.2 / LEAST)
    room = SLACK * framing.scale
    expected = torch.tensor([[room - 0.3, room - 0.05], [0.2 - room, 0.25 - room]])
    torch.testing.assert_close(framing.center, expected)


def test_a_large_object_near_the_middle_is_seen_in_the_whole_picture() -> None:
    alpha = torch.zeros(1, 100, 100)
    alpha[0, 30:70, 12:82] = 1  # 70 wide, its middle 3 to the left: (87.5 - 70) / 2 is room enough
    framing = follow(alpha)
    assert framing.scale == 1
    assert framing.center.tolist() == [[0.0, 0.0]]


def test_nothing_lies_beyond_the_volume() -> None:
    alpha = torch.zeros(2, 100, 100)
    alpha[0, 40:60, 0:80] = 1
    alpha[1, 40:60, 15:95] = 1  # middles 10 to the left and 5 to the right
    framing = follow(alpha)
    room = (VOLUME - 0.8) / 2
    expected = torch.tensor([[room - 0.1, 0.0], [0.05 - room, 0.0]])
    torch.testing.assert_close(framing.center, expected)


def test_windows_are_no_larger_than_the_picture_and_not_too_small() -> None:
    full = torch.ones(1, 50, 50)
    assert follow(full).scale == 1
    dot = torch.zeros(1, 100, 100)
    dot[0, 50, 50] = 1
    assert follow(dot).scale == SMALLEST


def test_frames_without_an_object_keep_the_middle() -> None:
    framing = follow(torch.zeros(2, 20, 20))
    assert framing.scale == 1
    assert float(framing.center.abs().max()) == 0
    some = frames()
    some[1] = 0
    torch.testing.assert_close(follow(some[..., 3]).center[1], torch.zeros(2))


def test_in_its_window_the_object_is_large_and_near_the_middle() -> None:
    pictures = windows(frames(), follow(frames()[..., 3]), 64)
    for picture in pictures:
        y, x = (picture[..., 3] > 0.5).nonzero(as_tuple=True)
        assert int(x.max() - x.min()) + 1 == pytest.approx(LEAST * 64, abs=1)
        assert int(y.max() - y.min()) + 1 == pytest.approx(LEAST * 32, abs=1)
        assert abs(float(x.float().mean()) - 31.5) == pytest.approx(SLACK * 64, abs=1)
        assert picture[32, 32].tolist() == pytest.approx([1.0, 0.2, 0.0, 1.0], abs=1e-5)


def test_a_window_beyond_the_edge_is_transparent_there() -> None:
    full = torch.ones(1, 32, 32, 4)
    framing = whole(1)
    moved = type(framing)(torch.tensor([[0.5, 0.0]]), 1.0)
    picture = windows(full, moved, 16)[0]
    assert float(picture[:, :7, 3].min()) == pytest.approx(1)
    assert float(picture[:, 9:, 3].max()) == 0


def test_whole_windows_are_the_pictures_at_half_the_size() -> None:
    picture = torch.rand(1, 32, 32, 4)
    small = windows(picture, whole(1), 16)
    expected = picture[..., 3].view(1, 16, 2, 16, 2).mean((2, 4))
    torch.testing.assert_close(small[..., 3], expected)
