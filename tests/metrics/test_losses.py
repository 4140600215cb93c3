"""Losses on pictures and normals, and interpolation-driven consistency."""

from __future__ import annotations

import pytest
import torch
from toys import jumping_ball

from vid4d.cameras import Cameras
from vid4d.metrics.losses import (
    gaussian_blur,
    interpolation_consistency,
    mask_loss,
    normal_smoothness_loss,
    orientation_loss,
    photometric_loss,
    ssim_map,
)
from vid4d.priors.interpolators import as_interpolator, load_interpolator
from vid4d.render import render_asset


def test_ssim_of_an_image_with_itself_is_one():
    image = torch.rand(2, 20, 24, 3)
    assert torch.allclose(ssim_map(image, image), torch.ones_like(image), atol=1e-5)


def test_ssim_of_two_constants_is_the_luminance_term():
    a, b = torch.full((30, 30, 1), 0.2), torch.full((30, 30, 1), 0.6)
    expected = (2 * 0.2 * 0.6 + 1e-4) / (0.2**2 + 0.6**2 + 1e-4)
    assert ssim_map(a, b)[15, 15, 0].item() == pytest.approx(expected, abs=3e-4)


def test_blur_is_zero_padded_and_has_unit_mass_inside():
    blurred = gaussian_blur(torch.ones(31, 25))
    assert blurred[15, 12].item() == pytest.approx(1, abs=1e-6)
    assert blurred[0, 12].item() == pytest.approx(
        0.5 + 0.5 * 0.2660, abs=1e-3
    )  # half the window and its centre


def test_gradient_pulls_the_render_to_the_target():
    torch.manual_seed(0)
    target = torch.rand(16, 16, 3)
    render = torch.rand(16, 16, 3, requires_grad=True)
    before = photometric_loss(render, target)
    before.backward()
    after = photometric_loss(render.detach() - 5 * render.grad, target)
    assert after < before
    numeric = torch.autograd.gradcheck(
        lambda x: (ssim_map(x, target[:6, :6, :1].double()) ** 2).mean(),
        torch.rand(6, 6, 1, dtype=torch.double).requires_grad_(),
    )
    assert numeric


def test_pixels_without_confidence_do_not_count():
    target = torch.zeros(1, 24, 24, 3)
    render = target.clone()
    render[:, :, 18:] = 1
    confidence = torch.ones(1, 24, 24)
    confidence[:, :, 10:] = 0
    assert photometric_loss(render, target, confidence).item() == pytest.approx(0, abs=1e-6)
    assert photometric_loss(render, target).item() > 0.2


def test_hand_worked_values():
    assert (
        photometric_loss(torch.full((20, 20, 3), 0.75), torch.full((20, 20, 3), 0.5), ssim_weight=0).item()
        == 0.25
    )
    assert mask_loss(torch.full((4, 4), 0.5), torch.ones(4, 4)).item() == 0.25


def test_shapes_must_agree(unchecked):
    with pytest.raises(ValueError, match="cannot be compared"):
        ssim_map(torch.zeros(4, 4, 3), torch.zeros(5, 4, 3))


def blend(first: torch.Tensor, last: torch.Tensor, share: torch.Tensor) -> torch.Tensor:
    """An interpolator that fades."""
    share = share.view(-1, 1, 1, 1)
    return first * (1 - share) + last * share


def test_a_run_in_even_steps_is_consistent():
    first, last = torch.rand(2, 1, 4, 4, 3)
    run = torch.cat([first + (last - first) * i / 4 for i in range(5)])
    assert interpolation_consistency(run, blend).item() == pytest.approx(0, abs=1e-12)
    run[2] += 0.3
    assert interpolation_consistency(run, blend).item() == pytest.approx(0.3**2 / 3, rel=1e-5)


def test_only_inner_pictures_get_a_gradient():
    run = torch.rand(2, 4, 5, 5, 3, dtype=torch.float64, requires_grad=True)
    gain = torch.ones((), dtype=torch.float64, requires_grad=True)
    interpolation_consistency(run, lambda a, b, s: gain * blend(a, b, s)).backward()
    assert gain.grad is None
    assert run.grad is not None
    assert bool((run.grad[:, [0, -1]] == 0).all())
    x = run.detach()
    third = [x[:, :1] + (x[:, 3:] - x[:, :1]) * i / 3 for i in (1, 2)]
    expected = 2 * (x[:, 1:3] - torch.cat(third, 1)) / x[:, 1:3].numel()
    torch.testing.assert_close(run.grad[:, 1:3], expected)


def test_colors_with_alpha_are_compared_over_white():
    run = torch.rand(5, 6, 6, 4)
    run[..., :3] *= run[..., 3:]
    over_white = run[..., :3] + 1 - run[..., 3:]
    expected = interpolation_consistency(over_white, blend)
    torch.testing.assert_close(interpolation_consistency(run, blend), expected)


