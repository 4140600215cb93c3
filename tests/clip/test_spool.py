"""Pictures that wait on the disk, and clips whose memory does not grow with them."""

from __future__ import annotations

import tempfile
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from boxes import box, folder_of, moving

from vid4d.clip import spool
from vid4d.clip.clip import read_clip
from vid4d.clip.files import prepare_clip, write_frames
from vid4d.clip.options import ClipOptions
from vid4d.clip.spool import Mapped, Picked, Spool
from vid4d.errors import InputError


@pytest.mark.parametrize("held", [0, 3000, 1 << 20])
@pytest.mark.parametrize("kind", [np.uint8, bool, np.int32])
def test_what_is_put_in_comes_back(monkeypatch: pytest.MonkeyPatch, held: int, kind: type) -> None:
    monkeypatch.setattr(spool, "HELD", held)
    rng = np.random.default_rng(0)
    planes = [rng.integers(0, 2, (9, 7 + k)).astype(kind) * (k != 2) for k in range(40)]
    for boxed in (False, True):
        stored = Spool(planes, boxed=boxed)
        assert len(stored) == 40
        for k in (39, 2, 0):  # in any order, more than once
            assert stored[k].dtype == kind
            assert np.array_equal(stored[k], planes[k])
        assert all(np.array_equal(a, b) for a, b in zip(stored, planes, strict=True))
    assert np.array_equal(Picked(stored, [5, 3])[1], planes[3])
    assert np.array_equal(Mapped(stored, np.transpose)[4], planes[4].T)


def test_only_what_has_alpha_is_kept_of_cut_out_objects() -> None:
    picture = np.full((40, 40, 4), 90, np.uint8)
    picture[..., 3] = 0
    picture[10:14, 20:22, 3] = 5
    kept = Spool([picture], boxed=True)[0]
    assert np.array_equal(kept[10:14, 20:22], picture[10:14, 20:22])
    assert kept.sum() == 4 * 2 * (3 * 90 + 5)


def test_a_full_disk_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def full() -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(spool, "HELD", 10)
    monkeypatch.setattr(tempfile, "TemporaryFile", full)
    with pytest.raises(InputError, match=r"no room in .*No space left.*TMPDIR"):
        Spool([np.zeros((4, 4), np.uint8)])


def test_clips_are_the_same_from_memory_and_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = folder_of(tmp_path / "f", moving(9))
    options = ClipOptions(frames=4, dense=8, size=48)
    prepare_clip(source, tmp_path / "a", options)
    monkeypatch.setattr(spool, "HELD", 0)
    prepare_clip(source, tmp_path / "b", options)
    write_frames(read_clip(source, frames=4, dense=8, size=48), tmp_path / "c")
    written = sorted((tmp_path / "a" / "frames").iterdir())
    assert len(written) == 9
    for file in written:
        assert file.read_bytes() == (tmp_path / "b" / "frames" / file.name).read_bytes()
        assert file.read_bytes() == (tmp_path / "c" / file.name).read_bytes()


def test_memory_does_not_grow_with_the_frames(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """180 frames more of 75 KB, whose cut-outs have 64 KB, take 100 KB each only if they are held."""
    monkeypatch.setattr(spool, "HELD", 1 << 20)
    peaks = []
    for count in (20, 200):
        source = folder_of(tmp_path / f"f{count}", [box(40 + i % 5) for i in range(count)])
        tracemalloc.start()
        prepare_clip(source, tmp_path / f"out{count}", ClipOptions(frames=2, dense=count, size=128))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] - peaks[0] < 180 * 20_000
