"""How things of other tools are put into the world of a truth."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from vid4d.cameras import Cameras
from vid4d.conventions import axes

Up = Literal["z", "y", "y-down"]
NAMES: dict[Up, str] = {"z": "z-up", "y": "y-up", "y-down": "y-down"}
"""Their names in `vid4d.conventions.AXES`."""


@dataclass(frozen=True)
class Placement:
    """How a thing of another tool is put into the truth's world.

    up: its upward axis. turn: degrees around that axis, counter-clockwise seen from above. scale: factor,
    about the origin. shift: world units of the truth, after both.
    """

    up: Up = "z"
    turn: float = 0.0
    scale: float = 1.0
    shift: tuple[float, float, float] = (0.0, 0.0, 0.0)

    def cameras(self, cameras: Cameras) -> Cameras:
        """The cameras as the thing would have them in its own world; they see the same pixels."""
        pose = cameras.world_to_camera.clone()
        pose[:, :3, :3] = cameras.rotation @ self._rotation()
        pose[:, :3, 3] += cameras.rotation @ torch.tensor(self.shift)
        pose[:, :3, 3] /= self.scale
        return replace(cameras, world_to_camera=pose)

    @property
    def matrix(self) -> Float[Tensor, "3 3"]:
        """From the thing's world to the truth's: rotation times scale."""
        return self.scale * self._rotation()

    def _rotation(self) -> Float[Tensor, "3 3"]:
        a = math.radians(self.turn)
        about = torch.tensor([[math.cos(a), -math.sin(a), 0], [math.sin(a), math.cos(a), 0], [0, 0, 1]])
        return about @ axes(NAMES[self.up]).T

    @property
    def moved(self) -> bool:
        """Whether it moves anything."""
        return self != AS_IT_IS


AS_IT_IS = Placement()
"""Of things that are in the world of their truth."""
