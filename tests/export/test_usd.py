"""OpenUSD, read back with OpenUSD's own library, validated by it, and compared with the asset."""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from exported import asset_of, ball_asset, tumbling, visible
from pxr import Gf, Usd, UsdGeom
from readers import open_usd as opened
from readers import usd_complaints as problems
from readers import usd_splats, usd_surface
from solids import ball_of_splats, mesh_of

from vid4d.errors import InputError
from vid4d.export.formats import export
from vid4d.export.options import ExportOptions, FrameTimes
from vid4d.export.usd_mesh import Surface, put_surface
from vid4d.meshing.mesh_sequence import MeshSequence
from vid4d.meshing.texture import Coat, textured


@pytest.mark.parametrize("ending", ["usd", "usdz"])
@pytest.mark.parametrize("cyclic", [False, True])
def test_splats_and_times_come_back(tmp_path, ending, cyclic):
    asset = asset_of(tmp_path, tumbling(), seconds=0.5, cyclic=cyclic)
    (path,) = export(asset, ending, options=ExportOptions(frames=6, content="splats"))
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
    (path,) = export(asset, "usd", options=ExportOptions(frames=5, content="splats"))
    _, field = opened(path)
    means = np.array(field.GetPositionsAttr().Get(1.5))
    mask = np.array(field.GetOpacitiesAttr().Get(1.5)) > 0.05
    truth = asset.gaussians.at(1.5 / 4).means.numpy()
    distance = np.linalg.norm(means[mask][:, None] - truth[None], axis=-1).min(1)
    assert mask.sum() > 5
    assert distance.max() < 1e-5


def test_one_moment_has_no_samples(tmp_path):
    asset = ball_asset(tmp_path)
    (path,) = export(asset, "usdz", options=ExportOptions(time=0.5, content="splats"))
    stage, field = opened(path)
    assert problems(stage) == []
    assert field.GetPositionsAttr().GetTimeSamples() == []
    assert len(field.GetPositionsAttr().Get()) == len(visible(asset, 0.5))


def test_colors_that_change_have_samples(tmp_path):
    asset = asset_of(tmp_path, tumbling(degree=0, fourier=3))
    (path,) = export(asset, "usd", options=ExportOptions(frames=3, content="splats"))
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
    (path,) = export(asset_of(tmp_path, gaussians), "usd", options=ExportOptions(frames=2, content="splats"))
    _, field = opened(path)
    assert len(field.GetPositionsAttr().Get(0)) == 0
    assert torch.tensor(np.array(field.GetExtentAttr().Get(0))).abs().max() == 0


@pytest.fixture(scope="module")
def moving(tmp_path_factory):  # type: ignore[no-untyped-def]
    """A ball that moves along y and is there all the time."""
    still = ball_of_splats(radius=0.2, count=1200, sigma=0.012, velocity=0.3)
    return asset_of(tmp_path_factory.mktemp("moving"), still, seconds=0.5)


@pytest.mark.parametrize("ending", ["usd", "usdz"])
def test_the_mesh_moves_and_shows_its_texture(moving, ending, tmp_path):
    options = ExportOptions(frames=3, faces=600, texture=64)
    files = export(moving, ending, tmp_path / f"ball.{ending}", options)
    assert [f.name for f in files] == {"usd": ["ball.usd", "ball_texture.png"], "usdz": ["ball.usdz"]}[ending]
    stage, mesh = opened(files[0], "mesh")
    assert problems(stage) == []
    assert not stage.GetPrimAtPath("/Asset/Splats")
    assert mesh.GetPointsAttr().GetTimeSamples() == [0, 1, 2]
    assert mesh.GetFaceVertexIndicesAttr().GetTimeSamples() == []
    for code in (0, 1.5, 2):
        corners, _, colors = usd_surface(mesh, code)
        centre = np.array([0, 0.3 * (code / 2 - 0.5), 0])
        radius = np.linalg.norm(corners - centre, axis=1)
        assert np.allclose(radius, 0.213, atol=0.03)
        assert np.abs(colors - ((corners - centre) / 0.215 * 0.45 + 0.5)).mean() < 0.04
        low, high = np.array(mesh.GetExtentAttr().Get(code))
        assert np.allclose((low + high) / 2, centre, atol=0.02)
    _, field = opened(files[0], "splats")
    assert field.GetPositionsAttr().GetTimeSamples() == [0, 1, 2]


