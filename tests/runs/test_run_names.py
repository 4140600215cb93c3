"""Names of run folders: after the clip, numbered, the newest of the same settings."""

from __future__ import annotations

from dataclasses import replace

import pytest

from vid4d.runs import names
from vid4d.runs.names import free_default
from vid4d.runs.run import Run
from vid4d.settings import Settings

SETTINGS = Settings(clip="clips/my clip.mp4", frames=8, seed=3)


def test_default_folders_are_numbered(tmp_path, monkeypatch):
    monkeypatch.setattr(names, "RUNS", tmp_path)
    made = [Run.create(None, SETTINGS).root.name for _ in range(3)]
    assert made == ["my_clip", "my_clip-2", "my_clip-3"]


def test_resume_without_a_folder_finds_the_newest_of_the_same_settings(tmp_path, monkeypatch):
    monkeypatch.setattr(names, "RUNS", tmp_path)
    Run.create(None, SETTINGS)
    Run.create(None, SETTINGS)
    Run.create(None, replace(SETTINGS, seed=9))
    assert Run.create(None, SETTINGS, resume=True).root.name == "my_clip-2"
    assert Run.create(None, replace(SETTINGS, seed=5), resume=True).root.name == "my_clip-4"


@pytest.mark.parametrize(
    ("clip", "name"),
    [
        ("a/b.mp4", "b"),
        ("frames/*.png", "frames"),
        ("x/été 1.webm", "été_1"),
        ("/", "clip"),
    ],
)
def test_default_names(clip, name, tmp_path, monkeypatch):
    monkeypatch.setattr(names, "RUNS", tmp_path)
    assert free_default(clip).name == name


@pytest.mark.parametrize(
    ("clip", "name"),
    [
        ("duck [draft].mp4", "duck_draft"),
        ("take [1]", "take_1"),
        ("take [1]/*.png", "take_1"),
        ("take [[]1]/*.png", "take_1"),
    ],
)
def test_brackets_of_what_exists_are_no_pattern(clip, name, tmp_path, monkeypatch):
    monkeypatch.setattr(names, "RUNS", tmp_path / "runs")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "duck [draft].mp4").touch()
    (tmp_path / "take [1]").mkdir()
    assert free_default(clip).name == name
