"""4D Gaussians as what they are at a time: 3D Gaussians that move on straight lines, keep their shape, come
and go.

A 4D Gaussian conditioned on a time (2310.10642, equations 9 to 12) has a mean that is linear in time, a
constant covariance and an opacity that is a Gaussian in time: a Spacetime Gaussian (2312.16812) whose motion
is of degree one and which does not turn. Formats of one file that players read hold splats in this form.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from vid4d import conventions
from vid4d.export.splats import ellipsoids
from vid4d.gaussians import sh as harmonics
from vid4d.gaussians.culling import FAINTEST, visibility_mask
from vid4d.gaussians.model import MARGINAL_CUT, Gaussians3D, Gaussians4D, marginal_of, time_from


@dataclass(frozen=True)
class MovingGaussians:
    """N splats.

    times: when each is most opaque, clip time. means: world, at that time. velocities: world units per clip.
    scales: standard deviations along the axes of rotations (unit quaternions w x y z), world units.
    deviations: standard deviations in time, clip time. opacities: at their own time.
    sh: K harmonics times F terms of a Fourier series, as in `Gaussians4D`, as are period and cyclic.
    """

    times: Float[Tensor, " n"]
    means: Float[Tensor, "n 3"]
    velocities: Float[Tensor, "n 3"]
    scales: Float[Tensor, "n 3"]
    rotations: Float[Tensor, "n 4"]
    deviations: Float[Tensor, " n"]
    opacities: Float[Tensor, " n"]
    sh: Float[Tensor, "n k f 3"]
    period: float = 1.0
    cyclic: bool = False

    def __len__(self) -> int:
        return len(self.times)

    def select(self, keep: Bool[Tensor, " n"] | Tensor) -> MovingGaussians:
        """The splats of a mask or of a list of indices."""
        kept: dict[str, Any] = {name: getattr(self, name)[keep] for name in TENSORS}
        return replace(self, **kept)

    def at(self, time: float) -> Gaussians3D:
        """All splats at a clip time, opacity 0 where their marginal is below 0.05; as `Gaussians4D.at`."""
        dt = time_from(self.times, time, self.cyclic)
        marginal = marginal_of(dt, self.deviations**2)
        terms = torch.arange(self.sh.shape[2], dtype=dt.dtype)
        series = torch.cos((2 * math.pi / self.period) * dt[:, None] * terms)
        factor = rotation_matrices(self.rotations) * self.scales[:, None, :]
        return Gaussians3D(
            self.means + self.velocities * dt[:, None],
            factor @ factor.transpose(1, 2),
            self.opacities * torch.where(marginal >= MARGINAL_CUT, marginal, 0),
            torch.einsum("nf,nkfc->nkc", series, self.sh),
        )

    def turned(self, axes: str) -> MovingGaussians:
        """The splats in other axes, a name of `vid4d.conventions.AXES`."""
        if axes == "z-up":
            return self
        turn = conventions.axes(axes).to(self.means)
        covariances = turn @ rotation_matrices(self.rotations) * self.scales[:, None, :]
        scales, rotations = ellipsoids(covariances @ covariances.transpose(1, 2))
        colors = harmonics.rotated(self.sh.flatten(2), turn)
        return replace(
            self,
            means=self.means @ turn.T,
            velocities=self.velocities @ turn.T,
            scales=torch.from_numpy(scales),
            rotations=torch.from_numpy(rotations),
            sh=colors.view(self.sh.shape),
        )

    def mean_colors(self) -> Float[Tensor, "n k 3"]:
        """Harmonics constant in time: means over time, weighted by how much of a splat is there.

        Of cos(2 pi f dt / period) under a Gaussian of deviation s that is exp(-(2 pi f s / period)^2 / 2).
        """
        terms = torch.arange(self.sh.shape[2], dtype=self.deviations.dtype)
        phase = (2 * math.pi / self.period) * self.deviations[:, None] * terms
        return torch.einsum("nf,nkfc->nkc", (-0.5 * phase**2).exp(), self.sh)

    def unrolled(self) -> MovingGaussians:
        """Of a loop, splats for players that know none: those near its ends a second time, a loop apart.

        All are visible at a time in [0, 1]; others stay as they are.
        """
        if not self.cyclic:
            return self
        home = self.times - self.times.floor()
        parts = []
        for laps in (-1, 0, 1):
            times = home + laps
            marginal = marginal_of(times - times.clamp(0, 1), self.deviations**2)
            there = (marginal >= MARGINAL_CUT) & (self.opacities * marginal >= FAINTEST)
            parts.append(replace(self, times=times).select(there))
        every: dict[str, Any] = {name: torch.cat([getattr(p, name) for p in parts]) for name in TENSORS}
        return replace(self, **every, cyclic=False)


TENSORS = (
    *("times", "means", "velocities", "scales", "rotations"),
    *("deviations", "opacities", "sh"),
)
"""Names of what there is of every splat."""


def rotation_matrices(quaternions: Float[Tensor, "n 4"]) -> Float[Tensor, "n 3 3"]:
    """Rotations of unit quaternions (w x y z)."""
    w, x, y, z = quaternions.unbind(1)
    rows = [
        *(1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)),
        *(2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)),
        *(2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)),
    ]
    return torch.stack(rows, 1).view(-1, 3, 3)


@torch.no_grad()
def moving(gaussians: Gaussians4D, time: float | None = None) -> MovingGaussians:
    """The splats that can be seen at a time, or at any: on the CPU, float32."""
    gaussians = gaussians.detach().to("cpu", torch.float32)
    gaussians = gaussians.select(visibility_mask(gaussians, time))
    covariance = gaussians.covariance4d().double()
    cross, variance = covariance[:, :3, 3], covariance[:, 3, 3]
    shape = covariance[:, :3, :3] - cross[:, :, None] * cross[:, None, :] / variance[:, None, None]
    scales, rotations = ellipsoids(shape)
    return MovingGaussians(
        gaussians.means[:, 3],
        gaussians.means[:, :3],
        (cross / variance[:, None]).float(),
        torch.from_numpy(scales),
        torch.from_numpy(rotations),
        variance.sqrt().float(),
        gaussians.opacities,
        gaussians.sh,
        float(gaussians.period),
        gaussians.cyclic,
    )