def test_a_middle_only_interpolator_is_asked_for_middles():
    """Of 5 pictures the inner ones lie between 0 and 2, 0 and 4, 2 and 4; squares of i miss by reach ** 2."""
    asked = []

    def middle(a, b, share):
        asked.extend(share.tolist())
        return (a + b) / 2

    run = (torch.arange(5.0).square() / 16)[:, None, None, None].expand(5, 3, 3, 3)
    expected = sum((reach**2 / 16) ** 2 for reach in (1, 2, 1)) / 3
    assert interpolation_consistency(run, middle, middle_only=True).item() == pytest.approx(expected)
    assert asked == [0.5] * 3


def test_runs_of_two_have_nothing_to_compare():
    with pytest.raises(ValueError, match="three or more"):
        interpolation_consistency(torch.rand(2, 4, 4, 3), blend)


def disc(centre: torch.Tensor, size: int = 64) -> torch.Tensor:
    """A renderer with a gradient: premultiplied RGBA of discs, one for each centre (n, 2) in pixels."""
    rows, columns = torch.meshgrid(torch.arange(size) + 0.5, torch.arange(size) + 0.5, indexing="ij")
    x, y = columns - centre[:, 0, None, None], rows - centre[:, 1, None, None]
    inside = torch.sigmoid((10 - (x.square() + y.square()).sqrt()) / 1.5)[..., None]
    stripes = 0.5 + 0.4 * torch.stack([torch.sin(0.4 * x), torch.cos(0.3 * y), torch.sin(0.3 * (x + y))], -1)
    return torch.cat([stripes * inside, inside], -1)


def test_a_jittered_run_becomes_smooth():
    """With the shipped interpolator: the loss of a jittered path falls to that of the even one, near zero."""
    between = as_interpolator(load_interpolator())
    even = torch.stack([torch.linspace(29, 35, 5), torch.full((5,), 32.0)], -1)
    jitter = torch.tensor([[0.0, 0], [2.5, -3], [-3, 2], [2, 3], [0, 0]])
    smooth = interpolation_consistency(disc(even), between).item()
    centre = (even + jitter).requires_grad_()
    optimizer = torch.optim.Adam([centre], lr=0.25)
    losses = []
    for _ in range(40):
        loss = interpolation_consistency(disc(centre), between)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert smooth < 2e-4
    assert losses[0] > 20 * smooth
    assert losses[-1] < 0.1 * losses[0]
    assert torch.equal(centre.detach()[[0, -1]], even[[0, -1]])
    assert (centre.detach() - even).norm() < 0.3 * jitter.norm()


def test_a_jittered_orbit_is_told_from_a_smooth_one():
    """Runs of views around an object, and of times: true ones against ones that wander."""
    between = as_interpolator(load_interpolator())
    ball = jumping_ball()

    def loss(azimuth: torch.Tensor, elevation: torch.Tensor | float, times: torch.Tensor | float) -> float:
        rgba = render_asset(ball, Cameras.orbit(azimuth, elevation, size=64), times)
        run = torch.cat([rgba[..., :3] * rgba[..., 3:], rgba[..., 3:]], -1)
        return interpolation_consistency(run, between).item()

    azimuth, still = torch.arange(5) * 8.0, torch.zeros(5)
    times = torch.linspace(0.1, 0.2, 5)
    wander = torch.tensor([0.0, 6, -7, 6, 0])
    spatial = loss(azimuth, 10.0, 0.3), loss(azimuth + wander, 10.0 + wander, 0.3)
    temporal = loss(still, 10.0, times), loss(still, 10.0, times + 0.01 * wander)
    for smooth, jittered in (spatial, temporal):
        assert smooth < 1e-3
        assert jittered > 4 * smooth


def test_smoothness_by_hand():
    normal = torch.tensor([[1.0, 0, 0], [0, 1, 0]])
    nearby = torch.tensor([[0.0, 1, 0], [0, 1, 0]])
    assert normal_smoothness_loss(normal, nearby).item() == pytest.approx(2 / 6)


def test_orientation_by_hand():
    normal = torch.tensor([[[0.0, 0, 1], [0.6, 0, 0.8], [0, 0, -1]]], requires_grad=True)
    direction = torch.tensor([[0.0, 0, 1], [0, 0, -1], [0, 0, -1]])
    weight = torch.tensor([[0.5, 1.0, 0.25]], requires_grad=True)
    loss = orientation_loss(normal, direction, weight, rays=3)
    assert loss.item() == pytest.approx((0.5 + 0.25) / 3)  # the second one faces the camera
    loss.backward()
    assert weight.grad is None
    assert normal.grad is not None
    assert normal.grad[0, 0].tolist() == pytest.approx([0, 0, 2 * 0.5 / 3])
    assert bool((normal.grad[0, 1] == 0).all())
    twice = orientation_loss(normal.expand(2, -1, -1), direction, weight.expand(2, -1), rays=3)
    assert twice.item() == pytest.approx(2 * loss.item())
