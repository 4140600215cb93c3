"""Would 8-bit floats pay in the image matrix? Seconds and errors of its matrix products in them.

    python benchmarks/fp8_products.py            # a CUDA card of the Hopper kind or later
    python benchmarks/fp8_products.py --steps 20 # error after so many steps of UniPC

A SyncDreamer of the authors' size, random weights, 16 frames x 16 views. All `F.linear` and `addmm_` of a
step are counted by shape; each shape is timed in bfloat16 and by `torch._scaled_mm` in float8_e4m3fn, weights
rounded before, activations by a kernel of its own each time (`cast`, without its scales). Then pictures are
drawn from the same noise with these products in 8 bits (scales by row of both factors, which is the best
there is) and in bfloat16 with our kernels and without, and compared with those of float32.
"""

from __future__ import annotations

import argparse
import contextlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import torch
from prior_speed import random_prior
from raster import gpu_times
from torch import Tensor
from torch.nn import functional as F

from vid4d import kernels
from vid4d.priors.multiview_sampling import FullConfig, draw

EIGHT = torch.float8_e4m3fn
LARGEST = torch.finfo(EIGHT).max
Product = Callable[[Tensor, Tensor], Tensor]
"""Of rows m x k and a weight n x k: m x n."""


@contextlib.contextmanager
def products_by(product: Product) -> Iterator[None]:
    """`F.linear` and `addmm_` of 16-bit matrices that eight bits can take go through `product` meanwhile."""
    linear, addmm = F.linear, Tensor.addmm_

    def fits(rows: Tensor, weight: Tensor) -> bool:
        return rows.dtype == torch.bfloat16 and not (weight.shape[0] % 16 or weight.shape[1] % 16)

    def patched_linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        if not fits(x, weight) or x.numel() == 0:
            return linear(x, weight, bias)
        out = product(x.reshape(-1, x.shape[-1]), weight).view(*x.shape[:-1], -1)
        return out if bias is None else out + bias

    def patched_addmm(self: Tensor, rows: Tensor, weight: Tensor, **options: Any) -> Tensor:
        if options or not fits(rows, weight.T):
            return addmm(self, rows, weight, **options)
        return self.add_(product(rows, weight.T))

    F.linear, Tensor.addmm_ = patched_linear, patched_addmm  # type: ignore[assignment, method-assign]
    try:
        yield
    finally:
        F.linear, Tensor.addmm_ = linear, addmm  # type: ignore[method-assign]


def rounded(x: Tensor) -> tuple[Tensor, Tensor]:
    """8-bit rows and the scale of each, in float32."""
    scale = x.abs().amax(1, keepdim=True).float().clamp(min=1e-12) / LARGEST
    return (x / scale).to(EIGHT), scale


def in_eight(rows: Tensor, weight: Tensor) -> Tensor:
    """A product whose factors are rounded to 8 bits, row by row."""
    (a, scale_a), (b, scale_b) = rounded(rows), rounded(weight)
    return torch._scaled_mm(a, b.T, scale_a, scale_b.T.contiguous(), out_dtype=torch.bfloat16)


def timed(shape: tuple[int, int, int], runs: int) -> tuple[float, float, float]:
    """Milliseconds of a product: in bfloat16, in 8 bits, and of rounding its rows."""
    m, k, n = shape
    x, w = (torch.randn(size, k, device="cuda", dtype=torch.bfloat16) for size in (m, n))
    (a, scale_a), (b, scale_b) = rounded(x), rounded(w)
    scale_b = scale_b.T.contiguous()
    eight = gpu_times(lambda: torch._scaled_mm(a, b.T, scale_a, scale_b, out_dtype=torch.bfloat16), runs)[1]
    return gpu_times(lambda: F.linear(x, w), runs)[1], eight, gpu_times(lambda: x.to(EIGHT), runs)[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--frames", type=int, default=16)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--runs", type=int, default=20)
    args = parser.parse_args()
    if not torch.cuda.is_available() or torch.cuda.get_device_capability() < (9, 0):
        raise SystemExit("this needs an NVIDIA card that multiplies 8-bit floats")
    prior = random_prior("syncdreamer", False, "cuda", torch.bfloat16)
    frames = torch.rand(args.frames, 256, 256, 4, generator=torch.Generator().manual_seed(1))
    config = FullConfig(steps=1, sampler="unipc")
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}, {args.frames} frames x 16 views")

    found: Counter[tuple[int, int, int]] = Counter()

    def counted(rows: Tensor, weight: Tensor) -> Tensor:
        found[rows.shape[0], rows.shape[1], weight.shape[0]] += 1
        return rows @ weight.T

    def drawn(steps: int) -> Tensor:
        generator = torch.Generator().manual_seed(0)
        return draw(prior, frames, 10.0, replace(config, steps=steps), generator=generator).float()

    with products_by(counted):
        drawn(1)
    total = [0.0, 0.0, 0.0]
    print(f"{'m':>8} {'k':>6} {'n':>6} {'times':>6} {'bf16':>8} {'8 bits':>8} {'cast':>8}  ms each")
    for shape, count in sorted(
        found.items(), key=lambda item: -item[1] * item[0][0] * item[0][1] * item[0][2]
    ):
        times = timed(shape, args.runs)
        total = [t + count * x for t, x in zip(total, times, strict=True)]
        print(
            f"{shape[0]:8} {shape[1]:6} {shape[2]:6} {count:6} " + " ".join(f"{t:8.3f}" for t in times),
            flush=True,
        )
    print(
        f"a step and what is around it: bf16 {total[0]:.1f} ms, 8 bits {total[1]:.1f}, casts {total[2]:.1f}"
    )

    pictures = {"bfloat16": drawn(args.steps)}
    with products_by(in_eight):
        pictures["products in 8 bits"] = drawn(args.steps)
    kernels.enabled = False
    pictures["bfloat16, plain torch"] = drawn(args.steps)
    prior.float()
    exact = drawn(args.steps)
    for name, picture in pictures.items():
        off = (picture - exact).abs()
        mean, worst = 255 * float(off.mean()), 255 * float(off.max())
        print(f"{args.steps} steps, {name}: off {mean:.2f} of 255, worst {worst:.0f}")


if __name__ == "__main__":
    main()
