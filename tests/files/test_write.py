"""Files written whole or not at all."""

from __future__ import annotations

import stat

import pytest

from vid4d.files.write import clear_away, folder_written_whole, write_json, write_text, written_whole


def test_a_file_appears_only_when_it_is_whole(tmp_path):
    target = tmp_path / "a.txt"
    with written_whole(target) as temporary:
        temporary.write_text("half")
        assert not target.exists()
    assert target.read_text() == "half"


def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path):
    target = tmp_path / "a.txt"
    write_text(target, "old")

    def write() -> None:
        with written_whole(target) as temporary:
            temporary.write_text("new")
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        write()
    assert target.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_files_are_readable_by_others_as_usual(tmp_path):
    write_json(tmp_path / "a.json", {"a": 1})
    (tmp_path / "b").touch()
    modes = [stat.S_IMODE((tmp_path / n).stat().st_mode) for n in ("a.json", "b")]
    assert modes[0] == modes[1]


def test_a_folder_that_is_replaced_loses_only_what_was_written_there(tmp_path):
    def write(text: str) -> None:
        with folder_written_whole(tmp_path / "frames") as temporary:
            for name in ("0.png", "1.png"):
                (temporary / name).write_text(text)

    write("one")
    write("two")
    assert {p.name for p in tmp_path.iterdir()} == {"frames"}
    (tmp_path / "frames" / "notes.txt").write_text("mine")
    (tmp_path / "frames" / "1.png").write_text("retouched")
    write("three")
    assert {p.name for p in tmp_path.iterdir()} == {"frames", "frames.kept-1"}
    assert (tmp_path / "frames" / "1.png").read_text() == "three"
    kept = {p.name: p.read_text() for p in (tmp_path / "frames.kept-1").iterdir() if p.name[0] != "."}
    assert kept == {"notes.txt": "mine", "1.png": "retouched"}


def test_a_link_in_place_of_a_folder_is_kept_and_not_followed(tmp_path):
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "thesis.tex").write_text("precious")
    (tmp_path / "frames").symlink_to(tmp_path / "docs")
    assert clear_away(tmp_path / "frames") == tmp_path / "frames.kept-1"
    assert (tmp_path / "docs" / "thesis.tex").read_text() == "precious"
