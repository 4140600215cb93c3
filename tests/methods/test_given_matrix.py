"""Image matrices that are given: the rig is found by silhouettes, and told."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from vid4d.cameras import Cameras
from vid4d.gaussians.hull import silhouette_agreement
from vid4d.gaussians.silhouettes import silhouettes
from vid4d.matrix.files import write_picture
from vid4d.matrix.io import load_matrix
from vid4d.matrix.layouts import read_zero123plus, rivals
from vid4d.matrix.matrix import ImageMatrix
from vid4d.methods import given_matrix
from vid4d.methods.given_matrix import read_given_matrix
from vid4d.runs.run import Run
from vid4d.settings import Settings


def slab(cameras: Cameras) -> torch.Tensor:
    """Pictures (v, h, w, 4) of a flat, opaque box, by points on a grid."""
    axes = torch.linspace(-0.35, 0.35, 60), torch.linspace(-0.2, 0.2, 40), torch.linspace(-0.05, 0.1, 20)
    points = torch.cartesian_prod(*axes)
    alpha = silhouettes(points, cameras).float()
    return torch.stack([alpha * 0.8, alpha * 0.3, alpha * 0.1, alpha], -1)


def grids(folder: Path, version: str) -> Path:
    """A Zero123++ grid of the slab, drawn in the rig of that version."""
    folder.mkdir()
    write_picture(folder / "0.png", np.zeros((96 * 3, 96 * 2, 4), np.float32) + 1)
    cameras = read_zero123plus(folder, version).cameras
    views = slab(cameras).unflatten(0, (3, 2))
    write_picture(folder / "0.png", torch.cat([torch.cat(list(row), 1) for row in views]).numpy())
    return folder


@pytest.mark.parametrize("version", ["zero123plus-v1.1", "zero123plus-v1.2"])
def test_the_rig_is_the_one_whose_silhouettes_agree(tmp_path, monkeypatch, version):
    monkeypatch.setattr(given_matrix, "AGREED", 0.5)
    folder = grids(tmp_path / "grids", version)
    run = Run.create(tmp_path / "run", Settings(clip=str(folder), source="matrix"))
    matrix = read_given_matrix(run)
    told = json.loads((tmp_path / "run" / "layout.json").read_text())
    assert told["layout"] == version
    assert told["agreement"] > 0.95
    expected = load_matrix(folder, layout=version)
    assert torch.equal(matrix.cameras.world_to_camera, expected.cameras.world_to_camera)
    run.close()
    other = next(name for name in rivals(version) if name != version)
    run = Run.create(tmp_path / "other", Settings(clip=str(folder), source="matrix", layout=other))
    read_given_matrix(run)
    forced = json.loads((tmp_path / "other" / "layout.json").read_text())
    assert forced["layout"] == other
    assert forced["agreement"] < told["agreement"] - 0.02
    doubt = f"warning: --layout {other} may be wrong, for {version} agrees better"
    assert doubt in (tmp_path / "other" / "log.txt").read_text()
    run.close()
    run = Run.create(tmp_path / "told", Settings(clip=str(folder), source="matrix", layout=version))
    read_given_matrix(run)
    assert "may be wrong" not in (tmp_path / "told" / "log.txt").read_text()
    run.close()


def test_true_cameras_agree_and_wrong_ones_do_not():
    ring = Cameras.ring(6, size=64)
    true = ImageMatrix(slab(ring)[:, None], ring, torch.zeros(1))
    wrong = ImageMatrix(true.images, Cameras.ring(6, elevation=-20.0, size=64), true.times)
    assert silhouette_agreement(true) > 0.95
    assert silhouette_agreement(wrong) < silhouette_agreement(true) - 0.05
