"""The C kernels of splats behind torch: loading the library, allocating, gradients.

float32 on the CPU. Slicing in time, projection and harmonics happen in the kernel, so 4D splats need no
copies per view. As many threads as `threads.free_threads()`; the bytes of the results do not depend on it.
"""

from __future__ import annotations

import ctypes
import functools
import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from vid4d.cameras import Cameras
from vid4d.compute.threads import free_threads
from vid4d.errors import InputError
from vid4d.gaussians import raster
from vid4d.gaussians.model import Gaussians3D, Gaussians4D
from vid4d.gaussians.raster import build
from vid4d.gaussians.raster.room import EntryRoom
from vid4d.gaussians.raster.scene import Scene, plain, scene_of

RECORD = 16
ENTRY_SUMS = 10
TILE = 16
ISA_VARIABLE = "VID4D_RASTER_ISA"
"""Takes a slower variant than the machine could run: base, avx2 or avx512."""
log = logging.getLogger("vid4d.raster")

_SIZES = ("n", "v", "dims", "harmonics", "fourier", "width", "height", "antialias", "cyclic", "threads")
_POINTERS = (
    *("means", "covariances", "opacities", "sh", "times", "poses", "focals", "background", "records"),
    *("radii", "touched", "entry_start", "order", "scratch", "tile_start", "place_start", "places"),
    *("tile_list", "ids", "color", "alpha", "depth", "transmittance", "last", "g_color", "g_alpha"),
    *("g_depth", "entry_sums", "g_means", "g_covariances", "g_opacities", "g_sh", "g_screen"),
)


class _Arguments(ctypes.Structure):
    """`Raster` of cpu.h."""

    _fields_ = (
        *((name, ctypes.c_int64) for name in _SIZES),
        ("period", ctypes.c_double),
        *((name, ctypes.c_void_p) for name in _POINTERS),
    )


class _ShapeArguments(ctypes.Structure):
    """`Shape` of cpu_shape.h."""

    _fields_ = (
        *((name, ctypes.c_int64) for name in ("n", "threads")),
        *((name, ctypes.c_void_p) for name in ("scales", "left", "right", "covariances", "g_covariances")),
        *((name, ctypes.c_void_p) for name in ("g_log_scales", "g_left", "g_right")),
    )


_MOMENTS = ("parameter", "gradient", "mean", "square", "fix_mean", "fix_square", "rates", "visible")


class _AdamArguments(ctypes.Structure):
    """`Adam` of cpu_adam.h."""

    _fields_ = (
        *((name, ctypes.c_int64) for name in ("n", "columns", "threads")),
        *((name, ctypes.c_double) for name in ("mean_share", "square_share", "eps")),
        *((name, ctypes.c_void_p) for name in _MOMENTS),
    )


@dataclass(frozen=True)
class Kernel:
    library: ctypes.CDLL
    variant: str
    path: Path

    def call(self, function: str, arguments: ctypes.Structure) -> None:
        """Runs a function of the library in its variant for this processor."""
        getattr(self.library, f"raster_{function}_{self.variant}")(ctypes.byref(arguments))


@functools.cache
def _load() -> Kernel | str:
    """The library, or why there is none."""
    cached = build.cached_library()
    for path in (build.INSTALLED, cached):
        library = _open(path)
        if library is not None:
            return Kernel(library, _variant(library), path)
    try:
        log.info("building the C rasteriser into %s", cached)
        build.build(cached)
    except build.BuildError as error:
        return str(error)
    library = _open(cached)
    if library is None:
        return f"{cached} was built but cannot be loaded: {_loading_error(cached)}"
    return Kernel(library, _variant(library), cached)


def _loading_error(path: Path) -> str:
    try:
        ctypes.CDLL(str(path))
    except OSError as error:
        return str(error)
    return "it is not the library that this source makes"


def _open(path: Path) -> ctypes.CDLL | None:
    """The library at a path if it exists, loads, and was built from this source."""
    if not path.is_file():
        return None
    try:
        library = ctypes.CDLL(str(path))
        library.raster_source.restype = ctypes.c_char_p
        return library if library.raster_source() == build.source_hash().encode() else None
    except (OSError, AttributeError):
        return None


def _variant(library: ctypes.CDLL) -> str:
    best = list(build.VARIANTS)[library.raster_isa()]
    wanted = os.environ.get(ISA_VARIABLE, best)
    able = list(build.VARIANTS)[: library.raster_isa() + 1]
    if wanted not in able:
        raise InputError(f"{ISA_VARIABLE} is {wanted!r}, this machine can run: {', '.join(able)}")
    return wanted


