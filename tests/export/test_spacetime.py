"""Spacetime Gaussians and .splatv, read back with plyfile and struct and compared with the asset."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from exported import asset_of, ball_asset, tumbling
from readers_splats import read_splatv, read_stg, vertices, z_up

from vid4d.cameras import Cameras
from vid4d.export.formats import export
from vid4d.export.options import ExportOptions
from vid4d.gaussians import raster
from vid4d.gaussians import sh as harmonics
from vid4d.gaussians.metadata import AssetMetadata
from vid4d.gaussians.model import Gaussians3D, Gaussians4D


def moving_one(speed: float = 0.4) -> Gaussians4D:
    """One splat at (0.1, 0.2, 0.3) at time 0.25; it goes up by `speed` in a clip and is there for 0.1 of it.

    A shear of time into z: the covariance over z and t is [[a, b], [b, c]] with b / c = speed.
    """
    c = 0.1**2
    whole = torch.tensor([[0.02**2 + speed**2 * c, speed * c], [speed * c, c]], dtype=torch.float64)
    squares, axes = (part.float() for part in torch.linalg.eigh(whole))
    angle = math.atan2(float(axes[1, 0]), float(axes[0, 0]))  # of the axis that z becomes, towards t
    # v = t + z i + y j + x k; with l = conj(r) = cos(a / 2) - i sin(a / 2), z turns to t by a.
    left = torch.tensor([[math.cos(angle / 2), -math.sin(angle / 2), 0, 0]])
    right = left * torch.tensor([1.0, -1, -1, -1])
    z, t = squares.sqrt()
    return Gaussians4D(
        torch.tensor([[0.1, 0.2, 0.3, 0.25]]),
        torch.tensor([[0.01, 0.03, z, t]]).log(),
        left,
        right,
        torch.tensor([2.0]),
        harmonics.from_rgb(torch.tensor([[1.0, 0.5, 0.25]]))[:, None, None],
    )


def test_the_toy_moves_as_it_says():
    splat = moving_one()
    torch.testing.assert_close(splat.at(0.35).means, torch.tensor([[0.1, 0.2, 0.34]]), rtol=0, atol=1e-5)
    assert splat.at(0.35).opacities.item() == pytest.approx(math.exp(-0.5) / (1 + math.exp(-2)), rel=1e-4)


@pytest.mark.parametrize(("to", "unit"), [("stg", 2.0), ("stg-lite", 1.0)])
def test_properties_by_hand(tmp_path, to, unit):
    """A clip of 2 s: half way down a quarter of it is 0.5 s, 0.4 in a clip is 0.2 a second."""
    asset = asset_of(tmp_path, moving_one(), seconds=2.0)
    (path,) = export(asset, to, options=ExportOptions(axes="z-up"))
    columns, names, comments = vertices(path)
    expected = {
        "x": 0.1, "y": 0.2, "z": 0.3,
        "trbf_center": 0.25 * unit, "trbf_scale": math.log(math.sqrt(2) * 0.1 * unit),
        "nx": 0, "ny": 0, "nz": 0,
        "motion_0": 0, "motion_1": 0, "motion_2": 0.4 / unit,
        **{f"motion_{i}": 0 for i in range(3, 9)},
        **{f"f_dc_{i}": (v - 0.5) / 0.2820948 if to == "stg" else v for i, v in enumerate((1.0, 0.5, 0.25))},
        "opacity": 2.0,
    }  # fmt: skip
    assert names[: len(expected)] == list(expected)
    for name, value in expected.items():
        assert columns(name)[0, 0] == pytest.approx(value, abs=1e-5), name
    np.testing.assert_allclose(
        np.exp(columns("scale_0", "scale_1", "scale_2"))[0], [0.01, 0.02, 0.03], atol=1e-6
    )
    assert (columns(*(f"omega_{i}" for i in range(4))) == 0).all()
    if to == "stg":
        assert names[-2:] == ["t", "scale_t"]
        assert columns("t")[0, 0] == 0.5
        assert np.exp(columns("scale_t"))[0, 0] == pytest.approx(0.2, rel=1e-4)
        assert "cfg_args: start=0 duration=2 fps=24 sh_degree=0" in comments
    else:
        assert names[-1] == "omega_3"


def test_a_splatv_file_word_by_word(tmp_path):
    asset = asset_of(tmp_path, moving_one(), seconds=2.0)
    (path,) = export(asset, "splatv", options=ExportOptions(axes="z-up"))
    data = path.read_bytes()
    assert data[:4] == b"Kg\0\0"
    length = int.from_bytes(data[4:8], "little")
    (about,) = json.loads(data[8 : 8 + length])
    assert (about["type"], about["size"], about["texwidth"], about["texheight"]) == ("splat", 65536, 4096, 1)
    assert len(data) == 8 + length + 65536
    splat = np.frombuffer(data, "<u4", 16, 8 + length)
    half = splat.view("<f2").astype(float)
    np.testing.assert_allclose(splat[:3].view("<f4"), [0.1, 0.2, 0.3], atol=1e-6)
    np.testing.assert_allclose(half[10:14], [0.01, 0.02, 0.03, 0], atol=2e-5)
    assert splat[7].tobytes() == bytes([255, 128, 64, 225])  # opacity: 255 / (1 + exp(-2))
    np.testing.assert_allclose(half[16:30], [0, 0, 0.4, *[0] * 11], atol=1e-3)
    np.testing.assert_allclose(half[30:], [0.25, math.sqrt(2) * 0.1], atol=1e-4)
    filling = np.frombuffer(data, "<u4", offset=8 + length).reshape(-1, 16)[1:]
    assert (filling[:, 7] == 0).all()
    assert (filling.view("<f2")[:, 31] > 0).all()  # players divide by it


def test_the_camera_of_a_splatv_file_is_the_clips(tmp_path):
    """y down: the front is -z, the camera stands there and looks along +z, upright."""
    asset = replace(ball_asset(tmp_path), metadata=AssetMetadata(seconds=1.0, elevation=0.0))
    (path,) = export(asset, "splatv")
    camera = read_splatv(path, 0.5)[1]["cameras"][0]
    np.testing.assert_allclose(camera["position"], [0, 0, -1.5], atol=1e-6)
    np.testing.assert_allclose(camera["rotation"], np.eye(3), atol=1e-6)
    assert camera["fx"] / camera["width"] == pytest.approx(280 / 256)


def pictures(splats: Gaussians3D) -> torch.Tensor:
    cameras = Cameras.orbit([0.0, 140.0], 20.0, size=64)
    return raster.rasterize(splats.to(dtype=torch.float32), cameras).color


@pytest.mark.parametrize("cyclic", [False, True])
@pytest.mark.parametrize("to", ["stg", "stg-lite", "splatv"])
def test_what_is_read_back_looks_like_the_asset(tmp_path, to, cyclic):
    """At times of the clip, its ends included. The asset ends where the marginal is below 0.05."""
    asset = asset_of(tmp_path, tumbling(degree=0), seconds=2.0, cyclic=cyclic)
    (path,) = export(asset, to)
    for time in (0.0, 0.3, 0.99):
        if to == "splatv":
            back = read_splatv(path, time)[0]
        else:
            back = read_stg(path, time * (2.0 if to == "stg" else 1.0))
        if to == "stg-lite":
            back = replace(back, sh=harmonics.from_rgb(back.sh))
        apart = pictures(z_up(back, "y-down")) - pictures(asset.gaussians.at(time))
        assert apart.abs().max() < 0.08
        assert -10 * math.log10(float((apart**2).mean())) > (36 if to == "splatv" else 38)


def test_harmonics_turn_with_the_axes_and_can_be_cut_off(tmp_path):
    asset = asset_of(tmp_path, tumbling(degree=1), seconds=2.0)
    (path,) = export(asset, "stg", options=ExportOptions(axes="z-up"))
    assert "sh_degree=3" in vertices(path)[2][-1]
    back = read_stg(path, 1.0)
    assert back.sh.shape[1] == 16
    expected = asset.gaussians.at(0.5)
    there = expected.opacities > 0.01
    torch.testing.assert_close(back.sh[:, :4][there].float(), expected.sh[there], rtol=0, atol=1e-5)
    (path,) = export(asset, "stg", options=ExportOptions(sh_degree=0, force=True))
    assert not [name for name in vertices(path)[1] if name.startswith("f_rest")]
    (path,) = export(asset, "stg", tmp_path / "turned.ply", ExportOptions(sh_degree=1))
    turned = read_stg(path, 1.0).sh[there]
    x, y, z = (expected.sh[there][:, i] for i in (3, 1, 2))  # times -x, -y and z of the direction
    torch.testing.assert_close(turned[:, 1:].float(), torch.stack([z, x, y], 1), rtol=0, atol=1e-5)
