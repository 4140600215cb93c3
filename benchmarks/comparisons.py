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


Say = Callable[..., None]
"""Called with what is compared, what the asset says, what the file says, and whether they agree."""


def span(values: Sequence[float] | np.ndarray, digits: int = 3) -> str:
    """Numbers that lie in space: (x y z)."""
    return "(" + " ".join(f"{v:.{digits}f}" for v in np.asarray(values).tolist()) + ")"


def duration(asset: Asset, exported: float, say: Say) -> None:
    say("duration", f"{asset.seconds:.3f} s", f"{exported:.3f} s", abs(exported - asset.seconds) < 2e-3)


def decibels(a: np.ndarray, b: np.ndarray) -> float:
    return float(min(100.0, -10 * np.log10(max(((a - b) ** 2).mean(), 1e-10))))
