"""Frechet distances of features, as FID (1706.08500) and FVD (1812.01717) have them."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float


def frechet_distance(a: Float[np.ndarray, "n d"], b: Float[np.ndarray, "m d"]) -> float:
    """Between the Gaussians that two sets of features have as mean and (unbiased) covariance:
    |mean difference|^2 + tr(A + B - 2 (A B)^(1/2)).

    Exact for fewer samples than dimensions: with centred features X and Y over the roots of n - 1 and m - 1,
    tr (A B)^(1/2) is the sum of the singular values of X Y^T.
    """
    if min(len(a), len(b)) < 2:
        raise ValueError("a set of one has no covariance: give two or more")
    x, y = ((s - s.mean(0)) / np.sqrt(len(s) - 1) for s in (a, b))
    shift = a.mean(0) - b.mean(0)
    between = np.linalg.svd(x @ y.T, compute_uv=False).sum()
    return max(0.0, float(shift @ shift + (x**2).sum() + (y**2).sum() - 2 * between))


def one_video_distance(a: Float[np.ndarray, " d"], b: Float[np.ndarray, " d"]) -> float:
    """What the published script of Consistent4D calls FVD, of one video against one.

    numpy.cov(rowvar=False) of a single row takes its d numbers for samples of one variable (before NumPy 2.2;
    after that it gives NaN), so that this is |a - b|^2 + (deviation of a's numbers - deviation of b's)^2.
    """
    shift = a - b
    return float(shift @ shift + (a.std(ddof=1) - b.std(ddof=1)) ** 2)
