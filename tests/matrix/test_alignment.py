"""Pictures of a second camera find their size and place by silhouettes, however they were cropped."""

from __future__ import annotations

import pytest
import torch
from ellipsoids import picture

from vid4d.cameras import Cameras
from vid4d.matrix.alignment import Placement, as_seen, place

SIZE = 96
FIRST = Cameras.orbit([0.0], 10.0, size=SIZE)


def masks(camera: Cameras) -> torch.Tensor:
    return torch.cat([picture(camera, time)[..., 3] for time in (0.0, 1.0)])


def test_pictures_in_their_placement_are_moved_and_scaled_by_hand() -> None:
    image = torch.zeros(1, 8, 8, 4)
    image[0, 2:6, 2:6] = torch.tensor([0.2, 0.4, 0.6, 1.0])
    moved = as_seen(image, Placement(0.5, 0.25, 0.0), 8)
    expected = torch.zeros(8, 8)
    expected[3:5, 5:7] = 1  # half as large around column 6, row 4
    torch.testing.assert_close(moved[0, ..., 3].round(), expected)
    torch.testing.assert_close(moved[0, 3, 5, :3], torch.tensor([0.2, 0.4, 0.6]))


@pytest.mark.parametrize(("azimuth", "elevation"), [(90.0, 10.0), (180.0, 10.0), (250.0, 30.0)])
def test_another_crop_is_undone(azimuth: float, elevation: float) -> None:
    camera = Cameras.orbit([azimuth], elevation, size=SIZE)
    true = masks(camera)
    rgba = torch.stack([true] * 4, -1)
    cropped = as_seen(rgba, Placement(1.25, 0.0, -0.06), SIZE)[..., 3]
    found = place(masks(FIRST), FIRST, cropped, camera)
    assert found.agreement > 0.95
    assert found.scale * 1.25 == pytest.approx(1.0, abs=0.05)
    assert found.y == pytest.approx(0.06 / 1.25, abs=0.015)


def test_what_no_outline_tells_stays_in_the_middle() -> None:
    """Along the first camera's view; a second one sees that as left and right."""
    camera = Cameras.orbit([90.0], 10.0, size=SIZE)
    found = place(masks(FIRST), FIRST, masks(camera), camera)
    assert found.x == pytest.approx(0.0, abs=0.02)
    assert found.scale == pytest.approx(1.0, abs=0.03)


def test_outlines_of_another_thing_agree_less() -> None:
    camera = Cameras.orbit([180.0], 10.0, size=SIZE)
    lying = masks(camera).transpose(1, 2)
    assert place(masks(FIRST), FIRST, lying, camera).agreement < 0.8
