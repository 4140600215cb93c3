"""Native 4D Gaussians as PLY, read back with plyfile and conditioned on a time by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from exported import asset_of, tumbling
from readers_splats import read_ply4d, vertices, z_up

from vid4d.errors import InputError
from vid4d.export.formats import export
from vid4d.export.options import ExportOptions
from vid4d.export.ply4d import quaternion_pair
from vid4d.gaussians.model import Gaussians3D


def visible(splats: Gaussians3D) -> Gaussians3D:
    mask = splats.opacities >= 1 / 255
    order = mask.nonzero()[:, 0][splats.means[mask][:, 0].argsort()]
    parts = (splats.means, splats.covariances, splats.opacities, splats.sh)
    return Gaussians3D(*(part[order].double() for part in parts))


@pytest.mark.parametrize(("degree", "fourier", "columns"), [(0, 1, 0), (1, 1, 93), (3, 2, 93), (2, 3, 141)])
@pytest.mark.parametrize("cyclic", [False, True])
def test_slices_are_those_of_the_asset(tmp_path, degree, fourier, columns, cyclic):
    asset = asset_of(tmp_path, tumbling(degree=degree, fourier=fourier), cyclic=cyclic)
    (path,) = export(asset, "ply4d", options=ExportOptions(axes="z-up"))
    assert path.name == "asset_4d.ply"
    names = vertices(path)[1]
    assert [n for n in names if n.startswith("f_rest")] == [f"f_rest_{i}" for i in range(columns)]
    assert names[-13:] == [*(f"scale_{i}" for i in range(4)), *(f"rot_{i}" for i in range(8)), "t"]
    k = (degree + 1) ** 2
    for time in (0.0, 0.4, 0.97):
        back, expected = visible(read_ply4d(path, time)), visible(asset.gaussians.at(time))
        assert len(back) == len(expected) > 5
        torch.testing.assert_close(back.means, expected.means, rtol=0, atol=2e-6)
        torch.testing.assert_close(back.covariances, expected.covariances, rtol=1e-3, atol=1e-8)
        torch.testing.assert_close(back.opacities, expected.opacities, rtol=0, atol=1e-5)
        torch.testing.assert_close(back.sh[:, :k], expected.sh, rtol=0, atol=1e-5)
        assert (back.sh[:, k:] == 0).all()


@pytest.mark.parametrize("axes", ["y-up", "y-down"])
def test_axes_turn_the_rotation_in_4d(tmp_path, axes):
    asset = asset_of(tmp_path, tumbling(degree=0))
    (path,) = export(asset, "ply4d", options=ExportOptions(axes=axes))
    back, expected = visible(z_up(read_ply4d(path, 0.4), axes)), visible(asset.gaussians.at(0.4))
    torch.testing.assert_close(back.means, expected.means, rtol=0, atol=2e-6)
    torch.testing.assert_close(back.covariances, expected.covariances, rtol=1e-3, atol=1e-8)


def test_quaternions_by_hand():
    """A quarter turn from w to x and the rest still is (1 + i) / sqrt 2 from the left and conj of it."""
    turn = torch.eye(4)
    turn[:2, :2] = torch.tensor([[0.0, -1], [1, 0]])
    left, right = quaternion_pair(turn[None])
    half = 0.5**0.5
    sign = left[0, 0].sign()
    expected = torch.tensor([[half, half, 0, 0]])
    # l 1 conj(r) = i and l i conj(r) = -1, l j conj(r) = j: l = exp(i pi / 4), conj(r) = exp(i pi / 4)
    torch.testing.assert_close(sign * left, expected, rtol=0, atol=1e-6)
    torch.testing.assert_close(sign * right, expected * torch.tensor([1.0, -1, 1, 1]), rtol=0, atol=1e-6)


def test_colors_that_it_cannot_hold_are_refused(tmp_path):
    with pytest.raises(InputError, match="holds colors of 3 terms in time"):
        export(asset_of(tmp_path, tumbling(fourier=4)), "ply4d")
    with pytest.raises(InputError, match=r"2 with 0\.5 clips"):
        export(asset_of(tmp_path, replace(tumbling(fourier=2), period=0.5)), "ply4d")
    assert not (tmp_path / "export").exists()
