"""Triton kernels from the parameters of 4D Gaussians to covariances and opacities, and back.

A program takes a block of splats; 4 x 4 matrices are rows of 16 numbers. Covariances are stored number by
number (16 rows of n), so that neighboring threads of later kernels read neighboring numbers.
"""

from __future__ import annotations

import triton
import triton.language as tl

EPS = tl.constexpr(1e-12)
"""Smallest length of a quaternion, as `torch.nn.functional.normalize` has it."""


@triton.jit
def _unit16(quats, n, inside, column):
    """Unit quaternions, component `column` of each, and their lengths; every component comes four times."""
    q = tl.load(quats + n[:, None] * 4 + column[None, :], mask=inside[:, None], other=1.0)
    length = tl.maximum(tl.sqrt(tl.sum(q * q, axis=1) / 4), EPS)
    return q / length[:, None], length


@triton.jit
def _factor(log_scales, left, right, table, n, inside):
    """Unit quaternions, rotation and standard deviations of a block; each (block, 16)."""
    c = tl.arange(0, 16)
    unit_left, length_left = _unit16(left, n, inside, c // 4)
    unit_right, length_right = _unit16(right, n, inside, c % 4)
    basis = tl.load(table + c[:, None] * 16 + c[None, :])
    rotation = tl.dot(unit_left * unit_right, basis, input_precision="ieee")
    address = log_scales + n[:, None] * 4 + (c % 4)[None, :]
    scales = tl.exp(tl.load(address, mask=inside[:, None], other=0.0))
    return unit_left, length_left, unit_right, length_right, rotation, scales


@triton.jit(do_not_specialize=["count"])
def shape_kernel(log_scales, left, right, logits, table, covariances, opacities, count, BLOCK: tl.constexpr):
    """Covariances R S S^T R^T and opacities of a block of splats (2310.10642, equation 8).

    table: (16, 16), of `model._rotation_basis`. covariances: (16, count).
    """
    n = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    c = tl.arange(0, 16)
    inside = n < count
    _, _, _, _, rotation, scales = _factor(log_scales, left, right, table, n, inside)
    factor = tl.reshape(rotation * scales, [BLOCK, 4, 4])
    square = tl.sum(factor[:, :, None, :] * factor[:, None, :, :], axis=3)
    address = covariances + c[None, :].to(tl.int64) * count + n[:, None]
    tl.store(address, tl.reshape(square, [BLOCK, 16]), mask=inside[:, None])
    opacity = tl.sigmoid(tl.load(logits + n, mask=inside, other=0.0))
    tl.store(opacities + n, opacity, mask=inside)


@triton.jit
def _store_quats(out, grad, quats, length, n, inside):
    """Gradients of quaternions from those of the unit quaternions (block, 4)."""
    c = tl.arange(0, 4)
    address = n[:, None] * 4 + c[None, :]
    unit = tl.load(quats + address, mask=inside[:, None], other=1.0) / length[:, None]
    along = tl.sum(grad * unit, axis=1)
    tl.store(out + address, (grad - unit * along[:, None]) / length[:, None], mask=inside[:, None])


@triton.jit(do_not_specialize=["count"])
def shape_backward_kernel(
    log_scales,
    left,
    right,
    opacities,
    table,
    grad_covariances,
    grad_opacities,
    grad_log_scales,
    grad_left,
    grad_right,
    grad_logits,
    count,
    BLOCK: tl.constexpr,
):
    """Gradients of a block's parameters from those of covariances (symmetric) and opacities."""
    n = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    c = tl.arange(0, 16)
    inside = n < count
    unit_left, length_left, unit_right, length_right, rotation, scales = _factor(
        log_scales, left, right, table, n, inside
    )
    factor = tl.reshape(rotation * scales, [BLOCK, 4, 4])
    address = grad_covariances + c[None, :].to(tl.int64) * count + n[:, None]
    grad = tl.reshape(tl.load(address, mask=inside[:, None], other=0.0), [BLOCK, 4, 4])
    grad_factor = 2 * tl.sum(grad[:, :, :, None] * factor[:, None, :, :], axis=2)
    by_scale = tl.sum(grad_factor * factor, axis=1)
    columns = n[:, None] * 4 + tl.arange(0, 4)[None, :]
    tl.store(grad_log_scales + columns, by_scale, mask=inside[:, None])

    basis = tl.load(table + c[None, :] * 16 + c[:, None])  # transposed
    by_rotation = tl.reshape(grad_factor, [BLOCK, 16]) * scales
    by_product = tl.dot(by_rotation, basis, input_precision="ieee")
    by_left = tl.sum(tl.reshape(by_product * unit_right, [BLOCK, 4, 4]), axis=2)
    by_right = tl.sum(tl.reshape(by_product * unit_left, [BLOCK, 4, 4]), axis=1)
    _store_quats(grad_left, by_left, left, length_left, n, inside)
    _store_quats(grad_right, by_right, right, length_right, n, inside)

    opacity = tl.load(opacities + n, mask=inside, other=0.0)
    by_opacity = tl.load(grad_opacities + n, mask=inside, other=0.0)
    tl.store(grad_logits + n, by_opacity * opacity * (1 - opacity), mask=inside)
