"""Frame interpolation: the authors' numbers, and laws of warping, padding and alpha."""

from __future__ import annotations

import pytest
import torch

from vid4d.priors.rife import CONFIGS, IFNet, IFNetConfig, warp

TINY = IFNetConfig(widths=(8, 8), scales=(2, 1), depth=1, image_channels=3)


@pytest.fixture(scope="module")
def tiny() -> IFNet:
    torch.manual_seed(0)
    return IFNet(TINY).eval()


def test_warp_moves_by_whole_pixels():
    image = torch.rand(1, 2, 6, 8)
    flow = torch.zeros(1, 2, 6, 8)
    flow[:, 0], flow[:, 1] = 2.0, -1.0
    moved = warp(image, flow)
    torch.testing.assert_close(moved[:, :, 1:, :-2], image[:, :, :-1, 2:], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(moved[:, :, 1:, -1], image[:, :, :-1, -1], rtol=1e-4, atol=1e-5)


def test_any_size_and_time(tiny):
    first, second = torch.rand(2, 3, 19, 33), torch.rand(2, 3, 19, 33)
    out = tiny(first, second, torch.tensor([0.2, 0.9]))
    assert out.frame.shape == (2, 3, 19, 33)
    assert out.flow.shape == (2, 4, 19, 33)
    assert len(out.frames) == len(out.flows) == 2
    assert torch.equal(out.frames[-1], out.frame)
    alone = tiny(first[1:], second[1:], 0.9)
    torch.testing.assert_close(out.frame[1:], alone.frame)


def test_opaque_rgba_is_rgb(tiny):
    first, second = torch.rand(1, 3, 16, 16), torch.rand(1, 3, 16, 16)
    one = torch.ones(1, 1, 16, 16)
    with_alpha = tiny(torch.cat([first, one], 1), torch.cat([second, one], 1)).frame
    torch.testing.assert_close(with_alpha[:, :3], tiny(first, second).frame, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(with_alpha[:, 3:], one)


def test_features_are_encoded_once_and_move_with_the_flow():
    """Two pictures shifted alike give the same frame, shifted: nothing depends on where a picture lies."""
    config = IFNetConfig(
        (8, 8), (2, 1), 1, outputs=7, features=2, encoder="head", encoder_width=4, encoder_channels=2
    )
    torch.manual_seed(0)
    model = IFNet(config).eval()
    first, second = torch.zeros(1, 3, 64, 64), torch.zeros(1, 3, 64, 64)
    first[..., 24:32, 24:32], second[..., 24:32, 26:34] = 1, 1
    with torch.no_grad():
        here = model(first, second, 0.5).frame
        moved = model(first.roll(8, -1), second.roll(8, -1), 0.5).frame
    torch.testing.assert_close(moved[..., 24:44], here[..., 16:36], rtol=1e-3, atol=1e-4)
    assert bool((here - (first + second) / 2).abs().max() > 1e-3)


def test_it_can_learn_a_shift():
    """Gradients reach flow and mask: a few steps reduce the error of a moved blob."""
    torch.manual_seed(0)
    model = IFNet(TINY)
    x = torch.arange(32.0)
    blob = [torch.exp(-((x - c) ** 2) / 20).expand(1, 3, 32, 32) for c in (12.0, 16.0, 20.0)]
    optimiser = torch.optim.Adam(model.parameters(), lr=3e-3)
    losses = []
    for _ in range(30):
        out = model(blob[0], blob[2], 0.5)
        loss = sum((frame - blob[1]).abs().mean() for frame in out.frames)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


def test_misuse_is_refused(tiny):
    with pytest.raises(ValueError, match="scales"):
        IFNetConfig(widths=(8,))
    with pytest.raises(ValueError, match="channels"):
        IFNet(CONFIGS["small"])(torch.zeros(1, 3, 32, 32), torch.zeros(1, 3, 32, 32))
    with pytest.raises(ValueError, match="features"):
        IFNetConfig(outputs=6, features=8)
