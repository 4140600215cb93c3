"""PLY, read back with plyfile and compared with the asset."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from exported import asset_of, ball_asset, tumbling, visible
from plyfile import PlyData
from readers import covariance
from readers import read_ply as read

from vid4d import conventions
from vid4d.cameras import Cameras
from vid4d.export.formats import export
from vid4d.export.options import ExportOptions
from vid4d.export.splats import ellipsoids
from vid4d.gaussians import raster
from vid4d.gaussians import sh as harmonics


@pytest.mark.parametrize("degree", [0, 1, 3])
def test_splats_come_back_as_they_were(tmp_path, degree):
    asset = asset_of(tmp_path, tumbling(degree=degree))
    (path,) = export(asset, "ply", tmp_path / "one.ply", ExportOptions(time=0.4, axes="z-up"))
    back, expected = read(path), visible(asset, 0.4)
    assert 5 < len(back) == len(expected) < 40  # some of them are not there
    assert torch.allclose(back.means, expected.means.double(), atol=1e-6)
    assert torch.allclose(back.covariances, expected.covariances.double(), rtol=1e-3, atol=1e-8)
    assert torch.allclose(back.opacities, expected.opacities.double(), atol=1e-5)
    k = (degree + 1) ** 2
    assert torch.allclose(back.sh[:, :k], expected.sh.double(), atol=1e-6)
    assert back.sh.shape[1] == (1 if degree == 0 else 16)  # the two lengths that all readers know
    assert (back.sh[:, k:] == 0).all()


def test_the_properties_stand_in_the_usual_order(tmp_path):
    asset = asset_of(tmp_path, tumbling(degree=3))
    (path,) = export(asset, "ply", tmp_path / "one.ply", ExportOptions(time=0.5))
    data = PlyData.read(str(path))
    names = [p.name for p in data["vertex"].properties]
    rest = [f"f_rest_{i}" for i in range(45)]
    assert names == [
        *("x", "y", "z", "nx", "ny", "nz", "f_dc_0", "f_dc_1", "f_dc_2", *rest, "opacity"),
        *("scale_0", "scale_1", "scale_2", "rot_0", "rot_1", "rot_2", "rot_3"),
    ]
    assert not data.text
    assert data.comments[:2] == [
        "vid4d axes: y-down, front -z, right-handed, object in [-0.5, 0.5]^3, sRGB",
        "SplatRenderMode: mip",
    ]
    assert data.byte_order == "<"
    assert {p.val_dtype for p in data["vertex"].properties} == {"f4"}


def test_harmonics_mean_the_same_from_every_side(tmp_path):
    """With the formula that the viewers use: 0.5 + SH_C0 f_dc - SH_C1 y f_rest(0) + SH_C1 z ... for red.

    In the file's axes: what was seen from (1.5, -0.4, 0.7) is seen from (-0.4, -0.7, -1.5).
    """
    asset = asset_of(tmp_path, tumbling(count=6, degree=1))
    (path,) = export(asset, "ply", tmp_path / "one.ply", ExportOptions(time=0.5))
    vertex = PlyData.read(str(path))["vertex"]
    expected = visible(asset, 0.5)
    color = harmonics.evaluate(expected.sh, expected.means, torch.tensor([1.5, -0.4, 0.7]))
    places = np.stack([vertex[a] for a in "xyz"], 1)
    apart = places - [-0.4, -0.7, -1.5]
    x, y, z = (apart / np.linalg.norm(apart, axis=1, keepdims=True)).T
    for channel in range(3):
        first, second, third = (vertex[f"f_rest_{15 * channel + i}"] for i in range(3))
        dc = vertex[f"f_dc_{channel}"]
        by_hand = 0.5 + 0.2820948 * dc + 0.4886025 * (-y * first + z * second - x * third)
        np.testing.assert_allclose(color[:, channel], by_hand.clip(0), atol=1e-5)


def test_a_sequence_holds_the_clip(tmp_path):
    asset = ball_asset(tmp_path, seconds=0.5)
    files = export(asset, "ply", tmp_path / "frames", ExportOptions(fps=12, axes="z-up"))
    assert [f.name for f in files] == [f"frame_{i:04}.ply" for i in range(6)] + ["times.json"]
    metadata = json.loads(files[-1].read_text())
    assert metadata["seconds"] == pytest.approx(0.5)
    assert metadata["fps"] == pytest.approx(12)
    assert metadata["axes"] == "z-up"
    assert [f["time"] for f in metadata["frames"]] == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1])
    height = []
    for entry in metadata["frames"]:
        back, expected = read(tmp_path / "frames" / entry["file"]), visible(asset, entry["time"])
        assert len(back) == len(expected)
        for side in ("amin", "amax"):
            box = [getattr(splats.means, side)(0).double() for splats in (back, expected)]
            assert torch.allclose(*box, atol=1e-5)
        height.append(float(back.means[:, 2].mean()))
    assert height[2] > height[0] + 0.2  # it jumps


@pytest.mark.parametrize(
    ("axes", "front", "left", "above"),
    [
        ("z-up", [0.2, 0, 0], [0, -0.3, 0], [0, 0, 0.1]),
        ("y-up", [0, 0, 0.2], [-0.3, 0, 0], [0, 0.1, 0]),
        ("y-down", [0, 0, -0.2], [-0.3, 0, 0], [0, -0.1, 0]),
    ],
)
def test_axes_are_where_they_are_said_to_be(tmp_path, axes, front, left, above):
    """Three splats: in front, on the left of the picture, above. One is long from left to right."""
    three = tumbling(count=3, degree=0)
    means = torch.tensor([[0.2, 0, 0, 0.5], [0, -0.3, 0, 0.5], [0, 0, 0.1, 0.5]])
    still = torch.tensor([[1.0, 0, 0, 0]]).expand(3, 4)
    scales = torch.tensor([[0.01, 0.05, 0.02, 0.5]]).log().expand(3, 4)
    three = replace(three, means=means, log_scales=scales, quats_left=still, quats_right=still)
    asset = asset_of(tmp_path, three)
    (path,) = export(asset, "ply", tmp_path / "one.ply", ExportOptions(time=0.5, axes=axes))
    back = read(path)
    np.testing.assert_allclose(back.means, [front, left, above], atol=1e-6)
    for i, place in ((0, front), (1, left), (2, above)):  # each is as long in a direction as it should be
        direction = torch.tensor(place, dtype=torch.float64)
        direction /= direction.norm()
        length = float((direction @ back.covariances[0] @ direction).sqrt())
        assert length == pytest.approx([0.01, 0.05, 0.02][i], rel=1e-4)


@pytest.mark.parametrize("axes", ["y-up", "y-down"])
def test_pictures_are_the_same_in_all_axes(tmp_path, axes):
    """With harmonics of degree 3, from a camera that is turned along."""
    asset = asset_of(tmp_path, tumbling(degree=3))
    (path,) = export(asset, "ply", tmp_path / "one.ply", ExportOptions(time=0.4, axes=axes))
    back = read(path).to(dtype=torch.float32)
    cameras = Cameras.orbit([20.0, 160.0], 35.0, size=48)
    pose = cameras.world_to_camera.clone()
    pose[:, :3, :3] = pose[:, :3, :3] @ conventions.axes(axes).T
    turned, expected = (
        raster.rasterize(splats, seen).color
        for splats, seen in ((back, replace(cameras, world_to_camera=pose)), (visible(asset, 0.4), cameras))
    )
    assert expected.std() > 0.05
    assert torch.allclose(turned, expected, atol=2e-4)


@pytest.mark.parametrize(("degree", "wanted", "columns"), [(0, 3, 45), (0, 1, 9), (1, 2, 24), (3, 0, 0)])
def test_harmonics_of_a_wanted_degree(tmp_path, degree, wanted, columns):
    asset = asset_of(tmp_path, tumbling(degree=degree))
    options = ExportOptions(time=0.4, axes="z-up", sh_degree=wanted)
    (path,) = export(asset, "ply", tmp_path / "one.ply", options)
    names = [p.name for p in PlyData.read(str(path))["vertex"].properties if p.name.startswith("f_rest_")]
    assert names == [f"f_rest_{i}" for i in range(columns)]
    sh, expected = read(path).sh, visible(asset, 0.4).sh.double()
    kept = min(sh.shape[1], expected.shape[1])
    assert torch.allclose(sh[:, :kept], expected[:, :kept], atol=1e-6)
    assert (sh[:, kept:] == 0).all()


def test_ellipsoids_of_known_axes():
    turned = torch.tensor([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])  # a quarter about z
    shape = turned @ torch.diag(torch.tensor([0.09, 0.04, 0.01])) @ turned.T
    scales, wxyz = ellipsoids(shape[None])
    np.testing.assert_allclose(sorted(scales[0]), [0.1, 0.2, 0.3], atol=1e-6)
    np.testing.assert_allclose(covariance(scales, wxyz)[0], shape, atol=1e-7)
    flat, _ = ellipsoids(torch.zeros(1, 3, 3))
    assert (flat > 0).all()  # their logarithm exists
    assert ellipsoids(torch.zeros(0, 3, 3))[1].shape == (0, 4)
