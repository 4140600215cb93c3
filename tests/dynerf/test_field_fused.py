"""The field's kernels: the same numbers and gradients as the plain field, which has tests of its own."""

from __future__ import annotations

import os

import pytest
import torch

from vid4d import kernels
from vid4d.dynerf import CascadeField, FieldConfig, LevelConfig

SIZES = {
    "odd": (LevelConfig(5, 3, 4, 6), LevelConfig(7, 4, 2, 3), LevelConfig(3, 2, 5, 17)),
    "whole tiles": (LevelConfig(6, 4, 16, 32), LevelConfig(9, 1, 16, 16)),
}


def field_of(levels: tuple[LevelConfig, ...]) -> CascadeField:
    torch.manual_seed(0)
    field = CascadeField(FieldConfig(levels))
    for name, parameter in field.named_parameters():
        if name.endswith((".space", ".time")):
            parameter.data = 0.5 + torch.rand_like(parameter)
    return field


def places(n: int) -> tuple[torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(1)
    return torch.rand(n, 3, generator=g) * 2.2 - 1.1, torch.rand(n, generator=g) * 2 - 1


@pytest.fixture
def interpreted(monkeypatch):
    """Kernels serve tensors of the processor, run by Triton's interpreter."""
    pytest.importorskip("triton", reason="Triton is not installed (there is none for this system)")
    if os.environ.get("TRITON_INTERPRET") != "1":
        pytest.skip("TRITON_INTERPRET is not 1: kernels are compiled, and tested on the GPU")
    monkeypatch.setattr(kernels, "available", lambda x: kernels.enabled)


def both_ways(monkeypatch, field: CascadeField, function):
    """Results of a function of the field, and its gradients, by kernels in float32 and plainly in float64."""
    found = []
    for quick in (True, False):
        monkeypatch.setattr(kernels, "enabled", quick)
        field = field.float() if quick else field.double()
        assert field.is_fused == quick
        values = function(field)
        g = torch.Generator().manual_seed(2)
        loss = sum((x * torch.randn(x.shape, generator=g).to(x)).sum() for x in values)
        gradients = torch.autograd.grad(loss, list(field.parameters()), materialize_grads=True)
        found.append(([x.detach() for x in values], gradients))
    return found


def assert_near(found, near: float) -> None:
    (quick, by_quick), (plain, by_plain) = found
    for mine, true in zip([*quick, *by_quick], [*plain, *by_plain], strict=True):
        assert mine.shape == true.shape
        assert (mine.double() - true.double()).abs().max() <= near * max(true.abs().max().item(), 1e-3)


@pytest.mark.parametrize("levels", SIZES.values(), ids=SIZES)
@pytest.mark.parametrize("n", [1, 70])
def test_density_and_color(interpreted, monkeypatch, levels, n):
    points, time = places(n)
    found = both_ways(monkeypatch, field_of(levels), lambda f: f.sample(points, time)[:2])
    assert_near(found, 1e-5)


@pytest.mark.parametrize("levels", [SIZES["odd"][:2], SIZES["whole tiles"][1:]], ids=SIZES)
def test_normals(interpreted, monkeypatch, levels):
    """Differences of densities, so less exact in float32; with the colors of the places themselves."""
    points, time = places(5)
    field = field_of(levels)
    assert_near(both_ways(monkeypatch, field, lambda f: [f.normals(points, time)]), 2e-2)
    assert_near(both_ways(monkeypatch, field, lambda f: list(f.sample(points, time, normals=True))), 2e-2)


def test_densities_alone(interpreted, monkeypatch):
    """One time for all places; color networks get no gradient."""
    points, _ = places(33)
    found = both_ways(monkeypatch, field_of(SIZES["odd"]), lambda f: [f.density(points, 0.25)])
    assert_near(found, 1e-5)
    names = [name for name, _ in field_of(SIZES["odd"]).named_parameters()]
    for name, gradient in zip(names, found[0][1], strict=True):
        assert ("colour" in name) == (gradient.abs().max() == 0)


def test_no_places_at_all(interpreted):
    found = field_of(SIZES["odd"]).sample(torch.zeros(0, 3), torch.zeros(0), normals=True)
    assert found.density.shape == (3, 0)
    assert found.color.shape == (3, 0, 3)
    assert found.normal.shape == (3, 0, 3)


def test_planes_channels_last_get_their_gradients_so(interpreted):
    field = kernels.channels_last(field_of(SIZES["odd"]))
    points, time = places(9)
    planes = field.cascade[0].space
    (gradient,) = torch.autograd.grad(field.density(points, time).sum(), planes)
    assert gradient.stride() == planes.stride()
    assert planes.movedim(1, -1).is_contiguous()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("levels", [*SIZES.values(), FieldConfig().levels], ids=[*SIZES, "standard"])
def test_on_the_gpu(monkeypatch, levels):
    points, time = (x.cuda() for x in places(5000))
    field = kernels.channels_last(field_of(levels).cuda())
    assert_near(both_ways(monkeypatch, field, lambda f: f.sample(points, time)[:2]), 1e-4)
    assert_near(both_ways(monkeypatch, field, lambda f: list(f.sample(points, time, normals=True))), 5e-2)
