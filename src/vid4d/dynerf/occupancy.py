"""Occupancy grid: cells of the box that hold something at any time, so that rays skip the rest."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from vid4d.dynerf.field import CascadeField

BOX_DIAGONAL = 2 * math.sqrt(3)


class OccupancyGrid(nn.Module):
    """Cells over space only, occupied where the field was dense at any of the times it was asked about.

    A cell keeps a fading maximum of density * step, of all levels, at random places and times; it is occupied
    above `threshold`, or above the mean of all cells where that is less (a field that has hardly begun would
    have no occupied cells). Starts with every cell occupied. Part of a checkpoint (`state_dict`).

    Source: Instant-NGP (2201.05989, appendix C); Consistent4D's sizes.
    """

    density: Float[Tensor, " cells"]
    occupied: Bool[Tensor, " cells"]
    bounds: Float[Tensor, "2 3"]

    def __init__(
        self,
        resolution: int = 32,
        *,
        samples: int = 256,
        threshold: float = 0.01,
        decay: float = 0.95,
        margin: int = 0,
    ) -> None:
        """resolution: cells along an edge. samples: along the box's diagonal, which give the step.

        margin: neighbours so many cells away are occupied, too, for surfaces that shall grow; 1 needs about
            half as many samples more.
        """
        super().__init__()
        self.resolution, self.threshold, self.decay, self.margin = resolution, threshold, decay, margin
        self.step = BOX_DIAGONAL / samples
        self.register_buffer("density", torch.zeros(resolution**3))
        self.register_buffer("occupied", torch.ones(resolution**3, dtype=torch.bool))
        self.register_buffer("bounds", torch.tensor([[-1.0] * 3, [1.0] * 3]))

    @torch.no_grad()
    def update(
        self,
        field: CascadeField,
        generator: torch.Generator | None = None,
        *,
        draws: int = 4,
        chunk: int = 1 << 18,
    ) -> None:
        """Asks the field at `draws` random places of every cell, each in another part of the clip.

        To be called every few steps; with many draws before the last pictures, which finds cells that things
        only brush.
        """
        self.density *= self.decay
        lower = self._corners()
        for draw in range(draws):
            noise = uniform_noise((len(lower), 4), generator, lower.device)
            points = lower + noise[:, :3] * (2 / self.resolution)
            time = field.time_coordinate((draw + noise[:, 3]) / draws)
            for i in range(0, len(lower), chunk):
                density = field.density(points[i : i + chunk], time[i : i + chunk]).amax(0) * self.step
                part = self.density[i : i + chunk]
                part.copy_(torch.maximum(part, density.to(part.dtype)))
        dense = self.density > self.density.mean().clamp(max=self.threshold)
        if self.margin > 0:
            cells = dense.float().view(1, 1, *(3 * [self.resolution]))
            dense = F.max_pool3d(cells, 2 * self.margin + 1, 1, self.margin).flatten() > 0
        self.occupied.copy_(dense)
        self._measure()

    def occupy(self, where: Bool[Tensor, "r r r"]) -> None:
        """Sets the occupied cells; dimensions are x, y, z."""
        self.occupied.copy_(where.flatten())
        self._measure()

    def at(self, points: Float[Tensor, "*n 3"]) -> Bool[Tensor, "*n"]:
        """Occupancy at places of the box; places outside belong to the nearest cell."""
        r = self.resolution
        cell = ((points + 1) * (r / 2)).clamp_(0, r - 1).int()
        return self.occupied[(cell[..., 0] * r + cell[..., 1]) * r + cell[..., 2]]

    def _corners(self) -> Float[Tensor, "cells 3"]:
        axis = torch.arange(self.resolution, device=self.density.device) * (2 / self.resolution) - 1
        return torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), -1).reshape(-1, 3)

    def _measure(self) -> None:
        """The smallest box around the occupied cells; a box without volume where there are none."""
        r = self.resolution
        cells = self.occupied.view(r, r, r)
        for axis in range(3):
            others = [i for i in range(3) if i != axis]
            used: Int[Tensor, " r"] = cells.any(others[1]).any(others[0]).int()
            first, last = used.argmax(), r - used.flip(0).argmax()
            none = used.sum() == 0
            self.bounds[0, axis] = torch.where(none, 0.0, first * (2 / r) - 1)
            self.bounds[1, axis] = torch.where(none, 0.0, last * (2 / r) - 1)


def uniform_noise(shape: tuple[int, ...], generator: torch.Generator | None, device: torch.device) -> Tensor:
    """Uniform in [0, 1), drawn where the generator lives."""
    where = device if generator is None else generator.device
    return torch.rand(shape, generator=generator, device=where).to(device)
