"""Ray marching by the kernels of `march_kernels`, with a gradient."""

from __future__ import annotations

import math
from collections.abc import Callable
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
    """Samples of r rays, one ray after the other. rays: how many have any."""

    points: Float[Tensor, "m 3"]
    time: Float[Tensor, " m"]
    direction: Float[Tensor, "m 3"]
    length: Float[Tensor, " m"]
    starts: Int[Tensor, " r"]
    counts: Int[Tensor, " r"]
    rays: int


@torch.no_grad()
def find_samples(
    origin: Float[Tensor, "r 3"],
    direction: Float[Tensor, "r 3"],
    time: Float[Tensor, " r"],
    shift: Float[Tensor, " r"],
    grid: OccupancyGrid | None,
    density: Callable[[Tensor, Tensor], Float[Tensor, "levels m"]],
    step: float,
    early_stop: float,
) -> Packed:
    """Samples in occupied cells that are not hidden, as `march.find_samples`; waits for the device twice."""
    rays = len(time)
    # without a grid its place is taken by something that is not read
    bounds, cells = (shift, shift) if grid is None else (grid.bounds, grid.occupied.view(torch.uint8))
    resolution = 1 if grid is None else grid.resolution
    tensors = (*(x.contiguous() for x in (origin, direction, time, shift)), bounds, cells)

    def fill(counts: Tensor) -> Packed:
        ends = counts.cumsum(0, dtype=torch.int32)
        starts = ends - counts
        total, densities = torch.stack([ends[-1], (counts > 0).sum()]).tolist() if rays else (0, 0)
        wide, narrow = origin.new_empty(2, total, 3), origin.new_empty(2, total)
        out = Packed(wide[0], narrow[0], wide[1], narrow[1], starts, counts, densities)
        launch(out, fill=True)
        return out

    def launch(out: Packed, *, fill: bool) -> None:
        sizes = (out.points, out.time, out.direction, out.length, resolution, step, grid is not None)
        if rays:
            kernel = march_kernels.samples_kernel[(rays,)]
            on_device_of(
                origin,
                lambda: kernel(*tensors, out.starts, out.counts, *sizes, fill, SAMPLES, num_warps=1),
            )

    counts = torch.empty(rays, dtype=torch.int32, device=origin.device)
    launch(Packed(origin, time, origin, time, counts, counts, 0), fill=False)
    packed = fill(counts)
    if early_stop <= 0 or packed.rays == 0:
        return packed
    densities = density(packed.points, packed.time).contiguous()
    n_visible = torch.empty_like(counts)
    rest = (len(packed.time), step, -math.log(early_stop), len(densities), SAMPLES)
    on_device_of(
        origin,
        lambda: march_kernels.visible_kernel[(rays,)](
            densities, packed.starts, packed.counts, n_visible, *rest, num_warps=1
        ),
    )
    return fill(n_visible)


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
