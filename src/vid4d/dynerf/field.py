"""The cascade DyNeRF: density and color of a moving object as a function of place and time.

K-Planes (2301.10241) over (x, y, z, t) in a residual cascade (Consistent4D, 2311.02848, section 3.2): every
level has six feature planes, one for each pair of axes, whose features are multiplied, and two small networks
of its own. Raw density and raw color of level k are the sums over the levels 0..k.

Coordinates are those of the box: places in [-1, 1]^3, time in [-1, 1]. `FieldConfig.radius` says how large
the box is in the world, `CascadeField.time_coordinate` turns clip time in [0, 1] into the field's.

Entries of the state dict, for level k with C channels, hidden width H, N grid points along each axis of space
and T along time:

    cascade.k.space        (3, C, N, N)  planes xy, xz, yz; x is the last dimension of xy
    cascade.k.time         (3, C, T, N)  planes xt, yt, zt
    cascade.k.density_in   (H, C)        cascade.k.density_out  (1, H)
    cascade.k.colour_in    (H, C)        cascade.k.colour_out   (3, H)

In a checkpoint of the authors these are `geometry.grids.k.{0, 1, 3}` and `geometry.grids.k.{2, 4, 5}` (each
with a leading dimension of 1), `geometry.density_network.k.layers.{0, 2}.weight` and
`geometry.feature_network.k.layers.{0, 2}.weight`; `official_checkpoint.from_geometry_state` reads them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, cast

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from vid4d import kernels

NORMAL_STEP = 1e-3
"""Half the distance over which densities are compared for a normal, in units of the box."""

SPACE_PAIRS = ((0, 1), (0, 2), (1, 2))
"""Axes of the planes that do not depend on time, in the order in which they are stored."""


@dataclass(frozen=True)
class LevelConfig:
    """One level of the cascade.

    space, time: grid points along each of x, y, z and along t. channels: of the feature planes.
    width: hidden units of the density and of the color network.
    """

    space: int = 50
    time: int = 8
    channels: int = 16
    width: int = 32

    def __post_init__(self) -> None:
        if min(self.space, self.time, self.channels, self.width) < 1:
            raise ValueError(f"every size of a level must be positive: {self}")


@dataclass(frozen=True)
class FieldConfig:
    """Sizes of a cascade field; the defaults are Consistent4D's.

    levels: coarse to fine. radius: half the edge of the box, in world units; a box of 0.75 seen from a
        distance of 1.5 is the authors' box of 1 seen from 2.
    frames: of the clip, None where not known; no level has more grid points along time than that.
    cyclic: the clip is a loop (frame i of T has clip time i / T, else i / (T - 1)).
    blob_density, blob_radius: raw density added at the centre, and where it has fallen to 0 (box units).
    """

    levels: tuple[LevelConfig, ...] = (LevelConfig(50, 8), LevelConfig(100, 16))
    radius: float = 0.75
    frames: int | None = None
    cyclic: bool = False
    blob_density: float = 10.0
    blob_radius: float = 0.5

    def __post_init__(self) -> None:
        if not self.levels:
            raise ValueError("a field needs one level at least")
        if self.frames is not None and self.frames < 1:
            raise ValueError(f"frames is {self.frames}: a clip has one frame at least")
        if self.radius <= 0 or self.blob_radius <= 0:
            raise ValueError(f"radius and blob_radius must be positive: {self.radius}, {self.blob_radius}")

    def for_clip(self, frames: int, *, cyclic: bool = False) -> FieldConfig:
        """Level sizes for a clip of so many frames."""
        return replace(self, frames=frames, cyclic=cyclic)


PRESETS: dict[str, FieldConfig] = {
    "low-vram": FieldConfig((LevelConfig(50, 8, 16, 12), LevelConfig(100, 16, 8, 12))),
    "standard": FieldConfig(),
    "four-level": FieldConfig(
        (LevelConfig(50, 8), LevelConfig(100, 16), LevelConfig(200, 32), LevelConfig(200, 32))
    ),
    "one-level": FieldConfig((LevelConfig(100, 16),)),
}


class FieldSample(NamedTuple):
    """Values of a field at n places, of every level; normals where they were asked for (else None).

    density: per unit of the box, at least 0. color: before the sigmoid. normal: of unit length, outwards.
    """

    density: Float[Tensor, "levels n"]
    color: Float[Tensor, "levels n 3"]
    normal: Float[Tensor, "levels n 3"] | None


class CascadeLevel(nn.Module):
    """Planes and networks of one level."""

    def __init__(self, config: LevelConfig, time: int) -> None:
        super().__init__()
        n, c, h = config.space, config.channels, config.width
        self.space = nn.Parameter(torch.empty(3, c, n, n).uniform_(0.1, 0.5))
        self.time = nn.Parameter(torch.ones(3, c, time, n))
        self.density_in, self.density_out = _weight(h, c), _weight(1, h)
        self.colour_in, self.colour_out = _weight(h, c), _weight(3, h)  # so named in stored fields

    def tensors(self) -> tuple[Tensor, ...]:
        """Parameters in the order of the fused kernels' arguments."""
        return (
            self.space,
            self.time,
            self.density_in,
            self.density_out,
            self.colour_in,
            self.colour_out,
        )

    def features(self, places: _Places) -> Float[Tensor, "c m"]:
        """Products of the six planes' features; m is n, or 7 n with the neighbours of every place."""
        space = _bilinear(self.space, places.space)
        time = _bilinear(self.time, places.time)
        if not places.neighbours:
            space, time = space[:, :, None], time[:, :, None]
        else:
            space, time = space.unflatten(-1, (5, -1)), time.unflatten(-1, (3, -1))
        return _Products.apply(space, time).flatten(1)

    def density(self, features: Float[Tensor, "c m"]) -> Float[Tensor, " m"]:
        """Contribution of this level to the raw density."""
        return (self.density_out @ torch.relu(self.density_in @ features))[0]

    def color(self, features: Float[Tensor, "c m"]) -> Float[Tensor, "3 m"]:
        """Contribution of this level to the raw color."""
        return self.colour_out @ torch.relu(self.colour_in @ features)


