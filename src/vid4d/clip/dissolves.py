"""Dissolves: frames between two shots that are mixtures of both, where a cut would change at once.

What moves is somewhere else half way; what dissolves is in both places, half there. So every picture between
is, to a part, the first times one share and the last times the rest, and the shares grow.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, UInt8
from scipy import ndimage

from vid4d.clip.checks import thumbnail
from vid4d.clip.pieces import overlap
from vid4d.clip.takes import Takes, any_clear, span

LAGS = (4, 6, 8, 12, 16)
"""Frames from before to after, of those that are looked at."""
DIFFER = 0.4
"""1 - intersection over union of the masks before and after, at least."""
CHANGE = 4.0
"""Root mean square change of the picture, 8-bit steps, at least."""
MIXED = 0.33
"""What no mixture explains of a picture between over that change, at most: what moves leaves 0.5 or more."""
LIGHT = 0.4
"""The same of the last picture, as the first in another light: above it, it is none."""
BACKWARDS, JUMP = 0.03, 0.6
"""Steps of the share from one frame to the next, at least (backwards) and at most."""
INSIDE = 0.08
"""Share of either shot from which a frame between shows both."""


def without_dissolves(
    takes: Takes,
    pictures: Sequence[UInt8[np.ndarray, "h w 4"]],
    cut: Sequence[UInt8[np.ndarray, "h w 4"]],
    times: Float[np.ndarray, " t"],
) -> Takes:
    """Takes whose frames that show two things at once, and were good, are not.

    pictures: as they came; of those with transparency nothing is said. cut: the same without background.
    """
    if len(pictures) <= LAGS[0] or any_clear(pictures):
        return takes
    down, right = (max(1, n // 96) for n in cut[0].shape[:2])
    masks = [f[::down, ::right, 3] > 127 for f in cut]
    differ = [
        (i, lag)
        for lag in LAGS
        for i in range(len(masks) - lag)
        if takes.good[i : i + lag + 1].all() and _differ(masks[i], masks[i + lag])
    ]
    if not differ:
        return takes
    small = np.stack([thumbnail(f)[..., :3].ravel() for f in pictures])
    both: set[int] = set()
    for i, lag in differ:
        left, shares = _mixtures(small[i : i + lag + 1])
        if left < MIXED:
            both.update(i + k for k, share in enumerate(shares) if INSIDE < share < 1 - INSIDE)
    if not both:
        return takes
    told = f"one picture dissolves into another {span(times, sorted(both))}: a cut"
    return takes.without(sorted(both), told)


def _differ(before: Bool[np.ndarray, "h w"], after: Bool[np.ndarray, "h w"]) -> bool:
    """Whether masks differ by more than a seam, in which what grows by less than a pixel is a mixture."""
    if 1 - overlap(before, after) <= DIFFER:
        return False
    differ = before != after
    return bool(ndimage.binary_opening(differ, np.ones((3, 3), bool)).sum() > differ.sum() / 2)


def _mixtures(pictures: Float[np.ndarray, "n p"]) -> tuple[float, Float[np.ndarray, " n"]]:
    """What no mixture of the first and the last explains of those between, at most; shares of the last.

    Infinite where the shares do not grow, or the last is the first in another light.
    """
    first, last = pictures[0], pictures[-1]
    way = last - first
    square = float(way @ way)
    shares = (pictures - first) @ way / max(square, 1e-9)
    steps = np.diff(shares)
    if square < CHANGE**2 * len(way) or steps.min() < -BACKWARDS or steps.max() > JUMP:
        return np.inf, shares
    factor = float(first @ last) / max(float(first @ first), 1e-9)
    if np.linalg.norm(last - factor * first) < LIGHT * np.sqrt(square):
        return np.inf, shares
    left = np.linalg.norm(pictures - first - shares[:, None] * way, axis=1) / np.sqrt(square)
    return float(left.max()), shares
