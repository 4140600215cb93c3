"""SPZ, read back bit by bit and compared with the asset; the bytes of one splat by hand."""

from __future__ import annotations

import gzip
import json
import math
import struct

import numpy as np
import pytest
import torch
from exported import asset_of, tumbling, visible
from readers_splats import read_spz, z_up

from vid4d.export.formats import export
from vid4d.export.options import ExportOptions
from vid4d.export.splats import ellipsoids
from vid4d.export.spz import packed, smallest_three
from vid4d.gaussians.model import Gaussians3D


def test_the_bytes_of_one_splat_by_hand():
    """At (0.5, -0.25, 0.125), deviations exp(-4), exp(-3), exp(-2), half opaque, f_dc (1, 0, -1)."""
    splat = Gaussians3D(
        torch.tensor([[0.5, -0.25, 0.125]]),
        torch.diag(torch.tensor([-8.0, -6.0, -4.0]).exp())[None],
        torch.tensor([0.5]),
        torch.cat([torch.tensor([[[1.0, 0, -1]]]), torch.tensor([[0.5, -0.5, 0]]).expand(1, 3, 3)], 1),
    )
    data = gzip.decompress(packed(splat))
    assert struct.unpack_from("<IIIBBBB", data) == (0x5053474E, 3, 1, 1, 20, 1, 0)
    assert data[16:25] == b"\x00\x00\x08" + b"\x00\x00\xfc" + b"\x00\x00\x02"  # 2^19, -2^18, 2^17
    assert data[25] == 128
    assert list(data[26:29]) == [round(255 * 0.65), 128, round(255 * 0.35)]
    assert list(data[29:32]) == [96, 112, 128]  # 16 (10 - 4) and so on
    assert data[32:36] == struct.pack("<I", 3 << 30)  # w is the largest, the others zero
    assert list(data[36:]) == [192, 64, 128] * 3


def test_a_quaternion_by_hand():
    """x = w = sqrt(1/2): x is first, so w is stored, as 511; negative all over is the same rotation."""
    half = math.sqrt(0.5)
    for sign in (1, -1):
        (word,) = smallest_three(np.array([[half, half * 1.0001, -0.0, 0]]) * sign).view("<u4")[0]
        assert (word >> 30, word & 0x3FFFFFFF) == (0, 511)


@pytest.mark.parametrize("axes", ["y-up", "y-down"])
def test_splats_come_back_within_their_steps(tmp_path, axes):
    asset = asset_of(tmp_path, tumbling(degree=0))
    (path,) = export(asset, "spz", tmp_path / "one.spz", ExportOptions(time=0.4, axes=axes))
    back, expected = z_up(read_spz(path), axes), visible(asset, 0.4)
    assert torch.allclose(back.means, expected.means.double(), atol=6e-7)
    scales, expected_scales = (ellipsoids(s.covariances)[0] for s in (back, expected))
    np.testing.assert_allclose(np.log(scales), np.log(expected_scales), atol=1 / 32 + 1e-3)
    assert (back.opacities - expected.opacities).abs().max() <= 0.5 / 255 + 1e-6
    inside = (expected.sh[:, 0].abs() < 3).all(1)
    assert (back.sh - expected.sh)[inside].abs().max() <= 0.5 / 255 / 0.15 + 1e-6


def test_harmonics_keep_their_places(tmp_path):
    asset = asset_of(tmp_path, tumbling(degree=3))
    (path,) = export(asset, "spz", tmp_path / "one.spz", ExportOptions(time=0.4, axes="z-up"))
    back, expected = read_spz(path).sh[:, 1:], visible(asset, 0.4).sh[:, 1:]
    assert back.shape == expected.shape
    assert (back - expected.clamp(-1, 127 / 128)).abs().max() <= 0.5 / 128 + 1e-6
    (path,) = export(asset, "spz", tmp_path / "flat.spz", ExportOptions(time=0.4, sh_degree=0))
    assert read_spz(path).sh.shape[1] == 1


def test_far_splats_have_fewer_bits():
    near = Gaussians3D(torch.full((1, 3), 7.9), torch.eye(3)[None], torch.ones(1), torch.zeros(1, 1, 3))
    far = Gaussians3D(torch.full((1, 3), 300.0), torch.eye(3)[None], torch.ones(1), torch.zeros(1, 1, 3))
    assert gzip.decompress(packed(near))[13] == 19
    assert gzip.decompress(packed(far))[13] == 13  # 300 < 2^9, 2^22 / 2^9


def test_a_sequence_says_its_axes(tmp_path):
    files = export(asset_of(tmp_path, tumbling()), "spz", tmp_path / "frames", ExportOptions(frames=2))
    assert [f.name for f in files] == ["frame_0000.spz", "frame_0001.spz", "times.json"]
    assert json.loads(files[-1].read_text())["axes"] == "y-up"
    assert files[0].read_bytes()[4:8] == bytes(4)  # no time of day: the same asset gives the same bytes
