"""The numbered examples run, on tiny data."""

from __future__ import annotations

import importlib.util
import urllib.request
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
import tyro
from clips import disc
from PIL import Image
from toys import jumping_ball, toy_matrix

from vid4d import api
from vid4d.gaussians.model import load_asset
from vid4d.matrix.io import load_matrix
from vid4d.methods import stages
from vid4d.runs.run import Run
from vid4d.settings import Settings

FOLDER = Path(__file__).resolve().parents[1] / "examples"
NAMES = sorted(p.stem for p in FOLDER.glob("[0-9][0-9]_*.py"))


def example(number: str) -> ModuleType:
    path = next(FOLDER.glob(f"{number}_*.py"))
    spec = importlib.util.spec_from_file_location(f"example_{number}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def start(number: str, *words: object) -> Any:
    """Runs an example as its own command line would."""
    return tyro.cli(example(number).main, args=[str(word) for word in words])


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A run as far as the examples need it."""
    run = Run.create(tmp_path_factory.mktemp("examples") / "ball", Settings(clip="ball.mp4"))
    stages.keep_asset(run, jumping_ball(80), toy_matrix())
    run.path("report.json").write_text('{"splats": 400, "input_psnr_db": 30.0}')
    return run.root


def test_examples_are_numbered_without_gaps_and_say_how_to_start_them():
    assert [name[:2] for name in NAMES] == [f"{i + 1:02}" for i in range(len(NAMES))]
    for name in NAMES:
        text = (FOLDER / f"{name}.py").read_text()
        assert f"python examples/{name}.py" in text
        assert f"def test_{name[:2]}_" in Path(__file__).read_text(), f"{name} is not run by a test"


def test_01_makes_an_asset(tmp_path, monkeypatch):
    monkeypatch.setitem(api.METHODS, "efficient4d", "toys")
    asset = start("01", disc(tmp_path / "disc", 3), "--out", tmp_path / "run")
    assert (asset.root / "report.html").is_file()


def test_02_renders_pictures(folder, tmp_path):
    files = start("02", folder, "--out", tmp_path / "out", "--size", 48)
    assert len(files) == 9
    red_front, behind = (np.asarray(Image.open(files[i])).astype(int) for i in (0, 2))
    assert red_front.shape == (48, 48, 4)
    visible = red_front[..., 3] > 200
    assert red_front[visible][:, 0].mean() > behind[behind[..., 3] > 200][:, 0].mean() + 40
    assert np.asarray(Image.open(files[4])).shape == (48, 48, 3)


def test_03_writes_files(folder, tmp_path):
    files = start("03", folder, "--out", tmp_path, "--formats", "ply", "gif", "--size", 32, "--frames", 2)
    assert {f.suffix for f in files} >= {".ply", ".gif"}
    assert all(f.stat().st_size > 100 for f in files)


def test_04_fits_pictures_of_ones_own(tmp_path):
    psnr = start("04", tmp_path / "matrix", *["--views", "6", "--moments", "3", "--size", "48", "--fast"])
    assert psnr > 15
    assert load_matrix(tmp_path / "matrix").views == 6


def test_05_compares_runs(folder, capsys):
    module = example("05")
    seen = []

    class Watched(module.Viewer):
        def wait(self):
            seen.append(urllib.request.urlopen(self.url).read())

    module.Viewer = Watched
    address = tyro.cli(module.main, args=[str(folder), str(folder), "--port", "0"])
    assert address.startswith("http://127.0.0.1:")
    assert seen[0].count(b"<iframe") == 2
    assert "likeness to the clip 30.0 dB" in capsys.readouterr().out


def test_06_edits_splats(folder, tmp_path):
    both = start("06", folder, "--out", tmp_path / "edited.safetensors")
    read, told = load_asset(tmp_path / "edited.safetensors")
    assert len(read) == len(both) == 800
    assert float(told["seconds"]) == 2.0
    first, second = read.select(torch.arange(400)), read.select(torch.arange(400, 800))
    spread = [g.means[:, 0].std().item() for g in (first, second)]
    assert spread[1] == pytest.approx(spread[0] / 2, rel=1e-4)
    assert torch.allclose(second.sh[..., 0], second.sh[..., 2])
