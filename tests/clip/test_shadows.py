"""Shadows at the foot of an object before a plain background, where the true mask is known."""

from __future__ import annotations

import numpy as np
import pytest

from vid4d.clip import shadows
from vid4d.clip.matting import Matte, remove_plain_background

SIDE = 160
ROWS, COLUMNS = np.mgrid[:SIDE, :SIDE] + 0.5


def lollipop(x: float) -> np.ndarray:
    """Coverage of a disc on a stick, whose foot stands in row 120."""
    disc = np.clip(28.5 - np.hypot(COLUMNS - x, ROWS - 60), 0, 1)
    return np.maximum(disc, (np.abs(COLUMNS - x) < 7) & (ROWS > 60) & (ROWS < 120))


def ground(x: float, background: tuple[float, ...], dark: float) -> np.ndarray:
    """A background with a soft ellipse at the foot that is darker by so much."""
    away = np.hypot((COLUMNS - x) / 38, (ROWS - 120) / 17)
    return np.array(background) * (1 - dark * np.exp(-(away**2)))[..., None]


def shown(color: tuple[float, ...], background: tuple[float, ...], dark: float) -> tuple[Matte, float, Matte]:
    """The matte of a moving lollipop, its worst intersection over union, and the matte that keeps shadows."""
    places = (66.0, 72.0, 78.0, 84.0)
    frames = []
    for x in places:
        alpha = lollipop(x)[..., None]
        picture = alpha * np.array(color) + (1 - alpha) * ground(x, background, dark)
        frames.append(np.rint(picture).astype(np.uint8))
    result = remove_plain_background(frames)
    truth = [lollipop(x) > 0.5 for x in places]
    seen = [f[..., 3] > 127 for f in result.frames]
    worst = min(float((a & b).sum() / (a | b).sum()) for a, b in zip(truth, seen, strict=True))
    return result, worst, remove_plain_background(frames, keep_shadows=True)


@pytest.mark.parametrize("background", [(240.0, 240.0, 240.0), (40.0, 180.0, 70.0), (150.0, 190.0, 230.0)])
@pytest.mark.parametrize("color", [(200.0, 60.0, 30.0), (18.0, 18.0, 20.0)])
def test_a_soft_shadow_in_the_hue_of_the_background_is_left_out(
    color: tuple[float, ...], background: tuple[float, ...]
) -> None:
    result, worst, kept = shown(color, background, 0.45)
    assert worst > 0.97
    assert "shadow" in result.notes[0]
    assert kept.notes == ()
    assert sum((f[..., 3] > 127).sum() for f in kept.frames) > 1.3 * sum(
        (f[..., 3] > 127).sum() for f in result.frames
    )


@pytest.mark.parametrize("grey", [20.0, 110.0, 170.0])
def test_a_grey_object_without_a_shadow_is_whole(grey: float) -> None:
    result, worst, kept = shown((grey,) * 3, (240.0,) * 3, 0.0)
    assert worst > 0.99
    assert result.notes == ()
    assert all(np.array_equal(a, b) for a, b in zip(result.frames, kept.frames, strict=True))


@pytest.mark.parametrize("grey", [100.0, 132.0, 150.0])
def test_an_object_as_dark_as_the_shadow_it_stands_in_stays(grey: float) -> None:
    """The darkest of the shadow is 240 * 0.55 = 132: there is no edge where the foot stands in it."""
    _, worst, _ = shown((grey,) * 3, (240.0,) * 3, 0.45)
    assert worst > 0.85  # the foot itself cannot be told from the shadow


@pytest.mark.parametrize(("rim", "grey", "line"), [(0.82, 150, 110), (0.88, 140, 128)])
def test_a_white_object_before_white_is_told_from_its_shadow(rim: float, grey: float, line: float) -> None:
    """A white ball, shaded below, on a grey foot, with an outline of one pixel, in levels of the shadow."""
    frames, truth = [], []
    for x in (66, 72, 78, 84):
        ball = np.hypot(COLUMNS - x, ROWS - 72)
        foot = np.maximum(np.abs(COLUMNS - x) - 34, np.abs(ROWS - 110) - 9)
        picture = ground(x, (255.0,) * 3, 0.45)
        picture[foot < 0] = grey
        picture[np.abs(foot) < 0.6] = line
        picture[ball < 30] = np.clip(255 - 2.4 * (ROWS[ball < 30, None] - 72), 175, 255)
        picture[np.abs(ball - 29.5) < 0.6] *= rim
        frames.append(np.rint(picture).astype(np.uint8))
        truth.append((ball < 30) | (foot < 0.6))
    result = remove_plain_background(frames)
    for frame, mask in zip(result.frames, truth, strict=True):
        seen = frame[..., 3] > 127
        assert (seen & mask).sum() > 0.97 * (seen | mask).sum()


def test_what_is_dark_within_the_object_is_no_shadow_of_it() -> None:
    """A white mug whose lower half is shaded, open at the foot; on a line, and with nothing to go by."""
    rest = (np.abs(COLUMNS - 80) < 40) & (ROWS > 30) & (ROWS < 130)
    shaded = (np.abs(COLUMNS - 80) < 30) & (ROWS > 80) & (ROWS < 130)
    assert shadows._enclosed(shaded, rest & ~shaded) == 1
    assert not shadows.at_foot(shaded, rest & ~shaded)
    beside = (np.hypot((COLUMNS - 80) / 70, (ROWS - 130) / 20) < 1) & ~rest
    assert shadows._enclosed(beside, rest) < 0.2
    assert shadows.at_foot(beside, rest)
    line = (np.abs(COLUMNS - 80) < 1) & (ROWS > 30) & (ROWS < 130)
    assert shadows._enclosed(beside, line) < 0.1
    assert shadows._enclosed(beside, np.zeros_like(rest)) == 0


