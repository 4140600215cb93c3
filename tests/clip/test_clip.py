"""Clips as a whole: what is refused, the shortest ones, real ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from boxes import H, W, box, folder_of, moving, refuse

from vid4d.clip.clip import Clip, read_clip
from vid4d.clip.files import load_frames
from vid4d.errors import InputError


def test_every_frame_has_a_time(unchecked: None) -> None:
    frames = np.zeros((1, 2, 2, 4), np.uint8)
    with pytest.raises(ValueError, match="times"):
        Clip(frames, np.zeros(2), 1.0)


def test_empty_and_full_masks(tmp_path: Path) -> None:
    empty = np.zeros((H, W, 4), np.uint8)
    refuse("0.00 s is empty", folder_of(tmp_path / "a", [empty]))
    refuse("0.04 s is empty", folder_of(tmp_path / "b", [box(30), empty, box(30)]))
    refuse("0.00 s is empty", folder_of(tmp_path / "c", [np.full((H, W, 3), 240, np.uint8)]))
    full = np.full((H, W, 4), 255, np.uint8)
    full[:1, :20, 3] = 0
    refuse("fills the whole picture", folder_of(tmp_path / "d", [full]))


def test_one_and_two_frames_work(tmp_path: Path) -> None:
    assert len(read_clip(folder_of(tmp_path / "one", moving(1)))) == 1
    two = read_clip(folder_of(tmp_path / "two", moving(2)))
    assert two.times.tolist() == [0, 1]
    assert two.seconds == pytest.approx(1 / 24)


def test_bad_options(tmp_path: Path, unchecked: None) -> None:
    folder = folder_of(tmp_path / "f", moving(12))
    refuse("no frame between 9 s and its end; the clip is 0.50 s", folder, start=9)
    refuse("--end 0.1: lies before the start", folder, start=0.2, end=0.1)
    refuse("--end inf: give seconds", folder, end=np.inf)
    refuse("what is used of it lasts 1.1e-299 s, where 0.001 to 86400 can be", folder, fps=1e300)
    refuse("what is used of it lasts 1.1e.10 s", folder, fps=1e-9)
    refuse("--start -1", folder, start=-1)
    refuse("--every 0", folder, every=0)
    refuse("--frames -3", folder, frames=-3)
    refuse("--size 4", folder, size=4)
    refuse("--object-size 2", folder, object_size=2)
    refuse("--matting magic: neither", folder, matting="magic")
    refuse("--cyclic maybe", folder, cyclic="maybe")
    with pytest.raises(InputError, match=r"no clip\.json"):
        load_frames(folder)
    (folder / "clip.json").write_text("{}")
    with pytest.raises(InputError, match=r"clip\.json: the file lacks 'times'"):
        load_frames(folder)


def test_real_clips(shared_dir: Path) -> None:
    clips = shared_dir / "clips"
    rose = read_clip(clips / "blooming_rose", frames=3)
    assert (rose.matting, rose.warnings) == ("alpha", ())
    frog = read_clip(clips / "sighing_frog_fg.mp4", frames=3)
    assert frog.matting == "plain"
    assert frog.matting_confidence > 0.9
    assert frog.seconds == pytest.approx(31 / 16)
    gap = frog.frames[0, ..., 3]
    assert 0.15 < (gap > 0.5).mean() < 0.3
    assert ((gap > 0.02) & (gap < 0.98)).mean() < 0.05