def obstacle() -> str:
    """Reason why the kernel cannot be used; empty if it can. Builds the library where needed and possible."""
    found = _load()
    return found if isinstance(found, str) else ""


def serves(tensor: Tensor) -> bool:
    """Whether the kernels take tensors of this kind, and are there."""
    return tensor.device.type == "cpu" and tensor.dtype == torch.float32 and not obstacle()


def describe() -> str:
    """Instruction set, threads and path of the library, for people."""
    found = kernel()
    threads = "OpenMP" if found.library.raster_openmp() else "one thread (no OpenMP)"
    return f"C, {found.variant}, {threads}, {found.path}"


def kernel() -> Kernel:
    """The library. Raises InputError where there is none."""
    found = _load()
    if isinstance(found, str):
        raise InputError(f"the C rasteriser cannot be used: {found}")
    return found


def render(
    splats: Gaussians3D | Gaussians4D,
    times: Tensor | None,
    cameras: Cameras,
    background: Tensor,
    antialias: bool,
    room: EntryRoom | None = None,
) -> raster.SplatRender:
    """Renders with the C kernel; see `vid4d.gaussians.raster.Backend`."""
    if isinstance(splats, Gaussians4D):
        shape = (splats.log_scales, splats.quats_left, splats.quats_right)
        inputs = (splats.means, _Shape.apply(*shape), splats.opacities, splats.sh)
    else:
        inputs = (splats.means, splats.covariances, splats.opacities, splats.sh[:, :, None])
    tracked = torch.is_grad_enabled() and any(t.requires_grad for t in inputs)
    screen = torch.zeros(len(cameras), len(splats), 2, requires_grad=True) if tracked else None
    scene = scene_of(Scene, splats, times, cameras, background, antialias)
    color, alpha, depth, records, radii = _Rasterize.apply(*inputs, screen, scene)
    return raster.SplatRender(color, alpha, depth, records[..., :2], radii, screen)


def _arguments(inputs: tuple[Tensor, ...], scene: Scene, buffers: dict[str, Tensor | None]) -> _Arguments:
    means, covariances, opacities, sh = inputs
    sizes = {
        "n": means.shape[0],
        "v": scene.focals.shape[0],
        "dims": means.shape[1],
        "harmonics": sh.shape[1],
        "fourier": sh.shape[2],
        "width": scene.width,
        "height": scene.height,
        "antialias": int(scene.antialias),
        "cyclic": int(scene.cyclic),
        "threads": free_threads(),
    }
    pointers = {
        "means": means,
        "covariances": covariances,
        "opacities": opacities,
        "sh": sh,
        "times": scene.times,
        "poses": scene.poses,
        "focals": scene.focals,
        "background": scene.background,
        **buffers,
    }
    addresses = {name: None if t is None else t.data_ptr() for name, t in pointers.items()}
    return _Arguments(**sizes, period=scene.period, **addresses)


class _Shape(torch.autograd.Function):
    """`Gaussians4D.covariance4d` (n, 4, 4) of logarithms of scales and both quaternions, each (n, 4)."""

    @staticmethod
    def forward(ctx: Any, log_scales: Tensor, left: Tensor, right: Tensor) -> Tensor:
        inputs = plain(log_scales).exp(), plain(left), plain(right)
        covariances = torch.empty(len(left), 4, 4)
        _shape("shape", inputs, covariances=covariances)
        ctx.save_for_backward(*inputs)
        return covariances

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, ...]:
        results = {name: torch.empty_like(ctx.saved_tensors[0]) for name in ("log_scales", "left", "right")}
        buffers = {f"g_{name}": result for name, result in results.items()}
        _shape("shape_backward", ctx.saved_tensors, g_covariances=plain(gradient), **buffers)
        return tuple(results.values())


def _shape(function: str, inputs: tuple[Tensor, ...], **buffers: Tensor) -> None:
    pointers = dict(zip(("scales", "left", "right"), inputs, strict=True)) | buffers
    addresses = {name: tensor.data_ptr() for name, tensor in pointers.items()}
    kernel().call(function, _ShapeArguments(n=len(inputs[0]), threads=free_threads(), **addresses))


