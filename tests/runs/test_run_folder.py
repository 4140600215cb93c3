"""The run folder's files: those of a run go, those of others stay."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from vid4d.asset import load
from vid4d.errors import InputError
from vid4d.files.write import folder_written_whole
from vid4d.runs.folder import append_line, clear
from vid4d.runs.run import Run
from vid4d.settings import Settings

SETTINGS = Settings(clip="clip.mp4")


def filled(root: Path) -> Run:
    """A run of two stages, with an export and files of its user."""
    run = Run.create(root, SETTINGS)
    run.use_device("cpu")

    def frames(bar):
        with folder_written_whole(root / "frames") as folder:
            (folder / "0000.png").write_text("picture")

    def fit(bar):
        run.checkpoint("fit").write_text("middle")
        (root / "contact.png").write_text("sheet")

    run.stage("frames", frames)
    run.stage("fit", fit)
    for name in ("export/asset.gif", "notes.txt", "checkpoints/fit-backup.safetensors", ".done/notes"):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text("mine")
    return run


MINE = [".done/notes", "checkpoints/fit-backup.safetensors", "export/asset.gif", "notes.txt"]


def names(root: Path) -> list[str]:
    return sorted(str(p.relative_to(root)) for p in root.rglob("*") if p.is_file())


def test_a_run_is_removed_and_another_begins_in_its_folder(tmp_path):
    filled(tmp_path)
    clear(tmp_path)
    assert names(tmp_path) == sorted([*MINE, ".vid4d-cleared"])
    run = Run.create(tmp_path, Settings(clip="other.mp4"), resume=True)
    assert "settings.json" in names(run.root)
    assert ".vid4d-cleared" not in names(run.root)


def test_what_was_changed_after_the_run_stays(tmp_path):
    filled(tmp_path)
    (tmp_path / "contact.png").write_text("painted on")
    clear(tmp_path)
    run = Run.create(tmp_path, Settings(clip="other.mp4"))
    run.stage("contact", lambda bar: (tmp_path / "contact.png").write_text("sheet"))
    assert (tmp_path / "contact.png.kept-1").read_text() == "painted on"


def test_making_a_stage_again_removes_no_file_of_others(tmp_path):
    filled(tmp_path)
    (tmp_path / ".done" / "frames").unlink()
    Run.create(tmp_path, SETTINGS, resume=True).stage("frames", lambda bar: None)
    assert set(MINE) <= set(names(tmp_path))
    assert not (tmp_path / ".done" / "fit").exists()
    assert not (tmp_path / "checkpoints" / "fit.safetensors").exists()


def test_a_run_without_its_settings_says_what_is_gone(tmp_path):
    filled(tmp_path)
    (tmp_path / "settings.json").unlink()
    before = names(tmp_path)
    with pytest.raises(InputError, match=r"settings.json is gone.*put that file back, or"):
        Run.create(tmp_path, SETTINGS, resume=True)
    assert names(tmp_path) == before


def test_bad_input_leaves_an_empty_folder_of_the_user_empty(tmp_path):
    Run.create(tmp_path, SETTINGS).discard_if_new()
    assert list(tmp_path.iterdir()) == []
    Run.create(tmp_path, Settings(clip="good.mp4"))
    assert json.loads((tmp_path / "settings.json").read_text())["settings"]["clip"] == "good.mp4"


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
def test_make_demo_quotes_its_arguments_and_removes_no_folder():
    root = Path(__file__).resolve().parents[2]
    arguments = ["make", "--dry-run", "demo", "DEMO=runs/it's $$(touch x)", "CLIP=a clip.mp4"]
    said = subprocess.run(arguments, cwd=root, capture_output=True, text=True, check=True).stdout
    assert "'runs/it'\\''s $(touch x)'" in said
    assert "bin/python -m vid4d generate --resume --out 'runs/it" in said
    assert "-- 'a clip.mp4'" in said
    demo = (root / "Makefile").read_text().partition("\ndemo:")[2].partition("\ntest:")[0]
    assert "rm " not in demo


LINKED = [
    *("checkpoints", ".done", "frames", "validation", "matrix", "export", "renders"),
    *("log.txt", "settings.json", "asset.safetensors", "frames/0000.png", ".done/frames"),
    "checkpoints/fit.safetensors",
]


@pytest.mark.parametrize("name", LINKED)
def test_links_in_a_run_folder_are_refused_for_writing_deleting_and_reading(tmp_path, name):
    root, docs = tmp_path / "run", tmp_path / "docs"
    filled(root)
    docs.mkdir()
    (docs / "thesis.tex").write_text("precious")
    path = root / name
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
    path.symlink_to(docs / "thesis.tex" if path.suffix or name == ".done/frames" else docs)
    (root / "mine.mp4").symlink_to(docs / "thesis.tex")  # vid4d has no use for it
    for use in (lambda: Run.create(root, SETTINGS, resume=True), lambda: clear(root), lambda: load(root)):
        with pytest.raises(InputError, match=r"is a link|no asset") as refused:
            use()
    assert name in str(refused.value) or "holds no asset" in str(refused.value)
    assert [p.read_text() for p in docs.iterdir()] == ["precious"]


def test_a_link_that_comes_while_a_run_goes_on_is_refused(tmp_path):
    root, docs = tmp_path / "run", tmp_path / "docs"
    run = filled(root)
    docs.mkdir()
    shutil.rmtree(root / "frames")
    (root / "frames").symlink_to(docs)
    (root / "log.txt").unlink()
    (root / "log.txt").symlink_to(docs / "log.txt")
    for use in (lambda: run.path("frames", "0.png"), lambda: run.log("a"), lambda: run.path("..", "docs")):
        with pytest.raises(InputError):
            use()
    assert list(docs.iterdir()) == []


def test_a_copy_by_hard_links_keeps_its_lines(tmp_path):
    log, copy = tmp_path / "log.txt", tmp_path / "copy.txt"
    append_line(log, "one")
    os.link(log, copy)
    append_line(log, "two")
    append_line(log, "three")
    assert copy.read_text() == "one\n"
    assert log.read_text() == "one\ntwo\nthree\n"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["copy.txt", "log.txt"]


def test_lines_tell_names_that_are_no_utf8(tmp_path):
    append_line(tmp_path / "log.txt", "caf\udce9.mp4")
    assert (tmp_path / "log.txt").read_text(encoding="utf-8") == "caf\\udce9.mp4\n"
