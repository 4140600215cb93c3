"""SOG, read back pixel by pixel and compared with the asset."""

from __future__ import annotations

import json
import zipfile

import numpy as np
import pytest
import torch
from exported import asset_of, tumbling, visible
from readers_splats import read_sog, z_up

from vid4d.export.formats import export
from vid4d.export.options import ExportOptions
from vid4d.export.sog import codebook, packed
from vid4d.export.splats import ellipsoids, morton_order
from vid4d.gaussians.model import Gaussians3D


def sorted_(splats: Gaussians3D) -> Gaussians3D:
    order = splats.means[:, 0].argsort()
    parts = (splats.means, splats.covariances, splats.opacities, splats.sh)
    return Gaussians3D(*(part[order].double() for part in parts))


@pytest.mark.parametrize("degree", [0, 3])
def test_splats_come_back(tmp_path, degree):
    """Few splats: nearly every value has a code of its own."""
    asset = asset_of(tmp_path, tumbling(degree=degree))
    (path,) = export(asset, "sog", tmp_path / "one.sog", ExportOptions(time=0.4))
    back = z_up(read_sog(path), "y-down")
    expected = visible(asset, 0.4)
    assert len(back) == len(expected) > 5
    back, expected = sorted_(back), sorted_(expected)
    assert (back.means - expected.means).abs().max() < 4e-5
    scales, expected_scales = (ellipsoids(s.covariances)[0] for s in (back, expected))
    np.testing.assert_allclose(np.log(scales), np.log(expected_scales), atol=0.03)
    assert (back.opacities - expected.opacities).abs().max() <= 0.5 / 255 + 1e-6
    assert (back.sh[:, 0] - expected.sh[:, 0]).abs().max() < 0.03
    axes = [np.linalg.eigh(s.covariances.numpy())[1][:, :, 2] for s in (back, expected)]
    assert np.abs((axes[0] * axes[1]).sum(1)).min() > 0.999  # the longest axis points where it did


def test_harmonics_turn_and_keep_their_places(tmp_path):
    asset = asset_of(tmp_path, tumbling(degree=2))
    (path,) = export(asset, "sog", tmp_path / "one.sog", ExportOptions(time=0.4))
    (ply,) = export(asset, "ply", tmp_path / "one.ply", ExportOptions(time=0.4, sh_degree=2))
    from readers import read_ply

    back, expected = sorted_(read_sog(path)), sorted_(read_ply(ply))
    assert back.sh.shape == expected.sh.shape == (len(expected), 9, 3)
    assert (back.sh - expected.sh).abs().max() < 0.03


def test_what_the_bundle_says(tmp_path):
    asset = asset_of(tmp_path, tumbling(degree=1))
    (path,) = export(asset, "sog", tmp_path / "one.sog", ExportOptions(time=0.4))
    with zipfile.ZipFile(path) as bundle:
        meta = json.loads(bundle.read("meta.json"))
        assert set(bundle.namelist()) == {
            "meta.json",
            *(name for part in ("means", "scales", "quats", "sh0", "shN") for name in meta[part]["files"]),
        }
    assert (meta["version"], meta["count"], meta["model"]) == (2, len(visible(asset, 0.4)), "antialiased")
    assert [len(meta[part]["codebook"]) for part in ("scales", "sh0", "shN")] == [256] * 3
    assert packed(visible(asset, 0.4)) == packed(visible(asset, 0.4))


def test_no_splats_are_a_file_too():
    none = Gaussians3D(torch.zeros(0, 3), torch.zeros(0, 3, 3), torch.zeros(0), torch.zeros(0, 1, 3))
    assert packed(none)


def test_a_codebook_holds_few_values_exactly_and_many_closely():
    few, many = np.array([[0.25, -3.0], [7.0, 0.25]]), np.random.default_rng(0).normal(size=(5000, 3))
    codes, indices = codebook(few)
    np.testing.assert_allclose(codes[indices], few, atol=1e-9)
    codes, indices = codebook(many)
    assert (np.diff(codes) >= 0).all()
    assert np.abs(codes[indices] - many).mean() < 0.01
    assert np.abs(codes[indices] - many).max() < 0.06


def test_neighbours_along_the_curve_by_hand():
    """The corners of a cube: x changes fastest, then y, then z."""
    corners = torch.tensor([[1.0, 1, 1], [0, 0, 1], [1, 0, 0], [0, 0, 0], [0, 1, 0]])
    assert morton_order(corners).tolist() == [3, 2, 4, 1, 0]
