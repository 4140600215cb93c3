"""Fields given by formulas, to be rendered in tests in place of a cascade."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vid4d.dynerf import CascadeField, FieldConfig
from vid4d.dynerf.field import FieldSample

Formula = Callable[[Tensor, Tensor], Tensor]


class ToyField(CascadeField):
    """One level. density, color: of points (n, 3) and times (n,) of the box; color in (0, 1)."""

    def __init__(self, density: Formula, color: Formula | None = None, *, radius: float = 0.75) -> None:
        nn.Module.__init__(self)  # without the networks of a cascade
        self.config = FieldConfig(radius=radius)
        self.gain = nn.Parameter(torch.ones((), dtype=torch.float64))
        self._density = density
        self._color = color or (lambda p, t: torch.full_like(p, 0.25))
        self.asked = 0

    def __len__(self) -> int:
        return 1

    @property
    def device(self) -> torch.device:
        return self.gain.device

    is_fused = False

    @property
    def dtype(self) -> torch.dtype:
        return self.gain.dtype

    def time_coordinate(self, time: Tensor) -> Tensor:
        return 2 * time - 1

    def density(self, points: Tensor, time: Tensor) -> Tensor:
        self.asked += len(points)
        return (self.gain * self._density(points, time))[None]

    def sample(self, points: Tensor, time: Tensor, *, normals: bool = False) -> FieldSample:
        normal = None
        if normals:
            step = 1e-4 * torch.eye(3, dtype=points.dtype)
            grown = [self._density(points + d, time) - self._density(points - d, time) for d in step]
            normal = -F.normalize(torch.stack(grown, -1), dim=-1)[None]
        color = torch.logit(self._color(points, time))[None]
        return FieldSample(self.density(points, time), color, normal)


def ball(centre: Callable[[Tensor], Tensor] | list[float], radius: float, density: float) -> Formula:
    """Density that falls from `density` inside of a ball to 0 outside, over a twentieth of its radius."""

    def formula(points: Tensor, time: Tensor) -> Tensor:
        middle = centre(time) if callable(centre) else torch.tensor(centre, dtype=points.dtype)
        distance = (points - middle).norm(dim=-1)
        return density * torch.sigmoid((radius - distance) / (0.05 * radius))

    return formula
