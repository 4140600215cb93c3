"""Frame interpolation: the authors' numbers, and laws of warping, padding, alpha and frame counts."""

from __future__ import annotations

import pytest
import torch

from vid4d.priors.rife import CONFIGS, IFNet, IFNet3, IFNetConfig, frame_at, interpolate, warp

TINY = IFNetConfig(widths=(8, 8), scales=(2, 1), depth=1, image_channels=3)


@pytest.fixture(scope="module")
def tiny() -> IFNet:
    torch.manual_seed(0)
    return IFNet(TINY).eval()


def test_the_middle_of_rife_3_does_not_depend_on_the_order():
    torch.manual_seed(0)
    model = IFNet3().eval()
    first, second = torch.rand(1, 4, 30, 40), torch.rand(1, 4, 30, 40)
    with torch.no_grad():
        torch.testing.assert_close(model(first, second).frame, model(second, first).frame)
    with pytest.raises(ValueError, match="middle"):
        model(first, second, 0.25)


def test_rife_3_halves_intervals():
    model = IFNet3().eval()
    frames = torch.rand(2, 3, 32, 32)
    out = interpolate(model, frames, 3)
    assert out.shape[0] == 5
    torch.testing.assert_close(out[1:2], interpolate(model, out[::2], 1)[1:2])
    with pytest.raises(ValueError, match="halves"):
        interpolate(model, frames, 2)


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


def test_alpha_moves_with_color(tiny):
    """A red picture stays red, whatever its alpha and the flow do."""
    first, second = torch.zeros(1, 4, 16, 16), torch.zeros(1, 4, 16, 16)
    first[:, 0] = second[:, 0] = 1
    first[:, 3, :, 4:9], second[:, 3, :, 6:11] = 1, 1
    out = interpolate(tiny, torch.cat([first, second]), 1)[1]
    visible = out[3] > 0.01
    assert visible.any()
    assert (out[0][visible] - 1).abs().max() < 1e-3
    assert out[1:3].abs().max() < 1e-3


def test_what_is_faint_between_frames_is_black(tiny):
    pair = torch.full((2, 1, 4, 16, 16), 0.5)
    pair[:, :, 3] = 5e-4
    out = frame_at(tiny, *pair)
    assert bool((out[:, 3] > 0).any())
    assert bool((out[:, :3] == 0).all())


@pytest.mark.parametrize(("cyclic", "count"), [(False, 9), (True, 12)])
def test_given_frames_stay_and_counts_are_right(tiny, cyclic, count):
    frames = torch.rand(3, 3, 16, 16)
    out = interpolate(tiny, frames, 3, cyclic=cyclic, batch=2)
    assert out.shape == (count, 3, 16, 16)
    assert torch.equal(out[::4], frames)
    expected = tiny(frames[1:2], frames[2:3], 0.5).frame.clamp(0, 1)
    torch.testing.assert_close(out[6:7], expected)
    if cyclic:
        expected = tiny(frames[2:], frames[:1], 0.75).frame.clamp(0, 1)
        torch.testing.assert_close(out[11:], expected)


def test_sixteen_key_frames_become_sixty_one(tiny):
    assert interpolate(tiny, torch.rand(16, 3, 8, 8)).shape[0] == 61


def test_one_frame_has_nothing_between(tiny):
    frames = torch.rand(1, 3, 8, 8)
    assert torch.equal(interpolate(tiny, frames), frames)


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
    with pytest.raises(ValueError, match="between"):
        interpolate(tiny, torch.zeros(2, 3, 8, 8), -1)
