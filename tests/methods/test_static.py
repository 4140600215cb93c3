"""One picture becomes a static object, by Efficient4D as well (test_consistent4d.py has the other method)."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image
from tiny_frustum import ship, slab

from vid4d import api
from vid4d.cameras import Cameras
from vid4d.gaussians.fit_config import FitConfig
from vid4d.gaussians.hull import HullConfig
from vid4d.methods import efficient4d
from vid4d.methods.efficient4d import Efficient4DConfig


def test_one_picture_becomes_a_static_object(tmp_path, monkeypatch):
    """It looks the same at all times."""
    config = Efficient4DConfig(
        frames=3,
        clip_size=32,
        fit=FitConfig(iterations=6, size=32, hull=HullConfig(resolution=32, splats=40, min_splats=80)),
    )
    monkeypatch.setitem(efficient4d.PRESETS, "draft", config)
    ship(monkeypatch, slab(0))
    monkeypatch.setattr("vid4d.outputs.write_outputs", lambda run, gaussians, matrix: None)
    y, x = np.mgrid[:48, :48] + 0.5
    picture = np.zeros((48, 48, 4), np.uint8)
    picture[(x - 24) ** 2 + (y - 24) ** 2 < 14**2] = (160, 80, 40, 255)
    Image.fromarray(picture).save(tmp_path / "disc.png")
    asset = api.generate(
        tmp_path / "disc.png", out=tmp_path / "a", preset="draft", device="cpu", elevation=5.0
    )
    camera = Cameras.orbit([40.0], 10.0, size=32)
    early, late = (asset.render(camera, t)[..., 3] for t in (0.0, 1.0))
    assert early.max() > 0.5
    torch.testing.assert_close(early, late, atol=0.02, rtol=0)