class CascadeField(nn.Module):
    """Density and color over the box and over time, of every level.

    Computes in the precision of its parameters, also under autocast: normals are small differences of
    densities (for the same reason `torch.backends.cuda.matmul.allow_tf32` should stay off). Places and times
    carry no gradient. On CUDA the gradients of planes are summed in no fixed order; in float32 kernels of our
    own serve there, fastest after `on`.
    """

    def __init__(self, config: FieldConfig = PRESETS["standard"]) -> None:
        super().__init__()
        self.config = config
        frames = config.frames or max(level.time for level in config.levels)
        self.cascade = nn.ModuleList(CascadeLevel(level, min(level.time, frames)) for level in config.levels)

    @property
    def _levels(self) -> Iterator[CascadeLevel]:
        return (cast(CascadeLevel, level) for level in self.cascade)

    def __len__(self) -> int:
        """Number of levels."""
        return len(self.cascade)

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        return next(self.parameters()).dtype

    def on(self, device: torch.device | str) -> CascadeField:
        """Moved to a device, its planes laid out as they are read fastest there."""
        moved = self.to(device)
        return kernels.channels_last(moved) if moved.device.type == "cuda" else moved

    def time_coordinate(self, time: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
        """Clip time in [0, 1] to the field's: frame i of T is at 2 i / T - 1."""
        frames = self.config.frames
        share = 1.0 if frames is None or self.config.cyclic else (frames - 1) / frames
        return 2 * share * time - 1

    def sample(
        self,
        points: Float[Tensor, "n 3"],
        time: Float[Tensor, " n"] | float,
        *,
        normals: bool = False,
        used: Int[Tensor, "1"] | None = None,
    ) -> FieldSample:
        """Evaluates the field at n places of the box at n times (or at one).

        used: only so many places are there, as the device knows; for the others there is room, and what is
        returned for them is undefined. For a field that `is_fused`.
        """
        with torch.autocast(points.device.type, enabled=False):
            n = len(points)
            raw, color = self._raw(points, time, neighbours=normals, colors=True, used=used)
            density = F.softplus(raw)
            around = density.unflatten(1, (7, n))[:, 1:] if normals else None
            return FieldSample(
                density[:, :n], color.transpose(1, 2), None if around is None else _normal(around)
            )

    def density(
        self,
        points: Float[Tensor, "n 3"],
        time: Float[Tensor, " n"] | float,
        used: Int[Tensor, "1"] | None = None,
    ) -> Float[Tensor, "levels n"]:
        """Only the densities. used: as for `sample`."""
        with torch.autocast(points.device.type, enabled=False):
            return F.softplus(self._raw(points, time, used=used)[0])

    def normals(
        self, points: Float[Tensor, "n 3"], time: Float[Tensor, " n"] | float
    ) -> Float[Tensor, "levels n 3"]:
        """Unit normals of every level: minus the density's direction of growth, by central differences."""
        with torch.autocast(points.device.type, enabled=False):
            density = F.softplus(self._raw(points, time, neighbours=True)[0])
            return _normal(density.unflatten(1, (7, len(points)))[:, 1:])

    def levels(
        self, points: Float[Tensor, "n 3"], time: Float[Tensor, " n"] | float
    ) -> list[tuple[Float[Tensor, " n"], Float[Tensor, "n 3"]]]:
        """Density (per unit of the box) and color before the sigmoid, of every level, coarse to fine."""
        values = self.sample(points, time)
        return list(zip(values.density, values.color, strict=True))

    @property
    def is_fused(self) -> bool:
        """Availability of our kernels for this field, which keep nothing of a sample but the result."""
        return self.dtype == torch.float32 and kernels.available(self.cascade[0].space)  # type: ignore[arg-type]

    def _raw(
        self,
        points: Tensor,
        time: Tensor | float,
        *,
        neighbours: bool = False,
        colors: bool = False,
        used: Int[Tensor, "1"] | None = None,
    ) -> tuple[Float[Tensor, "levels m"], Float[Tensor, "levels 3 k"]]:
        """Densities and colors before softplus and sigmoid; m is n or 7 n, k is n or 0."""
        points = points.detach().to(self.dtype)
        t = torch.as_tensor(time, dtype=self.dtype, device=points.device).detach()
        t = t.reshape(-1).expand(len(points))
        if self.is_fused:
            from vid4d.dynerf import field_fused as fused

            return fused.cascade(
                points,
                t,
                [fused.LevelParameters(*level.tensors()) for level in self._levels],
                neighbours=neighbours,
                colors=colors,
                step=NORMAL_STEP,
                blob=(self.config.blob_density, self.config.blob_radius),
                used=used,
            )
        if used is not None:
            raise ValueError("only the kernels of a field on a graphics card leave room for places")
        places = self._places(points, t, neighbours)
        density, color = places.blob, points.new_zeros(3, len(points) if colors else 0)
        sums = []
        for level in self._levels:
            features = level.features(places)
            density = density + level.density(features)
            if colors:
                color = color + level.color(features[:, : len(points)])
            sums.append((density, color))
        density, color = (torch.stack(x) for x in zip(*sums, strict=True))
        return density, color

    def _places(self, points: Float[Tensor, "n 3"], t: Float[Tensor, " n"], neighbours: bool) -> _Places:
        at = points.T
        if not neighbours:
            space = torch.stack([torch.stack([at[a], at[b]], -1) for a, b in SPACE_PAIRS])
            over_time = torch.stack([torch.stack([at[a], t], -1) for a in range(3)])
            distance = points.square().sum(-1).sqrt()
        else:
            more, less = at + NORMAL_STEP, at - NORMAL_STEP
            space = torch.stack(
                [
                    torch.stack(
                        [
                            torch.cat([at[a], more[a], less[a], at[a], at[a]]),
                            torch.cat([at[b], at[b], at[b], more[b], less[b]]),
                        ],
                        -1,
                    )
                    for a, b in SPACE_PAIRS
                ]
            )
            over_time = torch.stack(
                [torch.stack([torch.cat([at[a], more[a], less[a]]), t.repeat(3)], -1) for a in range(3)]
            )
            squares = at.square()
            total = squares.sum(0)
            around = [total - squares[a] + moved[a].square() for a in range(3) for moved in (more, less)]
            distance = torch.cat([total, *around]).sqrt()
        blob = self.config.blob_density * (1 - distance / self.config.blob_radius)
        return _Places(space[:, None], over_time[:, None], blob, neighbours)


class _Places(NamedTuple):
    """Coordinates at which the planes of all levels are read.

    With neighbours, a place (a, b) of a plane is followed by the same with a + step, a - step, b + step,
    b - step (of planes over time: only a). blob: raw density of the blob at the places, then at x + step, ...
    """

    space: Float[Tensor, "3 1 m 2"]
    time: Float[Tensor, "3 1 k 2"]
    blob: Float[Tensor, " j"]
    neighbours: bool


class _Products(torch.autograd.Function):
    """Products of six features at n places (a = b = 1) or at them and their six neighbours (a = 5, b = 3).

    One node of the graph, which keeps nothing but the features.
    """

    @staticmethod
    def forward(
        ctx: Any, space: Float[Tensor, "3 c a n"], time: Float[Tensor, "3 c b n"]
    ) -> Float[Tensor, "c d n"]:
        ctx.save_for_backward(space, time)
        rows = _ROWS if space.shape[2] > 1 else _ROWS[:1]
        out = space.new_empty(space.shape[1], len(rows), space.shape[3])
        for row, (s, t) in enumerate(rows):
            x, y, z = (space[i, :, s[i]] for i in range(3))
            u, v, w = (time[i, :, t[i]] for i in range(3))
            torch.mul(x * y * z, u * v * w, out=out[:, row])
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad_out: Tensor) -> tuple[Tensor, Tensor]:
        space, time = ctx.saved_tensors
        grad_space, grad_time = torch.zeros_like(space), torch.zeros_like(time)
        rows = _ROWS if space.shape[2] > 1 else _ROWS[:1]
        for row, (s, t) in enumerate(rows):
            x, y, z = (space[i, :, s[i]] for i in range(3))
            u, v, w = (time[i, :, t[i]] for i in range(3))
            xy, uv = x * y, u * v
            grad_xyz, grad_uvw = uv * w * grad_out[:, row], xy * z * grad_out[:, row]
            z_grad, w_grad = z * grad_xyz, w * grad_uvw
            grad_space[0, :, s[0]].addcmul_(y, z_grad)
            grad_space[1, :, s[1]].addcmul_(x, z_grad)
            grad_space[2, :, s[2]].addcmul_(xy, grad_xyz)
            grad_time[0, :, t[0]].addcmul_(v, w_grad)
            grad_time[1, :, t[1]].addcmul_(u, w_grad)
            grad_time[2, :, t[2]].addcmul_(uv, grad_uvw)
        return grad_space, grad_time


