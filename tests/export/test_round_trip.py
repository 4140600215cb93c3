"""benchmarks/round_trip.py finds exports of toys in agreement with them, and sees when they are not."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import round_trip
from exported import asset_of, coarse_meshes
from solids import ball_of_splats

from vid4d.gaussians.metadata import AssetMetadata
from vid4d.gaussians.model import Gaussians4D


@pytest.fixture
def ball() -> Gaussians4D:
    """A ball that moves a little and is there all the time."""
    still = ball_of_splats(radius=0.3, count=1200, sigma=0.016)
    log_scales = still.log_scales.clone()
    log_scales[:, 3] = math.log(0.6)
    return replace(still, log_scales=log_scales)


def test_every_format_agrees(ball, tmp_path, monkeypatch):
    coarse_meshes(monkeypatch, resolution=64)
    asset = asset_of(tmp_path, ball, seconds=0.2)
    checks = round_trip.round_trip(asset, tmp_path / "files", size=64, browser=False, fps=None, faces=600)
    assert {check.format for check in checks} == set(round_trip.FORMATS)
    assert [check.row() for check in checks if not check.agrees] == []
    assert all(check.row().count("|") == 6 for check in checks)


@pytest.mark.parametrize("to", ["ply", "usd", "html", "png"])
def test_another_asset_disagrees(ball, tmp_path, monkeypatch, to):
    """The files hold the ball shifted by 0.05 and somewhat redder, and last twice as long."""
    coarse_meshes(monkeypatch)
    asset = asset_of(tmp_path, ball, seconds=0.2)
    sh = ball.sh.clone()
    sh[..., 0] += 0.3
    means = ball.means.clone()
    means[:, 0] += 0.05
    other = replace(asset, gaussians=replace(ball, means=means, sh=sh), metadata=AssetMetadata(seconds=0.4))
    real = round_trip.export
    monkeypatch.setattr(round_trip, "export", lambda _, *rest: real(other, *rest))
    checks = round_trip.round_trip(asset, tmp_path / "files", [to], size=64, browser=False, faces=600)
    wrong = " ".join(check.what for check in checks if not check.agrees)
    assert "color" in wrong
    assert to == "png" or ("bounds" in wrong and "duration" in wrong)
