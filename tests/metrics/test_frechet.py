"""Frechet distances that are known."""

from __future__ import annotations

import numpy as np
import pytest

from vid4d.metrics.frechet import frechet_distance, one_video_distance


def test_of_two_gaussians_by_hand() -> None:
    """One dimension: (mean difference)^2 + (deviation difference)^2."""
    a, b = np.array([[0.0], [2.0]]), np.array([[10.0], [16.0]])
    assert frechet_distance(a, b) == pytest.approx(12**2 + (6 / 2**0.5 - 2 / 2**0.5) ** 2)


def test_equal_sets_and_shifted_ones() -> None:
    a = np.random.default_rng(0).normal(size=(5, 40))
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-10)
    assert frechet_distance(a, a[::-1]) == pytest.approx(0, abs=1e-10)
    assert frechet_distance(a, a + 0.5) == pytest.approx(40 * 0.25)


def test_of_many_samples_as_by_the_roots_of_the_covariances() -> None:
    from scipy.linalg import sqrtm

    rng = np.random.default_rng(1)
    a, b = rng.normal(size=(50, 4)) @ rng.normal(size=(4, 4)), rng.normal(size=(70, 4)) + 1
    s, t = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    shift = a.mean(0) - b.mean(0)
    expected = shift @ shift + np.trace(s + t - 2 * sqrtm(s @ t).real)
    assert frechet_distance(a, b) == pytest.approx(expected)


def test_a_single_video_has_no_covariance() -> None:
    a, b = np.array([0.0, 2.0]), np.array([1.0, 7.0])
    with pytest.raises(ValueError, match="set of one"):
        frechet_distance(a[None], b[None])
    assert one_video_distance(a, a) == 0
    assert one_video_distance(a, b) == pytest.approx(1 + 25 + (6 / 2**0.5 - 2 / 2**0.5) ** 2)
