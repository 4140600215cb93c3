from dataclasses import replace

import pytest
import torch
from ellipsoids import COLORS, RADII, centres, matrix

from vid4d.cameras import Cameras
from vid4d.errors import InputError
from vid4d.gaussians import sh
from vid4d.gaussians.hull import (
    HullConfig,
    carve,
    facing_rotation,
    gaussians_from_hull,
    key_indices,
    key_spacing,
    surface,
)
from vid4d.gaussians.model import rotation4d


def distance(points, time):
    """How far points lie from the nearer ellipsoid's surface, roughly: in units of its radius minus one."""
    scaled = (points[:, None] - centres(time)) / RADII
    return (scaled.norm(dim=-1) - 1).abs().amin(1)


def occupied_points(grid, config):
    size = 2 * config.half_extent / grid.shape[0]
    return (grid.nonzero() + 0.5) * size - config.half_extent


def test_the_hull_holds_the_object_and_little_more():
    m = matrix(16, 1, 64)
    config = HullConfig(resolution=64, max_outlier_views=0.0)
    points = occupied_points(carve(m.images[:, 0, ..., 3], m.cameras, config), config)
    truth = 4 / 3 * torch.pi * RADII.prod(-1).sum()
    volume = len(points) * (2 * 0.62 / 64) ** 3
    assert 0.97 < volume / truth < 1.5
    inside = ((points[:, None] - centres(0.0)) / RADII).norm(dim=-1).amin(1)
    assert inside.max() < 2.0


def test_one_wrong_view_does_not_carve_everything_away():
    m = matrix(16, 1, 48)
    masks = m.images[:, 0, ..., 3].clone()
    config = HullConfig(resolution=48)
    before = carve(masks, m.cameras, config).sum()
    masks[5] = 0
    assert carve(masks, m.cameras, config).sum() > 0.9 * before
    assert carve(masks, m.cameras, replace(config, max_outlier_views=0.0)).sum() == 0


def test_splats_lie_on_the_surface_with_its_colors_and_normals():
    m = matrix(16, 3, 64)
    g = gaussians_from_hull(m, HullConfig(splats=500, min_splats=0))
    assert 1400 <= len(g) <= 1500
    for k, time in enumerate(m.times.tolist()):
        own = g.select(g.means[:, 3] == m.times[k])
        assert len(own) > 400
        # The blue ball moves, so its splats must be where it is at that time.
        ball = own.means[:, 2] > 0.16
        assert distance(own.means[ball, :3], time).median() < 0.15
        rgb = sh.to_rgb(own.sh[ball, 0, 0])
        assert (rgb - COLORS[1]).abs().amax(-1).median() < 0.25
        outward = own.means[ball, :3] - centres(time)[1]
        flat = own.covariance4d()[ball, :3, :3]
        along = torch.einsum("ni,nij,nj->n", outward, flat, outward) / (outward**2).sum(-1)
        assert (along < flat.diagonal(dim1=1, dim2=2).amax(-1)).float().mean() > 0.9


def test_nothing_hangs_below_an_object_that_is_only_seen_from_above(monkeypatch):
    """The hull of a flat disc seen from elevation 30 is a cone that reaches 0.18 below its centre."""
    monkeypatch.setattr("ellipsoids.RADII", torch.tensor([[0.3, 0.3, 0.05], [0.1, 0.1, 0.1]]))
    m = matrix(16, 1, 64)
    config = HullConfig(resolution=64, min_splats=0)
    points = occupied_points(carve(m.images[:, 0, ..., 3], m.cameras, config), config)
    assert points[:, 2].min() < -0.1 - 0.14
    kept = surface(m.images[:, 0], m.cameras, config, 100_000, torch.Generator()).points
    assert -0.1 - 0.1 < kept[:, 2].min() < -0.1
    assert abs(kept[:, 2].max() - 0.35) < 0.03
    assert kept[:, :2].norm(dim=-1).max() > 0.27


