import pytest
import torch

from vid4d.metrics import (
    color_psnr,
    half_transparent,
    mask_iou,
    motion,
    psnr,
    sharpness,
    ssim,
    temporal_consistency,
)


def test_psnr_of_a_constant_error():
    a = torch.zeros(2, 3, 8, 8, 3)
    assert psnr(a, a + 0.1).shape == (2, 3)
    assert psnr(a, a + 0.1)[0, 0].item() == pytest.approx(20, abs=1e-4)
    assert psnr(a, a)[0, 0].item() == pytest.approx(100)


def test_ssim_equals_scikit_image():
    metrics = pytest.importorskip("skimage.metrics")
    torch.manual_seed(0)
    a = torch.rand(32, 40, 3)
    b = (a + 0.2 * torch.randn_like(a)).clamp(0, 1)
    expected = metrics.structural_similarity(
        a.numpy(),
        b.numpy(),
        channel_axis=-1,
        data_range=1.0,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
    )
    assert ssim(a, b).item() == pytest.approx(expected, abs=1e-5)


def test_mask_iou_by_hand():
    a, b = torch.zeros(2, 4, 4), torch.zeros(2, 4, 4)
    a[0, :2] = 1
    b[0, 1:3] = 1
    assert mask_iou(a, b).tolist() == pytest.approx([1 / 3, 1.0])


def test_fog_is_half_transparent_and_solid_things_are_not():
    """8 of 16 pixels are there; of these 2 are halfway, one of which just so."""
    alpha = torch.zeros(4, 4)
    alpha[:2] = 1
    assert half_transparent(alpha).item() == 0
    alpha[0, 0], alpha[1, 3], alpha[3, 3] = 0.5, 0.89, 0.05  # the last is too faint to be there at all
    assert half_transparent(alpha).item() == pytest.approx(2 / 8)
    assert half_transparent(torch.stack([0.4 * torch.ones(4, 4), torch.zeros(4, 4)])).tolist() == [1, 0]


def test_colors_are_compared_where_both_are_solid():
    a = torch.zeros(3, 4, 4, 4)
    a[..., 3] = 1
    b = a.clone()
    b[0, :, :2, :3] = 0.1  # wrong where it is solid: half of what they share
    b[1, :, :2] = torch.tensor([1.0, 1.0, 1.0, 0.4])  # wrong where it is not
    b[2, ..., 3] = 0
    measured = color_psnr(a, b)
    assert measured[0].item() == pytest.approx(20 + 3.0103, abs=1e-3)
    assert measured[1].item() == pytest.approx(100)
    assert measured[2].isnan()


def test_temporal_consistency_is_high_for_linear_change_and_low_for_flicker():
    def middle(a, b):
        return (a + b) / 2

    ramp = torch.linspace(0, 1, 5).view(1, 5, 1, 1, 1).expand(2, 5, 8, 8, 3)
    flicker = ramp.clone()
    flicker[:, ::2] += 0.1
    assert temporal_consistency(ramp, middle).shape == (2,)
    assert temporal_consistency(ramp, middle).min() > 90
    assert temporal_consistency(flicker, middle).max().item() == pytest.approx(20, abs=0.01)
    assert temporal_consistency(ramp, middle, cyclic=True).max() < 80


def test_two_frames_have_no_neighbours():
    with pytest.raises(ValueError, match="at least 3"):
        temporal_consistency(torch.zeros(1, 2, 8, 8, 3), lambda a, b: a)


def test_sharpness_and_motion_by_hand():
    edge = torch.zeros(4, 5, 1)
    edge[:, 2:] = 0.5  # one difference of four to the right, none below
    assert sharpness(edge) == pytest.approx(0.125)
    assert sharpness(torch.stack([edge, torch.ones(4, 5, 1)])).tolist() == pytest.approx([0.125, 0.0])
    frames = torch.stack([edge, edge, edge + 0.3])
    assert motion(frames) == pytest.approx(0.15)
    assert motion(frames[:1]) == 0
