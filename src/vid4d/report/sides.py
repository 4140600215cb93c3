"""Reliability of each side of an asset: what its prior is good for, and where its pictures disagree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from vid4d.matrix.matrix import ImageMatrix
from vid4d.priors.expected import Expected, away_from_clip

DOUBTFUL = 0.05
"""How far a side's confidence lies below the mean of all sides, where it is named."""


@dataclass(frozen=True)
class KnownSides:
    """Reliability by view of the image matrix.

    azimuths: degrees. expected: overlap with the truth on unseen models. models: how many those were.
    confidence: mean over the object's pixels and all times; None where there is none. kinds: mean overlap of
    each kind of those objects.
    """

    azimuths: Sequence[float]
    expected: Sequence[float]
    confidence: Sequence[float] | None
    models: int
    kinds: Mapping[str, float] = field(default_factory=dict)

    @property
    def doubtful(self) -> list[float]:
        """Azimuths whose pictures disagree with their neighbours in time more than the others do."""
        if self.confidence is None:
            return []
        mean = sum(self.confidence) / len(self.confidence)
        pairs = zip(self.azimuths, self.confidence, strict=True)
        return [azimuth for azimuth, value in pairs if value < mean - DOUBTFUL]

    def sentences(self) -> list[str]:
        """Reliability in words."""
        ranges = {
            "at the clip's own side": (0, 12),
            "at 45°": (40, 50),
            "at the sides": (80, 100),
            "behind": (170, 180),
        }
        means = {}
        for name, (low, high) in ranges.items():
            pairs = zip(self.azimuths, self.expected, strict=True)
            values = [e for a, e in pairs if low <= away_from_clip(a) <= high]
            means[name] = sum(values) / len(values) if values else None
        overlaps = ", ".join(f"{value:.2f} {name}" for name, value in means.items() if value is not None)
        of_kinds = ", ".join(f"{kind} {value:.2f}" for kind, value in self.kinds.items())
        all_around = f", all around {of_kinds}" if self.kinds else ""
        words = [
            "The clip shows one side; the others are imagined. On "
            f"{self.models} objects that the prior had never seen, its silhouettes overlapped with the true "
            f"ones by {overlaps}{all_around} (1 is all of it). "
            "Those were drawn models, seen by a camera whose elevation was told: expect less of filmed "
            "things. The clip's own side is fitted to the clip."
        ]
        if self.doubtful:
            names = ", ".join(_ranges(self.azimuths, self.doubtful))
            words.append(f"In this run, pictures disagree from moment to moment most at {names}.")
        return words


def _ranges(azimuths: Sequence[float], chosen: Sequence[float]) -> list[str]:
    """'90°' or '247.5° to 22.5°' for each stretch of neighbouring directions of a ring."""
    if len(chosen) == len(azimuths):
        return ["all sides"]
    inside = [a in chosen for a in azimuths]
    count, stretches = len(azimuths), []
    for first in range(count):
        if inside[first] and not inside[first - 1]:
            last = first
            while inside[(last + 1) % count]:
                last += 1
            ends = dict.fromkeys((azimuths[first], azimuths[last % count]))
            stretches.append(" to ".join(f"{a:g}°" for a in ends))
    return stretches


def object_confidence(matrix: ImageMatrix, over: tuple[int, ...] = (0, 1, 2, 3)) -> Tensor | None:
    """Mean confidence over axes, weighted by alpha: the background, which is always sure, does not count."""
    if matrix.confidence is None:
        return None
    alpha = matrix.images[..., 3]
    return (matrix.confidence * alpha).sum(over) / alpha.sum(over).clamp(min=1e-6)


def known_sides(matrix: ImageMatrix, expected: Expected | None) -> KnownSides | None:
    """Reliability of the views of a matrix; None where the prior was never measured."""
    if expected is None or matrix.input_images is None:
        return None
    azimuths = [round(a, 1) % 360 for a in matrix.cameras.azimuth.tolist()]
    of_views = object_confidence(matrix, (1, 2, 3))
    confidence = None if of_views is None else of_views.tolist()
    order = torch.tensor(azimuths).argsort().tolist()
    return KnownSides(
        [azimuths[i] for i in order],
        [expected.at(azimuths[i]) for i in order],
        None if confidence is None else [confidence[i] for i in order],
        expected.models,
        expected.kinds,
    )
