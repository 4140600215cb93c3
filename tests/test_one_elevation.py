"""Azimuth 0 is one picture everywhere: as the clip's camera sees it, where a run knows that camera."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from clips import disc
from PIL import Image
from toys import jumping_ball

from vid4d import api
from vid4d.asset import Asset
from vid4d.cameras import DEFAULT_ELEVATION, Cameras
from vid4d.commands.render import render_files
from vid4d.export.camera_path import plan
from vid4d.export.options import ExportOptions
from vid4d.gaussians.model import load_asset, save_asset
from vid4d.media.video import Video
from vid4d.report.contact import GAP, LABEL
from vid4d.viewer import Viewer

CLIPS = 10.0
"""Of the toy method's clip."""


@pytest.fixture(scope="module")
def asset(tmp_path_factory) -> Asset:
    folder = tmp_path_factory.mktemp("elevation")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(api.METHODS, "efficient4d", "toys")
        return api.generate(disc(folder / "disc", 3), out=folder / "run", preset="draft", device="cpu")


def front(asset: Asset, size: int) -> np.ndarray:
    camera = Cameras.orbit([0.0], CLIPS, size=size)
    return asset.render(camera, 0.0, background=1.0)[0].numpy()


def test_the_asset_knows_where_its_clip_was_filmed_from(asset):
    assert asset.elevation == CLIPS
    assert load_asset(asset.path)[1]["elevation"] == "10.0"


def test_stills_and_turntables(asset, tmp_path):
    (still,) = render_files(asset.path, out=tmp_path / "still.png", size=64)
    assert np.abs(np.asarray(Image.open(still)) / 255 - front(asset, 64)).max() < 0.01
    (frame,) = Video(asset.root / "turntable.mp4").read([0])
    assert np.abs(frame[..., :3] / 255 - front(asset, frame.shape[0])).mean() < 0.01
    for view in plan(asset, ExportOptions(view="both", frames=2)).views:
        assert float(view.elevation[0]) == pytest.approx(CLIPS, abs=1e-3)
    (turning,) = plan(asset, ExportOptions(elevation=40.0, frames=2)).views
    assert float(turning.elevation[0]) == pytest.approx(40, abs=1e-3)


def test_a_camera_path_begins_there(asset, tmp_path):
    file = tmp_path / "path.json"
    file.write_text(json.dumps({"keys": [{"azimuth": 0}, {"azimuth": 90, "elevation": 50}]}))
    (cameras,) = plan(asset, ExportOptions(cameras=file, frames=2)).views
    assert float(cameras.elevation[0]) == pytest.approx(CLIPS, abs=1e-3)


def test_contact_sheet_player_and_viewer(asset):
    sheet = Image.open(asset.root / "contact.png")
    cell = 128
    x, y = LABEL, LABEL // 4 + cell + GAP  # the row under the clip
    picture = np.asarray(sheet.crop((x, y, x + cell, y + cell)).convert("RGB")) / 255
    assert np.abs(picture - front(asset, cell)).max() < 0.01
    assert sheet.height == LABEL // 4 + 9 * (cell + GAP)  # the clip and eight sides
    view = re.search(r'"view": (\{[^}]*\})', (asset.root / "player.html").read_text())
    assert view is not None
    assert json.loads(view[1])["elevation"] == CLIPS
    with Viewer([asset.root], port=0) as viewer:
        x, y, z = viewer.pages[0].server.initial_camera.position
    assert np.degrees(np.arctan2(z, np.hypot(x, y))) == pytest.approx(CLIPS, abs=1e-3)


def test_an_asset_without_a_clip_is_seen_from_the_default(tmp_path):
    save_asset(tmp_path / "asset.safetensors", replace(jumping_ball(20)), {})
    assert api.load(tmp_path / "asset.safetensors").elevation == DEFAULT_ELEVATION


@pytest.mark.parametrize("value", ["91", "nan", "low"])
def test_an_elevation_that_cannot_be_is_refused(tmp_path, value):
    file: Path = tmp_path / "asset.safetensors"
    save_asset(file, jumping_ball(20), {"elevation": value})
    with pytest.raises(api.InputError, match=r"'elevation' (must|cannot) be"):
        api.load(file)