class _Rasterize(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        means: Tensor,
        covariances: Tensor,
        opacities: Tensor,
        sh: Tensor,
        screen: Tensor | None,
        scene: Scene,
    ) -> tuple[Tensor, ...]:
        library = kernel()
        inputs = tuple(plain(t) for t in (means, covariances, opacities, sh))
        n, v, h, w = means.shape[0], scene.focals.shape[0], scene.height, scene.width
        tiles = -(-h // TILE) * -(-w // TILE)
        buffers: dict[str, Tensor | None] = {
            "records": torch.empty(v, n, RECORD),
            "radii": torch.empty(v, n),
            "touched": torch.empty(v, n, dtype=torch.int32),
            "entry_start": torch.empty(v + 1, dtype=torch.int64),
            "place_start": torch.empty(v, n, dtype=torch.int64),
        }
        library.call("project", _arguments(inputs, scene, buffers))
        entries = int(buffers["entry_start"][-1])  # type: ignore[index]
        buffers |= {
            "order": torch.empty(v, n, dtype=torch.int32),
            "scratch": torch.empty(v, n, dtype=torch.int32),
            "tile_start": torch.empty(v * tiles + 1, dtype=torch.int64),
            "places": torch.empty(entries, dtype=torch.int64),
            "tile_list": torch.empty(entries, dtype=torch.int32),
            "ids": torch.empty(entries, dtype=torch.int32),
            "color": torch.empty(v, h, w, 3),
            "alpha": torch.empty(v, h, w),
            "depth": torch.empty(v, h, w),
            "transmittance": torch.empty(v, h, w),
            "last": torch.empty(v, h, w, dtype=torch.int32),
        }
        library.call("forward", _arguments(inputs, scene, buffers))
        outputs = tuple(buffers[name] for name in ("color", "alpha", "depth", "records", "radii"))
        for name in ("color", "alpha", "radii", "order", "scratch", "tile_list"):
            del buffers[name]
        ctx.names = list(buffers)
        ctx.scene = scene
        ctx.entries = entries
        ctx.save_for_backward(*inputs, *buffers.values())
        ctx.mark_non_differentiable(*outputs[3:])
        ctx.set_materialize_grads(False)
        return outputs  # type: ignore[return-value]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        if all(g is None for g in gradients[:3]):
            return (None,) * 6
        inputs, saved = ctx.saved_tensors[:4], ctx.saved_tensors[4:]
        n, v = inputs[0].shape[0], ctx.scene.focals.shape[0]
        buffers: dict[str, Tensor | None] = dict(zip(ctx.names, saved, strict=True))
        for name, gradient in zip(("g_color", "g_alpha", "g_depth"), gradients, strict=False):
            buffers[name] = None if gradient is None else plain(gradient)
        results = {
            "g_means": torch.empty_like(inputs[0]),
            "g_covariances": torch.empty_like(inputs[1]),
            "g_opacities": torch.empty_like(inputs[2]),
            "g_sh": torch.empty_like(inputs[3]),
            "g_screen": torch.empty(v, n, 2),
        }
        buffers |= {**results, "entry_sums": torch.empty(ctx.entries, ENTRY_SUMS)}
        kernel().call("backward", _arguments(inputs, ctx.scene, buffers))
        return *results.values(), None


def adam(
    parameter: Float[Tensor, "n ..."],
    gradient: Float[Tensor, "n ..."],
    mean: Float[Tensor, "n ..."],
    square: Float[Tensor, "n ..."],
    fixes: tuple[Float[Tensor, " n"], Float[Tensor, " n"]],
    visible: Bool[Tensor, " n"],
    rate: float | Float[Tensor, "..."],
    betas: tuple[float, float],
    eps: float,
) -> None:
    """One update of the visible rows of a parameter, in place; float32 and contiguous, on the CPU.

    fixes: of each row, 1 - beta^steps of both moments. rate: of all, or of each number of a row.
    """
    if parameter.numel() == 0:
        return
    columns = parameter.numel() // len(parameter)
    rates = torch.as_tensor(rate, dtype=torch.float32).flatten().expand(columns).contiguous()
    tensors = (parameter, gradient.contiguous(), mean, square, *fixes, rates, visible)
    addresses = {name: tensor.data_ptr() for name, tensor in zip(_MOMENTS, tensors, strict=True)}
    shares = {"mean_share": 1 - betas[0], "square_share": 1 - betas[1], "eps": eps}
    sizes = {"n": len(parameter), "columns": columns, "threads": free_threads()}
    kernel().call("adam", _AdamArguments(**sizes, **shares, **addresses))
