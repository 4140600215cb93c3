"""Cameras of several pages that move together: who leads, and what is only an echo."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float


class Pose(NamedTuple):
    """Pose of a camera: position and target (world), vertical field of view in radians."""

    position: Float[np.ndarray, " 3"]
    look_at: Float[np.ndarray, " 3"]
    fov: float

    def near(self, other: Pose, tolerance: float = 1e-3) -> bool:
        """Test for the same pose. tolerance: of position, target (world units) and field of view."""
        apart = np.abs(np.subtract([*self.position, *self.look_at], [*other.position, *other.look_at])).max()
        return bool(apart < tolerance and abs(self.fov - other.fov) < tolerance)


class CameraSync:
    """Decides which reported camera moves are to be passed on to the other pages.

    A page that is sent a pose reports it back, some frames late. These echoes are not passed on: while one
    page moves, and for `hold` seconds after, reports of the others do not count; and a report of the pose
    that everybody has already is no move.
    """

    def __init__(self, hold: float = 0.4, now: Callable[[], float] = time.monotonic) -> None:
        self.hold = hold
        self._now = now
        self._lock = threading.Lock()
        self._leader: Hashable = None
        self._until = -float("inf")
        self.pose: Pose | None = None

    def moved(self, who: Hashable, pose: Pose) -> bool:
        """A page reports its camera. Returns whether the others are to follow."""
        with self._lock:
            now = self._now()
            if self.pose is None:
                self.pose = pose
                return False
            if pose.near(self.pose) or (who != self._leader and now < self._until):
                return False
            self._leader, self._until, self.pose = who, now + self.hold, pose
            return True
