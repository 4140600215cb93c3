"""OpenUSD, read back with OpenUSD's own library, validated by it, and compared with the asset."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
from exported import asset_of, ball_asset, tumbling, visible
from pxr import Gf, UsdGeom
from readers import open_usd as opened
from readers import usd_complaints as problems
from readers import usd_splats

from vid4d.errors import InputError
from vid4d.export.formats import export
from vid4d.export.options import ExportOptions


@pytest.mark.parametrize("ending", ["usd", "usdz"])
@pytest.mark.parametrize("cyclic", [False, True])
def test_splats_and_times_come_back(tmp_path, ending, cyclic):
    asset = asset_of(tmp_path, tumbling(), seconds=0.5, cyclic=cyclic)
    (path,) = export(asset, ending, options=ExportOptions(frames=6))
    assert path == tmp_path / "export" / f"asset.{ending}"
    stage, field = opened(path)
    assert problems(stage) == []
    assert UsdGeom.GetStageUpAxis(stage) == "Z"
    assert stage.GetTimeCodesPerSecond() == pytest.approx(12)
    assert (stage.GetStartTimeCode(), stage.GetEndTimeCode()) == (0, 5)
    assert stage.GetDefaultPrim().GetPath() == "/Asset"
    assert field.GetRadianceSphericalHarmonicsDegreeAttr().Get() == 1
    assert field.GetPositionsAttr().GetTimeSamples() == [0, 1, 2, 3, 4, 5]
    for i in range(6):
        expected = visible(asset, i / (6 if cyclic else 5))
        opacity = np.array(field.GetOpacitiesAttr().Get(i))
        mask = opacity > 0
        assert 5 < mask.sum() == len(expected) < len(mask)
        np.testing.assert_allclose(opacity[mask], expected.opacities, atol=1e-6)
        means = np.array(field.GetPositionsAttr().Get(i))
        np.testing.assert_allclose(means[mask], expected.means, atol=1e-6)
        back = usd_splats(field, i)
        np.testing.assert_allclose(back.covariances[mask], expected.covariances, rtol=1e-3, atol=1e-7)
        np.testing.assert_allclose(back.sh[mask], expected.sh, atol=1e-6)
        low, high = np.array(field.GetExtentAttr().Get(i))
        assert (low < means[mask].min(0)).all()
        assert (high > means[mask].max(0)).all()
        assert (high - low).max() < 3


def test_between_the_samples_splats_keep_moving(tmp_path):
    """All samples hold the same splats in one order, so what readers interpolate is where they really are."""
    asset = asset_of(tmp_path, tumbling())
    (path,) = export(asset, "usd", options=ExportOptions(frames=5))
    _, field = opened(path)
    means = np.array(field.GetPositionsAttr().Get(1.5))
    mask = np.array(field.GetOpacitiesAttr().Get(1.5)) > 0.05
    truth = asset.gaussians.at(1.5 / 4).means.numpy()
    distance = np.linalg.norm(means[mask][:, None] - truth[None], axis=-1).min(1)
    assert mask.sum() > 5
    assert distance.max() < 1e-5


def test_one_moment_has_no_samples(tmp_path):
    asset = ball_asset(tmp_path)
    (path,) = export(asset, "usdz", options=ExportOptions(time=0.5))
    stage, field = opened(path)
    assert problems(stage) == []
    assert field.GetPositionsAttr().GetTimeSamples() == []
    assert len(field.GetPositionsAttr().Get()) == len(visible(asset, 0.5))


def test_colors_that_change_have_samples(tmp_path):
    asset = asset_of(tmp_path, tumbling(degree=0, fourier=3))
    (path,) = export(asset, "usd", options=ExportOptions(frames=3))
    _, field = opened(path)
    attribute = field.GetRadianceSphericalHarmonicsCoefficientsAttr()
    mask = np.array(field.GetOpacitiesAttr().Get(2)) > 0
    np.testing.assert_allclose(np.array(attribute.Get(2))[mask], visible(asset, 1.0).sh[:, 0], atol=1e-5)
    assert attribute.GetTimeSamples() == [0, 1, 2]
    assert attribute.GetColorSpace() == Gf.ColorSpaceNames.SRGBRec709


def test_without_openusd_a_sentence_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pxr", None)
    with pytest.raises(InputError, match=r"usd-core.*\[export\]"):
        export(ball_asset(tmp_path), "usd")
    assert not (tmp_path / "export").exists()


def test_an_empty_moment_can_be_written(tmp_path):
    gaussians = tumbling()
    gaussians.opacity_logits.fill_(-20.0)
    (path,) = export(asset_of(tmp_path, gaussians), "usd", options=ExportOptions(frames=2))
    _, field = opened(path)
    assert len(field.GetPositionsAttr().Get(0)) == 0
    assert torch.tensor(np.array(field.GetExtentAttr().Get(0))).abs().max() == 0
