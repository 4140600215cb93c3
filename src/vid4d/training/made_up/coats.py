"""Coats of made-up animals: a texture of square tiles, one per color, some with a pattern."""

from __future__ import annotations

import colorsys

import numpy as np
from jaxtyping import UInt8
from scipy.ndimage import gaussian_filter

TILE = 48
"""Pixels of a tile's edge."""

FUR, SECOND, BELLY, DARK, BRIGHT, EYE, PUPIL = range(7)
"""Tiles, by what they are for: main color, a second one, underside, paws and hooves, beaks and horns."""


def _color(rng: np.random.Generator) -> np.ndarray:
    """Mostly what animals have; any color for a third."""
    if rng.random() < 0.35:
        hue, saturation, value = rng.random(), rng.uniform(0.2, 0.95), rng.uniform(0.25, 1)
    elif rng.random() < 0.3:
        hue, saturation, value = rng.random(), rng.uniform(0, 0.12), rng.uniform(0.12, 0.98)
    else:
        hue, saturation, value = rng.uniform(0.03, 0.13), rng.uniform(0.2, 0.85), rng.uniform(0.2, 0.95)
    return np.array(colorsys.hsv_to_rgb(hue, saturation, value))


def _pattern(rng: np.random.Generator) -> np.ndarray:
    """Share of the second color, (TILE, TILE): none, rings, stripes, spots, clouds, or a darker back."""
    down, around = np.meshgrid(*[(np.arange(TILE) + 0.5) / TILE] * 2, indexing="ij")
    kind = rng.integers(6)
    if kind == 0:
        return np.zeros((TILE, TILE))
    if kind in (1, 2):
        wave = down if kind == 1 else around + 0.05 * np.sin(9 * down)
        return (
            np.sin(2 * np.pi * rng.integers(2, 8) * wave + rng.uniform(0, 6)) > rng.uniform(-0.3, 0.8)
        ) * 1.0
    if kind == 5:
        return np.clip((np.abs(around - rng.random()) - 0.25) * 8, 0, 1)
    noise = gaussian_filter(rng.normal(size=(TILE, TILE)), rng.uniform(1.5, 6), mode="wrap")
    share = np.quantile(noise, rng.uniform(0.5, 0.9))
    return np.clip((noise - share) / noise.std() * (8 if kind == 3 else 1) + 0.5, 0, 1)


def texture(rng: np.random.Generator) -> UInt8[np.ndarray, "h w 4"]:
    """Tiles below each other, in the order of their constants."""
    main = _color(rng)
    second = _color(rng) if rng.random() < 0.5 else np.clip(main * rng.uniform(0.35, 1.5), 0, 1)
    dark = main * rng.uniform(0.15, 0.8)
    belly = main + (1 - main) * rng.uniform(0, 0.8)
    plain = [main, second, belly, dark, _color(rng), np.full(3, rng.uniform(0.6, 1)), np.full(3, 0.06)]
    grain = rng.uniform(0, 0.12) if rng.random() < 0.4 else 0.0
    tiles = []
    for i, color in enumerate(plain):
        mix = _pattern(rng)[..., None] if i in (FUR, SECOND) or rng.random() < 0.2 else 0.0
        if i in (EYE, PUPIL):
            mix = 0.0
        tile = color * (1 - mix) + (second if i == FUR else dark) * mix + np.zeros((TILE, TILE, 3))
        if grain and i not in (EYE, PUPIL):
            tile = tile * (1 + grain * gaussian_filter(rng.normal(size=(TILE, TILE, 1)), (1, 1, 0)) * 2)
        tiles.append(tile)
    rgb = np.concatenate(tiles).clip(0, 1)
    return np.concatenate([rgb * 255, np.full_like(rgb[..., :1], 255)], -1).round().astype(np.uint8)
