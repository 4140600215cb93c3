"""What is seen of an object from V sides at T moments, in the 8 bits that picture files have."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor

from vid4d.cameras import Cameras
from vid4d.errors import InputError
from vid4d.gaussians.model import Gaussians3D
from vid4d.gaussians.raster import rasterize
from vid4d.media.images import over_white, resized, straight, to_uint8
from vid4d.metrics import Sides

Report = Callable[[int, int], object]
"""Called with moments done and of how many."""

RENDERED, FILED, KEYED = "rendered", "of the files", "keyed from the background"
"""Where an alpha comes from."""


@dataclass(frozen=True)
class Seen:
    """Pictures of V views at T moments.

    rgba: straight alpha. white: colors over white, of pictures that came without alpha; None where `rgba`
    over white is that. depth: along the optical axis, world units, 0 or infinite where there is nothing;
    None where nobody knows it. alpha: where it comes from.
    """

    rgba: UInt8[np.ndarray, "v t h w 4"]
    alpha: str
    white: UInt8[np.ndarray, "v t h w 3"] | None = None
    depth: Float[np.ndarray, "v t h w"] | None = None

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Views, moments, height and width."""
        v, t, h, w, _ = self.rgba.shape
        return v, t, h, w

    def on_white(self, view: int) -> Float[Tensor, "t h w 3"]:
        """A view's colors over white, rounded to 8 bits, in [0, 1]."""
        if self.white is not None:
            return torch.from_numpy(self.white[view]).float() / 255
        return (over_white(torch.from_numpy(self.rgba[view]).float() / 255) * 255).round() / 255

    def side(self, view: int, cameras: Cameras) -> Sides:
        """One view, without depth, for the measures of `vid4d.metrics`."""
        rgba = torch.from_numpy(self.rgba[view : view + 1]).float() / 255
        return Sides(cameras[view], rgba, white=self.on_white(view)[None])

    def first(self, count: int) -> Seen:
        """The first moments only."""
        cut = [None if x is None else x[:, :count] for x in (self.white, self.depth)]
        return Seen(self.rgba[:, :count], self.alpha, *cut)


def splat_views(
    frames: Callable[[int], Gaussians3D], moments: int, cameras: Cameras, report: Report | None = None
) -> Seen:
    """Renders of splats. frames: the splats at a moment. Depth is the mean along a ray."""
    pictures, depths = [], []
    for t in range(moments):
        splats = frames(t)
        with torch.no_grad():
            seen = rasterize(splats, cameras.to(splats.means.device), background=0.0)
        pictures.append(to_uint8(straight(torch.cat([seen.color, seen.alpha[..., None]], -1))))
        depths.append(seen.depth.cpu().numpy())
        if report is not None:
            report(t + 1, moments)
    return Seen(np.stack(pictures, 1), RENDERED, depth=np.stack(depths, 1))


def at_size(rgba: UInt8[np.ndarray, "t h w c"], width: int, how: str) -> UInt8[np.ndarray, "t h2 w2 c"]:
    """Pictures at another width: `area` averages, alpha-weighted, for smaller ones only; or `bicubic` of
    Pillow, to a square, as the scripts of Consistent4D have it.

    Raises InputError for area averages of pictures that are too small.
    """
    h, w = rgba.shape[1:3]
    if how == "bicubic":
        if (h, w) == (width, width):
            return rgba
        return np.stack(
            [np.asarray(Image.fromarray(p).resize((width, width), Image.Resampling.BICUBIC)) for p in rgba]
        )
    if w == width:
        return rgba
    if w < width:
        raise InputError(
            f"pictures of {w} pixels cannot be judged at {width}: give --size {w}, or larger ones"
        )
    values = torch.from_numpy(np.ascontiguousarray(rgba)).float() / 255
    if rgba.shape[-1] == 4:
        return to_uint8(resized(values, width))
    flat = F.interpolate(values.movedim(-1, 1), (round(h * width / w), width), mode="area")
    return to_uint8(flat.movedim(1, -1))


def chosen_moments(own: int, times: Sequence[float] | None, wanted: Moments, what: str) -> list[int]:
    """Which of a sequence's own moments stand for those of the truth.

    One for one where there are as many; else the nearest in time, where the sequence says its times.
    times: of the sequence, in [0, 1]. Raises InputError where neither is possible.
    """
    if times is not None and wanted.times is not None:
        known = np.asarray(times)
        return [int(np.abs(known - t).argmin()) for t in wanted.times]
    if own == wanted.count or (wanted.whole and own > wanted.count):
        return list(range(wanted.count))
    if own == 1:
        return [0] * wanted.count
    raise InputError(
        f"{what} has {own} moments and the truth {wanted.count}, and nothing says which belong together: "
        f"make as many, or judge the --first {min(own, wanted.count)}"
    )


@dataclass(frozen=True)
class Moments:
    """The moments at which things are looked at. times: in [0, 1] over the clip; None where only their order
    is known, as of numbered pictures. whole: how many there are, of which these are the first; 0: no more."""

    count: int
    times: tuple[float, ...] | None = None
    whole: int = 0

    def over(self, cyclic: bool) -> list[float]:
        """Times in [0, 1]: those known, else evenly over the clip, its end included but for loops."""
        if self.times is not None:
            return list(self.times)
        whole = self.whole or self.count
        last = whole if cyclic else max(whole - 1, 1)
        return [i / last for i in range(self.count)]

    def first(self, count: int) -> Moments:
        """The first moments only."""
        times = None if self.times is None else self.times[:count]
        return Moments(count, times, self.whole or self.count)
