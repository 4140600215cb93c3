import pytest
import torch

from vid4d.losses import gaussian_blur, mask_loss, photometric_loss, ssim_map


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
