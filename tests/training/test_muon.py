"""Muon: what orthogonal updates do to singular values, sizes of steps, and which layers it takes."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from vid4d.training.muon import Muon, orthogonalised, split_for_muon


@pytest.mark.parametrize("shape", [(3, 8, 30), (2, 30, 8), (1, 12, 12)])
def test_singular_values_end_near_one_and_directions_stay(shape: tuple[int, int, int]) -> None:
    generator = torch.Generator().manual_seed(0)
    u, _, v = torch.linalg.svd(torch.randn(shape, generator=generator), full_matrices=False)
    stretch = torch.linspace(0.05, 1, min(shape[1:]))
    made = orthogonalised(u * stretch @ v, dtype=torch.float32)
    inside = u.mT @ made @ v.mT
    diagonal = inside.diagonal(dim1=1, dim2=2)
    assert diagonal.min() > 0.5
    assert diagonal.max() < 1.3
    assert (inside - torch.diag_embed(diagonal)).abs().max() < 1e-3


def test_a_step_has_the_size_that_adam_s_has() -> None:
    weight = nn.Parameter(torch.zeros(16, 4, 3, 3))
    before = weight.detach().clone()
    weight.grad = torch.randn(weight.shape, generator=torch.Generator().manual_seed(1)) * 1e-4
    Muon([weight], lr=0.01).step()
    size = (weight - before).square().mean().sqrt().item()
    # an orthogonal 16 x 36 matrix has entries of root mean square 1 / 6; times 0.2 * 6 that is 0.2
    assert size == pytest.approx(0.2 * 0.01, rel=0.2)


def test_equal_shapes_are_moved_as_they_would_be_alone() -> None:
    generator = torch.Generator().manual_seed(2)
    together = [nn.Parameter(torch.randn(6, 5, generator=generator)) for _ in range(3)]
    alone = [nn.Parameter(p.detach().clone()) for p in together]
    optimizers = [Muon(together), *(Muon([p]) for p in alone)]
    for _ in range(3):
        for a, b in zip(together, alone, strict=True):
            a.grad = torch.randn(a.shape, generator=generator)
            b.grad = a.grad.clone()
        for optimizer in optimizers:
            optimizer.step()
    for a, b in zip(together, alone, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-2, atol=1e-4)


def test_matrices_inside_are_taken_and_nothing_else() -> None:
    model = nn.ModuleDict(
        {
            "stem": nn.Conv2d(3, 8, 3),
            "inner": nn.Conv2d(8, 8, 3),
            "linear": nn.Linear(8, 8),
            "norm": nn.GroupNorm(2, 8),
        }
    )
    model["table"] = nn.Embedding(4, 8)
    model["linear"].bias.requires_grad_(False)
    taken, rest = split_for_muon(model, ("stem",))
    assert {id(p) for p in taken} == {id(model["inner"].weight), id(model["linear"].weight)}
    everything = {id(p) for p in model.parameters() if p.requires_grad}
    assert {id(p) for p in [*taken, *rest]} == everything
    assert len(taken) + len(rest) == len(everything)
