"""Prepared frames on disk."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from boxes import circling, folder_of, moving
from PIL import Image

from vid4d.clip.clip import read_clip
from vid4d.clip.files import key_times, load_frames, prepare_clip, save_strip, write_frames
from vid4d.clip.options import ClipOptions
from vid4d.errors import InputError


def test_written_frames_come_back(tmp_path: Path) -> None:
    clip = read_clip(folder_of(tmp_path / "f", circling(24, False)), size=64)
    folder = write_frames(clip, tmp_path / "out")
    back = load_frames(folder)
    visible = clip.frames[..., 3] > 0
    assert np.abs(back.frames - clip.frames)[visible].max() <= 0.5 / 255 + 1e-6
    assert np.array_equal(back.times, clip.times)
    for name in ("seconds", "cyclic", "warnings", "source", "matting", "matting_confidence"):
        assert getattr(back, name) == getattr(clip, name)
    again = read_clip(folder, size=64)  # a prepared folder is a clip like any other, with its own times
    assert again.cyclic
    assert again.times == pytest.approx(clip.times)
    assert again.seconds == pytest.approx(clip.seconds)
    with pytest.raises(InputError, match="exists already"):
        write_frames(clip, folder)


def test_written_frames_remember_their_key_frames(tmp_path: Path) -> None:
    clip = read_clip(folder_of(tmp_path / "f", moving(12)), frames=4, dense=9, size=32)
    folder = write_frames(clip, tmp_path / "out")
    assert load_frames(folder).keys == clip.keys
    assert key_times(folder) == tuple(clip.at_keys().times)
    file = folder / "clip.json"
    metadata = json.loads(file.read_text())
    keys = metadata.pop("keys")
    file.write_text(json.dumps(metadata))  # as it was written before there were frames between
    assert load_frames(folder).keys is None
    assert key_times(folder) == tuple(clip.times)
    for wrong in ([], [0, 9], "x", 3):
        file.write_text(json.dumps(metadata | {"keys": wrong}))
        with pytest.raises(InputError, match=r"clip\.json: 'keys' "):
            load_frames(folder)
    assert keys == list(clip.keys or ())
    assert key_times(tmp_path) is None


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"seconds": math.nan}, "'seconds'"),
        ({"seconds": -1}, "'seconds'"),
        ({"seconds": 1e6}, "'seconds'"),
        ({"seconds": "1"}, "'seconds'"),
        ({"cyclic": "false"}, "'cyclic' must be true or false, not text"),
        ({"cyclic": 0}, "'cyclic'"),
        ({"times": [1, 0.5, 0]}, "'times' do not increase"),
        ({"times": [0, 0.5, 2]}, r"'times.*'"),
        ({"times": [0, None, 1]}, r"'times.*'"),
        ({"times": []}, "'times'"),
        ({"matting_confidence": 7}, "'matting_confidence'"),
        ({"warnings": "none"}, "'warnings'"),
        ({"keys": [0, 3]}, "'keys'"),
    ],
)
def test_a_description_that_cannot_be_true_is_refused(tmp_path: Path, change, field) -> None:
    folder = folder_of(tmp_path / "f", moving(3))
    told = {"times": [0, 0.5, 1], "seconds": 1, "cyclic": False, **change}
    (folder / "clip.json").write_text(json.dumps(told))
    for read in (load_frames, read_clip):
        with pytest.raises(InputError, match=rf"clip\.json: .*{field}.*; ") as caught:
            read(folder)
        assert "\n" not in str(caught.value)
    assert key_times(folder) is None


def test_prepare_writes_frames_strip_and_description(tmp_path: Path) -> None:
    source = folder_of(tmp_path / "f", moving(12))
    clip = prepare_clip(source, tmp_path / "deep" / "out", ClipOptions(frames=4, size=64))
    out = tmp_path / "deep" / "out"
    assert sorted(p.name for p in (out / "frames").iterdir()) == [
        *(f"000{i}.png" for i in range(4)),
        "clip.json",
    ]
    assert json.loads((out / "frames" / "clip.json").read_text())["seconds"] == clip.seconds
    with Image.open(out / "strip.png") as strip:
        assert strip.size == (4 * 64, 64)
        assert np.asarray(strip)[2, 2].min() > 200  # light board
    assert [p.name for p in out.parent.iterdir()] == ["out"]
    with pytest.raises(InputError, match="exists already"):
        prepare_clip(source, out)
    with pytest.raises(InputError, match="cannot be written"):
        prepare_clip(source, source / "f0.png" / "out", ClipOptions(frames=1, size=16))


def test_a_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clip = read_clip(folder_of(tmp_path / "f", moving(3)), size=32)

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", full)
    target = tmp_path / "target"
    target.mkdir()
    with pytest.raises(InputError, match="No space left"):
        write_frames(clip, target / "out")
    with pytest.raises(InputError, match="No space left"):
        save_strip(clip, target / "strip.png")
    assert list(target.iterdir()) == []
