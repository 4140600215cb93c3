"""Which clips a batch has, and what their keys depend on."""

from __future__ import annotations

import hashlib
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from clips import disc

from vid4d.batch.clips import clips_of, key_of, part_of
from vid4d.clip.files import prepare_clip
from vid4d.errors import InputError
from vid4d.files import manifest
from vid4d.runs.run import Run
from vid4d.settings import Settings

SETTINGS = Settings(prior="frustum")


def test_clips_of_a_folder_are_videos_and_folders_of_pictures_below(tmp_path):
    clips = tmp_path / "clips"
    for name in (
        "10.mp4",
        "2.mov",
        "notes.txt",
        ".hidden.mp4",
        "sub/a.GIF",
        "sub/.git/b.mp4",
        "out/ab/turntable.mp4",
    ):
        (clips / name).parent.mkdir(parents=True, exist_ok=True)
        (clips / name).touch()
    disc(clips / "sub" / "pictures", 2)
    found = [str(Path(c).relative_to(clips)) for c in clips_of(clips, clips / "out")]
    assert found == ["2.mov", "10.mp4", "sub/a.GIF", "sub/pictures"]


def test_a_list_is_relative_to_its_own_folder(tmp_path, monkeypatch):
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists" / "all.txt").write_text("# mine\n\n b.mp4 \n../a b.mp4\n/c.mp4\n")
    monkeypatch.chdir(tmp_path)
    found = clips_of(Path("lists/all.txt"), Path("out"))
    assert found == [str(tmp_path / "lists/b.mp4"), str(tmp_path / "a b.mp4"), "/c.mp4"]


def test_sources_without_clips_are_refused(tmp_path):
    with pytest.raises(InputError, match="there is no"):
        clips_of(tmp_path / "none", tmp_path)
    with pytest.raises(InputError, match="holds no clip"):
        clips_of(tmp_path, tmp_path / "out")
    with pytest.raises(InputError, match="holds pictures itself"):
        clips_of(disc(tmp_path / "disc", 2), tmp_path / "out")
    (tmp_path / "empty.txt").write_text("# nothing\n")
    with pytest.raises(InputError, match="names no clip"):
        clips_of(tmp_path / "empty.txt", tmp_path)
    (tmp_path / "video.mp4").write_bytes(b"\xff\xfe\x00\x9c")
    with pytest.raises(InputError, match="is no text"):
        clips_of(tmp_path / "video.mp4", tmp_path)


def test_a_list_of_windows_begins_with_a_mark(tmp_path):
    (tmp_path / "all.txt").write_bytes(b"\xef\xbb\xbfa.mp4\r\nb.mp4\r\n")
    assert clips_of(tmp_path / "all.txt", tmp_path) == [str(tmp_path / "a.mp4"), str(tmp_path / "b.mp4")]


