"""Objects that hardly differ from their background: cut out right, or told with the levels; never silent."""

from __future__ import annotations

import re

import numpy as np
import pytest
from scipy import ndimage

from vid4d.clip.contrast import with_contrast
from vid4d.clip.matting import fit_background, remove_plain_background
from vid4d.errors import InputError
from vid4d.media.keying import Background

H, W = 120, 160
Shown = tuple[list[np.ndarray], list[np.ndarray]]
ROWS, COLUMNS = np.mgrid[:H, :W].astype(np.float64)


def disc_at(x: float) -> np.ndarray:
    return np.hypot(COLUMNS - x, ROWS - 60) < 30


def noisy_disc(level: float, ground: float) -> list[np.ndarray]:
    """A flat disc that goes to the right, in noise of one step."""
    random = np.random.default_rng(1)
    pictures = [np.where(disc_at(60 + 10 * i), level, ground)[..., None] for i in range(4)]
    return [np.rint(p + random.normal(size=(H, W, 3))).clip(0, 255).astype(np.uint8) for p in pictures]


@pytest.mark.parametrize(("level", "ground"), [(214, 230), (36, 20)])
def test_a_flat_object_near_its_background_is_cut_out_and_told(level: int, ground: int) -> None:
    result = remove_plain_background(noisy_disc(level, ground))
    for i, frame in enumerate(result.frames):
        mask, truth = frame[..., 3] > 127, disc_at(60 + 10 * i)
        assert (mask & truth).sum() / (mask | truth).sum() > 0.97
    assert result.confidence <= 0.5
    found = re.search(r"hardly differs from its background \((\d+) before (\d+) of 255\)", result.notes[0])
    assert found is not None
    assert [int(n) for n in found.groups()] == pytest.approx([level, ground], abs=1)


def test_what_cannot_be_told_from_noise_is_refused_with_its_levels() -> None:
    with pytest.raises(
        InputError, match=r"at most 22[345] before 2(29|30) of 255\): film before another color"
    ):
        remove_plain_background(noisy_disc(224, 230))


def test_contrast_is_noted_only_where_it_is_little() -> None:
    def contrast(level: int) -> Background:
        frames = noisy_disc(level, 230)
        return with_contrast(frames, fit_background(frames))[0]

    assert contrast(214).contrast == pytest.approx(16 * 3**0.5, abs=2)
    assert contrast(214).region < contrast(214).core < 16 * 3**0.5
    assert contrast(100).contrast == np.inf
    assert contrast(100).core == 30


def standing(base: float, slope: float, ground: float, shadow: float) -> Shown:
    """A grey ball on a foot, lit from a side that turns, with a soft shadow on grey; and true masks."""
    frames, truth = [], []
    for i in range(8):
        x = 66 + 2 * i
        u, v = (COLUMNS - x) / 30, (ROWS - 55) / 30
        ball, foot = np.hypot(u, v) < 1, (np.abs(u) < 0.27) & (v > 0.5) & (v < 1.33)
        lit = base - slope * (v * np.cos(0.4 * i) + u * np.sin(0.4 * i))
        dark = np.exp(-(((COLUMNS - x) / 42) ** 2) - ((ROWS - 92) / 14) ** 2)
        grey = np.where(ball, lit, np.where(foot, 0.9 * base, ground * (1 - shadow * dark)))
        grey = ndimage.gaussian_filter(grey, 0.5)
        frames.append(np.rint(grey)[..., None].repeat(3, -1).astype(np.uint8))
        truth.append(ball | foot)
    return frames, truth


@pytest.mark.parametrize(("base", "slope", "ground", "shadow"), [(140, 30, 170, 0.25), (120, 15, 150, 0.3)])
def test_a_grey_object_is_not_taken_for_its_shadow(
    base: float, slope: float, ground: float, shadow: float
) -> None:
    """What is the object's and what the shadow's cannot be known here: all is kept, and this is told."""
    frames, truth = standing(base, slope, ground, shadow)
    result = remove_plain_background(frames)
    for frame, true in zip(result.frames, truth, strict=True):
        assert (frame[..., 3] > 127)[true].mean() > 0.6
    assert result.confidence <= 0.5
    assert "may be its shadow" in result.notes[0]


def mug(shadow: float) -> Shown:
    """A white mug before white whose handle comes and goes, with a soft shadow; and its true masks."""
    frames, truth = [], []
    for i in range(8):
        x = 66 + i
        body = (np.abs(COLUMNS - x) < 26) & (np.abs(ROWS - 55) < 28)
        handle = np.abs(np.hypot(COLUMNS - x - 27 * np.cos(0.4 * i), ROWS - 55) - 15) < 4
        dark = np.exp(-(((COLUMNS - x) / 42) ** 2) - ((ROWS - 83) / 14) ** 2)
        grey = np.where(handle, 235, 255 * (1 - shadow * dark))
        grey = np.where(body, 252 - 26 * ((COLUMNS - x) / 26) ** 2, grey)
        grey = ndimage.gaussian_filter(grey, 0.5)
        frames.append(np.rint(grey)[..., None].repeat(3, -1).astype(np.uint8))
        truth.append(body | handle)
    return frames, truth


@pytest.mark.parametrize("shadow", [0.0, 0.1, 0.25, 0.45])
def test_a_white_mug_before_white_is_right_or_told(shadow: float) -> None:
    frames, truth = mug(shadow)
    result = remove_plain_background(frames)
    overlap = [
        (mask & true).sum() / (mask | true).sum()
        for mask, true in zip([f[..., 3] > 127 for f in result.frames], truth, strict=True)
    ]
    assert min(overlap) > (0.97 if shadow == 0 else 0.2)
    assert min(overlap) > 0.97 or result.confidence <= 0.5
    assert any("the object looks like the background along" in n for n in result.notes)
