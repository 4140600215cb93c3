"""The frustum volume as a score: every render is led to what the frame's solid shows."""

from __future__ import annotations

import pytest
import torch
from tiny_frustum import TINY

from vid4d.cameras import Cameras
from vid4d.errors import InputError
from vid4d.priors.base import ScorePrior, load_score_prior
from vid4d.priors.frustum.network import FrustumVolume
from vid4d.priors.frustum.score import FrustumScorePrior
from vid4d.priors.samplers import to_x0

CAMERAS = Cameras.orbit([30.0, 200.0], 20.0, size=16)
BOTH = torch.tensor([0, 1])


def frames(count: int = 2) -> torch.Tensor:
    """A block that moves to the right, 64 pixels."""
    clip = torch.zeros(count, 64, 64, 4)
    for i in range(count):
        clip[i, 20:44, 16 + 8 * i : 36 + 8 * i] = torch.tensor([0.9, 0.3 + 0.2 * i, 0.1, 1.0])
    return clip


@pytest.fixture(scope="module")
def prior() -> FrustumScorePrior:
    torch.manual_seed(0)
    return FrustumScorePrior(FrustumVolume(TINY), frames(), 10.0)


def test_it_is_a_score_prior(prior: FrustumScorePrior) -> None:
    assert isinstance(prior, ScorePrior)


def test_the_implied_data_is_the_solids_picture_whatever_the_noise_and_the_level(
    prior: FrustumScorePrior,
) -> None:
    view = prior.view(CAMERAS, BOTH)
    assert view.shape == (2, 4, 64, 64)
    assert float(view.std()) > 0.05
    t = torch.tensor([300, 700])
    noisy = torch.randn(3, 2, 4, 64, 64, generator=torch.Generator().manual_seed(0))
    eps = prior.predict(noisy, t, view)
    for level in range(3):
        data = to_x0(prior.schedule, noisy[level], t, eps[level], "eps")
        torch.testing.assert_close(data, view, atol=1e-3, rtol=1e-3)


def test_frames_and_cameras_belong_together(prior: FrustumScorePrior) -> None:
    both = prior.view(CAMERAS, BOTH)
    for i in range(2):
        torch.testing.assert_close(prior.view(CAMERAS[i], BOTH[i : i + 1])[0], both[i])
    assert float((prior.view(CAMERAS, BOTH.flip(0)) - both).abs().max()) > 0.05


def test_views_of_one_frame_stay_in_their_places(prior: FrustumScorePrior) -> None:
    """Frames that come again are drawn together."""
    cameras, frame = Cameras.orbit([10.0, 80.0, 150.0, 220.0], 20.0, size=16), torch.tensor([1, 0, 1, 0])
    drawn = prior.view(cameras, frame)
    for i in range(4):
        torch.testing.assert_close(prior.view(cameras[i], frame[i : i + 1])[0], drawn[i])


def test_distillation_turns_renders_into_the_solids_picture(prior: FrustumScorePrior) -> None:
    view = prior.view(CAMERAS, BOTH)
    render = torch.full((1, 2, 64, 64, 4), 0.5, requires_grad=True)
    optimizer = torch.optim.Adam([render], lr=0.05)
    generator = torch.Generator().manual_seed(0)

    def distance() -> float:
        return float((prior.encode(render[0, ..., :3], render[0, ..., 3]).detach() - view).square().mean())

    before = distance()
    for _ in range(60):
        optimizer.zero_grad()
        t = torch.tensor([400, 600])
        prior.sds_loss(render[..., :3], render[..., 3], t, view, generator).backward()
        optimizer.step()
    assert distance() < 0.01 * before


def test_solids_that_were_dropped_are_made_again(prior: FrustumScorePrior) -> None:
    few = FrustumScorePrior(prior.network, frames(3), 10.0, keep=1)
    every = FrustumScorePrior(prior.network, frames(3), 10.0)
    index = torch.tensor([0, 2, 1, 0])
    cameras = Cameras.orbit([0.0, 90.0, 180.0, 270.0], 0.0, size=16)
    assert torch.equal(few.view(cameras, index), every.view(cameras, index))
    assert len(few._solids) == 1
    assert len(every._solids) == 3


def test_guidance_is_refused() -> None:
    with pytest.raises(InputError, match="no guidance"):
        load_score_prior("frustum", frames(), 0.0, guidance=3.0)
