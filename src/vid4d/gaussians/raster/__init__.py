"""Rasterising splats: one interface, one resolver, several backends with equal results.

- `reference`: torch, any device and dtype; slow, the oracle the others are tested against.
- `cpu`: C with OpenMP, float32, slices in time inside the kernel; same bytes for any number of threads.
- `triton`: CUDA, by our own Triton kernels, which slice in time, too; same bytes every time on one card.
- `gsplat`: CUDA, where the gsplat package is installed.

`backend="auto"` takes `cpu` for float32 on a CPU; on CUDA `triton` where Triton can build kernels (timed on
an H200: docs/gpu_splats.md), else `gsplat` where it is installed; `reference` where those are missing. The
environment variable VID4D_RASTER overrules it. Which one runs, and why, is logged once.

Image formation (EWA splatting, Zwicker 2001; 3DGS, 2308.04079; Mip-Splatting, 2311.16493):
a splat is projected with the Jacobian of the perspective at its mean, its 2D covariance gets a low-pass of
0.1 px^2 on the diagonal (Mip-Splatting's; about the variance of a pixel's box, and sharper than the 0.3 of
3DGS); with antialias its opacity is multiplied with sqrt(det / det after the low-pass), so that small splats
do not grow brighter. alpha = min(0.99, opacity exp(-d / 2)), skipped below 1 / 255; blended
front to back in the order of the means' depth until the transmittance is below 1e-4.
Splats nearer than 0.05 world units to the camera's plane are not drawn.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from vid4d.cameras import Cameras
from vid4d.errors import InputError
from vid4d.gaussians.model import Gaussians3D, Gaussians4D
from vid4d.gaussians.raster.room import EntryRoom
from vid4d.kernels import buildable

NEAR = 0.05
LOW_PASS = 0.1
ALPHA_MAX = 0.99
ALPHA_MIN = 1 / 255
TRANSMITTANCE_MIN = 1e-4
COMPENSATION_MIN = 2.5e-5
"""Smallest squared opacity compensation (Mip-Splatting, code)."""
JACOBIAN_MARGIN = 1.3
"""The Jacobian is taken at most this factor outside of the field of view (3DGS, code)."""

BACKENDS = ("reference", "cpu", "triton", "gsplat")
VARIABLE = "VID4D_RASTER"
log = logging.getLogger("vid4d.raster")


@dataclass(frozen=True)
class SplatRender:
    """Pictures of V cameras, and what the density control needs to know.

    color: over the background, not clipped above. alpha: in [0, 1].
    depth: expected depth along the optical axis (world units): the blending weights' mean of the splats'
        depths, divided by alpha; 0 where alpha is 0.
    means2d: projected means in pixels, detached; meaningless where a splat is not visible.
    radii: half the longer side of the box that holds all pixels a splat can reach, in pixels, detached;
        0 where it is not visible in that view (behind, outside, too transparent, not there at that time).
    screen: what collects the gradients of the 2D means, of all U views of the call. first: where in it the
        views of this render begin; see `split`.
    """

    color: Float[Tensor, "v h w 3"]
    alpha: Float[Tensor, "v h w"]
    depth: Float[Tensor, "v h w"]
    means2d: Float[Tensor, "v n 2"]
    radii: Float[Tensor, "v n"]
    screen: Float[Tensor, "u n 2"] | None = None
    first: int = 0

    def split(self, counts: Sequence[int]) -> list[SplatRender]:
        """Renders of the first counts[0] views, of the next counts[1], and so on, of all views together.

        Gradients of all parts come together in one copy.
        """
        sizes = list(counts)
        pictures = (x.split(sizes) for x in (self.color, self.alpha, self.depth))
        parts = zip(*pictures, self.means2d.split(sizes), self.radii.split(sizes), strict=True)
        firsts = (self.first + sum(sizes[:i]) for i in range(len(sizes)))
        return [
            SplatRender(color, alpha, depth, means2d, radii, self.screen, first)
            for (color, alpha, depth, means2d, radii), first in zip(parts, firsts, strict=True)
        ]

    @property
    def visible(self) -> Bool[Tensor, "v n"]:
        """Mask of the splats that each camera draws."""
        return self.radii > 0

    def screen_gradients(self) -> Float[Tensor, "v n"]:
        """Length of the loss gradient with respect to each 2D mean, in loss per pixel; 0 where not visible.

        Call it after `loss.backward()`. 3DGS's densification threshold of 2e-4 is meant for a loss per half
        picture: compare it with `screen_gradients() * width / 2`, averaged over the views where `visible`.
        A loss that is a mean over V views divides every view's gradient by V.
        """
        if self.screen is None:
            raise RuntimeError("rendered without gradients: there are no screen gradients")
        if self.screen.grad is None:
            raise RuntimeError("no screen gradients yet: call backward() on a loss of this render first")
        of_all = self.screen.grad.reshape(len(self.screen), -1, 2)
        gradients = of_all[self.first : self.first + len(self.radii)].norm(dim=-1)
        return torch.where(self.visible, gradients, 0)


@runtime_checkable
class Backend(Protocol):
    """One module per backend. times is None for 3D splats, else one time per camera for 4D splats.

    room: as of `rasterize_4d`; only `triton` needs any.
    """

    def render(
        self,
        splats: Gaussians3D | Gaussians4D,
        times: Tensor | None,
        cameras: Cameras,
        background: Tensor,
        antialias: bool,
        room: EntryRoom | None = None,
    ) -> SplatRender: ...


def rasterize(
    splats: Gaussians3D,
    cameras: Cameras,
    *,
    background: float | Tensor = 1.0,
    backend: str = "auto",
    antialias: bool = True,
) -> SplatRender:
    """Renders splats from V cameras; differentiable in means, covariances, opacities and sh.

    background: a grey level, a color (3,), or a color per camera (V, 3); not differentiated.
    Raises InputError for an unknown or unavailable backend.
    """
    return _render(splats, None, cameras, background, backend, antialias)


def rasterize_4d(
    gaussians: Gaussians4D,
    times: Tensor | Sequence[float],
    cameras: Cameras,
    *,
    background: float | Tensor = 1.0,
    backend: str = "auto",
    antialias: bool = True,
    room: EntryRoom | None = None,
) -> SplatRender:
    """Renders 4D splats from V cameras, camera i at clip time times[i]; differentiable in all parameters.

    Equal to `rasterize(gaussians.at(times[i]), cameras[i])` for every i, in one call.
    room: for callers that must not wait for the device, and look at `room.complete()` afterwards: where that
        is false nothing was drawn.
    """
    times = torch.as_tensor(times, dtype=gaussians.means.dtype, device=gaussians.means.device)
    if times.shape != (len(cameras),):
        raise ValueError(
            f"times of shape {tuple(times.shape)}, expected one for each of {len(cameras)} cameras"
        )
    return _render(gaussians, times, cameras, background, backend, antialias, room)


def _render(
    splats: Gaussians3D | Gaussians4D,
    times: Tensor | None,
    cameras: Cameras,
    background: float | Tensor,
    backend: str,
    antialias: bool,
    room: EntryRoom | None = None,
) -> SplatRender:
    like = splats.means
    grey = torch.as_tensor(background, dtype=like.dtype, device=like.device).detach()
    module = resolve(backend, like)
    return module.render(splats, times, cameras, grey.expand(len(cameras), 3), antialias, room)


def resolve(backend: str, like: Tensor) -> Backend:
    """The module that renders tensors such as this one; see the top of this file."""
    source = "asked for"
    if backend == "auto" and os.environ.get(VARIABLE, "auto") != "auto":
        backend, source = os.environ[VARIABLE], f"set by {VARIABLE}"
    if backend != "auto":
        if backend not in BACKENDS:
            raise InputError(f"no rasteriser named {backend!r}: choose one of auto, {', '.join(BACKENDS)}")
        reason = _obstacle(backend, like)
        if reason:
            raise InputError(f"the rasteriser {backend!r} ({source}) cannot be used: {reason}")
        _say(backend, source)
        return _module(backend)
    reason = f"there is no other for {like.device.type}"
    for preferred in {"cpu": ("cpu",), "cuda": ("triton", "gsplat")}.get(like.device.type, ()):
        reason = _obstacle(preferred, like)
        if not reason:
            _say(preferred, f"chosen for {like.device.type}")
            return _module(preferred)
    _say("reference", f"slow, {reason}", logging.WARNING if like.dtype == torch.float32 else logging.INFO)
    return _module("reference")


def splat_device(device: str) -> str:
    """Device on which splats are best kept on a machine whose networks run on `device`.

    The CPU kernel is far faster than the torch reference on a GPU, so that is the CPU where a GPU has nothing
    else (Apple's, say), or where VID4D_RASTER asks for that kernel.
    """
    asked = os.environ.get(VARIABLE, "auto")
    if not device.startswith("cuda"):
        return device if _cpu_obstacle() else "cpu"
    if asked not in ("auto", "cpu"):
        return device
    fast = not (_triton_obstacle(torch.device(device)) and _gsplat_obstacle())
    return device if _cpu_obstacle() or (fast and asked == "auto") else "cpu"


def available_backends() -> dict[str, str]:
    """Backends that this machine can run, each with what it is, in the order of BACKENDS."""
    backends = {"reference": "torch, any device"}
    if not _cpu_obstacle():
        backends["cpu"] = _module("cpu").describe()  # type: ignore[attr-defined]
    if torch.cuda.is_available() and not _triton_obstacle(torch.device("cuda")):
        backends["triton"] = "Triton, CUDA"
    if torch.cuda.is_available() and not _gsplat_obstacle():
        backends["gsplat"] = "gsplat, CUDA"
    return backends


def _obstacle(backend: str, like: Tensor) -> str:
    """Reason why a backend cannot render tensors such as this one; empty if it can."""
    if backend == "reference":
        return ""
    interpreted = backend == "triton" and os.environ.get("TRITON_INTERPRET") == "1"
    device, dtype = "cpu" if backend == "cpu" or interpreted else "cuda", torch.float32
    if like.device.type != device:
        return f"it renders on {device}, the splats are on {like.device.type}"
    if like.dtype != dtype:
        return f"it renders {dtype}, the splats are {like.dtype}"
    if backend == "triton":
        return _triton_obstacle(like.device)
    return _cpu_obstacle() if backend == "cpu" else _gsplat_obstacle()


def _cpu_obstacle() -> str:
    if importlib.util.find_spec("vid4d.gaussians.raster.cpu") is None:
        return "the C kernel is not part of this build"
    return _module("cpu").obstacle()  # type: ignore[attr-defined]


def _triton_obstacle(device: torch.device) -> str:
    return "" if buildable(device) else f"Triton is not installed, or cannot build kernels for {device}"


def _gsplat_obstacle() -> str:
    return "" if importlib.util.find_spec("gsplat") else "the package gsplat is not installed"


def _module(backend: str) -> Backend:
    return importlib.import_module(f"vid4d.gaussians.raster.{backend}")  # type: ignore[return-value]


@functools.cache
def _say(backend: str, reason: str, level: int = logging.INFO) -> None:
    log.log(level, "rasteriser: %s (%s)", backend, reason)
