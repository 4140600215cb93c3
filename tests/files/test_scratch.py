"""Scratch folders: what killed processes leave, and what is not theirs."""

from __future__ import annotations

import os
import subprocess
import sys

from vid4d.files.scratch import LOCK, scratch_folder
from vid4d.files.write import write_text

KILLED = """
import os, signal, sys
from pathlib import Path
from vid4d.files.write import written_whole
with written_whole(Path(sys.argv[1])) as temporary:
    temporary.write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_the_next_command_removes_what_a_killed_one_left(tmp_path):
    subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / "a.txt")], check=False)
    left = [p.name for p in tmp_path.iterdir()]
    assert len(left) == 1
    assert left[0].startswith(".a.txt.vid4d-")
    write_text(tmp_path / "b.txt", "whole")
    assert [p.name for p in tmp_path.iterdir()] == ["b.txt"]


def test_scratch_of_a_living_process_and_what_only_looks_like_it_stay(tmp_path):
    mine = tmp_path / ".mine.vid4d-999999999-0123abcd"
    mine.mkdir()
    (mine / "thesis.tex").write_text("precious")
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "vid4d.lock").touch()
    (tmp_path / ".link.vid4d-999999999-0123abcd").symlink_to(tmp_path / "docs")
    with scratch_folder(tmp_path / "a.txt") as scratch:
        (scratch / "half").touch()
        write_text(tmp_path / "b.txt", "whole")
        assert (scratch / "half").exists()
    assert (mine / "thesis.tex").read_text() == "precious"
    assert (tmp_path / "docs" / "vid4d.lock").exists()
    names = [mine.name, ".link.vid4d-999999999-0123abcd", "b.txt", "docs"]
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(names)


def test_a_process_killed_before_it_wrote_anything(tmp_path):
    (tmp_path / ".a.txt.vid4d-999999999-0123abcd").mkdir()
    write_text(tmp_path / "b.txt", "whole")
    assert [p.name for p in tmp_path.iterdir()] == ["b.txt"]


def test_locks_that_are_links_lead_nowhere(tmp_path):
    (tmp_path / "thesis.tex").write_text("precious")
    folder = tmp_path / "run" / f".asset.vid4d-{os.getpid()}-0123abcd"
    folder.mkdir(parents=True)
    (folder / LOCK).symlink_to(tmp_path / "thesis.tex")
    write_text(tmp_path / "run" / "a.txt", "a")
    assert (tmp_path / "thesis.tex").read_text() == "precious"
    assert (folder / LOCK).is_symlink()
    assert (tmp_path / "run" / "a.txt").read_text() == "a"
