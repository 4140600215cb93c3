"""Points of depth maps, F-scores and loose pieces, by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from vid4d.cameras import RING_DISTANCE, Cameras
from vid4d.metrics import f_scores, loose_pieces, surface_points


def sheet(x: float, y: tuple[float, float] = (0, 1), step: float = 0.05) -> np.ndarray:
    """Points of a square at constant x."""
    a, b = np.meshgrid(np.arange(*y, step), np.arange(0, 1, step))
    return np.stack([np.full(a.size, x), a.ravel(), b.ravel()], 1)


def test_a_wall_seen_from_two_sides_is_where_it_is() -> None:
    """The plane x = 0.2, seen from +x at 1.3 and from -x at 1.7."""
    cameras = Cameras.orbit([0.0, 180.0], 0.0, size=8)
    alpha = torch.zeros(2, 8, 8)
    alpha[:, 2:6, 3:5] = 1
    alpha[:, 0, 0] = 0.4
    depth = torch.full((2, 8, 8), RING_DISTANCE) + torch.tensor([-0.2, 0.2])[:, None, None]
    depth[0, 2, 3] = float("inf")
    front, back = surface_points(depth, alpha, cameras)
    assert (len(front), len(back)) == (7, 8)
    np.testing.assert_allclose(np.concatenate([front, back])[:, 0], 0.2, atol=1e-6)
    pixel = 1.7 / float(cameras.focal[0])
    np.testing.assert_allclose(np.abs(back[:, 1]), pixel / 2, atol=1e-6)
    np.testing.assert_allclose(back[:, 2].max(), 1.5 * pixel, atol=1e-6)


def test_equal_surfaces_score_one_and_distant_ones_nothing() -> None:
    views = [sheet(0.0), sheet(0.3)]
    assert f_scores(views, views).tolist() == [1, 1]
    assert f_scores([sheet(0.02)], [sheet(0.0)]).tolist() == [1]
    assert f_scores([sheet(0.04)], [sheet(0.0)]).tolist() == [0]


def test_what_another_view_of_the_other_sees_counts() -> None:
    """A point is right if the other surface is there at all, whichever view saw it."""
    assert f_scores([sheet(0.0), sheet(0.5)], [sheet(0.5), sheet(0.0)]).tolist() == [1, 1]


def test_half_of_a_surface_by_hand() -> None:
    """All that is there is right, half of the truth is found (10 of 20 columns, within less than a step)."""
    found, truth = [sheet(0.0, (0, 0.475))], [sheet(0.0)]
    assert f_scores(found, truth)[0] == pytest.approx(2 * 1 * 0.5 / 1.5)
    assert f_scores(truth, found)[0] == pytest.approx(2 * 1 * 0.5 / 1.5)


def test_views_of_nothing() -> None:
    nothing = np.zeros((0, 3))
    assert f_scores([nothing, nothing], [nothing, sheet(0.0)]).tolist() == [1, 0]
    assert f_scores([nothing], [nothing]).tolist() == [1]


def test_pieces_touch_along_corners_and_specks_are_none() -> None:
    alpha = torch.zeros(4, 64, 64)
    alpha[1:, 8:40, 8:40] = 1
    alpha[2, 40:44, 40:44] = 1  # touches at its corner
    alpha[3, 50:52, 50:52] = 1
    alpha[3, 60, 60] = 1  # 1 of 4,096 pixels
    alpha[3, 0:4, 50] = 0.4  # not solid
    assert loose_pieces(alpha).tolist() == [0, 0, 0, 2]
    assert loose_pieces(alpha, speck=2 / 4096).tolist() == [0, 0, 0, 1]
    assert loose_pieces(alpha.view(2, 2, 64, 64)).shape == (2, 2)
