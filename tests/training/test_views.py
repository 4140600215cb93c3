"""Batches of training views: shapes, ranges, seeds, and what stands at which time."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from mesh_shapes import box, moving_box

from vid4d.cameras import Cameras
from vid4d.priors.pictures import to_network
from vid4d.training import views as module
from vid4d.training.meshes import MeshBank
from vid4d.training.views import ViewsConfig, ViewSource, degrade

CONFIG = ViewsConfig(size=32, ring_views=3, free_views=2, supersample=1)


@pytest.fixture(scope="module")
def bank() -> MeshBank:
    return MeshBank([box((0, 0, 0), (0.2, 0.3, 0.4)), moving_box()])


def test_over_white_by_hand() -> None:
    rgba = torch.tensor([0.5, 0.0, 1.0, 0.25]).expand(1, 2, 3, 4)
    picture = to_network(rgba)
    assert picture.shape == (1, 4, 2, 3)
    # 0.5 * 0.25 + 0.75 = 0.875, 0.75, 1, and alpha, all times two minus one
    torch.testing.assert_close(picture[0, :, 0, 0], torch.tensor([0.75, 0.5, 1.0, -0.5]))


def test_a_batch_has_its_shapes_and_ranges(bank: MeshBank) -> None:
    torch.manual_seed(1)
    views = ViewSource(bank, CONFIG).draw(6)
    assert views.picture.shape == (6, 4, 32, 32)
    assert views.targets.shape == (6, 5, 4, 32, 32)
    assert len(views.cameras) == 30
    for pictures in (views.picture, views.targets.flatten(0, 1)):
        assert float(pictures.min()) >= -1
        assert float(pictures.max()) <= 1
        empty = pictures[:, 3] == -1
        assert bool((pictures[:, :3].amin(1)[empty] == 1).all()), "white where there is nothing"
        shown = (pictures[:, 3] > 0).flatten(1).float().mean(1)
        assert float(shown.min()) > 0.01, "something is in every picture"
    assert float(views.elevation.min()) >= -10
    assert float(views.elevation.max()) <= 40
    elevation = views.cameras.elevation.view(6, 5)
    torch.testing.assert_close(elevation[:, :3], torch.full((6, 3), 30.0), atol=1e-3, rtol=0)
    assert float(elevation[:, 3:].min()) >= -10.001
    assert float(elevation[:, 3:].max()) <= 60.001
    azimuth = views.cameras.azimuth.view(6, 5)[:, :3]
    away = (azimuth - views.ring_index * 22.5 + 180) % 360 - 180
    assert float(away.abs().max()) < 1e-2
    assert all(len(set(row)) == 3 for row in views.ring_index.tolist())


def test_the_whole_ring_comes_in_order(bank: MeshBank) -> None:
    config = ViewsConfig(size=16, free_views=0, supersample=1)
    views = ViewSource(bank, config).draw(2)
    assert views.ring_index.tolist() == [list(range(16))] * 2
    assert views.targets.shape == (2, 16, 4, 16, 16)


def test_the_same_seed_gives_the_same_batch(bank: MeshBank) -> None:
    source = ViewSource(bank, CONFIG)
    torch.manual_seed(7)
    first, other = source.draw(3), source.draw(3)
    torch.manual_seed(7)
    again = source.draw(3)
    assert torch.equal(first.picture, again.picture)
    assert torch.equal(first.targets, again.targets)
    assert not torch.equal(first.targets, other.targets)


def test_models_of_weight_zero_are_not_drawn(bank: MeshBank) -> None:
    config = ViewsConfig(size=16, ring_views=1, free_views=0, combine=0.0, supersample=1)
    drawn: list[int] = []
    source = ViewSource(bank, config, torch.tensor([0.0, 1.0]))
    original = bank.batch

    def spy(models: torch.Tensor, poses: torch.Tensor) -> Any:
        drawn.extend(models.tolist())
        return original(models, poses)

    bank.batch = spy  # type: ignore[method-assign]
    try:
        source.draw(8)
    finally:
        del bank.batch
    assert drawn == [1] * 8


def test_motion_has_its_ends_at_time_0_and_1(bank: MeshBank, monkeypatch: pytest.MonkeyPatch) -> None:
    """A box that moves evenly, undeformed: the middle's vertices lie halfway, its camera at `time`."""
    seen: dict[str, Any] = {}

    def spy(batch: Any, cameras: Cameras, *rest: Any, **more: Any) -> torch.Tensor:
        seen.update(batch=batch, cameras=cameras)
        return original(batch, cameras, *rest, **more)

    original = module.render_meshes
    plain = torch.tensor([1.0, 1, 1, 0, 0, 0])
    monkeypatch.setattr(module, "render_meshes", spy)
    monkeypatch.setattr(module, "_random_deformation", lambda n, device, augment: plain.expand(n, 6))
    torch.manual_seed(3)
    source = ViewSource(bank, ViewsConfig(size=32, combine=0.0, supersample=1), torch.tensor([0.0, 1.0]))
    n = 24
    motion = source.draw_motion(n)
    for picture in (motion.start, motion.middle, motion.end):
        assert picture.shape == (n, 4, 32, 32)
        assert float(picture.min()) >= 0
        assert bool((picture[:, :3] <= picture[:, 3:] + 1e-6).all()), "premultiplied"
    vertices = seen["batch"].vertices.view(3, n, 8, 3)
    moved = (vertices[2] - vertices[0]).flatten(1).norm(dim=1) > 1e-3
    assert 0 < int(moved.sum()) < n
    assert bool((motion.time[moved] == 0.5).all())
    torch.testing.assert_close(vertices[1], (vertices[0] + vertices[2]) / 2, atol=1e-5, rtol=0)
    assert float(motion.time.min()) >= 0.1
    assert float(motion.time.max()) <= 0.9
    azimuth = ((seen["cameras"].azimuth + 180) % 360 - 180).view(3, n)
    assert float(azimuth[0].abs().max()) < 1e-3
    assert float(azimuth[2].abs().max()) > 5
    torch.testing.assert_close(azimuth[1], azimuth[2] * motion.time, atol=1e-2, rtol=0)
    still = ~moved & (azimuth[2].abs() < 1e-3)
    torch.testing.assert_close(motion.start[still], motion.end[still])


def test_degrading_keeps_the_range_and_most_of_the_picture() -> None:
    torch.manual_seed(0)
    picture = torch.rand(40, 4, 16, 16) * 2 - 1
    worse = degrade(picture)
    assert float(worse.abs().max()) <= 1
    same = (worse == picture).flatten(1).all(1)
    assert 4 <= int(same.sum()) <= 24  # blur on half of them, noise on 0.4: 0.3 of them stay as they are
