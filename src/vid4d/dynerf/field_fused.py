"""The cascade field by the kernels of `field_kernels`, with a gradient."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import triton
from jaxtyping import Float, Int
from torch import Tensor

from vid4d.dynerf import field_kernels
from vid4d.kernels import on_device_of

BLOCK, WARPS = 32, 4
"""Places that a program works on at a time, and warps that do it: more of the first need more registers."""

PROGRAMS = 132 * 8
"""Programs of the gradient, which add up weights before they write: some for every processor of a card."""


class LevelParameters(NamedTuple):
    """Parameters of one level, in the order of the kernels' arguments."""

    space: Float[Tensor, "3 c n n"]
    time: Float[Tensor, "3 c t n"]
    density_in: Float[Tensor, "h c"]
    density_out: Float[Tensor, "1 h"]
    color_in: Float[Tensor, "h c"]
    color_out: Float[Tensor, "3 h"]

    @property
    def points(self) -> tuple[int, int]:
        """Grid points along space and along time."""
        return self.space.shape[-1], self.time.shape[-2]

    @property
    def sizes(self) -> tuple[int, int, int, int]:
        """Channels and hidden units, and the tiles that hold them."""
        channels, width = self.space.shape[1], len(self.density_in)
        tiles = (max(16, triton.next_power_of_2(n)) for n in (channels, width))
        return channels, width, *tiles  # type: ignore[return-value]


class _Cascade(torch.autograd.Function):
    @staticmethod
    def forward(  # type: ignore[no-untyped-def]
        ctx, points, time, used, moves, colors, step, blob, *parameters
    ) -> tuple[Tensor, Tensor]:
        levels = _levels(parameters)
        count = len(points)
        density = points.new_empty(len(levels), moves, count)
        color = points.new_empty(len(levels), 3, count if colors else 0)
        grid, known = (triton.cdiv(count, BLOCK), moves), points if used is None else used
        for k, level in enumerate(levels):
            _launch(
                field_kernels.level_kernel,
                grid,
                (points, time, *level, density, color, known, count, *level.points, *blob),
                (step, k, colors, used is not None, *level.sizes, BLOCK),
            )
        ctx.save_for_backward(points, time, known, *parameters)
        ctx.settings = moves, colors, step, used is not None
        return density, color

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad_density, grad_color):  # type: ignore[no-untyped-def]
        points, time, known, *parameters = ctx.saved_tensors
        moves, colors, step, room = ctx.settings
        levels, count = _levels(parameters), len(points)
        grad_density, grad_color = grad_density.contiguous(), grad_color.contiguous()
        programs = min(PROGRAMS, triton.cdiv(count, BLOCK) * moves)
        gradients: list[Tensor] = []
        for k, level in enumerate(levels):
            level_grads = _zeros_like(level)
            _launch(
                field_kernels.level_gradient_kernel,
                (programs,),
                (
                    points,
                    time,
                    *level,
                    grad_density,
                    grad_color,
                    *level_grads,
                    known,
                    count,
                    moves,
                    *level.points,
                ),
                (step, k, len(levels), colors, room, *level.sizes, BLOCK),
            )
            gradients += level_grads
        return None, None, None, None, None, None, None, *gradients


def cascade(
    points: Float[Tensor, "n 3"],
    time: Float[Tensor, " n"],
    levels: Sequence[LevelParameters],
    *,
    neighbours: bool,
    colors: bool,
    step: float,
    blob: tuple[float, float],
    used: Int[Tensor, "1"] | None = None,
) -> tuple[Float[Tensor, "levels m"], Float[Tensor, "levels 3 k"]]:
    """Raw densities of places, then of their neighbours at x + step, x - step, y + step, ...; raw colors.

    Without neighbours m is n, else 7 n; k is n, or 0 without colors. blob: the density that is added in the
    middle, and its radius. used: how many of the places are there, on the device; results for the others are
    undefined. float32 only. Planes get a gradient in the layout that they have.
    """
    moves = 7 if neighbours else 1
    parameters = [x for level in levels for x in level]
    density, color = _Cascade.apply(
        points.contiguous(), time.contiguous(), used, moves, colors, step, (blob[0], 1 / blob[1]), *parameters
    )
    return density.flatten(1), color


def _levels(parameters: Sequence[Tensor]) -> list[LevelParameters]:
    """Their planes channels last, which those of a field on a graphics card are anyway."""
    count = len(LevelParameters._fields)
    levels = [LevelParameters(*parameters[i : i + count]) for i in range(0, len(parameters), count)]
    last = torch.channels_last
    return [
        x._replace(space=x.space.contiguous(memory_format=last), time=x.time.contiguous(memory_format=last))
        for x in levels
    ]


def _zeros_like(level: LevelParameters) -> LevelParameters:
    """Zeros in the same layouts, by one call; every part begins at a multiple of 16 bytes."""
    begins = [0]
    for x in level:
        begins.append(begins[-1] + -(-x.numel() // 4) * 4)
    flat = level.space.new_zeros(begins[-1])
    parts = zip(level, begins[:-1], strict=True)
    return LevelParameters(*(flat.as_strided(x.shape, x.stride(), begin) for x, begin in parts))


def _launch(
    kernel: Any, grid: tuple[int, ...], arguments: tuple[Any, ...], constants: tuple[Any, ...]
) -> None:
    """num_stages: loads are not held in shared memory ahead of their use, which would leave room for few."""
    if all(grid):
        on_device_of(
            arguments[0], lambda: kernel[grid](*arguments, *constants, num_warps=WARPS, num_stages=1)
        )