def test_what_programs_show_until_told_otherwise_is_the_mesh(moving, tmp_path):
    (path, *_) = export(moving, "usd", tmp_path / "a.usd", ExportOptions(frames=2, faces=300, texture=0))
    stage = Usd.Stage.Open(str(path))
    assert [p.GetName() for p in stage.GetDefaultPrim().GetChildren()] == ["Surface"]
    colors = UsdGeom.Mesh(stage.GetPrimAtPath("/Asset/Surface")).GetDisplayColorPrimvar()
    assert colors.GetInterpolation() == "vertex"
    assert len(colors.Get(0)) == len(UsdGeom.Mesh(colors.GetAttr().GetPrim()).GetPointsAttr().Get(0))
    assert problems(stage) == []


def test_a_mesh_alone_needs_no_variants(moving, tmp_path):
    options = ExportOptions(time=0.5, faces=300, texture=32, content="mesh")
    (path, picture) = export(moving, "usd", tmp_path / "a.usd", options)
    stage = Usd.Stage.Open(str(path))
    assert stage.GetDefaultPrim().GetVariantSets().GetNames() == []
    assert UsdGeom.Mesh(stage.GetPrimAtPath("/Asset/Surface")).GetPointsAttr().GetTimeSamples() == []
    path.unlink()
    with pytest.raises(InputError, match="would be replaced"):
        export(moving, "usd", path, options)
    assert export(moving, "usd", path, replace(options, force=True)) == [path, picture]


def test_where_the_topology_changes_nothing_is_interpolated(tmp_path):
    """Two balls whose meshes have as many faces: readers would blend their points and their `st`."""
    shapes = [mesh_of(lambda p, r=r: p.norm(dim=1) - r, faces=200) for r in (0.2, 0.3)]
    shapes[1] = replace(shapes[1], faces=shapes[1].faces[::-1])
    sequence = MeshSequence((0.0, 0.5, 1.0), (shapes[0], shapes[0], shapes[1]), (0, 2), (0, 2))
    white = [Coat(shape, lambda p, n: (np.ones_like(p), np.ones(len(p)))) for shape in shapes]
    skin = textured([white[:1], white[1:]], 64)
    stage = Usd.Stage.CreateNew(str(tmp_path / "a.usda"))
    stage.SetDefaultPrim(UsdGeom.Xform.Define(stage, "/Asset").GetPrim())
    picture = tmp_path / "a.png"
    put_surface(stage, Surface(sequence, skin), FrameTimes((0.0, 0.5, 1.0), 24.0), False, picture)
    mesh = UsdGeom.Mesh(stage.GetPrimAtPath("/Asset/Surface"))
    for code, part in ((0, 0), (0.3, 0), (1, 0), (1.49, 0), (1.51, 1), (1.8, 1), (2, 1)):
        faces = np.array(mesh.GetFaceVertexIndicesAttr().Get(code)).reshape(-1, 3)
        assert np.array_equal(faces, shapes[part].faces)
        assert np.allclose(mesh.GetPointsAttr().Get(code), shapes[part].vertices)
        chart = skin.charts[part]
        places = np.array(UsdGeom.PrimvarsAPI(mesh).GetPrimvar("st").Get(code)) * [1, -1] + [0, 1]
        assert np.allclose(places, chart.uv[chart.faces].reshape(-1, 2), atol=1e-6)


def test_options_of_a_mesh_have_no_effect_on_splats(tmp_path):
    options = ExportOptions(content="splats", faces=300)
    with pytest.raises(InputError, match="--faces has no effect beside --content splats"):
        export(ball_asset(tmp_path), "usd", options=options)
