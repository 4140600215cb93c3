"""Spherical harmonics in a world that is turned."""

from __future__ import annotations

import math

import pytest
import torch

from vid4d import conventions
from vid4d.gaussians import sh as harmonics


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
@pytest.mark.parametrize("name", ["oblique", *conventions.AXES])
def test_a_color_is_seen_along_the_turned_direction(degree, name):
    a, b = 0.7, -1.9
    about_z = torch.tensor([[math.cos(a), -math.sin(a), 0], [math.sin(a), math.cos(a), 0], [0, 0, 1]])
    about_x = torch.tensor([[1, 0, 0], [0, math.cos(b), -math.sin(b)], [0, math.sin(b), math.cos(b)]])
    rotation = about_x @ about_z if name == "oblique" else conventions.axes(name)
    rng = torch.Generator().manual_seed(0)
    sh = torch.randn(5, harmonics.terms(degree), 3, generator=rng)
    directions = torch.nn.functional.normalize(torch.randn(9, 3, generator=rng), dim=1)
    turned = harmonics.rotated(sh, rotation)
    before = torch.einsum("dk,nkc->ndc", harmonics.basis(directions, degree), sh)
    after = torch.einsum("dk,nkc->ndc", harmonics.basis(directions @ rotation.T, degree), turned)
    assert torch.allclose(before, after, atol=1e-5)
    assert torch.allclose(turned.norm(dim=1), sh.norm(dim=1), atol=1e-5)  # it is a rotation


def test_degree_one_by_hand():
    """-C1 y, C1 z, -C1 x: with y-up (x, y, z) = (y, z, x) of before, so the three change places."""
    matrix = harmonics.rotation_matrix(conventions.AXES["y-up"], 1)
    expected = [[1, 0, 0, 0], [0, 0, -1, 0], [0, 0, 0, -1], [0, 1, 0, 0]]
    assert torch.allclose(matrix, torch.tensor(expected, dtype=torch.float64))
