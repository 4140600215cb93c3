"""Other cameras beside the clip: read with its timing, placed, trusted by prior and fit, refused when bad."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from clips import disc
from PIL import Image
from tiny_frustum import ship, slab
from tiny_runs import EFFICIENT as TINY

from vid4d import api
from vid4d.errors import InputError
from vid4d.gaussians.motion import MotionConfig
from vid4d.matrix.io import load_matrix
from vid4d.methods import carried, efficient4d
from vid4d.runs.progress import Progress
from vid4d.settings import Settings


@pytest.fixture
def clip(tmp_path) -> Path:
    return disc(tmp_path / "disc", 3)


@pytest.fixture
def side(tmp_path) -> Path:
    """The same motion, twice as many frames in the same time, in smaller pictures of a smaller disc."""
    return disc(tmp_path / "side", 5, size=40, radius=9, drift=1.3)


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    monkeypatch.setitem(efficient4d.PRESETS, "draft", TINY)
    ship(monkeypatch, slab())


def chosen(clip: Path, *also: str, **settings) -> Settings:
    return Settings(
        clip=str(clip), also=also, preset="draft", device="cpu", cyclic="no", elevation=10.0, **settings
    )


def drawn(settings: Settings, out: Path):
    root = api.make_matrix(settings, out=out, resume=False, progress=Progress(quiet=True))
    return load_matrix(root / "matrix")


def test_a_second_clip_is_placed_and_changes_what_is_drawn(clip, side, tmp_path):
    alone = drawn(chosen(clip), tmp_path / "a")
    both = drawn(chosen(clip, f"{side}@90"), tmp_path / "b")
    (view,) = both.also
    assert float(view.camera.azimuth) == pytest.approx(90, abs=1e-2)
    assert float(view.camera.elevation) == pytest.approx(10, abs=1e-2)
    # 3 frames at 24 a second last 2 / 24 s; of the other clip, three have this time
    torch.testing.assert_close(view.times, torch.tensor([0.0, 0.5, 1.0]))
    own, other = (x[:, ..., 3].sum((1, 2)).sqrt() for x in (both.input_images, view.images))
    assert float((other / own).median()) == pytest.approx(1.0, abs=0.1), "as large as the clip's disc"
    assert (alone.images - both.images)[4].abs().mean() > 0.01
    assert alone.also == ()


def test_a_run_with_another_camera_ends_in_an_asset_that_names_it(clip, side, tmp_path):
    settings = chosen(clip, f"{side}@90,20")
    made = api.make(settings, out=tmp_path / "a", resume=False, progress=Progress(quiet=True))
    told = json.loads((made.root / "report.json").read_text())["also"]
    assert told == [{"azimuth": 90.0, "elevation": 20.0, "pictures": 3}]
    page = (made.root / "report.html").read_text()
    assert "another camera, 90° round and 20° up" in page
    assert f"--also {side}@90,20" in page
    before = made.path.read_bytes()
    again = api.make(settings, out=made.root, resume=True, progress=Progress(quiet=True))
    assert again.path.read_bytes() == before
    with pytest.raises(InputError, match="also"):
        api.make(chosen(clip), out=made.root, resume=True, progress=Progress(quiet=True))


def test_a_picture_of_the_first_moment_is_carried_through_the_clip(clip, tmp_path, monkeypatch):
    """Blue from behind at first, where the clip is never seen from; blue at the end, too, and higher."""
    monkeypatch.setattr(carried, "STILL", replace(TINY.fit, iterations=10))
    monkeypatch.setattr(carried, "MOTION", MotionConfig(nodes=24, steps=25, rigid_steps=10, size=32))
    monkeypatch.setattr(carried, "SIZE", 64)
    picture = np.zeros((40, 40, 4), np.uint8)
    y, x = np.mgrid[:40, :40] + 0.5
    picture[(x - 20) ** 2 + (y - 20) ** 2 < 100] = (20, 40, 230, 255)
    Image.fromarray(picture).save(tmp_path / "back.png")
    matrix = drawn(chosen(clip, f"{tmp_path / 'back.png'}@180"), tmp_path / "a")
    (view,) = matrix.also
    assert view.times.tolist() == [0.0]
    torch.testing.assert_close(matrix.times, torch.tensor([0.0, 0.5, 1.0]))
    behind = matrix.images[8]
    blue = [float((p[..., 2] - p[..., 0])[p[..., 3] > 0.5].mean()) for p in behind]
    assert min(blue) > 0.2
    mass = behind[..., 3]
    height = (mass * torch.arange(mass.shape[1])[:, None]).sum((1, 2)) / mass.sum((1, 2))
    assert height[0] > height[2] + 2


@pytest.mark.parametrize(
    ("also", "told"),
    [
        ("nowhere.mp4@90", "there is no nowhere.mp4"),
        ("{side}@ninety", "degrees from the clip's camera"),
        ("{side}@2", "is seen from there already"),
        ("{text}@90", "text.mp4"),
        ("{empty}@90", "empty.png"),
    ],
)
def test_bad_ones_are_refused_before_anything_is_left(clip, side, tmp_path, also, told):
    text, empty = tmp_path / "text.mp4", tmp_path / "empty.png"
    text.write_text("no video")
    Image.new("RGBA", (32, 32)).save(empty)
    with pytest.raises(InputError, match=told):
        drawn(chosen(clip, also.format(side=side, text=text, empty=empty)), tmp_path / "a")
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize("settings", [{"method": "consistent4d"}, {"text": "a red cat"}])
def test_methods_that_know_no_other_cameras_refuse_them(settings):
    clip = "" if "text" in settings else "a.mp4"
    with pytest.raises(InputError, match="--also has no effect"):
        api.resolved(Settings(clip=clip, also=("b.mp4@90",), **settings))
