"""`SplatAdam.step` for one parameter in one Triton kernel: no list of rows, so no wait for the device."""

from __future__ import annotations

import triton
import triton.language as tl
from jaxtyping import Bool, Float, Int
from torch import Tensor

from vid4d.kernels import on_device_of

BLOCK = 512


@triton.jit(do_not_specialize=["count"])
def adam_kernel(
    parameter,
    gradient,
    mean,
    square,
    steps,
    visible,
    rate,
    count,
    beta_mean,
    beta_square,
    eps,
    COLUMNS: tl.constexpr,
    BY_COLUMN: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """One update of a block of numbers, COLUMNS to a row, in the rows that are visible.

    steps: of each row, this one included. rate: a number, or BY_COLUMN the address of one for each column.
    """
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    row = i // COLUMNS
    inside = i < count
    moved = inside & (tl.load(visible + row, mask=inside, other=0).to(tl.int32) != 0)
    g = tl.load(gradient + i, mask=moved, other=0.0)
    m = tl.load(mean + i, mask=moved, other=0.0)
    s = tl.load(square + i, mask=moved, other=0.0)
    step = tl.load(steps + row, mask=moved, other=1).to(tl.float32)
    m += (g - m) * (1 - beta_mean)
    s += (g * g - s) * (1 - beta_square)
    fix_mean = 1 - tl.exp(step * tl.log(beta_mean + 0 * step))
    fix_square = 1 - tl.exp(step * tl.log(beta_square + 0 * step))
    update = (m / fix_mean) / (tl.sqrt(s / fix_square) + eps)
    if BY_COLUMN:
        update *= tl.load(rate + i % COLUMNS, mask=moved, other=0.0)
    else:
        update *= rate
    value = tl.load(parameter + i, mask=moved, other=0.0)
    tl.store(parameter + i, value - update, mask=moved)
    tl.store(mean + i, m, mask=moved)
    tl.store(square + i, s, mask=moved)


def adam(
    parameter: Float[Tensor, "n ..."],
    gradient: Float[Tensor, "n ..."],
    mean: Float[Tensor, "n ..."],
    square: Float[Tensor, "n ..."],
    steps: Int[Tensor, " n"],
    visible: Bool[Tensor, " n"],
    rate: float | Float[Tensor, "..."],
    betas: tuple[float, float],
    eps: float,
) -> None:
    """One update of the visible rows, in place; all contiguous.

    steps: of each row, this one included. rate: of all, or of each number of a row, contiguous.
    """
    count = parameter.numel()
    if count == 0:
        return
    arguments = (parameter, gradient.contiguous(), mean, square, steps, visible, rate, count, *betas, eps)
    kinds = (count // len(parameter), isinstance(rate, Tensor), BLOCK)
    on_device_of(parameter, lambda: adam_kernel[(-(-count // BLOCK),)](*arguments, *kinds))
