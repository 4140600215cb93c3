"""`vid4d enhance`: what it leaves in a run folder, that it resumes to the same bytes, what it refuses."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from unittest.mock import Mock

import pytest
from command_line import run
from sentences import refused
from tiny_runs import ENHANCER
from toys import jumping_ball, toy_matrix

from vid4d.enhance import enhance
from vid4d.enhance.trainer import Trainer
from vid4d.matrix.io import save_matrix
from vid4d.methods import stages
from vid4d.report.enhanced import about_enhanced, read_enhanced
from vid4d.report.report import write_report
from vid4d.runs.run import Run
from vid4d.settings import Settings

FILES = {"turntable.mp4", "before_after.mp4", "before_after.png", "enhanced.json"} | {
    f"view_{a:03d}.mp4" for a in (0, 90, 180, 270)
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """A finished run of the jumping ball."""
    folder = tmp_path_factory.mktemp("enhance") / "run"
    work = Run.create(folder, Settings(clip="ball.mp4", prior="frustum"))
    matrix, ball = replace(toy_matrix(), seconds=0.2), jumping_ball(60)
    work.stage(
        "matrix", lambda bar: matrix, save=lambda m: save_matrix(m, folder / "matrix"), load=toy_matrix
    )
    work.stage("fit", lambda bar: ball, save=lambda g: stages.keep_asset(work, g, matrix), load=lambda: ball)
    work.stage("report", lambda bar: write_report(folder, ball, matrix))
    work.close()
    return folder


@pytest.fixture
def root(finished, tmp_path, monkeypatch) -> Path:
    """A copy of it in the current folder, and a preset of a few steps."""
    monkeypatch.setitem(enhance.PRESETS, "draft", ENHANCER)
    monkeypatch.setattr(enhance, "FPS", 6.0)
    monkeypatch.chdir(tmp_path)
    shutil.copytree(finished, "run")
    return Path("run")


def contents(root: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in (root / "enhanced").iterdir()}


def test_a_stopped_training_resumes_to_the_same_bytes(root, monkeypatch, capsys):
    shutil.copytree(root, "whole")
    assert run("enhance", "whole", "--device", "cpu") == 0
    advance = Trainer.advance

    def stopping(self):
        if self.step == 5:
            raise KeyboardInterrupt
        return advance(self)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "advance", stopping)
        assert run("enhance", root, "--device", "cpu") == 130
    assert "vid4d enhance run --device cpu --resume" in capsys.readouterr().err
    assert not (root / "enhanced").exists()
    assert (root / "checkpoints" / "enhance.safetensors").is_file()
    with monkeypatch.context() as patch:  # after the new report, before it is in the run's list
        patch.setattr(enhance, "record", Mock(side_effect=KeyboardInterrupt))
        assert run("enhance", root, "--device", "cpu", "--resume") == 130
    killed = root / "checkpoints" / ".enhance.safetensors.vid4d-999999999-00000000"
    killed.mkdir()
    (killed / "vid4d.lock").touch()
    assert run("enhance", root, "--device", "cpu", "--resume") == 0
    assert not list(root.glob("*.kept-*"))
    assert not killed.exists()
    made = contents(root)
    assert made == contents(Path("whole"))
    assert made.keys() - {".vid4d-files.json"} == FILES
    assert not (root / "checkpoints" / "enhance.safetensors").exists()
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "run", None)  # nothing is trained again
        assert run("enhance", root, "--device", "cpu", "--resume") == 0
    assert contents(root) == made


def test_the_report_shows_it_as_long_as_it_is_of_this_asset(root, capsys):
    assert run("enhance", root, "--device", "cpu") == 0
    told = json.loads((root / "enhanced" / "enhanced.json").read_text())
    before, after = told["likeness_db"]
    page = (root / "report.html").read_text()
    assert "<h2>Enhanced</h2>" in page
    assert f"{after:.1f} dB, {before:.1f} dB before" in page
    assert f"{after:.1f} dB, {before:.1f} dB before" in capsys.readouterr().err
    matrix, other = toy_matrix(), jumping_ball(61)
    work = Run(root, Settings(clip="ball.mp4"), Run.create("else", Settings(clip="a")).progress)
    stages.keep_asset(work, other, matrix)
    write_report(root, other, matrix)
    assert "<h2>Enhanced</h2>" not in (root / "report.html").read_text()


def test_pictures_that_became_less_true_are_told(root):
    assert run("enhance", root, "--device", "cpu") == 0
    stored = read_enhanced(root)
    assert stored is not None
    better, worse = (about_enhanced({**stored, "likeness_db": [30.0, after]}) for after in (30.5, 29.5))
    assert "So the renders are the truer pictures" in worse
    assert "So the renders" not in better


def test_a_damaged_list_of_what_was_made_is_no_dead_end(root, capsys):
    (root / "enhanced").mkdir()
    (root / "enhanced" / "enhanced.json").write_text("junk")
    assert run("enhance", root, "--resume", "--device", "cpu") == 0
    assert "enhanced: made again" in capsys.readouterr().err
    assert (root / "enhanced.kept-1" / "enhanced.json").read_text() == "junk"
    assert read_enhanced(root) is not None


def test_pictures_of_another_tool(root, capsys):
    assert run("enhance", root, "--to-sharpen", "out") == 0
    assert "3 renders in out" in capsys.readouterr().out
    assert run("enhance", root, "--sharpened", "out", "--device", "cpu") == 0
    assert json.loads((root / "enhanced" / "enhanced.json").read_text())["sharpened"] == "given"
    assert run("enhance", root, "--to-sharpen", "out") == 0  # as after a kill at its very end
    assert {p.name for p in Path("out").glob("[!.]*")} == {f"000{i}.png" for i in range(3)}
    Path("out", "0000.png").write_bytes(Path("out", "0001.png").read_bytes())
    assert "exists" in refused(capsys, "enhance", root, "--to-sharpen", "out")
    assert "exists" in refused(capsys, "enhance", root, "--to-sharpen", root / "enhanced")


def test_bad_input_is_one_sentence(root, capsys):
    assert "no run folder" in refused(capsys, "enhance", "nowhere")
    assert "give one of them" in refused(capsys, "enhance", root, "--to-sharpen", "a", "--sharpened", "b")
    assert "there is no folder b" in refused(capsys, "enhance", root, "--sharpened", "b")
    assert f"the seed {10**30} cannot be used" in refused(capsys, "enhance", root, "--seed", 10**30)
    shutil.rmtree(root / "matrix")
    assert "no image matrix" in refused(capsys, "enhance", root)
    (root / "asset.safetensors").unlink()
    assert "not finished" in refused(capsys, "enhance", root)
