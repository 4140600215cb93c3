"""Files written whole or not at all."""

from __future__ import annotations

import stat

import pytest

from vid4d.files import write_json, write_text, written_whole


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
