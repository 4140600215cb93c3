"""Structural dissimilarity of pictures as a loss, by the C kernel: value and gradient in one pass of rows."""

from __future__ import annotations

import ctypes
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from vid4d.compute.threads import free_threads
from vid4d.gaussians.raster import cpu
from vid4d.gaussians.raster.scene import plain
from vid4d.metrics.losses import SSIM_CONSTANTS, ssim_taps

BAND, BORDER, LANES, ROWS = 64, 16, 16, 42
"""Of cpu_ssim.h: rows of a band; zeros beside a row; numbers that are computed at a time; rows of scratch."""

_SIZES = ("n", "height", "width", "bands", "stride", "threads")
_POINTERS = ("taps", "x", "y", "confidence", "gradient", "losses", "scratch")


class _SsimArguments(ctypes.Structure):
    """`Ssim` of cpu_ssim.h."""

    _fields_ = (
        *((name, ctypes.c_int64) for name in _SIZES),
        *((name, ctypes.c_double) for name in ("c1", "c2")),
        *((name, ctypes.c_void_p) for name in _POINTERS),
    )


def ssim_loss(
    render: Float[Tensor, "b h w 3"],
    target: Float[Tensor, "b h w 3"],
    confidence: Float[Tensor, "b h w"] | None = None,
) -> Float[Tensor, ""]:
    """`photometric_loss` with `ssim_weight=1`, differentiable in the render alone.

    float32 on the CPU; see `cpu.serves`. The bytes of the result do not depend on the number of threads.
    """
    return _SsimLoss.apply(render, target, confidence)


class _SsimLoss(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, render: Tensor, target: Tensor, confidence: Tensor | None) -> Tensor:
        n, height, width = render.shape[:3]
        bands = -(-height // BAND)
        stride = 2 * BORDER + -(-3 * width // LANES) * LANES
        buffers: dict[str, Tensor | None] = {
            "taps": ssim_taps().float(),
            "x": plain(render),
            "y": plain(target),
            "confidence": None if confidence is None else plain(confidence),
            "gradient": torch.empty_like(render) if ctx.needs_input_grad[0] else None,
            "losses": torch.empty(n, bands, dtype=torch.float64),
            "scratch": torch.zeros(n, bands, ROWS, stride),
        }
        sizes = dict(zip(_SIZES, (n, height, width, bands, stride, free_threads()), strict=True))
        constants = dict(zip(("c1", "c2"), SSIM_CONSTANTS, strict=True))
        addresses = {name: None if t is None else t.data_ptr() for name, t in buffers.items()}
        cpu.kernel().call("ssim", _SsimArguments(**sizes, **constants, **addresses))
        ctx.save_for_backward(buffers["gradient"])
        losses = buffers["losses"]
        assert losses is not None
        ctx.share = 1 / (n * height * width)
        return (losses.sum() * ctx.share).float()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        (by_render,) = ctx.saved_tensors
        return (gradient * ctx.share) * by_render, None, None
