"""Compiles every Triton kernel of vid4d for an H100, which need not be there: prints their names.

A program of its own, because Triton compiles or interprets as TRITON_INTERPRET says when it is imported.
"""

from __future__ import annotations

from itertools import product
from typing import Any

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from vid4d.dynerf import field_kernels
from vid4d.dynerf.field_fused import BLOCK
from vid4d.priors import fused_kernels, fused_norm_kernels

HALVES = {"x", "y", "out", "add", "gradient", "weight", "bias", "query", "rays"}
FLOATS = {"moments", "sums"}
NUMBERS = {"one_over_count", "scale"}


KINDS = dict.fromkeys(HALVES, "*bf16") | dict.fromkeys(FLOATS, "*fp32") | dict.fromkeys(NUMBERS, "fp32")

FIELD_COUNTS = {"count", "moves", "size", "moments", "channels", "width"}
FIELD_NUMBERS = {"blob_density", "blob_rate"}


def compile_for_h100(kernel: Any, constants: dict[str, Any], kinds: dict[str, str] = KINDS) -> None:
    """kinds: of arguments; all others are whole numbers."""
    kinds = kinds | dict.fromkeys(constants, "constexpr")
    names = kernel.arg_names
    source = ASTSource(
        kernel,
        {name: kinds.get(name, "i32") for name in names},
        {(names.index(name),): value for name, value in constants.items()},
    )
    assert "ptx" in triton.compile(source, target=GPUTarget("cuda", 90, 32)).asm
    print(kernel.__name__)


if __name__ == "__main__":
    norm = fused_norm_kernels
    for add, chunk in product((False, True), (256, 1024)):
        shared = {"chunk": chunk, "HAS_ADD": add, "TILE": norm.TILE}
        compile_for_h100(norm._sums_kernel, shared)
        for activation in norm._ACTIVATIONS.values():
            for kernel in (norm._normalise_kernel, norm._gradient_sums_kernel, norm._gradient_kernel):
                compile_for_h100(kernel, {**shared, "ACTIVATION": activation})
    compile_for_h100(fused_kernels._plus_kernel, {"TILE": norm.TILE})
    compile_for_h100(fused_kernels._geglu_kernel, {"TILE": norm.TILE})
    compile_for_h100(fused_kernels._rays_kernel, {"HEADS": 4, "DEPTHS": 64, "WIDTH": 64})
    for kernel in (field_kernels.level_kernel, field_kernels.level_gradient_kernel):
        for level, colour in product((0, 1), (False, True)):
            sizes = {"STEP": 1e-3, "LEVEL": level, "LEVELS": 2, "COLOUR": colour, "BLOCK": BLOCK}
            sizes |= {"CHANNELS": 16, "WIDTH": 32}
            kinds = {x: "i32" if x in FIELD_COUNTS else "*fp32" for x in kernel.arg_names}
            kinds |= dict.fromkeys(FIELD_NUMBERS, "fp32")
            compile_for_h100(kernel, {k: v for k, v in sizes.items() if k in kernel.arg_names}, kinds)
