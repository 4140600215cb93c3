"""Shadows in alpha, as renders with a shadow catcher have them, are told from what is dark and half clear."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from boxes import H, W, box, folder_of
from scipy import ndimage

from vid4d.clip.alpha_shadows import DARK, EDGE, without_shadows
from vid4d.clip.clip import read_clip


def over_shadow(picture: np.ndarray, shadow: np.ndarray) -> np.ndarray:
    """A straight-alpha picture over black with an alpha in [0, 1]."""
    a = picture[..., 3] / 255
    both = a + (1 - a) * shadow
    colors = picture[..., :3] * (a / np.maximum(both, 1e-6))[..., None]
    return np.dstack([np.rint(colors), np.rint(255 * both)]).astype(np.uint8)


def spot(x: int, y: int, strength: float, blur: float, scale: int = 1) -> np.ndarray:
    """The alpha of a shadow of 28 x 8 pixels."""
    flat = np.zeros((H * scale, W * scale))
    flat[y * scale : (y + 8) * scale, x * scale : (x + 28) * scale] = strength
    return ndimage.gaussian_filter(flat, blur * scale) if blur else flat


@pytest.mark.parametrize("strength", [0.3, 0.6, 0.95])
@pytest.mark.parametrize("color", [(200, 40, 40), (10, 10, 10)])
def test_a_soft_shadow_is_left_out(strength: float, color: tuple[int, int, int]) -> None:
    clean = [box(10 + 5 * i, color=color) for i in range(8)]
    shaded = [over_shadow(p, spot(8 + 5 * i, 46, strength, 2.5)) for i, p in enumerate(clean)]
    frames, told, left_out = without_shadows(shaded)
    assert told is not None
    assert "soft shadow in the alpha" in told
    assert left_out
    for frame, truth in zip(frames, clean, strict=True):
        known = truth[..., 3] > 0
        assert np.array_equal(frame[known], truth[known])
        # beside a dark foot there may be its own soft edge
        near = ndimage.distance_transform_edt(~known) <= EDGE
        assert not frame[~(known | near) if max(color) < DARK else ~known][:, 3].any()


def test_it_is_left_out_of_a_clip_and_kept_on_demand(tmp_path: Path) -> None:
    clean = [box(10 + 3 * i) for i in range(6)]
    shaded = [over_shadow(p, spot(8 + 3 * i, 46, 0.7, 2.5)) for i, p in enumerate(clean)]
    truth = read_clip(folder_of(tmp_path / "a", clean), frames=0)
    clip = read_clip(folder_of(tmp_path / "b", shaded), frames=0)
    assert np.array_equal(clip.frames, truth.frames)
    assert [w for w in clip.warnings if w not in truth.warnings] == [
        "a soft shadow in the alpha, at the foot of the object, is left out; --keep keeps it"
    ]
    kept = read_clip(tmp_path / "b", frames=0, keep=True)
    assert not any("shadow" in w for w in kept.warnings)
    assert kept.object_pixels is not None
    assert truth.object_pixels is not None
    assert kept.object_pixels > truth.object_pixels


def test_it_does_not_come_back_at_full_size(tmp_path: Path) -> None:
    """Windows smaller than the frames are cut out again of pictures 16 times as large."""
    large = []
    for i in range(3):
        picture = np.zeros((H * 16, W * 16, 4), np.uint8)
        picture[540:780, 540 + 16 * i : 780 + 16 * i] = (200, 40, 40, 255)
        large.append(over_shadow(picture, spot(28 + i, 46, 0.7, 2.5, 16)))
    clip = read_clip(folder_of(tmp_path / "f", large), frames=0)
    colors, alpha = clip.frames[..., :3], clip.frames[..., 3]
    assert ((colors.max(-1) < 0.1) & (alpha > 0.05)).sum(axis=(1, 2)).max() <= 4


def half_clear(alpha: int, x: int, y: int, w: int, h: int, color: int) -> list[np.ndarray]:
    """A red box over a half-clear one."""
    under = [box(x + i, y, w, h, (color,) * 3) for i in range(5)]
    for picture in under:
        picture[..., :3] = np.minimum(picture[..., :3], color)
        picture[..., 3] = np.minimum(picture[..., 3], alpha)
    return [np.where(box(30 + i)[..., 3:] > 0, box(30 + i), p) for i, p in enumerate(under)]


def test_what_else_is_dark_and_half_clear_is_kept() -> None:
    window = [box(30 + i) for i in range(5)]
    fur = []
    for i, picture in enumerate(window):
        picture[40:48, 36 + i : 46 + i] = (0, 0, 0, 100)
        thing = box(30 + i, color=(0, 0, 0))
        soft = ndimage.gaussian_filter(thing[..., 3].astype(np.float32), 3)
        thing[..., 3] = np.maximum(thing[..., 3], soft.astype(np.uint8))
        fur.append(thing)
    veil = half_clear(110, 24, 40, 30, 20, 120)
    plain = [box(30 + i) for i in range(5)]
    for pictures in (window, fur, veil, plain):
        frames, told, left_out = without_shadows(pictures)
        assert told is None
        assert not left_out
        assert frames is pictures


def test_one_with_a_hard_edge_is_kept_and_told() -> None:
    pictures = half_clear(110, 24, 44, 34, 16, 0)
    frames, told, left_out = without_shadows(pictures)
    assert frames is pictures
    assert told is not None
    assert "may be its shadow, with a hard edge: its alpha is taken" in told
    assert not left_out
