"""examples/notebook.ipynb runs from its first cell to its last, and what `Asset` offers there."""

from __future__ import annotations

import ast
import html
import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from toys import jumping_ball, toy_matrix

import vid4d
from vid4d.asset import Asset
from vid4d.errors import InputError
from vid4d.methods import stages
from vid4d.runs.run import Run
from vid4d.settings import Settings

NOTEBOOK = Path(__file__).resolve().parents[1] / "examples" / "notebook.ipynb"


@pytest.fixture
def asset(tmp_path) -> Asset:
    """Of the toy run that stands where the demo's would."""
    run = Run.create(tmp_path / "runs" / "demo", Settings(clip="ball.mp4"))
    stages.keep_asset(run, jumping_ball(80), toy_matrix())
    run.close()
    return vid4d.load(run.root, "cpu")


def executed(notebook: Path) -> list[Any]:
    """Values of the last expressions of the code cells, as a notebook shows them."""
    names: dict[str, Any] = {}
    shown = []
    for i, cell in enumerate(json.loads(notebook.read_text(encoding="utf-8"))["cells"]):
        if cell["cell_type"] != "code":
            continue
        body = ast.parse("".join(cell["source"]), f"cell {i}").body
        last = body.pop() if isinstance(body[-1], ast.Expr) else None
        exec(compile(ast.Module(body, []), f"cell {i}", "exec"), names)
        if isinstance(last, ast.Expr):
            shown.append(eval(compile(ast.Expression(last.value), f"cell {i}", "eval"), names))
    return shown


def test_the_notebook_runs(asset, monkeypatch):
    folder = asset.root.parents[1] / "examples"
    folder.mkdir()
    monkeypatch.chdir(folder)
    player, metadata, picture, said, files = executed(NOTEBOOK)
    assert "<iframe" in player._repr_html_()
    assert metadata.seconds == 1.0
    assert picture.size == (4 * 192, 192)
    assert re.fullmatch(r"\d+ points, from -?0.\d\d to 0.\d\d", said)
    assert [f.name for f in files] == ["asset.ply"]
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    assert not any(cell.get("outputs") for cell in cells)  # the repository keeps no outputs


def test_an_asset_is_one_line(asset):
    assert repr(asset) == f"Asset('{asset.path}': 400 splats, 1 s)"


def test_a_notebook_shows_the_player(asset):
    srcdoc = re.search(r'srcdoc="([^"]*)"', asset._repr_html_())
    assert srcdoc is not None
    page = html.unescape(srcdoc[1])
    assert page.lstrip().lower().startswith("<!doctype html>")
    assert '"elevation": 10.0' in page
    assert page.rstrip().endswith("</html>")


def test_show_opens_that_page(asset, monkeypatch):
    opened = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    page = asset.show()
    assert opened == [page.as_uri()]
    assert "</html>" in page.read_text(encoding="utf-8")


def test_points_are_where_the_ball_is(asset):
    """The ball has a radius of 0.22 and is at its highest, z = 0.2, in the middle of its time."""
    points = asset.points(0.5)
    centre = torch.tensor([0.0, 0.0, 0.2])
    assert torch.allclose((points.positions - centre).norm(dim=1), torch.tensor(0.22), atol=1e-3)
    assert len(points.positions) == len(points.colors) == len(points.opacities) == 80
    front = points.colors[points.positions[:, 0].argmax()]
    assert front[0] > front[1] + 0.2  # red in front
    with pytest.raises(InputError, match="outside of the clip"):
        asset.points(1.5)


def test_exports_are_those_of_the_command(asset):
    assert asset.export("usdz", frames=2) == [asset.root / "export" / "asset.usdz"]
    with pytest.raises(InputError, match="exists"):
        asset.export("usdz", frames=2)
    with pytest.raises(InputError, match="no effect on ply"):
        asset.export("ply", texture=64)
