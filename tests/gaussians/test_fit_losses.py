"""The loss of a step: one call of the rasteriser against many, and numbers worked by hand."""

import importlib
from dataclasses import replace

import pytest
import torch
from ellipsoids import matrix, picture
from raster_scenes import BACKENDS, chosen, random_splats

from vid4d.cameras import Cameras
from vid4d.gaussians import fit_losses
from vid4d.gaussians.fit_config import FitConfig
from vid4d.gaussians.fit_losses import picture_loss, render_together
from vid4d.gaussians.fit_pictures import StepPictures, pictures_between, pictures_of
from vid4d.gaussians.fit_targets import Windows, resize_matrix
from vid4d.gaussians.raster import SplatRender, rasterize_4d
from vid4d.matrix.matrix import TrustedView

CONFIG = FitConfig(batch=2)


def asked_of(size: int, input_size: int, device: torch.device):
    """What step 0 renders: two pictures of the matrix, frames of two cameras, and one between frames."""
    camera, behind = (Cameras.orbit([a], 0.0, size=input_size) for a in (0.0, 180.0))
    given, times = matrix(3, 3, size), torch.tensor([0.0, 0.5, 1.0])
    frames, others = (torch.cat([picture(c, float(t)) for t in times]) for c in (camera, behind))
    seen = TrustedView(others, behind, times)
    given = replace(given, input_images=frames, input_camera=camera, input_times=times, also=(seen,))
    pictures = StepPictures(resize_matrix(given, size, device), CONFIG, seed=0)
    return pictures.of(pictures.choose(0))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("input_size", "calls"), [(16, 1), (11, 2)])
def test_one_call_is_as_good_as_many(monkeypatch, backend, input_size, calls):
    """Losses, gradients of all parameters, screen gradients and visible splats of a step, to rounding."""
    with torch.device("cpu"):
        scene = random_splats(30, 1, 1, seed=3)
    found, used = [], []
    with chosen(backend) as name:
        device = torch.get_default_device()
    asked = asked_of(16, input_size, device)
    assert [len(p.times) for p in asked] == [2, 1, 1, 1]

    def counted(*args, **options):
        used.append(args)
        return rasterize_4d(*args, **options, backend=name)

    monkeypatch.setattr(fit_losses, "rasterize_4d", counted)
    if name == "triton" and device.type == "cpu":  # larger tiles: fewer programs for the interpreter
        backend_module = importlib.import_module("vid4d.gaussians.raster.triton")
        monkeypatch.setattr(backend_module, "TILE", 16)
        monkeypatch.setattr(backend_module, "ENTRIES", 32)
    for together in (True, False):
        splats = scene.to(device).trainable()
        if together:
            renders = render_together(splats, asked)
            assert len(used) == calls
        else:
            renders = [render_together(splats, [pictures])[0] for pictures in asked]
        losses = [picture_loss(r, p, CONFIG, with_ssim=True) for r, p in zip(renders, asked, strict=True)]
        torch.stack(losses).sum().backward()
        gradients = {k: v.grad for k, v in splats.tensors().items()}
        found.append((torch.stack(losses).detach(), gradients, renders))
    (losses, gradients, renders), (alone, expected, single) = found
    torch.testing.assert_close(losses, alone, rtol=1e-6, atol=0)
    for k, value in expected.items():
        assert value.norm() > 0, k
        assert (gradients[k] - value).norm() <= 1e-5 * value.norm(), k
    for a, b in zip(renders, single, strict=True):
        assert torch.equal(a.visible, b.visible)
        torch.testing.assert_close(a.screen_gradients(), b.screen_gradients(), rtol=1e-5, atol=1e-9)


def drawn(color):
    """A render without splats, of this background."""
    alpha = torch.zeros(color.shape[:3])
    return SplatRender(color, alpha, alpha, torch.zeros(len(color), 0, 2), torch.zeros(len(color), 0))