def _rows() -> list[tuple[list[int], list[int]]]:
    """Features of every plane at a point and its neighbours (x + step, x - step, y + step, ...)."""
    rows = [([0, 0, 0], [0, 0, 0])]
    for axis in range(3):
        for side in (0, 1):
            space = [1 + 2 * pair.index(axis) + side if axis in pair else 0 for pair in SPACE_PAIRS]
            rows.append((space, [1 + side if i == axis else 0 for i in range(3)]))
    return rows


_ROWS = _rows()


def _bilinear(planes: Float[Tensor, "3 c h w"], at: Float[Tensor, "3 1 m 2"]) -> Float[Tensor, "3 c m"]:
    return F.grid_sample(planes, at, mode="bilinear", padding_mode="border", align_corners=True)[:, :, 0]


def _normal(around: Float[Tensor, "levels 6 n"]) -> Float[Tensor, "levels n 3"]:
    """Normal by central differences of densities at x + step, x - step, y + step, ..."""
    difference = around[:, 1::2] - around[:, 0::2]
    return F.normalize(difference * (0.5 / NORMAL_STEP), dim=1, eps=1e-12).transpose(1, 2)


def _weight(out_features: int, in_features: int) -> nn.Parameter:
    bound = 1 / math.sqrt(in_features)
    return nn.Parameter(torch.empty(out_features, in_features).uniform_(-bound, bound))
