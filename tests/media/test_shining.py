"""Gaps are known by the background's hue, in shade, too; highlights and parts of its hue are none."""

from __future__ import annotations

import numpy as np
import pytest

from vid4d.clip.holes import fill_brief_holes
from vid4d.clip.matting import remove_plain_background
from vid4d.media.shining import shining_through

GREEN, BROWN, GREY = (60.0, 150.0, 70.0), (150.0, 100.0, 60.0), (150.0, 150.0, 150.0)
V, U = np.mgrid[:120, :120] + 0.5


def washer(hole: float, ground: tuple[float, ...], shade: float = 1.0) -> np.ndarray:
    """A brown disc with a hole that shows the ground in a shade; RGB."""
    away = np.hypot(U - 60, V - 60)
    picture = np.broadcast_to(np.asarray(ground), (120, 120, 3)).copy()
    picture[away < 40] = BROWN
    picture[away < hole] = shade * np.asarray(ground)
    return np.rint(picture).astype(np.uint8)


def hole_in_mask(picture: np.ndarray, hole: float) -> float:
    """Share of the hole that the mask leaves open, its edge aside."""
    rgba = remove_plain_background([picture] * 3).frames[1]
    inner = np.hypot(U - 60, V - 60) < hole - 1.5
    return float((rgba[..., 3][inner] < 128).mean())


@pytest.mark.parametrize(("hole", "shade"), [(15, 1.0), (15, 0.92), (15, 0.85), (2.5, 1.0), (2.5, 0.98)])
def test_a_gap_before_green_stays_open_in_its_own_shade_and_small(hole: float, shade: float) -> None:
    assert hole_in_mask(washer(hole, GREEN, shade), hole) == 1.0


@pytest.mark.parametrize(("hole", "shade"), [(15, 0.95), (2.5, 1.0)])
def test_before_grey_the_same_spot_may_be_a_part_of_the_object(hole: float, shade: float) -> None:
    """A pale part, or as small as a highlight."""
    assert hole_in_mask(washer(hole, GREY, shade), hole) == 0.0


def test_a_darker_object_of_the_same_hue_keeps_its_pale_spot() -> None:
    """A dark green disc, whose middle is as bright as the green ground."""
    ground = np.broadcast_to(np.float32(GREEN), (120, 120, 3)).copy()
    away = np.hypot(U - 60, V - 60)
    factor = np.where(away < 40, np.clip(0.6 + 0.4 * (18 - away) / 6, 0.6, 1.0), 1.0)
    picture = (ground * factor[..., None]).astype(np.float32)
    spot = away < 12
    inside = (away < 40) & ~spot
    assert not shining_through(picture, ground, inside, spot, 6.0).any()


def test_a_gap_that_opens_for_two_frames_is_not_filled_where_the_background_shines_through() -> None:
    """A gap between limbs opens and closes as quickly as a lost spot comes and goes."""
    pictures = [washer(10 if i in (4, 5) else 0, GREEN) for i in range(10)]
    matte = remove_plain_background(pictures)
    opaque = [np.dstack([p, np.full(p.shape[:2], 255, np.uint8)]) for p in pictures]
    assert matte.plain is not None
    times = np.arange(10) / 24
    assert fill_brief_holes(matte.frames, opaque, times)[1] is not None
    kept, said = fill_brief_holes(matte.frames, opaque, times, matte.plain.shines_in(opaque))
    assert said is None
    assert kept[4][60, 60, 3] == 0
