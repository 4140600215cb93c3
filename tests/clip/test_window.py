"""Windows that stand still, and windows that follow."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from boxes import box, folder_of, moving

from vid4d.clip.clip import read_clip
from vid4d.clip.files import load_frames, prepare_clip, write_frames
from vid4d.clip.window import fit_windows, smoothest_path
from vid4d.errors import InputError

TIMES = np.arange(20) / 24


def test_a_box_that_crosses_stands_still_in_windows_that_follow() -> None:
    """Steps of 3 pixels: a straight path, and windows of 20 / 0.78 pixels about the box's middle."""
    windows = fit_windows([box(5 + 3 * i) for i in range(20)], TIMES, 200 / 256)
    assert windows.follows
    assert windows.extent == 20
    assert windows.side == pytest.approx(20 / (200 / 256), rel=1e-3)
    assert windows.centers == pytest.approx(np.stack([15 + 3 * np.arange(20), np.full(20, 40)], -1), abs=1e-2)


def test_one_window_where_the_object_fills_enough_of_it() -> None:
    """A box of 20 within 30 pixels; --follow decides otherwise."""
    frames = [box(20 + i // 2) for i in range(20)]
    still = fit_windows(frames, TIMES, 0.5)
    assert not still.follows
    assert still.side == pytest.approx(29 / 0.5)
    assert np.ptp(still.centers, 0).tolist() == [0, 0]
    assert fit_windows(frames, TIMES, 0.5, follow="yes").follows
    assert not fit_windows(moving(20), TIMES, 0.5, follow="no").follows


@pytest.mark.parametrize("cyclic", [False, True])
def test_jitter_does_not_move_the_path(cyclic: bool) -> None:
    """Outlines that jump by 3 pixels about a circle: the path bends less, and its windows hold all boxes."""
    random, t = np.random.default_rng(0), np.arange(48)
    angle = 2 * np.pi * t / 48
    way = np.stack([200 + 90 * np.cos(angle), 120 + 50 * np.sin(angle)], -1)
    low = way - 20 + random.integers(-3, 4, way.shape)
    high = way + 20 + random.integers(-3, 4, way.shape)
    side = 1.15 * float((high - low).max())
    path = smoothest_path(low, high, t / 24, side, cyclic=cyclic)
    assert 2 * np.maximum(high - path, path - low).max() <= side
    jitter = np.abs(np.diff((low + high) / 2, 2, axis=0)).mean()
    assert np.abs(np.diff(path, 2, axis=0)).mean() < 0.3 * jitter


def test_a_small_object_is_large_in_its_frames_and_its_path_is_kept(tmp_path: Path) -> None:
    clip = read_clip(folder_of(tmp_path / "f", [box(5 + 3 * i) for i in range(20)]), frames=0, cyclic=False)
    assert (clip.frames[..., 3] > 0.5).sum((1, 2)) == pytest.approx(200**2, rel=0.02)
    assert clip.object_pixels == 20
    assert clip.window is not None
    assert clip.window[::2] == pytest.approx((5 + 10 - 12.8, 25.6), abs=0.05)  # left, side
    assert clip.path is not None
    assert clip.path[:, 0] * 25.6 == pytest.approx(3 * np.arange(20), abs=0.05)
    assert any("the window of 26 pixels follows it" in w for w in clip.warnings)
    assert any("20 pixels large in the source" in w and "details need 60" in w for w in clip.warnings)
    kept = load_frames(write_frames(clip, tmp_path / "kept"))
    assert kept.path == pytest.approx(clip.path, abs=1e-6)
    assert kept.object_pixels == 20
    assert kept.window == pytest.approx(clip.window, abs=1e-3)
    still = read_clip(tmp_path / "f", frames=0, cyclic=False, follow="no")
    assert still.path is None


def test_a_prepared_clip_keeps_the_path_it_came_with(tmp_path: Path) -> None:
    """The second crop of a prepared clip is the whole of it: the same path, in windows of the same size."""
    folder = folder_of(tmp_path / "f", [box(5 + 3 * i) for i in range(20)])
    first = prepare_clip(folder, tmp_path / "out")
    again = read_clip(tmp_path / "out" / "frames", frames=0, cyclic=False)
    assert first.path is not None
    assert again.path is not None
    assert again.path == pytest.approx(np.array(first.path), rel=0.02, abs=0.01)


def test_a_path_of_another_length_is_refused(tmp_path: Path) -> None:
    folder = write_frames(read_clip(folder_of(tmp_path / "f", moving(12)), frames=0), tmp_path / "kept")
    record = json.loads((folder / "clip.json").read_text())
    for path, said in (([[0, 0]], "'path' has 1 places for 12 times"), ([[0, "a"]] * 12, "path")):
        (folder / "clip.json").write_text(json.dumps({**record, "path": path}))
        with pytest.raises(InputError, match=said):
            load_frames(folder)


def test_bad_follow(tmp_path: Path, unchecked: None) -> None:
    with pytest.raises(InputError, match="--follow maybe"):
        read_clip(folder_of(tmp_path / "f", moving(3)), follow="maybe")
