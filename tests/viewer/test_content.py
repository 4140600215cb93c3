"""What the viewer reads of a run, and what it refuses to read."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from toy_runs import toy_run
from toys import jumping_ball

from vid4d import api
from vid4d.errors import InputError
from vid4d.gaussians.metadata import AssetMetadata
from vid4d.viewer.content import Content, nearest, shown_times


@pytest.fixture(scope="module")
def content(tmp_path_factory) -> Content:
    return Content.open(toy_run(tmp_path_factory.mktemp("view") / "ball"))


def asset(seconds: float, *, cyclic: bool = False) -> api.Asset:
    return api.Asset(replace(jumping_ball(40), cyclic=cyclic), AssetMetadata(seconds=seconds), Path())


def test_moments_end_with_the_clip_but_in_a_loop():
    assert shown_times(asset(0.5)) == tuple(i / 11 for i in range(12))
    assert shown_times(asset(0.5, cyclic=True)) == tuple(i / 12 for i in range(12))
    assert len(shown_times(asset(60.0))) == 480


def test_the_most_splats_of_a_moment_by_counting(content):
    assert content.most_splats == max(len(content.splats(i)) for i in range(len(content.times)))


def test_the_nearest_time_may_lie_around_the_corner():
    times = (0.0, 0.25, 0.5, 0.75)
    assert nearest(times, 0.95, cyclic=True) == 0
    assert nearest(times, 0.95, cyclic=False) == 3
    assert nearest(times, 0.3, cyclic=True) == 1


def test_splats_are_the_visible_ones_of_the_moment(content):
    index = content.nearest(0.5)
    splats = content.splats(index)
    truth = content.asset.gaussians.at(content.times[index])
    visible = truth.opacities >= 1 / 255
    assert 0 < len(splats) == int(visible.sum()) < len(content.asset.gaussians)
    assert torch.allclose(splats.means, truth.means[visible], atol=1e-6)
    assert torch.allclose(splats.covariances, truth.covariances[visible], atol=1e-7)


def test_the_clip_and_the_matrix_at_a_time(content):
    assert content.matrix is not None
    assert content.matrix.input_images is not None
    first, middle = content.clip_frame(0.0), content.clip_frame(0.45)
    shown = content.matrix.input_images[1]
    white = shown[..., :3] * shown[..., 3:] + 1 - shown[..., 3:]
    assert np.abs(middle / 255 - white.numpy()).max() < 3 / 255
    assert np.abs(first.astype(int) - middle).max() > 50
    pictures = content.matrix_pictures(1.0)
    assert len(pictures) == 4
    assert np.abs(pictures[2] / 255 - content.matrix.images[2, 2].numpy()).max() < 3 / 255


def test_an_asset_alone_is_enough(content):
    alone = Content.open(content.asset.path)
    assert alone.matrix is None
    assert alone.clip_frame(0.0) is None
    assert alone.matrix_pictures(0.0) == []
    assert alone.sizes == {"asset": content.asset.path.stat().st_size}


@pytest.mark.parametrize(
    "changes",
    [
        {"images": "../../secret/{time:03d}.png"},
        {"images": "/etc/{time:03d}.png"},
        {"images": "..\\secret\\{time:03d}.png"},
        {"confidence": "images/../../{time:03d}.png"},
        {"input": {"images": "../{time}.png", "times": [0], "camera": {"azimuth": 0, "elevation": 0}}},
    ],
)
def test_a_matrix_that_points_outside_of_its_folder_is_refused(tmp_path, changes):
    root = toy_run(tmp_path / "run")
    file = root / "matrix" / "cameras.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))
    with pytest.raises(InputError, match="outside of its folder"):
        Content.open(root)


def test_a_folder_without_an_asset_is_refused(tmp_path):
    with pytest.raises(InputError, match="not a run folder"):
        Content.open(tmp_path)
    root = toy_run(tmp_path / "run")
    (root / "asset.safetensors").unlink()
    with pytest.raises(InputError, match="not finished"):
        Content.open(root)


def test_times_are_those_of_a_loop(content):
    loop = replace(content, asset=asset(1.0, cyclic=True))
    assert loop.nearest(0.99) == 0
    assert len(loop.splats(len(loop.times) - 1)) == 80  # at time 1: those of the end and of the beginning
    assert content.nearest(0.99) == len(content.times) - 1
