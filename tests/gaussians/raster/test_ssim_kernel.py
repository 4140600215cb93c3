"""The C kernel of the structural loss: value and gradient of the plain torch form in double precision."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from vid4d.gaussians.raster import build, cpu, ssim
from vid4d.gaussians.raster.ssim import ssim_loss
from vid4d.metrics.losses import photometric_loss

pytestmark = pytest.mark.skipif(bool(cpu.obstacle()), reason=cpu.obstacle() or "there is one")


def pictures(shape: tuple[int, int, int], seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Two pictures that have something in common, edges among it, and confidences; float32."""
    generator = torch.Generator().manual_seed(seed)
    target = torch.rand(*shape, 3, generator=generator).round(decimals=1)
    noise = torch.rand(*shape, 3, generator=generator)
    return 0.6 * target + 0.4 * noise, target, torch.rand(shape, generator=generator)


def both(render: Tensor, target: Tensor, confidence: Tensor | None) -> list[tuple[Tensor, Tensor]]:
    """Loss and gradient by the kernel, and by torch in double precision."""
    out = []
    for exact in (False, True):
        kind = torch.float64 if exact else torch.float32
        x, y = render.to(kind).requires_grad_(), target.to(kind)
        weight = None if confidence is None else confidence.to(kind)
        loss = photometric_loss(x, y, weight, ssim_weight=1) if exact else ssim_loss(x, y, weight)
        (gradient,) = torch.autograd.grad(3 * loss, x)
        out.append((loss.detach(), gradient))
    return out


@pytest.mark.parametrize("weighted", [True, False])
@pytest.mark.parametrize(
    "shape", [(1, 1, 1), (2, 1, 7), (1, 7, 1), (3, 5, 6), (2, 11, 16), (1, 64, 33), (2, 65, 40), (1, 130, 21)]
)
def test_value_and_gradient_are_those_of_torch(shape: tuple[int, int, int], weighted: bool) -> None:
    """One pixel, rows and columns, sizes that fill no vector, and pictures of several bands."""
    render, target, confidence = pictures(shape)
    (loss, gradient), (exact, slope) = both(render, target, confidence if weighted else None)
    assert loss.item() == pytest.approx(exact.item(), abs=2e-6)
    assert float((gradient - slope).abs().max()) < 2e-5 * float(slope.abs().max())


def test_constant_pictures_are_compared_by_their_brightness() -> None:
    """Far from the border there is no contrast: (2 a b + c) / (a^2 + b^2 + c) is left."""
    render, target = torch.full((1, 40, 40, 3), 0.4), torch.full((1, 40, 40, 3), 0.5)
    middle = torch.zeros(1, 40, 40)
    middle[:, 10:30, 10:30] = 1
    similar = (2 * 0.4 * 0.5 + 1e-4) / (0.4**2 + 0.5**2 + 1e-4)
    assert ssim_loss(render, target, middle).item() == pytest.approx((1 - similar) / 4, abs=2e-5)
    (loss, gradient), (_, slope) = both(target, target, None)
    assert abs(loss.item()) < 1e-6
    assert gradient.abs().max() < 1e-6
    assert slope.abs().max() < 1e-6


def test_the_gradient_is_that_of_steps() -> None:
    """The kernel's own values a thousandth to both sides, in a direction through all pixels."""
    render, target, confidence = pictures((1, 20, 23))
    x = render.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(ssim_loss(x, target, confidence), x)
    toward = gradient.sign()
    ends = [ssim_loss(render + step * toward, target, confidence).item() for step in (1e-3, -1e-3)]
    assert (ends[0] - ends[1]) / 2e-3 == pytest.approx(gradient.abs().sum().item(), rel=2e-3)


def test_bytes_do_not_depend_on_the_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = pictures((3, 150, 50))
    found = []
    for threads in (1, 2, 7):
        monkeypatch.setattr(ssim, "free_threads", lambda count=threads: count)
        x = shown[0].clone().requires_grad_()
        loss = ssim_loss(x, *shown[1:])
        found.append((loss.item(), torch.autograd.grad(loss, x)[0]))
    assert all(loss == found[0][0] and torch.equal(slope, found[0][1]) for loss, slope in found)


def test_pictures_of_other_kinds_are_left_to_torch() -> None:
    render = torch.zeros(1, 4, 4, 3)
    assert cpu.serves(render)
    assert not cpu.serves(render.double())
    assert not cpu.serves(render.to("meta"))


def test_every_instruction_set_gives_the_same_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that this machine can run, to rounding."""
    kernel, shown, found = cpu.kernel(), pictures((2, 70, 37)), []
    for variant in list(build.VARIANTS)[: kernel.library.raster_isa() + 1]:
        monkeypatch.setattr(cpu, "kernel", lambda one=variant: replace(kernel, variant=one))
        found.append(both(*shown)[0])
    for loss, gradient in found[1:]:
        assert loss.item() == pytest.approx(found[0][0].item(), abs=1e-6)
        torch.testing.assert_close(gradient, found[0][1], rtol=1e-4, atol=1e-9)
