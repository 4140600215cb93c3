"""Key frames: sampling in time, loops, frames between."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from boxes import H, W, box, circling, folder_of, moving, on_white, refuse

from vid4d.clip.checks import loop_period, loop_probes, thumbnail
from vid4d.clip.clip import read_clip
from vid4d.clip.keyframes import meets
from vid4d.errors import InputError
from vid4d.media.video import write_mp4


def test_first_and_last_are_included_and_steps_are_even(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "f", moving(32))
    clip = read_clip(folder, frames=8)
    assert clip.times[0] == 0
    assert clip.times[-1] == 1
    assert np.diff(clip.times) == pytest.approx(np.full(7, 1 / 7), abs=1 / 31 + 1e-9)
    assert read_clip(folder, frames=2).times.tolist() == [0, 1]
    assert len(read_clip(folder, frames=50)) == 32
    assert len(read_clip(folder, frames=0)) == 32


def test_start_end_every(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "f", moving(24))
    clip = read_clip(folder, start=0.25, end=0.5, frames=None)
    assert len(clip) == 7  # frames 6..12 at 24 a second
    assert clip.seconds == pytest.approx(0.25)
    assert len(read_clip(folder, every=5, frames=None)) == 5  # 0, 5, 10, 15, 20


@pytest.mark.parametrize("closed", [False, True])
def test_loops_are_found(tmp_path: Path, closed: bool) -> None:
    folder = folder_of(tmp_path / "f", circling(25 if closed else 24, closed))
    clip = read_clip(folder, frames=8)
    assert clip.cyclic
    assert clip.times == pytest.approx(np.arange(8) / 8)
    assert clip.seconds == pytest.approx(1.0)
    assert not read_clip(folder, frames=8, cyclic=False).cyclic


def test_open_clips_are_no_loops(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "f", moving(24))
    assert not read_clip(folder).cyclic
    forced = read_clip(folder, cyclic=True)
    assert forced.cyclic
    assert forced.times == pytest.approx(np.arange(8) / 8)
    assert not read_clip(folder_of(tmp_path / "still", [box(30)] * 12)).cyclic
    half = circling(24, False)[:14]
    assert not read_clip(folder_of(tmp_path / "half", half)).cyclic
    random = np.random.default_rng(0)
    noisy = [on_white(box(30)) - random.integers(0, 8, (H, W, 3), dtype=np.uint8) for _ in range(12)]
    assert not read_clip(folder_of(tmp_path / "noisy", noisy)).cyclic


@pytest.mark.parametrize("loop", [False, True])
@pytest.mark.parametrize("dense", [0, 3, 8, 9, 13, 30, 32, 64])
def test_key_frames_are_among_the_dense_ones(tmp_path: Path, dense: int, loop: bool) -> None:
    """The same key frames at the same times, whatever else is read; no more in all than asked for."""
    folder = folder_of(tmp_path / "f", circling(32, False) if loop else moving(32))
    plain, clip = read_clip(folder, frames=8, size=64), read_clip(folder, frames=8, dense=dense, size=64)
    assert (clip.cyclic, clip.seconds) == (loop, plain.seconds)
    assert clip.at_keys().times.tolist() == plain.times.tolist()
    assert len(clip) == min(32, max(8, dense))
    assert (np.diff(clip.times) > 0).all()
    shares = clip.times * (32 if loop else 31)  # frame i stands at i / 32 of a period, at i / 31 of a clip
    assert shares == pytest.approx(shares.round(), abs=1e-6)
    gaps = np.diff(shares.round())
    assert gaps.max() <= (5 if dense < 30 else 2)
    if len(clip) > 8:
        assert clip.keys is not None
        assert np.array_equal(clip.at_keys().frames, clip.frames[list(clip.keys)])
        assert clip.at_keys().at_keys() is not None


def test_a_still_has_one_frame_whatever_else_could_be_read(tmp_path: Path) -> None:
    assert len(read_clip(folder_of(tmp_path / "f", moving(12)), frames=1, dense=64)) == 1


def test_the_crop_holds_what_happens_between_key_frames(tmp_path: Path) -> None:
    """The box is far to the right in the middle only, where no key frame is."""
    pictures = [box(10), box(14), box(70), box(14), box(10)]
    folder = folder_of(tmp_path / "f", pictures)
    keys = read_clip(folder, frames=2, size=64, follow="no")
    both = read_clip(folder, frames=2, dense=5, size=64, follow="no")
    width = [int((c.frames[0, ..., 3] > 0.5).any(0).sum()) for c in (keys, both)]
    assert width == pytest.approx([50, 12.5], abs=1)  # a box of 20 in windows of 24 / 0.78 and 80 / 0.78
    assert (both.frames[..., 3] > 0.5).sum((1, 2)) == pytest.approx(144, abs=30)
    assert both.keys == (0, 4)


def test_frames_between_that_show_nothing_are_left_out(tmp_path: Path) -> None:
    """Key frames without an object are refused, as ever."""
    empty = np.zeros((H, W, 4), np.uint8)
    folder = folder_of(tmp_path / "f", [box(10), empty, box(20), box(24), box(30)])
    clip = read_clip(folder, frames=3, dense=64, size=64)
    assert clip.times == pytest.approx([0, 0.5, 0.75, 1])
    assert clip.keys == (0, 1, 3)
    assert any(w.startswith("1 frames between the key frames show no object") for w in clip.warnings)
    refuse("0.04 s is empty", folder, frames=5, dense=64)


@pytest.mark.parametrize(
    ("rates", "keys", "frames"),
    [
        ({"rate": 2.0, "dense_rate": 4.0}, 12, 24),
        ({"rate": 2.0, "dense_rate": 4.0, "rate_until": 4.5}, 9, 18),
        ({"rate": 0.5, "dense_rate": 1.0}, 8, 10),
    ],
)
def test_a_long_clip_has_more_frames(tmp_path: Path, rates: dict[str, float], keys: int, frames: int) -> None:
    """6 seconds at 4 frames a second."""
    clip = read_clip(folder_of(tmp_path / "f", moving(25)), frames=8, dense=10, size=32, fps=4, **rates)
    assert (len(clip.at_keys()), len(clip)) == (keys, frames)
    told = [w for w in clip.warnings if w.startswith(f"6 s of clip get {keys} key frames")]
    assert len(told) == (keys > 8)


def passing(count: int) -> list[np.ndarray]:
    """A box that comes in from the left, 3 of 20 pixels at first, and is as far out at the right at last."""
    pictures = []
    for i in range(count):
        x = -17 + round((W + 14) * i / (count - 1))
        wide = np.zeros((H, W + 60, 4), np.uint8)
        wide[:, 30 : 30 + W] = box(0, w=0)
        wide[30:50, 30 + x : 50 + x] = (200, 40, 40, 255)
        pictures.append(wide[:, 30 : 30 + W])
    return pictures


def test_what_enters_and_leaves_is_no_loop(tmp_path: Path) -> None:
    """Its first and last pictures are nearly as empty, and so nearly the same."""
    pictures = passing(28)
    probes = loop_probes(len(pictures))
    assert loop_period([thumbnail(pictures[i]) for i in probes], probes, len(pictures)) is not None
    assert not meets([p[..., 3] > 127 for p in pictures])
    assert meets([p[..., 3] > 127 for p in circling(24, False)])
    folder = folder_of(tmp_path / "f", pictures)
    assert not read_clip(folder, frames=8).cyclic
    assert read_clip(folder, frames=8, cyclic=True).cyclic


def test_long_loops_are_judged_by_a_few_frames() -> None:
    pictures = circling(500, False)
    probes = loop_probes(500)
    assert len(probes) < 60
    assert {0, 1, 498, 499} <= set(probes)
    assert loop_period([thumbnail(pictures[i]) for i in probes], probes, 500) in (499, 500)


def test_there_and_back_is_a_loop_where_its_seam_is_fast() -> None:
    """Two long steps away, then short ones, the same way back: the seam is as long as the steps beside it."""
    places = [0, 7, 14, 16, 18, 20, 22, 24, 26, 28]
    pictures = [thumbnail(box(5 + p, w=40)) for p in places + places[-2:0:-1]]
    assert loop_period(pictures, range(18), 18) == 18
    assert loop_period(pictures[:17], range(17), 17) is None  # a seam of two steps


def test_two_thousand_frames_are_sampled(tmp_path: Path) -> None:
    from vid4d.media.video import Video

    path = write_mp4(tmp_path / "long.mp4", (on_white(box(10 + i // 40)) for i in range(2000)), 50)
    held: list[int] = []
    plain_read = Video.read

    def counted(self: Video, indices: Sequence[int], max_side: int | None = None):  # type: ignore[no-untyped-def]
        held.append(len(indices))
        return plain_read(self, indices, max_side)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Video, "read", counted)
        clip = read_clip(path)
        assert sum(held) < 70
        held.clear()
        dense = read_clip(path, dense=64)
    assert len(clip) == 8
    assert clip.seconds == pytest.approx(1999 / 50)
    assert len(dense) == 64
    assert sum(held) < 130
    assert dense.at_keys().times.tolist() == clip.times.tolist()
    with pytest.raises(InputError, match=r"2000 frames would need \d+ GiB.*--frames"):
        read_clip(path, frames=None, size=2048, cyclic=False)
