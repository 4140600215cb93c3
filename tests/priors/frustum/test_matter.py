"""Light through the matter of a view frustum, and the color that it leaves behind."""

from __future__ import annotations

import pytest
import torch

from vid4d.priors.frustum.matter import (
    BIAS,
    BLUR,
    LAYER,
    SKIN,
    alpha_along,
    solid_occupancy,
    visibility,
    with_thin_parts,
    without_detail,
)


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


def test_an_ear_whose_depth_is_unsure_stands_where_it_is_likeliest() -> None:
    """A body over half of the columns; beside it, voxels that are likelier empty, least at depth 5."""
    depth = torch.arange(20.0).view(-1, 1, 1)
    logits = (-BIAS - 0.9 - 0.1 * (depth - 5).abs()).expand(20, 8, 8).clone()
    logits[8:14, :, :4] = 6.0
    alpha = torch.ones(1, 8, 8)
    alpha[:, :, 7] = 0  # the picture shows nothing there
    kept = with_thin_parts(logits[None, None], alpha, LAYER)[0, 0]
    torch.testing.assert_close(kept[:, :, :4], logits[:, :, :4])
    torch.testing.assert_close(kept[:, :, 7], logits[:, :, 7])
    matter = solid_occupancy(kept)[:, :, 6] > 0.5
    expected = ((depth - 5).abs() <= 1).view(20, 1).expand(20, 8)
    assert bool(matter.eq(expected).all())


def test_every_column_of_the_silhouette_stops_light_and_no_other() -> None:
    torch.manual_seed(0)
    logits = torch.randn(2, 1, 24, 12, 12) * 2 - 6
    alpha = (torch.rand(2, 12, 12) > 0.5).float()
    kept = with_thin_parts(logits, alpha, LAYER)
    stopped = 1 - (1 - alpha_along(solid_occupancy(kept), LAYER)).prod(2)[:, 0]
    assert float(stopped[alpha > 0].min()) > 0.5
    assert torch.equal(
        kept.transpose(1, 0)[0].movedim(1, -1)[alpha == 0], logits[:, 0].movedim(1, -1)[alpha == 0]
    )
