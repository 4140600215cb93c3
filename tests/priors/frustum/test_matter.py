"""Light through the matter of a view frustum, and the color that it leaves behind."""

from __future__ import annotations

import pytest
import torch

from vid4d.priors.frustum.matter import BLUR, LAYER, SKIN, alpha_along, visibility, without_detail


def test_alpha_of_two_half_layers_is_that_of_one() -> None:
    occupancy = torch.tensor([0.3]).view(1, 1, 1)
    half = alpha_along(occupancy, LAYER / 2)
    assert float(1 - (1 - half) ** 2) == pytest.approx(0.3, abs=1e-6)


def test_a_wall_is_seen_as_deep_as_its_skin_and_nothing_behind_it() -> None:
    logits = torch.full((1, 1, 20, 2, 1), -30.0)
    logits[:, :, 6:, 0] = 30.0  # a wall from the seventh voxel on in the first row, nothing in the second
    seen = visibility(logits, LAYER)[0, 0, :, :, 0]
    torch.testing.assert_close(seen[: 6 + SKIN + 1, 0], torch.ones(6 + SKIN + 1))
    assert float(seen[6 + SKIN + 1 :, 0].max()) <= 1e-3 + 1e-6
    torch.testing.assert_close(seen[:, 1], torch.ones(20))


def test_haze_takes_its_share_of_the_light() -> None:
    seen = visibility(torch.zeros(1, 1, 8, 1, 1), LAYER).flatten()  # half of the light a voxel
    expected = [1.0] * (SKIN + 1) + [0.5**n for n in range(1, 8 - SKIN)]
    torch.testing.assert_close(seen, torch.tensor(expected))


def test_no_gradient_flows_to_the_matter() -> None:
    assert not visibility(torch.zeros(1, 1, 4, 1, 1, requires_grad=True), LAYER).requires_grad


def test_a_color_without_detail_stays_and_white_around_does_not_bleed_in() -> None:
    columns = torch.ones(1, 4, 40, 40)
    columns[:, 3] = -1
    columns[:, 0, 10:30, 10:30], columns[:, 1:3, 10:30, 10:30], columns[:, 3, 10:30, 10:30] = 0.5, -0.5, 1
    soft = without_detail(columns)
    inside = soft[0, :, 10:30, 10:30].flatten(1)
    torch.testing.assert_close(inside, torch.tensor([0.5, -0.5, -0.5])[:, None].expand_as(inside))


def test_stripes_become_their_mean() -> None:
    columns = torch.ones(1, 4, 40, 40)
    columns[:, :3, :, ::2] = -1
    middle = without_detail(columns)[..., BLUR:-BLUR, BLUR:-BLUR]
    assert float(middle.abs().max()) < 2 / BLUR**2
