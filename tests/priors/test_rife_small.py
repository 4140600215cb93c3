"""The frame interpolator that ships with the package."""

from __future__ import annotations

import pytest
import torch

from vid4d.errors import InputError
from vid4d.priors.rife import frame_at, interpolate
from vid4d.priors.rife_small import load_interpolator


@pytest.fixture(scope="module")
def interpolator():
    return load_interpolator()


def square(x: int, y: int = 24) -> torch.Tensor:
    """(1, 4, 64, 64) RGBA: a square of 20 pixels with an orange upper and a blue lower half."""
    picture = torch.zeros(1, 4, 64, 64)
    picture[0, :, y : y + 10, x : x + 20] = torch.tensor([0.9, 0.5, 0.1, 1.0])[:, None, None]
    picture[0, :, y + 10 : y + 20, x : x + 20] = torch.tensor([0.1, 0.2, 0.8, 1.0])[:, None, None]
    return picture


def over_white(rgba: torch.Tensor) -> torch.Tensor:
    return rgba[:, :3] * rgba[:, 3:] + 1 - rgba[:, 3:]


@pytest.mark.parametrize(
    ("first", "second", "middle"), [((16, 24), (28, 24), (22, 24)), ((20, 18), (20, 30), (20, 24))]
)
def test_the_middle_of_a_motion_is_better_than_a_blend(interpolator, first, second, middle):
    a, b, truth = square(*first), square(*second), square(*middle)
    found = frame_at(interpolator, a, b)
    error = (over_white(found) - over_white(truth)).square().mean()
    blend = ((over_white(a) + over_white(b)) / 2 - over_white(truth)).square().mean()
    assert error < blend / 4
    assert (found[:, 3] - truth[:, 3]).abs().mean() < ((a + b)[:, 3] / 2 - truth[:, 3]).abs().mean() / 2


def test_frames_between_move_on(interpolator):
    """The centre of the mask goes from one side to the other, 3 pixels a frame."""
    clip = interpolate(interpolator, torch.cat([square(14), square(26)]), 3)
    mask = clip[:, 3]
    centre = (mask.sum(1) * (torch.arange(64) + 0.5)).sum(1) / mask.sum((1, 2))
    torch.testing.assert_close(centre, torch.tensor([24.0, 27.0, 30.0, 33.0, 36.0]), atol=1.5, rtol=0)
    assert (centre.diff() > 1).all()


def test_where_nothing_moves_nothing_changes(interpolator):
    still = square(20)
    found = frame_at(interpolator, still, still)
    assert (over_white(found) - over_white(still)).abs().mean() < 0.01


def test_other_weights_that_do_not_fit_are_refused(tmp_path):
    from safetensors.torch import save_file

    save_file({"x": torch.zeros(1)}, tmp_path / "w.safetensors")
    with pytest.raises(InputError, match="does not fit this network"):
        load_interpolator(weights=tmp_path / "w.safetensors")
