"""The guess of the elevation: laws that hold for any weights, and the weights that ship."""

from __future__ import annotations

import pytest
import torch
from tiny_frustum import TINY

from vid4d.priors.frustum.elevation import RANGE, guess_elevation
from vid4d.priors.frustum.network import FrustumVolume


@pytest.fixture(scope="module")
def network() -> FrustumVolume:
    torch.manual_seed(0)
    network = FrustumVolume(TINY).eval()
    torch.nn.init.normal_(network.guess[-1].weight, std=0.2)
    return network


def frames(count: int) -> torch.Tensor:
    """A colored block that grows to the right."""
    clip = torch.zeros(count, 64, 64, 4)
    for i in range(count):
        clip[i, 20:44, 16 : 30 + 4 * i] = torch.tensor([0.9, 0.2, 0.1, 1.0])
    return clip


def test_the_mirror_image_has_the_same_elevation(network: FrustumVolume) -> None:
    guess, mirrored = guess_elevation(network, frames(3)), guess_elevation(network, frames(3).flip(2))
    assert guess.degrees == pytest.approx(mirrored.degrees, abs=1e-3)
    assert guess.spread == pytest.approx(mirrored.spread, abs=1e-3)


def test_frames_that_are_alike_agree_and_one_alone_has_no_spread(network: FrustumVolume) -> None:
    one = guess_elevation(network, frames(1))
    assert one.spread is None
    same = guess_elevation(network, frames(1).expand(4, -1, -1, -1))
    assert same.degrees == pytest.approx(one.degrees, abs=1e-3)
    assert same.spread == pytest.approx(0, abs=1e-3)
    assert guess_elevation(network, frames(4)).spread > 0.01


def test_a_guess_stays_within_what_was_learned(network: FrustumVolume) -> None:
    with torch.no_grad():
        network.guess[-1].bias.add_(5)
        high = guess_elevation(network, frames(2)).degrees
        network.guess[-1].bias.sub_(5)
    assert high == RANGE[1]
