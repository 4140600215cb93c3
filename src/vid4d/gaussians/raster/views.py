"""Points looked up in pictures of depths, by the C kernel: the loops of `vid4d.meshing.depth_views`."""

from __future__ import annotations

import ctypes

import torch
from jaxtyping import Float
from torch import Tensor

from vid4d.cameras import Cameras
from vid4d.compute.threads import free_threads
from vid4d.gaussians.raster import cpu
from vid4d.gaussians.raster.scene import plain
from vid4d.media.images import LEAST_ALPHA

_SIZES = ("points", "views", "size", "threads")
_NUMBERS = (
    *("least_alpha", "reach", "hidden", "voxel", "behind", "min_alpha", "truncation", "most"),
    *("tolerance", "seen_alpha"),
)
_POINTERS = (
    *("places", "normals", "poses", "focals", "alpha", "depth", "passing", "color", "eyes", "trust"),
    *("power", "least", "distances", "colors", "seen"),
)


class _ViewsArguments(ctypes.Structure):
    """`Views` of cpu_views.h."""

    _fields_ = (
        *((name, ctypes.c_int64) for name in _SIZES),
        *((name, ctypes.c_double) for name in _NUMBERS),
        *((name, ctypes.c_void_p) for name in _POINTERS),
    )


def signed_distances(
    cameras: Cameras,
    alpha: Float[Tensor, "n s s"],
    depth: Float[Tensor, "n s s"],
    passing: Float[Tensor, "n s s"],
    places: Float[Tensor, "p 3"],
    numbers: dict[str, float],
) -> Float[Tensor, " p"]:
    """Truncated signed distances, in voxels; numbers: those of `Views` in cpu_views.h."""
    distances = torch.empty(len(places))
    pictures = {"alpha": plain(alpha), "depth": plain(depth)}
    pictures["passing"] = pictures["alpha"] if passing is alpha else plain(passing)
    _call("distances", cameras, {"places": plain(places), **pictures, "distances": distances}, numbers)
    return distances


def colors_of(
    cameras: Cameras,
    pictures: dict[str, Tensor],
    places: Float[Tensor, "p 3"],
    normals: Float[Tensor, "p 3"],
    counts: dict[str, Float[Tensor, " n"]],
    numbers: dict[str, float],
) -> tuple[Float[Tensor, "p 3"], Float[Tensor, " p"]]:
    """Colors of points and what the views that see them count together.

    pictures: `alpha`, `depth`, `color`. counts: `trust`, `power`, `least` of each view.
    """
    colors, seen = torch.empty(len(places), 3), torch.empty(len(places))
    tensors = {name: plain(tensor) for name, tensor in (pictures | counts).items()}
    tensors |= {"places": plain(places), "normals": plain(normals), "eyes": plain(cameras.position)}
    _call("colors", cameras, {**tensors, "colors": colors, "seen": seen}, numbers)
    return colors, seen


def _call(function: str, cameras: Cameras, tensors: dict[str, Tensor], numbers: dict[str, float]) -> None:
    tensors |= {"poses": plain(cameras.world_to_camera), "focals": plain(cameras.focal)}
    sizes = (len(tensors["places"]), len(cameras), cameras.width, free_threads())
    addresses = {name: tensor.data_ptr() for name, tensor in tensors.items()}
    cpu.kernel().call(
        function,
        _ViewsArguments(
            **dict(zip(_SIZES, sizes, strict=True)), **numbers, least_alpha=LEAST_ALPHA, **addresses
        ),
    )
