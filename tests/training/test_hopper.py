"""The shipped example clip and the model it was rendered from."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from vid4d.clip.clip import read_clip
from vid4d.media.video import Video

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(scope="module")
def maker() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_hopper", EXAMPLES / "make_hopper.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_the_hop_is_a_loop_and_stands_on_the_ground(maker: ModuleType) -> None:
    mesh = maker.hopper(48)
    assert mesh.faces.max() < mesh.poses.shape[1]
    steps = np.linalg.norm(np.roll(mesh.poses, -1, 0) - mesh.poses, axis=-1).max(1)
    assert steps[-1] < 1.5 * steps[:-1].max(), "no jump from the last pose to the first"
    floor = mesh.poses[..., 2].min(1)
    assert floor.min() > -1e-6, "no foot sinks into the ground"
    assert floor[0] == pytest.approx(0, abs=0.03)
    assert 0.15 < floor.max() < 0.4, "it leaves the ground"
    volume = np.einsum("fi,fi->f", *_corners(mesh)).sum() / 6
    assert volume > 0, "faces turn outwards"


def _corners(mesh) -> tuple[np.ndarray, np.ndarray]:  # type: ignore[no-untyped-def]
    a, b, c = mesh.poses[0][mesh.faces].transpose(1, 0, 2)
    return a, np.cross(b, c)


def test_the_clip_is_what_the_script_makes(maker: ModuleType) -> None:
    path = EXAMPLES / "hopper.mp4"
    assert path.stat().st_size < 150_000
    video = Video(path)
    assert len(video) == maker.FRAMES
    assert not video.has_alpha
    stored = next(video.read([0]))[..., :3] / 255
    assert stored.shape == (256, 256, 3)
    np.testing.assert_allclose(stored[:8, :8].mean((0, 1)), maker.BACKGROUND, atol=0.02)


def test_the_clip_is_prepared_without_complaint() -> None:
    clip = read_clip(EXAMPLES / "hopper.mp4", frames=8)
    assert clip.cyclic
    assert clip.warnings == ()
    assert (clip.matting, round(clip.matting_confidence, 1)) == ("plain", 1.0)
    assert clip.seconds == pytest.approx(1.2)
    shown = clip.frames[..., 3].mean((1, 2))
    assert 0.1 < shown.min() < shown.max() < 0.4
