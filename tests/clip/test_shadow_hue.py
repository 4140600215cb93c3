"""Ground in shade between limbs, and parts of an object in its shadow, told by the shadow's measured hue."""

from __future__ import annotations

import numpy as np
import pytest

from vid4d.clip.matting import Matte, remove_plain_background
from vid4d.clip.shadow_hue import Look, ShadowHue

SIDE = 160
ROWS, COLUMNS = np.mgrid[:SIDE, :SIDE] + 0.5
WALL = np.array((226.0, 222.0, 214.0))
ORANGE = np.array((214.0, 120.0, 24.0))
PLACES = (66.0, 72.0, 78.0, 84.0)


def arch(x: float) -> np.ndarray:
    """A block with a closed arch, all of whose ground lies in shade."""
    block = (np.abs(COLUMNS - x) < 30) & (ROWS > 40) & (ROWS < 122)
    return (block & ~((np.abs(COLUMNS - x) < 20) & (ROWS > 96) & (ROWS < 116))).astype(float)


def shaded(x: float, tint: tuple[float, float, float]) -> np.ndarray:
    """The wall with a soft shadow at the foot, which takes so much of each channel."""
    dark = 0.4 * np.exp(-(np.hypot((COLUMNS - x) / 46, (ROWS - 112) / 24) ** 2))
    return WALL * (1 - dark[..., None] * np.array(tint))


def cut(
    color: np.ndarray, tint: tuple[float, float, float], paws: np.ndarray | None = None
) -> tuple[Matte, float]:
    """The matte of an arch that moves, with paws of another color beside its foot, and its worst IoU."""
    frames, truth = [], []
    for x in PLACES:
        picture, cover = shaded(x, tint), arch(x)
        picture = np.where(cover[..., None] > 0, color, picture)
        if paws is not None:
            paw = (np.abs(COLUMNS - x - 38) < 9) & (ROWS > 104) & (ROWS < 126)
            picture, cover = np.where(paw[..., None], paws, picture), np.maximum(cover, paw)
        frames.append(np.rint(picture).clip(0, 255).astype(np.uint8))
        truth.append(cover > 0)
    made = remove_plain_background(frames)
    seen = [f[..., 3] > 127 for f in made.frames]
    return made, min(float((a & b).sum() / (a | b).sum()) for a, b in zip(truth, seen, strict=True))


@pytest.mark.parametrize("tint", [(1.0, 1.0, 1.0), (1.15, 1.0, 0.8)])
def test_ground_that_is_all_in_shade_between_limbs_is_a_gap(tint: tuple[float, float, float]) -> None:
    """Also in a shadow that is bluer than what it lies on."""
    made, worst = cut(ORANGE, tint)
    assert worst > 0.97
    assert made.plain is not None
    assert made.plain.shadows.hue is not None
    assert made.plain.shadows.hue.reach > 0


def test_paws_in_the_shadow_stay_where_they_are_of_another_hue() -> None:
    """As dark as the shadow and nearly of the wall's hue, ten steps from it."""
    _, worst = cut(ORANGE, (1.0, 1.0, 1.0), 0.75 * WALL + np.array((-6.0, 0.0, 8.0)))
    assert worst > 0.97


def look(thing: np.ndarray, factor: np.ndarray) -> Look:
    """A look at something before a grey wall, of its own hue, with a shadow at the foot."""
    dark = np.hypot((COLUMNS - 80) / 60, (ROWS - 130) / 20) < 1
    bare = np.full((SIDE, SIDE, 3), 240.0)
    at = np.where(thing, factor, np.where(dark, 0.7, 1.0))
    picture = bare * at[..., None]
    nothing = np.zeros_like(thing)
    free = ~thing & ~dark
    return Look(picture, picture, bare, at, free, dark & ~thing, nothing, nothing, 1.0, 6.0, 1.05)


def test_an_object_of_the_shadows_hue_tells_no_ground() -> None:
    """A white mug before white: high above the shadow it is as dark as that. A black one is not."""
    mug = (np.abs(COLUMNS - 80) < 30) & (ROWS > 30) & (ROWS < 125)
    white, black = (ShadowHue.measure([look(mug, np.full_like(ROWS, f))]) for f in (0.75, 0.2))
    assert white is not None
    assert white.reach == 0
    assert not white.between_limbs(look(mug, np.full_like(ROWS, 0.75))).any()
    assert black is not None
    assert black.reach > 0


def test_the_tint_of_a_shadow_is_measured() -> None:
    """Of 240 * 0.7 with 6 steps less red and 6 more blue: over the length that is taken, 240 * 1.73 * 0.3."""
    grey = look(np.zeros((SIDE, SIDE), bool), np.ones_like(ROWS))
    shift = np.where(grey.dark[..., None], np.array((-6.0, 0.0, 6.0)), 0)
    tinted = Look(**{**vars(grey), "picture": grey.picture + shift, "calm": grey.calm + shift})
    hue = ShadowHue.measure([tinted])
    assert hue is not None
    assert hue.tint == pytest.approx(np.array((-6, 0, 6)) / (240 * 3**0.5 * 0.3), abs=1e-3)
    assert hue.distance(tinted)[tinted.dark].max() < 0.1


def test_ground_in_shade_that_is_kept_lowers_the_confidence_and_is_told() -> None:
    """A hard shadow between two legs is no soft one, and too small to be told as flat ground."""
    frames = []
    for x in PLACES:
        legs = (np.abs(np.abs(COLUMNS - x) - 20) < 6) & (ROWS > 90) & (ROWS < 130)
        body = (np.abs(COLUMNS - x) < 26) & (ROWS > 40) & (ROWS < 92)
        ground = (np.abs(COLUMNS - x) < 15) & (ROWS > 110) & (ROWS < 130)
        picture = np.where(ground[..., None], 0.6 * WALL, WALL)
        frames.append(np.rint(np.where((legs | body)[..., None], ORANGE, picture)).astype(np.uint8))
    made = remove_plain_background(frames)
    assert made.confidence <= 0.75
    (note,) = [n for n in made.notes if "ground in shade" in n]
    share = 28 * 19 / (52 * 51 + 2 * 12 * 38 + 28 * 19)
    assert int(note.split("%")[0]) == pytest.approx(100 * share, abs=4)
    assert "middle" in note
    assert "--masks" in note
