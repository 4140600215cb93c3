"""Assets against truth: laws that all measures keep, on balls seen from all around."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from vid4d.cameras import Cameras
from vid4d.metrics import Sides, compare
from vid4d.metrics.sides import MEASURES

CAMERAS = Cameras.cat([Cameras.ring(8, size=64), Cameras.ring(8, elevation=0.0, size=64)])


def ball(radius: float = 0.3, centre: tuple[float, float, float] = (0, 0, 0), grey: float = 0.5) -> Sides:
    """A grey ball at one moment: the first hit of every ray."""
    origin, direction = CAMERAS.rays()
    towards = torch.tensor(centre) - origin
    a = direction.square().sum(-1)
    b = torch.einsum("vhwi,vi->vhw", direction, towards)
    c = towards.square().sum(-1)[:, None, None] - radius**2
    root = b.square() - a * c
    hit = root >= 0
    depth = torch.where(hit, (b - root.clamp(min=0).sqrt()) / a, math.inf)
    rgba = torch.full((*depth.shape, 4), grey)
    rgba[..., 3] = hit.float()
    return Sides(CAMERAS, rgba[:, None], depth[:, None])


def scores(found: Sides, truth: Sides) -> dict[str, float]:
    return {k: float(v.mean()) for k, v in compare(found, truth).items()}


def test_an_asset_that_is_its_truth() -> None:
    same = compare(ball(), ball())
    assert list(same) == list(MEASURES)
    best = {"iou": 1, "f_score": 1, "half_transparent": 0, "pieces": 0, "color": 100, "psnr": 100, "ssim": 1}
    for name, values in same.items():
        assert values.shape == (len(CAMERAS), 1)
        torch.testing.assert_close(values, torch.full_like(values, best[name]))


def test_a_smaller_ball_by_hand() -> None:
    """Silhouettes of balls of radius r at distance d cover tan(asin(r / d))^2."""
    measured = scores(ball(0.25), ball(0.3))
    areas = [math.tan(math.asin(r / 1.5)) ** 2 for r in (0.25, 0.3)]
    assert measured["iou"] == pytest.approx(areas[0] / areas[1], abs=0.02)
    assert measured["f_score"] == 0, "0.05 apart everywhere"
    assert measured["color"] == 100
    assert scores(ball(0.28), ball(0.3))["f_score"] == 1, "0.02 apart everywhere"


def test_a_thing_in_another_place_has_other_surfaces() -> None:
    """The further it is moved, the less of its surface is right."""
    found = [scores(ball(centre=(0, shift, 0)), ball()) for shift in (0.02, 0.06, 0.12)]
    assert found[0]["f_score"] > 0.99
    for name in ("iou", "f_score", "psnr"):
        assert found[0][name] > found[1][name] > found[2][name], name


def test_fog_is_told_though_it_costs_no_overlap() -> None:
    """A shell of faint alpha around the truth."""
    wide, truth = ball(0.36), ball()
    rgba = truth.rgba.clone()
    shell = (wide.rgba[..., 3] > 0) & (truth.rgba[..., 3] == 0)
    rgba[..., 3][shell] = 0.4
    measured = scores(replace(truth, rgba=rgba), truth)
    assert measured["iou"] == measured["f_score"] == 1
    areas = [math.tan(math.asin(r / 1.5)) ** 2 for r in (0.3, 0.36)]
    assert measured["half_transparent"] == pytest.approx(1 - areas[0] / areas[1], abs=0.02)
    crisp = replace(truth, rgba=torch.where(rgba == 0.4, 1.0, rgba))
    assert scores(truth, crisp)["half_transparent"] == 0


def test_crumbs_are_counted_where_they_are_seen() -> None:
    truth = ball()
    rgba = truth.rgba.clone()
    rgba[3, 0, 2:5, 2:5, 3] = 1
    measured = compare(replace(truth, rgba=rgba), truth)["pieces"]
    assert measured[3, 0] == 1
    assert measured.sum() == 1
    assert compare(truth, replace(truth, rgba=rgba))["pieces"].sum() == 0, "what is missing is not loose"


def test_pictures_without_depth_have_no_surface() -> None:
    assert "f_score" not in compare(replace(ball(), depth=None), ball())


def test_what_cannot_be_compared(unchecked: None) -> None:
    truth = ball()
    with pytest.raises(ValueError, match="cannot have seen"):
        replace(truth, cameras=CAMERAS[:3])
    with pytest.raises(ValueError, match="depth of shape"):
        replace(truth, depth=truth.depth[:, 0])
    with pytest.raises(ValueError, match="cannot be compared"):
        compare(truth, replace(truth, rgba=truth.rgba.expand(-1, 2, -1, -1, -1), depth=None))
