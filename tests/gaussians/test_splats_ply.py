"""PLY files of 3D Gaussians: those of ours, and those that other tools write or break."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from exported import asset_of, tumbling, visible
from plyfile import PlyData, PlyElement

from vid4d.errors import InputError
from vid4d.export.formats import export
from vid4d.export.options import ExportOptions
from vid4d.gaussians.splats_ply import NEEDED, read_splats


@pytest.mark.parametrize("degree", [0, 1, 3])
def test_what_is_exported_comes_back(tmp_path, degree):
    asset = asset_of(tmp_path, tumbling(degree=degree))
    (path,) = export(asset, "ply", tmp_path / "one.ply", ExportOptions(time=0.4, axes="z-up"))
    back, expected = read_splats(path), visible(asset, 0.4)
    torch.testing.assert_close(back.means, expected.means)
    torch.testing.assert_close(back.covariances, expected.covariances, rtol=1e-3, atol=1e-8)
    torch.testing.assert_close(back.opacities, expected.opacities, rtol=0, atol=1e-5)
    k = (degree + 1) ** 2
    torch.testing.assert_close(back.sh[:, :k], expected.sh)
    assert not back.sh[:, k:].any()


def one_splat(path, text=False, order="<", **values):
    """A single splat, written by plyfile: unit ball, opacity one half, grey."""
    given = dict.fromkeys(NEEDED, 0.0) | {"rot_0": 2.0} | values
    table = np.array([tuple(given.values())], [(name, "f4") for name in given])
    PlyData([PlyElement.describe(table, "vertex")], text=text, byte_order=order).write(str(path))
    return path


@pytest.mark.parametrize(("text", "order"), [(False, "<"), (False, ">"), (True, "=")])
def test_a_splat_by_hand_in_all_three_encodings(tmp_path, text, order):
    """Turned a quarter around z by a quaternion of length 2: the long axis x comes to lie on y."""
    half = 2 * 0.5**0.5
    splats = read_splats(
        one_splat(tmp_path / "s.ply", text, order, x=1.0, rot_0=half, rot_3=half, scale_0=float(np.log(3)))
    )
    assert splats.means.tolist() == [[1, 0, 0]]
    torch.testing.assert_close(splats.covariances[0], torch.diag(torch.tensor([1.0, 9.0, 1.0])))
    assert float(splats.opacities[0]) == 0.5
    assert splats.sh.shape == (1, 1, 3)


def test_harmonics_stand_channel_by_channel(tmp_path):
    rest = {f"f_rest_{i}": float(i) for i in range(9)}
    splats = read_splats(one_splat(tmp_path / "s.ply", **rest))
    assert splats.sh[0, 1:].T.tolist() == [[0, 1, 2], [3, 4, 5], [6, 7, 8]]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda b: b[:-3], "ends before its splats do"),
        (lambda b: b"solid" + b[3:], "no PLY file"),
        (lambda b: b.replace(b"scale_2", b"scale_x"), "without scale_2"),
        (lambda b: b.replace(b"end_header", b"comment xx"), "no end of its header"),
        (lambda b: b.replace(b"element vertex 1\n", b"element vertex -1\n"), "with -1 splats"),
        (lambda b: b.replace(b"element vertex 1\n", b"element chunk 1\n"), "begins with chunk"),
        (lambda b: b[:-4] + np.float32("nan").tobytes(), "values in rot_3"),
        (lambda b: b.replace(b"property float x", b"property flood x"), "type flood"),
    ],
)
def test_files_that_are_none_are_refused(tmp_path, change, said):
    path = one_splat(tmp_path / "s.ply")
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(InputError, match=said):
        read_splats(path)


def test_harmonics_that_are_no_whole_degree_are_refused(tmp_path):
    with pytest.raises(InputError, match="7 f_rest values"):
        read_splats(one_splat(tmp_path / "s.ply", **{f"f_rest_{i}": 0.0 for i in range(7)}))


def test_a_scale_beyond_all_numbers_is_refused_and_a_flat_splat_is_none(tmp_path):
    with pytest.raises(InputError, match="values in scale_1 that no splat has"):
        read_splats(one_splat(tmp_path / "s.ply", scale_1=1000.0))
    flat = read_splats(one_splat(tmp_path / "s.ply", scale_1=-1000.0))
    torch.testing.assert_close(flat.covariances[0], torch.diag(torch.tensor([1.0, 0.0, 1.0])))
