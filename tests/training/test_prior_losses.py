"""Losses of the prior's trainers: numbers by hand, and a step at toy size reaches every weight."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from mesh_shapes import box, moving_box
from tiny_prior import CONFIG, LIFT
from torch import nn

from vid4d.priors.small.lifting import Lifter
from vid4d.priors.small.model import SmallPrior
from vid4d.training.interpolation import interpolation_loss, interpolation_model, pyramid_loss
from vid4d.training.meshes import MeshBank
from vid4d.training.prior_losses import (
    LossConfig,
    diffusion_loss,
    hit_loss,
    lift_loss,
    picture_loss,
    picture_psnr,
)
from vid4d.training.trainer import SideStream
from vid4d.training.views import ViewsConfig, ViewSource

CPU = torch.device("cpu")
SMALL = replace(CONFIG, noisy_views=16)  # the ring whose views are drawn


@pytest.fixture(scope="module")
def bank() -> MeshBank:
    return MeshBank([box((0, 0, 0), (0.2, 0.3, 0.4)), moving_box()])


def stir(model: nn.Module) -> None:
    """Weights that start at zero hide the gradients of what lies before them."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.02)


def reached(model: nn.Module) -> None:
    """Every trainable weight has a finite gradient, and nearly every one a gradient at all."""
    silent = []
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            assert parameter.grad is None, name
            continue
        assert parameter.grad is not None, f"{name} takes no part"
        assert bool(parameter.grad.isfinite().all()), name
        if not bool(parameter.grad.any()):
            silent.append(name)
    assert not silent


def test_psnr_by_hand() -> None:
    truth = torch.full((2, 4, 4, 4), -1.0)
    found = truth.clone()
    found[0, :3] += 0.2  # 0.1 in [0, 1]: 20 dB
    found[1, :3] += 0.02  # 40 dB
    assert float(picture_psnr(found, truth)) == pytest.approx(30.0, abs=1e-3)


def test_picture_loss_by_hand() -> None:
    truth = torch.zeros(1, 1, 2, 2)
    found = torch.tensor([[[[1.0, 0], [0, 0]]]])
    # squares: 1 of 4; across: rows differ by (1, 0), down: columns by (1, 0), a mean of 1/2 each
    assert float(picture_loss(found, truth, edge=0.5)) == pytest.approx(0.25 + 0.5 * (0.5 + 0.5))


def test_hit_loss_by_hand() -> None:
    """Four depths over 1.5 +- 1 lie at 0.75, 1.25, 1.75, 2.25; a ray that hits nothing has what is left."""
    weight = torch.tensor([0.1, 0.5, 0.2, 0.0]).reshape(1, 4, 1, 1).expand(1, 4, 1, 3)
    depth = torch.tensor([1.25, 1.5, math.inf]).reshape(1, 1, 3)
    chances = [0.5, 0.35, 0.2]
    expected = -sum(math.log(c + 1e-3) for c in chances) / 3
    assert float(hit_loss(weight, depth, 1.0)) == pytest.approx(expected, rel=1e-5)


def test_pyramid_loss_by_hand() -> None:
    truth = torch.zeros(1, 1, 8, 8)
    even = torch.full_like(truth, 0.1)
    assert float(pyramid_loss(even, truth)) == pytest.approx(0.1 * (1 + 1 + 2 + 4))
    stripes = torch.ones(8) * 0.1
    stripes[::2] = -0.1
    assert float(pyramid_loss(stripes.expand(1, 1, 8, 8), truth)) == pytest.approx(0.1)


def test_a_step_of_the_lifter_reaches_every_weight(bank: MeshBank) -> None:
    torch.manual_seed(0)
    model = Lifter(LIFT)
    stir(model)
    source = ViewSource(bank, ViewsConfig(size=32, ring_views=2, free_views=1, supersample=1))
    loss, numbers = lift_loss(model, SideStream(lambda: source.draw(2), CPU), CPU, LossConfig())(0)
    loss.backward()
    assert math.isfinite(loss.item())
    assert 0 < float(numbers["psnr"]) < 40
    assert 0 <= float(numbers["iou"]) <= 1
    assert 0 <= float(numbers["elevation_error"]) < 180
    reached(model)


def test_a_step_of_the_diffusion_reaches_all_but_the_lifter(bank: MeshBank) -> None:
    torch.manual_seed(0)
    model = SmallPrior(SMALL)
    stir(model)
    model.lifter.requires_grad_(False)
    source = ViewSource(bank, ViewsConfig(size=32, supersample=1))
    config = LossConfig(drop_noisy=0.0, drop_image=0.0, drop_volume=0.0)
    loss, numbers = diffusion_loss(model, SideStream(lambda: source.draw(2), CPU), CPU, config)(0)
    loss.backward()
    assert math.isfinite(loss.item())
    assert {"x0", "psnr", "coarse_psnr"} <= numbers.keys()
    reached(model)


def test_dropped_noisy_views_send_nothing_back(bank: MeshBank) -> None:
    torch.manual_seed(0)
    model = SmallPrior(SMALL)
    stir(model)
    source = ViewSource(bank, ViewsConfig(size=32, supersample=1))
    config = LossConfig(drop_noisy=1.0)
    loss, _ = diffusion_loss(model, SideStream(lambda: source.draw(1), CPU), CPU, config)(0)
    loss.backward()
    gradients = [p.grad for p in model.noisy_volume.parameters() if p.grad is not None]
    assert all(not bool(g.any()) for g in gradients)
    assert any(p.grad is not None and bool(p.grad.any()) for p in model.unet.parameters())


def test_a_step_of_the_interpolator_reaches_every_weight(bank: MeshBank) -> None:
    torch.manual_seed(0)
    model = interpolation_model()
    source = ViewSource(bank, ViewsConfig(size=32, supersample=1))
    loss, numbers = interpolation_loss(model, SideStream(lambda: source.draw_motion(2), CPU), CPU)(0)
    loss.backward()
    assert math.isfinite(loss.item())
    assert {"psnr", "psnr_copied"} <= numbers.keys()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert bool(parameter.grad.isfinite().all()), name
