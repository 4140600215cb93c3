"""Training of the frustum volume: what a batch holds agrees with itself, and the losses' laws."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from mesh_shapes import box, moving_box
from tiny_frustum import TINY

from vid4d.priors.frustum.network import FrustumVolume
from vid4d.training.frustum import (
    FrustumBatch,
    FrustumLossConfig,
    FrustumSource,
    frustum_loss,
    overlap_loss,
    silhouettes,
    thinness_weight,
)
from vid4d.training.meshes import MeshBank
from vid4d.training.trainer import SideStream, Trainer, TrainerConfig
from vid4d.training.views import ViewsConfig, ViewSource

CONFIG = replace(TINY, volume_size=36)
TERMS = FrustumLossConfig(mask_size=24, samples=48, color_points=256, depth_size=64)


@pytest.fixture(scope="module")
def source() -> FrustumSource:
    bank = MeshBank([box((0, 0, 0), (0.2, 0.3, 0.4)), moving_box()])
    return FrustumSource(ViewSource(bank, ViewsConfig(size=64, combine=0, augment=0)), CONFIG, TERMS)


@pytest.fixture(scope="module")
def batch(source: FrustumSource) -> FrustumBatch:
    torch.manual_seed(4)
    return source.draw(3)


def test_true_volumes_have_the_true_silhouettes(batch: FrustumBatch) -> None:
    alpha = silhouettes(batch.occupancy.float()[:, None], batch.rays, TERMS.mask_views, TERMS)
    loss = overlap_loss(alpha.flatten(0, 1), batch.mask.flatten(0, 1).flatten(1))
    assert float(loss.max()) < 0.06
    other = overlap_loss(alpha.flatten(0, 1), batch.mask.flatten(0, 1).flatten(1).roll(1, 0))
    assert float(other.mean()) > 2 * float(loss.mean()), "and not those of other views"


def test_colored_points_lie_on_the_volumes_surface(batch: FrustumBatch) -> None:
    volume = batch.occupancy.float()[:, None]
    padded = torch.nn.functional.max_pool3d(volume, 3, 1, 1)
    at = batch.points[:, None, None]
    near = torch.nn.functional.grid_sample(padded, at, mode="nearest", align_corners=False)[:, 0, 0, 0]
    assert float((near[batch.hit] > 0.3).float().mean()) > 0.95
    assert float(batch.hit.float().mean()) > 0.03


def test_mirrored_twice_is_the_same_and_once_is_true_as_well(batch: FrustumBatch) -> None:
    again = batch.mirrored().mirrored()
    torch.testing.assert_close(again.picture, batch.picture)
    torch.testing.assert_close(again.rays, batch.rays)
    mirrored = batch.mirrored()
    assert not torch.equal(mirrored.picture, batch.picture)
    alpha = silhouettes(mirrored.occupancy.float()[:, None], mirrored.rays, TERMS.mask_views, TERMS)
    assert float(overlap_loss(alpha.flatten(0, 1), batch.mask.flatten(0, 1).flatten(1)).max()) < 0.06


def test_every_second_batch_is_the_mirror_image(source: FrustumSource) -> None:
    source.last = None
    first, second, third = source.draw(2), source.draw(2), source.draw(2)
    torch.testing.assert_close(second.picture, first.picture.flip(3))
    assert not torch.allclose(third.picture, first.picture)
    source.last = None


def test_overlap_by_hand() -> None:
    truth = torch.tensor([[1.0, 1.0, 0.0, 0.0]])
    assert float(overlap_loss(truth, truth)) == pytest.approx(0, abs=1e-6)
    half = torch.tensor([[1.0, 0.0, 0.0, 0.0]])
    assert float(overlap_loss(half, truth)) == pytest.approx(1 - (2 + 1) / (1 + 2 + 1))
    soft = torch.full((1, 4), 0.5)
    assert float(overlap_loss(soft, soft)) == pytest.approx(0, abs=1e-6), "soft truth is met exactly"
    weight = torch.tensor([[3.0, 1.0, 1.0, 1.0]])
    assert float(overlap_loss(half, truth, weight)) == pytest.approx(1 - (6 + 1) / (3 + 4 + 1))


def test_thin_parts_weigh_more_than_the_inside_of_thick_ones() -> None:
    truth = torch.zeros(1, 1, 27, 27, 27)
    truth[..., :12] = 1
    truth[..., 13, 13, 22] = 1
    weight = thinness_weight(truth, 2.0)
    assert float(weight[..., 13, 13, 4]) == pytest.approx(1), "deep inside"
    assert float(weight[..., 13, 13, 22]) == pytest.approx(1 + 2 * (1 - 1 / 729)), "a voxel alone among 9^3"
    assert float(weight[..., 13, 13, 25]) == pytest.approx(1), "empty"


def test_a_few_steps_of_training_find_more_of_the_shape(source: FrustumSource, tmp_path: Path) -> None:
    torch.manual_seed(0)
    source.last = None
    kept = source.draw(2)
    network = FrustumVolume(CONFIG)
    loss = frustum_loss(network, SideStream(lambda: kept, torch.device("cpu")), torch.device("cpu"), TERMS)
    torch.manual_seed(1)
    _, before = loss(0)
    config = TrainerConfig(steps=40, lr=1e-2, warmup=3, log_every=100)
    Trainer(network, loss, config, tmp_path, ("stem", "to_tokens", "leave", "to_cells")).run()
    torch.manual_seed(1)
    _, after = loss(40)
    for name in ("overlap", "entropy"):
        assert after[name] < 0.8 * before[name], name
    assert after["silhouette"] < before["silhouette"]