@pytest.mark.parametrize("share", [0.25, 0.5])
def test_between_two_frames_by_hand(share):
    """Nothing is drawn. Where both frames show the object, its color and alpha are missing; where only one
    does, nothing is; where they differ by half, half of the color's difference counts."""
    frames = torch.zeros(2, 1, 8, 8, 4)
    frames[..., :3] = torch.tensor([1.0, 0.5, 0.0])
    frames[0, :, :4, :, 3] = 1.0  # rows 0 to 3 of the first frame
    frames[1, :, 2:6, :, 3] = 1.0  # rows 2 to 5 of the second: rows 2 and 3, a quarter, show it in both
    frames[0, :, 7, :, 3], frames[1, :, 7, :, 3] = 1.0, 0.5  # an eighth
    background = torch.tensor([0.0, 0.5, 0.75])
    asked = pictures_between(
        *frames,
        torch.tensor([share]),
        Cameras.orbit([0.0], 0.0, size=8),
        torch.tensor([share]),
        background,
        weight=0.2,
    )
    render = drawn(background.expand(1, 8, 8, 3))
    loss = picture_loss(render, asked, FitConfig(ssim_weight=0.2, mask_weight=0.5), with_ssim=True)
    missing = (1.0 + 0.0 + 0.75) / 3
    color = 0.25 * missing + 0.125 * 0.5 * (0.5 * missing)
    alpha = 0.25 * 1.0**2 + 0.125 * 0.5**2
    assert loss.item() == pytest.approx(0.2 * (0.8 * color + 0.5 * alpha), rel=1e-5)


def test_a_known_picture_by_hand():
    """Grey where nothing is: a quarter of the pixels miss the object; half of those are trusted by half."""
    image = torch.zeros(1, 4, 4, 4)
    image[:, 0] = torch.tensor([1.0, 1.0, 1.0, 1.0])
    confidence = torch.ones(1, 4, 4)
    confidence[:, 0, :2] = 0.5
    window = Windows(torch.tensor([[0, 0]]), 4)
    camera, background = Cameras.orbit([0.0], 0.0, size=4), torch.full((3,), 0.5)
    asked = pictures_of(
        image, camera, torch.zeros(1), background, confidence=confidence, weight=2.0, windows=window
    )
    render = drawn(background.expand(1, 4, 4, 3))
    loss = picture_loss(render, asked, FitConfig(ssim_weight=0.2, mask_weight=0.5), with_ssim=False)
    assert loss.item() == pytest.approx(2 * (0.8 * 0.5 * (0.125 + 0.0625) + 0.5 * 0.25), rel=1e-5)


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("trusted", [True, False])
def test_the_gradient_by_hand_is_autograds(known, trusted):
    """Of random pictures, some of whose opacities are right; confidence given or not."""
    g = torch.Generator().manual_seed(0)
    color, rgb = (torch.rand(2, 5, 4, 3, generator=g, dtype=torch.float64) for _ in range(2))
    alpha, low, high, confidence = (torch.rand(2, 5, 4, generator=g, dtype=torch.float64) for _ in range(4))
    low, high = (low, low) if known else (torch.minimum(low, high), torch.maximum(low, high))
    inside = (alpha >= low) & (alpha <= high)
    assert bool(inside.any()) != known
    rest = (rgb, low, high, None if trusted else confidence, (0.8, 0.5))
    found = []
    for by_hand in (True, False):
        leaves = [x.clone().requires_grad_() for x in (color, alpha)]
        if by_hand:
            loss = fit_losses._Difference.apply(*leaves, *rest)
        else:
            error = (leaves[0] - rgb).abs().mean(-1) * (1 if trusted else confidence)
            excess = (low - leaves[1]).clamp(min=0) + (leaves[1] - high).clamp(min=0)
            loss = 0.8 * error.mean() + 0.5 * excess.square().mean()
        (3 * loss).backward()
        found.append((loss.detach(), *(x.grad for x in leaves)))
    for ours, plain in zip(*found, strict=True):
        torch.testing.assert_close(ours, plain, rtol=1e-12, atol=1e-15)