def test_pictures_beside_videos_are_no_clip_and_are_told(tmp_path):
    for name in ("cover.png", "a.mp4", "sub/b.mov", "sub/thumb.jpg", "gifs/c.gif", "gifs/thumb.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    said: list[str] = []
    found = clips_of(tmp_path, tmp_path / "out", said.append)
    assert [str(Path(c).relative_to(tmp_path)) for c in found] == ["a.mp4", "gifs", "sub/b.mov"]
    (told,) = said
    assert told.startswith(f"pictures beside videos are left out, in {tmp_path} and 1 more:")


def test_what_vid4d_wrote_is_no_clip_and_is_told(tmp_path):
    """A run, its outputs, an export beside clips and a strip are none; a prepared clip is one."""
    clips = tmp_path / "clips"
    run = Run.create(clips / "made" / "hopper", Settings(clip="hopper.mp4"))
    run.close()
    disc(run.root / "frames", 2)
    (run.root / "turntable.mp4").touch()
    for name in ("a.mp4", "b.gif", "renders/spin.mp4", "renders/mine.mp4"):
        (clips / name).parent.mkdir(exist_ok=True)
        (clips / name).touch()
    for folder, names, keeper in (
        (clips, ["b.gif", "made.png"], manifest.EXPORT),
        (clips / "renders", ["spin.mp4"], manifest.RENDER),
    ):
        hashes = {name: ["0" * 64] for name in names}
        (folder / manifest.MANIFEST).write_text(manifest.text_of(hashes, keeper))
    prepare_clip(disc(tmp_path / "disc", 4), clips / "prepared")
    said: list[str] = []
    found = [str(Path(c).relative_to(clips)) for c in clips_of(clips, tmp_path / "out", said.append)]
    assert found == ["a.mp4", "prepared/frames", "renders/mine.mp4"]
    (told,) = said
    assert told.startswith(f"what vid4d wrote is left out, in {clips} and 3 more: ")
    with pytest.raises(InputError, match="holds no clip but what vid4d wrote itself"):
        clips_of(clips / "made", tmp_path / "out")
    (run.root / "settings.json").write_text('{"camera": "mine"}')  # another program's
    assert str(clips / "made/hopper/frames") in clips_of(clips, tmp_path / "out")


def test_folders_without_clips_are_told(tmp_path):
    for name in ("empty", "notes/of/mine", ".hidden", "clips"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "notes/of/mine/a.txt").touch()
    (tmp_path / "clips/a.mp4").touch()
    said: list[str] = []
    assert clips_of(tmp_path, tmp_path / "out", said.append) == [str(tmp_path / "clips/a.mp4")]
    (told,) = said
    assert told == f"no picture and no video lies in {tmp_path / 'empty'} and 1 more: left out"


def test_shards_are_a_partition_that_other_clips_do_not_change(tmp_path):
    clips = [str(tmp_path / f"{i}.mp4") for i in range(300)]
    parts = [part_of(clips, f"{i}/3", tmp_path) for i in (1, 2, 3)]
    assert sorted(clip for part in parts for clip in part) == sorted(clips)
    assert all(70 < len(part) < 130 for part in parts)  # 100, and 8 standard deviations of a draw
    assert part_of(clips, "1/1", tmp_path) == clips
    later = [str(tmp_path / "00.mp4"), *clips]
    for i, part in enumerate(parts, 1):
        assert set(part_of(later, f"{i}/3", tmp_path)) - {later[0]} == set(part)
    elsewhere = [clip.replace(str(tmp_path), "/mnt/x") for clip in clips]
    assert part_of(elsewhere, "2/3", Path("/mnt/x/list.txt")) == [
        clip.replace(str(tmp_path), "/mnt/x") for clip in parts[1]
    ]
    for wrong in ("0/3", "4/3", "1", "1/0", "a/b", "-1/3"):
        with pytest.raises(InputError, match="is no part"):
            part_of(clips, wrong, tmp_path)


def test_bytes_are_read_once_while_a_file_stays_as_it_is(tmp_path, monkeypatch):
    clip = tmp_path / "a.mp4"
    clip.write_bytes(b"one")
    os.utime(clip, (1e9, 1e9))
    key, read = key_of(str(clip), SETTINGS), hashlib.file_digest
    monkeypatch.setattr(hashlib, "file_digest", None)
    assert key_of(str(clip), SETTINGS) == key
    monkeypatch.setattr(hashlib, "file_digest", read)
    clip.write_bytes(b"two")
    os.utime(clip, (1e9, 1e9 + 1))
    assert key_of(str(clip), SETTINGS) != key


def test_a_key_is_that_of_bytes_and_settings_wherever_the_clip_lies(tmp_path):
    first, moved, other = tmp_path / "a.mp4", tmp_path / "b.mp4", tmp_path / "c.mp4"
    first.write_bytes(b"one")
    moved.write_bytes(b"one")
    other.write_bytes(b"two")
    key = key_of(str(first), SETTINGS)
    assert key == key_of(str(moved), replace(SETTINGS, clip="x", device="cuda", memory=3.0))
    assert key != key_of(str(other), SETTINGS)
    for changed in (
        replace(SETTINGS, seed=1),
        replace(SETTINGS, prior="syncdreamer"),
        replace(SETTINGS, keep=True),
    ):
        assert key != key_of(str(first), changed)
    with pytest.raises(InputError, match="there is no"):
        key_of(str(tmp_path / "none.mp4"), SETTINGS)


@pytest.mark.parametrize("name", ["a\0b.mp4", "x" * 5000])
def test_names_that_no_file_can_have_are_refused_like_clips_that_are_gone(name):
    with pytest.raises(InputError, match="cannot be read"):
        key_of(name, Settings())


def test_the_key_of_a_folder_depends_on_pictures_masks_and_names(tmp_path):
    one = disc(tmp_path / "one", 3)
    two = Path(shutil.copytree(one, tmp_path / "two"))
    (two / "notes.txt").write_text("mine")
    key = key_of(str(one), SETTINGS)
    assert key == key_of(str(two), SETTINGS)
    (two / "masks").mkdir()
    shutil.copy(two / "000.png", two / "masks" / "000.png")
    assert key != key_of(str(two), SETTINGS)
    shutil.rmtree(two / "masks")
    assert key == key_of(str(two), SETTINGS)
    (two / "000.png").rename(two / "9.png")
    assert key != key_of(str(two), SETTINGS)


@pytest.mark.parametrize("name", ["matting", "interpolator"])
def test_models_that_are_files_count_by_their_bytes(tmp_path, name):
    clip, model, moved = tmp_path / "a.mp4", tmp_path / "m.onnx", tmp_path / "n.onnx"
    clip.write_bytes(b"one")
    model.write_bytes(b"network")
    moved.write_bytes(b"network")
    key = key_of(str(clip), replace(SETTINGS, **{name: str(model)}))
    assert key == key_of(str(clip), replace(SETTINGS, **{name: str(moved)}))
    model.write_bytes(b"another")
    assert key != key_of(str(clip), replace(SETTINGS, **{name: str(model)}))
