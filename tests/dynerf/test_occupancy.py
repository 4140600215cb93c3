"""Occupancy grid: the cells that are taken for occupied."""

from __future__ import annotations

import torch
from toy_fields import ToyField, ball

from vid4d.dynerf import CascadeField, OccupancyGrid


def test_everything_is_occupied_at_first():
    grid = OccupancyGrid(8)
    assert bool(grid.occupied.all())
    assert grid.bounds.tolist() == [[-1.0] * 3, [1.0] * 3]


def test_finds_what_is_there_at_any_time():
    """A ball that flies along x: its whole way is occupied, and little else."""

    def way(time: torch.Tensor) -> torch.Tensor:
        return torch.stack([0.6 * time, 0 * time, 0 * time], -1)

    toy, grid = ToyField(ball(way, 0.2, 60.0)), OccupancyGrid(16)
    generator = torch.Generator().manual_seed(0)
    for _ in range(16):
        grid.update(toy, generator)
    for x in (-0.6, -0.2, 0.0, 0.3, 0.6):
        assert bool(grid.at(torch.tensor([[x, 0.0, 0.0]])))
    assert not bool(grid.at(torch.tensor([[0.0, 0.5, 0.0], [0.0, 0.0, -0.9], [-0.95, 0.0, 0.0]])).any())
    lower, upper = grid.bounds
    assert lower[0] <= -0.75
    assert upper[0] >= 0.75
    assert lower[1:].max() <= -0.125
    assert lower[1:].min() >= -0.5


def test_bounds_are_those_of_the_cells():
    grid = OccupancyGrid(8)
    cells = torch.zeros(8, 8, 8, dtype=torch.bool)
    cells[2, 3, 7] = cells[4, 3, 6] = True
    grid.occupy(cells)
    assert grid.bounds.tolist() == [[-0.5, -0.25, 0.5], [0.25, 0.0, 1.0]]
    inside = torch.tensor([[-0.4, -0.1, 0.9], [0.1, -0.2, 0.6], [0.1, -0.2, 0.9], [-0.4, -0.1, 5.0]])
    assert grid.at(inside).tolist() == [True, True, False, True]
    grid.occupy(torch.zeros_like(cells))
    assert grid.bounds.abs().sum() == 0


def test_neighbours_within_the_margin_are_occupied():
    toy = ToyField(ball([0.0, 0.0, 0.0], 0.3, 60.0))
    plain, wide = OccupancyGrid(8), OccupancyGrid(8, margin=1)
    for grid in (plain, wide):
        grid.update(toy, torch.Generator().manual_seed(0))
    assert plain.bounds.tolist() == [[-0.5] * 3, [0.5] * 3]
    assert wide.bounds.tolist() == [[-0.75] * 3, [0.75] * 3]
    assert bool(wide.occupied[plain.occupied].all())


def test_cells_that_became_empty_are_forgotten():
    grid = OccupancyGrid(8)
    generator = torch.Generator().manual_seed(0)
    grid.update(ToyField(ball([0.0, 0.0, 0.0], 0.9, 5.0)), generator)
    many = int(grid.occupied.sum())
    for _ in range(100):
        grid.update(ToyField(ball([0.0, 0.0, 0.0], 0.3, 5.0)), generator)
    assert int(grid.occupied.sum()) < 0.3 * many


def test_a_new_field_has_a_blob_and_a_checkpoint_brings_it_back():
    grid = OccupancyGrid(16)
    grid.update(CascadeField(), torch.Generator().manual_seed(0))
    assert 0.04 < grid.occupied.float().mean() < 0.2
    other = OccupancyGrid(16)
    other.load_state_dict(grid.state_dict())
    assert torch.equal(other.occupied, grid.occupied)
    assert torch.equal(other.bounds, grid.bounds)
