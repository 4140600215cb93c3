"""Expected quality of a prior, by direction: measured on models that it never saw."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from vid4d.files.records import Share, read_record

FILE = Path(__file__).parent / "data" / "expected.json"
KINDS = {"val": "animated creatures", "realistic": "everyday things"}
"""What the sets of models show (`benchmarks/frustum_quality.py`)."""


def away_from_clip(azimuth: float) -> float:
    """Degrees between a direction and the clip's side, whichever way round."""
    return abs((azimuth + 180) % 360 - 180)


@dataclass(frozen=True)
class Expected:
    """Overlap (IoU) of drawn silhouettes with true ones.

    models: how many it was measured on. overlap: at azimuths from the clip's side to the one behind it,
    evenly spaced, mean of both ways round. kinds: mean overlap of each kind of models.
    """

    models: int
    overlap: tuple[Share, ...]
    kinds: dict[str, Share] = field(default_factory=dict)

    def at(self, azimuth: float) -> float:
        """Expected overlap at any azimuth in degrees, interpolated linearly between the measured ones."""
        position = away_from_clip(azimuth) / 180 * (len(self.overlap) - 1)
        low = min(int(position), len(self.overlap) - 2)
        return self.overlap[low] + (position - low) * (self.overlap[low + 1] - self.overlap[low])


def expected_of(prior: str, file: Path = FILE) -> Expected | None:
    """The mean over all sets of models that a prior was measured on; None where it was on none."""
    every = read_record(file, dict[str, dict[str, Expected]], "install vid4d again")
    named = every.get(prior, {})
    sets = list(named.values())
    if not sets:
        return None
    total = sum(s.models for s in sets)
    columns = zip(*(s.overlap for s in sets), strict=True)
    mean = tuple(sum(s.models * v for s, v in zip(sets, column, strict=True)) / total for column in columns)
    kinds = {KINDS[name]: sum(s.overlap) / len(s.overlap) for name, s in named.items() if name in KINDS}
    return Expected(total, mean, kinds)
