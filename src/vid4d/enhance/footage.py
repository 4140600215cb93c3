"""Footage: renders of an asset from cameras around it, and what they should look like.

At the clip's own side the clip's frames are the sharp pictures; at all others somebody has to make them: the
small sharpener, or another tool (`given`).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from vid4d.cameras import Cameras
from vid4d.gaussians.model import Gaussians4D
from vid4d.matrix.matrix import ImageMatrix
from vid4d.media.images import over_white, resized
from vid4d.render import render_asset

MARGIN = 16
"""Pixels that are kept around what pictures show."""


@dataclass(frozen=True)
class Footage:
    """Consecutive pictures from one camera, and what they should look like: RGB over white, in [0, 1].

    renders: as the object's network gets them. cyclic: the last is followed by the first.
    """

    renders: Float[Tensor, "t 3 h w"]
    sharp: Float[Tensor, "t 3 h w"]
    cyclic: bool = False

    def cut(self, multiple: int) -> Footage:
        """The same without most of the white around it; sides are whole multiples of some pixels."""
        rows, columns = window(torch.cat([self.renders, self.sharp]), multiple)
        return Footage(self.renders[..., rows, columns], self.sharp[..., rows, columns], self.cyclic)


def window(pictures: Float[Tensor, "n 3 h w"], multiple: int) -> tuple[slice, slice]:
    """Rows and columns that hold what is seen in all pictures, with a margin; their numbers are multiples.

    The pictures' own sides have to be multiples, too.
    """
    seen = (pictures < 1 - 1 / 255).any(1).any(0)
    sides = []
    for dim, size in ((1, seen.shape[0]), (0, seen.shape[1])):
        places = seen.any(dim).nonzero()[:, 0].tolist() or [size // 2]
        low, high = max(0, places[0] - MARGIN), min(size, places[-1] + 1 + MARGIN)
        length = -(-(high - low) // multiple) * multiple
        start = min(max(0, (low + high - length) // 2), size - length)
        sides.append(slice(start, start + length))
    return sides[0], sides[1]


def moments(count: int, cyclic: bool) -> Float[Tensor, " t"]:
    """Even times from 0 on: to 1, or to the last before a loop begins anew."""
    return torch.arange(count) / max(1, count if cyclic else count - 1)


def rendered(
    gaussians: Gaussians4D, cameras: Cameras, times: Float[Tensor, " t"]
) -> Float[Tensor, "t 3 h w"]:
    """Renders over white, on the CPU, channels first; a camera for each time, or one for all."""
    every = cameras[torch.zeros(len(times), dtype=torch.long)] if len(cameras) == 1 else cameras
    return render_asset(gaussians, every, times, background=1.0).permute(0, 3, 1, 2).cpu()


def own_footage(gaussians: Gaussians4D, matrix: ImageMatrix, size: int) -> Footage | None:
    """The clip's side: renders at its frames' times, and the frames; None where the matrix knows no clip."""
    if matrix.input_images is None or matrix.input_camera is None or matrix.input_times is None:
        return None
    renders = rendered(gaussians, matrix.input_camera.resized(size), matrix.input_times.clamp(0, 1))
    frames = over_white(resized(matrix.input_images.cpu().float(), size)).permute(0, 3, 1, 2)
    return Footage(renders, frames, matrix.cyclic)


def side_renders(
    gaussians: Gaussians4D, elevation: float, *, views: int, frames: int, size: int, own: bool
) -> list[Float[Tensor, "_ 3 h w"]]:
    """Renders at even times from even azimuths. own: the clip's side is known, and left out."""
    azimuths = [360.0 * i / views for i in range(1 if own and views > 1 else 0, views)]
    times = moments(frames, gaussians.cyclic)
    cameras = Cameras.orbit(azimuths, elevation, size=size)
    return [rendered(gaussians, cameras[i], times) for i in range(len(azimuths))]
