"""Comparisons of an asset with a file that it was exported to: a line each, for benchmarks/round_trip.py."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from vid4d.asset import Asset

SIDES = ((0.0, 0.0), (90.0, 0.0), (180.0, 20.0), (270.0, 20.0), (45.0, 60.0), (0.0, -60.0))
"""Azimuth and elevation from which meshes are looked at."""


@dataclass(frozen=True)
class Check:
    """One line: what was compared, as the asset has it and as the file has it."""

    format: str
    what: str
    asset: str
    file: str
    agrees: bool

    def row(self) -> str:
        words = (self.format, self.what, self.asset, self.file, "yes" if self.agrees else "**NO**")
        return f"| {' | '.join(words)} |"


@dataclass(frozen=True)
class Places:
    """Points of a surface that moves with it: triangles, and weights of their corners."""

    faces: np.ndarray
    weights: np.ndarray

    @classmethod
    def on(cls, vertices: np.ndarray, faces: np.ndarray, count: int) -> Places:
        """Spread evenly by area."""
        draw = np.random.default_rng(0)
        corners = vertices[faces]
        area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
        face = draw.choice(len(faces), count, p=area / area.sum())
        root, along = np.sqrt(draw.random(count)), draw.random(count)
        return cls(faces[face], np.stack([1 - root, root * (1 - along), root * along], 1))

    def at(self, vertices: np.ndarray) -> np.ndarray:
        """Where they are."""
        return np.einsum("pk,pkd->pd", self.weights, vertices[self.faces])

    def take(self, index: np.ndarray) -> Places:
        return Places(self.faces[index], self.weights[index])


Say = Callable[..., None]
"""Called with what is compared, what the asset says, what the file says, and whether they agree."""


def span(values: Sequence[float] | np.ndarray, digits: int = 3) -> str:
    """Numbers that lie in space: (x y z)."""
    return "(" + " ".join(f"{v:.{digits}f}" for v in np.asarray(values).tolist()) + ")"


def duration(asset: Asset, exported: float, say: Say) -> None:
    say("duration", f"{asset.seconds:.3f} s", f"{exported:.3f} s", abs(exported - asset.seconds) < 2e-3)


def decibels(a: np.ndarray, b: np.ndarray) -> float:
    return float(min(100.0, -10 * np.log10(max(((a - b) ** 2).mean(), 1e-10))))