def test_splats_of_one_key_time_are_gone_at_the_next():
    m = matrix(12, 3, 48)
    g = gaussians_from_hull(m, HullConfig(splats=200, min_splats=0))
    own = g.means[:, 3] == 0.5
    assert (g.at(0.5).opacities[own] > 0.6).all()
    assert (g.at(0.0).opacities[own] == 0).all()
    assert (g.at(0.25).opacities[own] > 0.2).all()


def test_the_first_splats_of_a_loop_are_there_before_its_end():
    m = replace(matrix(12, 3, 48), times=torch.arange(3) / 3, cyclic=True)
    g = gaussians_from_hull(m, HullConfig(splats=200, min_splats=0))
    first = g.means[:, 3] == 0
    assert (g.at(5 / 6).opacities[first] > 0.2).all()
    assert (g.at(2 / 3).opacities[first] == 0).all()
    assert torch.equal(g.at(1.0).opacities > 0, first)


def test_key_times_lie_evenly_round_a_loop():
    m = replace(matrix(12, 4, 48), times=torch.arange(4) / 4, cyclic=True)
    g = gaussians_from_hull(m, HullConfig(splats=100, min_splats=0, key_times=2, overlap=0.3))
    assert g.means[:, 3].unique().tolist() == [0, 0.5]
    assert torch.allclose(g.covariance4d()[:, 3, 3].sqrt(), torch.tensor(0.15))


def test_a_single_time_lasts_for_ever():
    g = gaussians_from_hull(matrix(12, 1, 48), HullConfig(splats=300, min_splats=0))
    assert (g.at(1.0).opacities > 0.69).all()


def test_facing_rotation_turns_z_into_the_normal():
    normals = torch.nn.functional.normalize(
        torch.randn(50, 3, generator=torch.Generator().manual_seed(0)), dim=-1
    )
    normals = torch.cat([normals, torch.tensor([[0.0, 0, 1], [0, 0, -1], [1, 0, 0]])])
    q = facing_rotation(normals)
    rotation = rotation4d(q, q)
    assert torch.allclose(rotation[:, :3, 2], normals, atol=1e-5)
    assert torch.allclose(rotation[:, 3, 3], torch.ones(53), atol=1e-5)


def test_key_indices_keep_the_ends():
    assert key_indices(5, 8) == [0, 1, 2, 3, 4]
    assert key_indices(29, 5) == [0, 7, 14, 21, 28]
    assert key_indices(32, 4, cyclic=True) == [0, 8, 16, 24]
    assert key_indices(3, 4, cyclic=True) == [0, 1, 2]
    assert key_indices(5, 1) == key_indices(5, 1, cyclic=True) == [2]


def test_key_spacing_counts_the_way_from_the_end_of_a_loop_to_its_beginning():
    times = torch.arange(8) / 8
    assert key_spacing(times, 4, cyclic=True) == pytest.approx(0.25)
    assert key_spacing(times[:7], 7, cyclic=True) == pytest.approx(0.25)
    assert key_spacing(torch.linspace(0, 1, 9), 5, cyclic=False) == pytest.approx(0.25)
    assert key_spacing(times, 1, cyclic=True) == 0


def test_masks_that_never_overlap_are_reported():
    m = matrix(8, 1, 48)
    images = torch.zeros_like(m.images)
    images[::2, :, 10:14, 20:28] = 1  # high in every other picture, low in the rest
    images[1::2, :, 34:38, 20:28] = 1
    with pytest.raises(InputError, match="do not overlap"):
        gaussians_from_hull(replace(m, images=images))


def test_same_seed_same_splats():
    m = matrix(8, 2, 32)
    a, b, c = (gaussians_from_hull(m, HullConfig(splats=50, min_splats=0), seed=s) for s in (1, 1, 2))
    assert torch.equal(a.means, b.means)
    assert not torch.equal(a.means, c.means)
    assert isinstance(m.cameras, Cameras)
