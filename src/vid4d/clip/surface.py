"""The color of a plain background at every pixel: a smooth surface, fitted to the border, then to all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Float, UInt8
from scipy import ndimage

from vid4d.media.keying import REGION, Background, reached_from_border, smooth

MAX_NOISE = 14.0  # 8-bit steps


def _basis(y: np.ndarray, x: np.ndarray, shape: tuple[int, int], degree: int) -> Float[np.ndarray, "n m"]:
    """Products of Legendre polynomials up to a total degree, over the picture as [-1, 1] x [-1, 1]."""
    u, v = 2 * x / max(shape[1] - 1, 1) - 1, 2 * y / max(shape[0] - 1, 1) - 1
    along_u = np.polynomial.legendre.legvander(u, degree)
    along_v = np.polynomial.legendre.legvander(v, degree)
    terms = [along_u[:, i] * along_v[:, n - i] for n in range(degree + 1) for i in range(n + 1)]
    return np.stack(terms, -1)


def _evaluate(coefficients: np.ndarray, shape: tuple[int, int], degree: int) -> Float[np.ndarray, "h w 3"]:
    along_y, along_x = (
        np.polynomial.legendre.legvander(2 * np.arange(n) / max(n - 1, 1) - 1, degree) for n in shape
    )
    table = np.zeros((degree + 1, degree + 1, 3))
    places = [(n - i, i) for n in range(degree + 1) for i in range(n + 1)]  # as of `_basis`
    table[tuple(np.transpose(places))] = coefficients
    return np.stack([along_y @ table[..., c] @ along_x.T for c in range(3)], -1).astype(np.float32)


def _least_squares(
    basis: Float[np.ndarray, "n m"],
    weights: Float[np.ndarray, " n"],
    target: Float[np.ndarray, "n 3"],
    ridge: float = 0.0,
) -> Float[np.ndarray, "m 3"]:
    """Weighted least squares by normal equations, which products of Legendre polynomials keep well posed."""
    weighted = (basis * weights[:, None]).T
    matrix = weighted @ basis
    matrix[np.diag_indices(len(matrix))] += ridge
    return np.linalg.lstsq(matrix, weighted @ target, rcond=None)[0]


def fit_background(frames: Sequence[UInt8[np.ndarray, "h w 3"]]) -> Background:
    """Fits a quadratic surface per channel to the border of all frames.

    Least absolute deviations (iteratively reweighted), so that an object that touches the border does not
    bend the surface.
    """
    h, w = frames[0].shape[:2]
    width = max(1, min(h, w) // 64)
    border = np.ones((h, w), bool)
    border[width : h - width, width : w - width] = False
    y, x = np.nonzero(border)
    stride = max(1, len(y) * len(frames) // 40_000)
    colors = np.stack([f[y, x] for f in frames])
    offsets = np.median(colors, 1) - np.median(colors, (0, 1))
    frame, pixel = np.divmod(np.arange(0, len(y) * len(frames), stride), len(y))
    design = _basis(y, x, (h, w), 2)[pixel]
    target = colors[frame, pixel] - offsets[frame]
    start = np.zeros((6, 3))
    start[0] = np.median(target, 0)
    coefficients = start
    for _ in range(25):
        residual = np.linalg.norm(target - design @ coefficients, axis=1)
        better = _least_squares(design, 1 / np.maximum(residual, 0.5), target)
        converged = np.abs(better - coefficients).max() < 1e-3
        coefficients = better
        if converged:
            break
    residual = target - design @ coefficients
    distance = np.linalg.norm(residual, axis=1)
    inlier = distance < REGION + 1.5 * MAX_NOISE * min(1.0, float(np.median(distance)) / MAX_NOISE)
    noise = float(np.mean(np.std(residual[inlier], 0))) if inlier.any() else 255.0
    surface = _evaluate(coefficients, (h, w), 2)
    return Background(surface, offsets.astype(np.float32), noise, float(inlier.mean()))


def refine(frames: Sequence[UInt8[np.ndarray, "h w 3"]], background: Background) -> Background:
    """Lets the surface follow what the border could not know: vignettes, stains, uneven light.

    Fits it again to everything that turns out to be background, with more freedom each time, so that the
    background grows inwards; at last adds what remains, spread smoothly. Works on small copies.
    """
    h, w = frames[0].shape[:2]
    step = max(1, -(-max(h, w) // 256))
    few = max(1, len(frames) // 16)
    small = [
        frames[i][::step, ::step].astype(np.float32) - background.offsets[i]
        for i in range(0, len(frames), few)
    ]
    shape = small[0].shape[:2]
    surface = background.surface[::step, ::step]

    def residuals() -> tuple[np.ndarray, np.ndarray]:
        total, count = np.zeros((*shape, 3), np.float32), np.zeros(shape, np.float32)
        for frame in small:
            residual = frame - surface
            is_background = (smooth(residual) ** 2).sum(-1) < background.region**2
            is_background = reached_from_border(
                ndimage.binary_erosion(is_background, iterations=2, border_value=1)
            )
            total += residual * is_background[..., None]
            count += is_background
        return total, count

    for degree in (2, 3, 4, 4, 4):
        total, count = residuals()
        y, x = np.nonzero(count)
        basis = _basis(y.astype(np.float64), x.astype(np.float64), shape, degree)
        target = total[y, x] / count[y, x, None]
        # a small ridge keeps the surface calm where no background was seen
        coefficients = _least_squares(basis, count[y, x], target, 1e-3 * float(count.sum()))
        surface = surface + _evaluate(coefficients, shape, degree)
    for _ in range(2):
        total, count = residuals()
        sigma = 0.03 * max(shape)
        spread = ndimage.gaussian_filter(total, (sigma, sigma, 0))
        weight = ndimage.gaussian_filter(count, sigma)[..., None]
        surface = surface + spread / (weight + 0.02 * len(small))
    zoomed = surface
    if step > 1:
        rows = np.minimum(np.arange(h) / step, shape[0] - 1)
        columns = np.minimum(np.arange(w) / step, shape[1] - 1)
        grid = np.stack(np.meshgrid(rows, columns, indexing="ij"))
        zoomed = np.stack([ndimage.map_coordinates(surface[..., c], grid, order=1) for c in range(3)], -1)
    return replace(background, surface=np.clip(zoomed, 0, 255).astype(np.float32))
