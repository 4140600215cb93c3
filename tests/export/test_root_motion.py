"""The path of a clip's window as the asset's own translation, by numbers worked out by hand."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from command_line import refused
from exported import ball_asset
from PIL import Image

from vid4d.asset import Asset
from vid4d.commands.render import render_files
from vid4d.errors import InputError
from vid4d.export.camera_path import plan
from vid4d.export.formats import export
from vid4d.export.options import ExportOptions
from vid4d.export.root_motion import root_motion
from vid4d.export.splats import splats_at

WINDOW = 1.5 * 256 / 280
"""World units that a picture of the ring's cameras shows at the distance of the origin."""


def walked(folder: Path, path: list[list[float]], *, elevation: float = 0.0, cyclic: bool = False) -> Asset:
    """A ball whose clip had a window that went along a path, in even steps of time."""
    folder.mkdir(exist_ok=True)
    asset = ball_asset(folder, cyclic=cyclic)
    times = [i / (len(path) - (0 if cyclic else 1)) for i in range(len(path))]
    record = {"times": times, "seconds": 1.0, "cyclic": cyclic, "path": path}
    (folder / "frames").mkdir(exist_ok=True)
    (folder / "frames" / "clip.json").write_text(json.dumps(record))
    changed = type(asset.metadata)(seconds=1.0, cyclic=cyclic, elevation=elevation)
    return Asset(asset.gaussians, changed, asset.path)


def test_right_in_the_picture_is_plus_y_and_up_is_plus_z(tmp_path: Path) -> None:
    """The clip's camera stands on +x and looks along -x: its right is +y."""
    asset = walked(tmp_path / "run", [[0, 0], [1, -0.5]])
    expected = [[0, 0, 0], [0, 0.5 * WINDOW, 0.25 * WINDOW], [0, WINDOW, 0.5 * WINDOW]]
    assert root_motion(asset, [0, 0.5, 1]) == pytest.approx(np.array(expected), abs=1e-6)


def test_a_camera_that_looks_straight_down_sees_the_floor(tmp_path: Path) -> None:
    """From above, down in the picture is towards +x, where the camera was before it rose."""
    asset = walked(tmp_path / "run", [[0, 0], [0, 1]], elevation=90)
    assert root_motion(asset, [1])[0] == pytest.approx([WINDOW, 0, 0], abs=1e-6)


def test_a_loop_comes_back(tmp_path: Path) -> None:
    asset = walked(tmp_path / "run", [[0, 0], [1, 0], [1, 1], [0, 1]], cyclic=True)
    assert root_motion(asset, [0.875])[0] == pytest.approx([0, 0, -0.5 * WINDOW], abs=1e-6)
    assert root_motion(asset, [1])[0] == pytest.approx([0, 0, 0], abs=1e-6)


def test_splats_meshes_and_videos_go(tmp_path: Path) -> None:
    asset = walked(tmp_path / "run", [[0, 0], [2, 0]])
    still, gone = splats_at(asset, 0.5), splats_at(asset, 0.5, walking=True)
    moved = (gone.means - still.means).numpy()
    assert moved == pytest.approx(np.broadcast_to([0, WINDOW, 0], moved.shape), abs=1e-5)

    (standing,) = export(asset, "obj", tmp_path / "a.obj", ExportOptions(time=1.0, faces=200))
    (walking,) = export(
        asset, "obj", tmp_path / "b.obj", ExportOptions(time=1.0, faces=200, root_motion=True)
    )

    def vertices(file: Path) -> np.ndarray:
        lines = [line.split()[1:4] for line in file.read_text().splitlines() if line.startswith("v ")]
        return np.array(lines, np.float64)

    # y up and the front towards +z: what was +y is +x
    difference = vertices(walking) - vertices(standing)
    assert difference == pytest.approx(np.broadcast_to([2 * WINDOW, 0, 0], difference.shape), abs=1e-4)

    shots = plan(asset, ExportOptions(view="fixed", frames=2, root_motion=True, size=64))
    centers = -np.einsum(
        "nij,ni->nj", shots.views[0].world_to_camera[:, :3, :3], shots.views[0].world_to_camera[:, :3, 3]
    )
    # the middle of the way is WINDOW to the right; the asset stands, so the camera goes the other way
    farther = 1.5 * (1 + 2 * WINDOW)
    assert centers == pytest.approx(np.array([[farther, WINDOW, 0], [farther, 0, 0]]), abs=1e-5)


def test_without_a_path_it_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    with pytest.raises(InputError, match=r"no path is known.*--follow yes"):
        export(ball_asset(folder), "ply", tmp_path / "out", ExportOptions(root_motion=True))
    assert not (tmp_path / "out").exists()
    said = refused(capsys, "export", str(folder), "--to", "stg", "--root-motion")
    assert "--root-motion has no effect on stg" in said
    for orbit in ([], ["--orbit"]):
        assert "no path is known" in refused(capsys, "render", str(folder), "--root-motion", *orbit)
    assert not (folder / "renders").exists()


def test_stills_and_orbits_go_and_stay_in_the_picture(tmp_path: Path) -> None:
    """The way is 2 windows to the right: at its ends the ball is as far left as right, and as large."""
    asset = walked(tmp_path / "run", [[0, 0], [2, 0]])
    files = render_files(asset.path, out=tmp_path / "s", time=(0, 0.5, 1), size=96, root_motion=True)
    columns = []
    for file in files:
        alpha = np.asarray(Image.open(file).convert("L")) < 200
        assert not alpha[:, [0, -1]].any()
        columns.append(np.nonzero(alpha.any(0))[0].mean())
    # at a distance of 1.5 + 3 * WINDOW, WINDOW is so many pixels
    step = WINDOW / (1.5 * (1 + 2 * WINDOW)) * 280 / 256 * 96
    assert columns == pytest.approx([47.5 - step, 47.5, 47.5 + step], abs=1.5)
    (orbit,) = render_files(asset.path, out=tmp_path / "o.mp4", size=64, seconds=0.25, root_motion=True)
    with av.open(str(orbit)) as container:
        first = next(container.decode(video=0)).to_ndarray(format="rgb24").astype(int)
    assert np.nonzero((first.min(-1) < 200).any(0))[0].mean() == pytest.approx(31.5 - step * 64 / 96, abs=2)


def test_the_page_knows_the_way(tmp_path: Path) -> None:
    asset = walked(tmp_path / "run", [[0, 0], [2, 0]])
    (standing,) = export(asset, "html", tmp_path / "a.html", ExportOptions())
    (walking,) = export(asset, "html", tmp_path / "b.html", ExportOptions(root_motion=True))

    def about(page: Path) -> dict[str, Any]:
        found = re.search(r'<script id="about" type="application/json">(.*?)</script>', page.read_text())
        assert found is not None
        return json.loads(found[1])  # type: ignore[no-any-return]

    still, gone = about(standing), about(walking)
    assert still["way"] == []
    assert len(gone["way"]) == 129
    assert gone["way"][64] == pytest.approx([0, WINDOW, 0], abs=1e-4)
    assert gone["view"]["target"] == pytest.approx([0, WINDOW, still["view"]["target"][2]], abs=1e-4)
    assert gone["view"]["distance"] == pytest.approx(still["view"]["distance"] + 3 * WINDOW, abs=1e-4)
