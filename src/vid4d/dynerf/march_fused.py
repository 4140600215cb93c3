"""Ray marching by the kernels of `march_kernels`, with a gradient."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from vid4d.dynerf import march_kernels
from vid4d.dynerf.occupancy import OccupancyGrid
from vid4d.kernels import on_device_of

SAMPLES = 128
"""Of a ray, that a program works on at a time."""


class Packed(NamedTuple):
    """Samples of r rays, one ray after the other. rays: how many have any.

    used: how many of the m there are, on the device, where room for m was set aside; then rays is there, too.
    """

    points: Float[Tensor, "m 3"]
    time: Float[Tensor, " m"]
    direction: Float[Tensor, "m 3"]
    length: Float[Tensor, " m"]
    starts: Int[Tensor, " r"]
    counts: Int[Tensor, " r"]
    rays: int | Int[Tensor, ""]
    used: Int[Tensor, "1"] | None = None


@dataclass(frozen=True, eq=False)
class RaysThrough:
    """Rays as `march.Rays`, through a grid that tells where to look."""

    origin: Float[Tensor, "r 3"]
    direction: Float[Tensor, "r 3"]
    time: Float[Tensor, " r"]
    shift: Float[Tensor, " r"]
    grid: OccupancyGrid | None
    step: float

    def launch(self, out: Packed, *, fill: bool) -> None:
        """Counts the samples of each ray, or with `fill` writes as many as are counted."""
        grid = self.grid
        # without a grid its place is taken by something that is not read
        bounds, cells = self.shift, self.shift
        if grid is not None:
            bounds, cells = grid.bounds, grid.occupied.view(torch.uint8)
        resolution = 1 if grid is None else grid.resolution
        rays = (x.contiguous() for x in (self.origin, self.direction, self.time, self.shift))
        tensors = (*rays, bounds, cells)
        sizes = (out.points, out.time, out.direction, out.length, resolution, self.step, grid is not None)
        if len(self.time):
            kernel = march_kernels.samples_kernel[(len(self.time),)]
            on_device_of(
                self.origin,
                lambda: kernel(*tensors, out.starts, out.counts, *sizes, fill, SAMPLES, num_warps=1),
            )

    def count(self) -> Int[Tensor, " r"]:
        """Samples of each ray in occupied cells."""
        counts = torch.empty(len(self.time), dtype=torch.int32, device=self.origin.device)
        self.launch(Packed(self.origin, self.time, self.origin, self.time, counts, counts, 0), fill=False)
        return counts

    def fill(self, counts: Int[Tensor, " r"], room: int | None) -> Packed:
        """The first `counts` samples of each ray. room: for so many; then the host need not know them."""
        ends = counts.cumsum(0, dtype=torch.int32)
        starts, hit = ends - counts, (counts > 0).sum()
        rays: int | Tensor
        if room is None:
            total, rays = torch.stack([ends[-1], hit]).tolist() if len(counts) else (0, 0)
            used = None
        else:
            total, rays, used = room, hit, ends[-1:].clamp(max=room)
            counts = torch.minimum(counts, (room - starts).clamp(min=0))
        wide, narrow = self.origin.new_empty(2, total, 3), self.origin.new_empty(2, total)
        out = Packed(wide[0], narrow[0], wide[1], narrow[1], starts, counts, rays, used)
        self.launch(out, fill=True)
        return out


@torch.no_grad()
def find_samples(
    rays: RaysThrough,
    density: Callable[[Tensor, Tensor, Tensor | None], Float[Tensor, "levels m"]],
    early_stop: float,
    room: int | None = None,
) -> Packed:
    """Samples in occupied cells that are not hidden, as `march.find_samples`.

    density: of places, times and how many of them there are. room: for so many samples; without, two waits
    for the device. Where there are more (`RaysThrough.count` tells beforehand) the last ones are missing.
    """
    packed = rays.fill(rays.count(), room)
    if early_stop <= 0 or (room is None and packed.rays == 0):
        return packed
    densities = density(packed.points, packed.time, packed.used).contiguous()
    n_visible = torch.empty_like(packed.counts)
    rest = (len(packed.time), rays.step, -math.log(early_stop), len(densities), SAMPLES)
    on_device_of(
        rays.origin,
        lambda: march_kernels.visible_kernel[(len(rays.time),)](
            densities, packed.starts, packed.counts, n_visible, *rest, num_warps=1
        ),
    )
    return rays.fill(n_visible, room)


class _Composite(torch.autograd.Function):
    @staticmethod
    def forward(ctx, density, features, length, starts, counts, step):  # type: ignore[no-untyped-def]
        levels, channels, samples = features.shape
        density, features = density.contiguous(), features.contiguous()
        value = density.new_empty(levels, channels + 2, len(starts))
        weight = torch.empty_like(density)
        ctx.save_for_backward(density, features, length, starts, counts)
        ctx.settings = (len(starts), samples, step, channels, SAMPLES)
        if len(starts):
            on_device_of(
                density,
                lambda: march_kernels.composite_kernel[(len(starts), levels)](
                    density, features, length, starts, counts, value, weight, *ctx.settings, num_warps=1
                ),
            )
        return value, weight

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad_value, grad_weight):  # type: ignore[no-untyped-def]
        density, features, *rest = ctx.saved_tensors
        grad_density, grad_features = torch.empty_like(density), torch.empty_like(features)
        gradients = (grad_value.contiguous(), grad_weight.contiguous(), grad_density, grad_features)
        if ctx.settings[0]:
            on_device_of(
                density,
                lambda: march_kernels.composite_gradient_kernel[(ctx.settings[0], len(density))](
                    density, features, *rest, *gradients, *ctx.settings, num_warps=1
                ),
            )
        return grad_density, grad_features, None, None, None, None


def composite(
    density: Float[Tensor, "levels m"],
    features: Float[Tensor, "levels c m"],
    packed: Packed,
    step: float,
) -> tuple[Float[Tensor, "levels c2 r"], Float[Tensor, "levels m"]]:
    """Composites samples to color (3), alpha, alpha * mean length, other features; and every sample's share.

    features: color and at most five others.
    """
    return _Composite.apply(density, features, packed.length, packed.starts, packed.counts, step)