def test_what_stands_below_a_shadow_does_not_cast_it() -> None:
    """A caption below the shadow draws the middle of the rest down, and the shadow into its convex hull."""
    thing = (np.abs(COLUMNS - 80) < 20) & (ROWS > 20) & (ROWS < 90)
    shadow = (np.hypot((COLUMNS - 80) / 40, (ROWS - 90) / 12) < 1) & ~thing
    caption = (np.abs(COLUMNS - 80) < 70) & (ROWS > 110) & (ROWS < 140)
    assert shadows.at_foot(shadow, thing)
    assert not shadows.at_foot(shadow, thing | caption)
    assert np.array_equal(shadows._under(shadow, thing | caption), caption)
    assert not shadows._under(shadow, thing | caption[::-1]).any()
    joined = thing | caption | ((np.abs(COLUMNS - 80) < 3) & (ROWS > 60) & (ROWS < 120))
    assert not shadows._under(shadow, joined).any()
    assert not shadows._under(np.zeros_like(shadow), caption).any()


def test_a_caption_below_the_object_leaves_its_shadow_out() -> None:
    """Bars as letters, as wide as the picture lets them be, in rows 142 to 153."""
    letters = (COLUMNS % 16 < 8) & (np.abs(COLUMNS - 80) < 64) & (ROWS > 142) & (ROWS < 154)
    frames = [on_the_ground(RED, lollipop(x), x) for x in PLACES]
    for frame in frames:
        frame[letters] = (20, 20, 120)
    assert least_iou(frames, [(lollipop(x) > 0.5) | letters for x in PLACES]) > 0.97


def test_a_flash_of_the_camera_says_nothing_about_the_shadow() -> None:
    """In one frame of five nine tenths are white, so that nothing is left of the object there."""
    frames = []
    for x in PLACES:
        alpha = lollipop(x)[..., None]
        picture = alpha * RED + (1 - alpha) * ground(x, (170.0, 165.0, 160.0), 0.3)
        frames.append(np.rint(picture).astype(np.uint8))
    flash = np.rint(0.1 * frames[2] + 0.9 * 255).astype(np.uint8)
    result = remove_plain_background([*frames[:2], flash, *frames[2:]])
    assert any("a shadow at the foot" in note for note in result.notes)
    seen = [f[..., 3] > 127 for f in result.frames]
    for mask, x in zip([*seen[:2], *seen[3:]], PLACES, strict=True):
        true = lollipop(x) > 0.5
        assert (mask & true).sum() > 0.95 * (mask | true).sum()


def test_an_object_that_fades_into_the_background_is_no_shadow() -> None:
    """A ball from white at its top to grey, before white: soft at the top, sharp at the foot."""
    frames, truth = [], []
    for x in (66, 72, 78, 84):
        alpha = np.clip(40.5 - np.hypot(COLUMNS - x, ROWS - 80), 0, 1)
        shade = np.clip(250 - 2.2 * (ROWS - 40), 70, 250)
        picture = alpha * shade + (1 - alpha) * 255
        frames.append(np.rint(np.stack([picture] * 3, -1)).astype(np.uint8))
        truth.append(alpha > 0.5)
    result = remove_plain_background(frames)
    for frame, mask in zip(result.frames, truth, strict=True):
        both = (frame[..., 3] > 127) & mask
        assert both.sum() > 0.97 * mask.sum()


def on_the_ground(color: np.ndarray, cover: np.ndarray, x: float) -> np.ndarray:
    """Something before a light grey wall, with a shadow at its foot."""
    alpha = cover[..., None]
    return np.rint(alpha * color + (1 - alpha) * ground(x, (240.0,) * 3, 0.45)).astype(np.uint8)


def least_iou(frames: list[np.ndarray], truth: list[np.ndarray]) -> float:
    seen = [f[..., 3] > 127 for f in remove_plain_background(frames).frames]
    return min(float((a & b).sum() / (a | b).sum()) for a, b in zip(truth, seen, strict=True))


PLACES = (66.0, 72.0, 78.0, 84.0)
RED = np.array((200.0, 60.0, 30.0))


def test_a_gap_is_a_gap_where_the_shadow_lies_in_it() -> None:
    """A ring stands on the ground: lower down, its hole shows the shadow that lies beside it, too."""

    def ring(x: float) -> np.ndarray:
        away = np.hypot(COLUMNS - x, ROWS - 90)
        return np.clip(28.5 - away, 0, 1) * np.clip(away - 16.5, 0, 1)

    frames = [on_the_ground(RED, ring(x), x) for x in PLACES]
    assert least_iou(frames, [ring(x) > 0.5 for x in PLACES]) > 0.97


@pytest.mark.parametrize("shade", [0.15, 0.25, 0.4])
def test_a_belly_in_the_color_of_the_wall_is_no_gap(shade: float) -> None:
    """It is shaded where no shadow lies on the wall beside it."""

    def disc(x: float, radius: float) -> np.ndarray:
        return np.clip(radius + 0.5 - np.hypot(COLUMNS - x, ROWS - 90), 0, 1)

    frames = []
    for x in PLACES:
        belly, lit = disc(x, 14)[..., None], 240 * (1 - shade * np.clip((ROWS - 80) / 24, 0, 1))[..., None]
        frames.append(on_the_ground(belly * lit + (1 - belly) * RED, disc(x, 28), x))
    assert least_iou(frames, [disc(x, 28) > 0.5 for x in PLACES]) > 0.97
