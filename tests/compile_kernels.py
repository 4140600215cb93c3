"""Compiles every Triton kernel of vid4d for an H100, which need not be there: prints their names.

A program of its own, because Triton compiles or interprets as TRITON_INTERPRET says when it is imported.
"""

from __future__ import annotations

from itertools import product
from typing import Any

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from vid4d.dynerf import field_kernels, march_kernels
from vid4d.dynerf.field_fused import BLOCK
from vid4d.dynerf.march_fused import SAMPLES
from vid4d.gaussians import adam_kernels
from vid4d.gaussians.raster import (
    blend_kernels,
    color_kernels,
    project_backward_kernels,
    project_kernels,
    shape_kernels,
)
from vid4d.gaussians.raster import triton as splat_raster
from vid4d.priors.layers import (
    fused_kernels,
    fused_norm_kernels,
    fused_ray_kernels,
    fused_transformer_kernels,
)
from vid4d.training import carving_kernels, mesh_render_kernels

HALVES = {"x", "y", "beside", "out", "add", "gradient", "weight", "bias", "query", "rays"}
FLOATS = {"moments", "sums"}
NUMBERS = {"one_over_count", "scale", "eps"}
SAMPLED = {"volume": "*bf16", "grid": "*fp32", "frame": "*i64", "place": "*i64"}

KINDS = dict.fromkeys(HALVES, "*bf16") | dict.fromkeys(FLOATS, "*fp32") | dict.fromkeys(NUMBERS, "fp32")

DYNERF = {
    "i32": {"count", "moves", "size", "moments", "resolution", "rays", "samples"},
    "fp32": {"blob_density", "blob_rate", "step", "most"},
    "*i32": {"starts", "counts", "kept", "used"},
    "*u8": {"occupied"},
}
"""What the arguments of a DyNeRF's kernels are; all others are `*fp32`."""


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


CARVING = dict.fromkeys(("depth", "pose", "points", "to_world", "out"), "*fp32") | {"focal": "fp32"}

RASTER = {
    **dict.fromkeys(("corner", "inverse", "uv"), "*fp32"),
    **dict.fromkeys(("face", "view", "texture_start", "texture_size", "keys"), "*i64"),
    **{"has_alpha": "*i1", "texels": "*u8"},
}

SPLATS = {
    "*i16": {"keys"},
    "*i32": {"ids", "owners", "touched"},
    "*i64": {"order", "ends", "starts", "places"},
    "i32": {"count", "pairs", "emit", "width", "height", "first_key", "tiles", "tiles_x", "views"},
    "fp32": {"period"},
}
"""What the arguments of the splats' kernels are; all others are `*fp32`."""


def compile_splat_kernels() -> None:
    """Of 4D splats whose colors change in time, and of 3D ones."""
    modules = (shape_kernels, project_kernels, blend_kernels, project_backward_kernels, color_kernels)
    for moving in (True, False):
        sizes = {"TILE": splat_raster.TILE, "ENTRIES": splat_raster.ENTRIES, "FAST": True, "BLOCK": 64}
        sizes |= {"DIMS": 3 + moving, "HARMONICS": 4, "FOURIER": 1 + moving, "CYCLIC": moving}
        sizes |= {"ANTIALIAS": moving}
        for module in modules:
            for kernel in (x for name, x in vars(module).items() if name.endswith("_kernel")):
                names = kernel.arg_names
                kinds = dict.fromkeys(names, "*fp32")
                kinds |= {name: kind for kind, those in SPLATS.items() for name in those}
                compile_for_h100(kernel, {k: v for k, v in sizes.items() if k in names}, kinds)


ADAM = dict.fromkeys(("parameter", "gradient", "mean", "square"), "*fp32") | {
    **{"steps": "*i64", "visible": "*i1"},
    **dict.fromkeys(("rate", "beta_mean", "beta_square", "eps"), "fp32"),
}

if __name__ == "__main__":
    compile_splat_kernels()
    for by_column in (False, True):
        kinds = ADAM | ({"rate": "*fp32"} if by_column else {})
        sizes = {"COLUMNS": 4, "BY_COLUMN": by_column, "BLOCK": adam_kernels.BLOCK}
        compile_for_h100(adam_kernels.adam_kernel, sizes, kinds)
    compile_for_h100(mesh_render_kernels.nearest_kernel, {"SIZE": 112, "ROWS": 8, "COLUMNS": 8}, RASTER)
    compile_for_h100(carving_kernels.carve_kernel, {"VIEWS": 22, "SIZE": 112, "BLOCK": 512}, CARVING)
    norm, ray, transformer = fused_norm_kernels, fused_ray_kernels, fused_transformer_kernels
    for (i, activation), add in product(enumerate(norm._ACTIVATIONS.values()), (False, True)):
        shared = {"chunk": (256, 1024)[(i + add) % 2], "HAS_ADD": add, "TILE": norm.TILE, "WIDE": norm.WIDE}
        compile_for_h100(norm._sums_kernel, {**shared, "HAS_BESIDE": not add})
        compile_for_h100(norm._normalise_kernel, {**shared, "HAS_BESIDE": add, "ACTIVATION": activation})
        for kernel in (norm._gradient_sums_kernel, norm._gradient_kernel):
            compile_for_h100(kernel, {**shared, "ACTIVATION": activation})
    compile_for_h100(norm._moments_kernel, {"WIDTH": 16})
    for flag in (False, True):
        compile_for_h100(fused_kernels._plus_kernel, {"OF_PICTURE": flag, "TILE": norm.TILE})
        sizes = {"HAS_ADD": flag, "ROWS": 4, "CHANNELS": 512}
        compile_for_h100(transformer._layer_norm_kernel, sizes)
    compile_for_h100(fused_kernels._add_bias_kernel, {"TILE": norm.TILE})
    compile_for_h100(fused_kernels._doubled_kernel, {"TILE": norm.TILE})
    compile_for_h100(transformer._geglu_kernel, {"TILE": norm.TILE})
    sizes = {"HEADS": 4, "ROWS": 16, "DEPTHS": 64, "WIDTH": 64, "PIXELS": ray.PIXELS}
    compile_for_h100(ray._rays_kernel, sizes)
    compile_for_h100(ray._sample_kernel, {"POINTS": ray.POINTS, "CHANNELS": 64}, KINDS | SAMPLED)
    for level, flag in product((0, 1), (False, True)):
        features = (3, 6)[level ^ flag]  # every two of the three meet
        sizes = {"STEP": 1e-3, "LEVEL": level, "LEVELS": 2, "COLOR": flag, "BLOCK": BLOCK}
        sizes |= {"channels": 16, "width": 32, "CHANNELS": 16, "WIDTH": 32, "FEATURES": features}
        sizes |= {"HAS_GRID": level == 1, "FILL": flag, "SAMPLES": SAMPLES, "ROOM": flag}
        for module in (field_kernels, march_kernels):
            for kernel in (x for name, x in vars(module).items() if name.endswith("_kernel")):
                names = kernel.arg_names
                kinds = dict.fromkeys(names, "*fp32")
                kinds |= {name: kind for kind, those in DYNERF.items() for name in those}
                compile_for_h100(kernel, {k: v for k, v in sizes.items() if k in names}, kinds)
