"""Hard shadows, discs and furniture before a plain background."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from boxes import folder_of
from scipy import ndimage

from vid4d.clip.clip import read_clip
from vid4d.clip.ground import furniture, spans
from vid4d.clip.matting import Matte, remove_plain_background
from vid4d.errors import InputError

SIDE = 160
ROWS, COLUMNS = np.mgrid[:SIDE, :SIDE] + 0.5
WALL = np.array((215.0, 205.0, 190.0))
BALL = np.array((190.0, 60.0, 40.0))


def ball(x: float) -> np.ndarray:
    return np.clip(28.5 - np.hypot(COLUMNS - x, ROWS - 80), 0, 1)


def pictures(what: np.ndarray, color: np.ndarray, body: np.ndarray = BALL) -> list[np.ndarray]:
    """A ball that moves, with something else behind it, before a wall."""
    frames = []
    for x in (70.0, 75.0, 80.0, 85.0):
        picture = WALL + np.zeros((SIDE, SIDE, 3))
        for cover, shade in ((what, color), (ball(x), body)):
            picture = cover[..., None] * shade + (1 - cover[..., None]) * picture
        frames.append(np.rint(picture).astype(np.uint8))
    return frames


def matte(what: np.ndarray, color: np.ndarray, *, keep: bool = False) -> Matte:
    return remove_plain_background(pictures(what, color), keep_shadows=keep)


def ellipse(x: float, y: float, a: float, b: float) -> np.ndarray:
    return (np.hypot((COLUMNS - x) / a, (ROWS - y) / b) < 1).astype(float)


@pytest.mark.parametrize("factor", [0.45, 0.6, 0.75])
def test_a_hard_shadow_is_told_and_doubted(factor: float) -> None:
    """What is told is its share: here of the disc's part that the ball leaves."""
    disc = ellipse(95, 112, 45, 12)
    made = matte(disc, factor * WALL)
    (note,) = [n for n in made.notes if "lies flat at its foot" in n]
    seen = [(disc > 0) & (ball(x) < 0.5) for x in (70.0, 75.0, 80.0, 85.0)]
    whole = [(disc > 0) | (ball(x) > 0.5) for x in (70.0, 75.0, 80.0, 85.0)]
    share = np.median([a.sum() / b.sum() for a, b in zip(seen, whole, strict=True)])
    assert int(note.split("%")[0]) == pytest.approx(100 * share, abs=6)
    assert made.confidence == pytest.approx(1 - share, abs=0.07)


def told_share(frames: list[np.ndarray]) -> float:
    (note,) = [n for n in remove_plain_background(frames).notes if "lies flat at its foot" in n]
    return int(note.split("%")[0]) / 100


def true_share(disc: np.ndarray) -> float:
    seen = [((disc > 0) & (ball(x) < 0.5)).sum() for x in (70.0, 75.0, 80.0, 85.0)]
    whole = [((disc > 0) | (ball(x) > 0.5)).sum() for x in (70.0, 75.0, 80.0, 85.0)]
    return float(np.median(np.divide(seen, whole)))


def test_a_hard_shadow_of_a_thing_of_the_walls_own_hue() -> None:
    """The thing has all shades, and the shadow's, too, where the two meet."""
    body = (0.35 + 0.2 * np.clip((ROWS - 52) / 56, 0, 1))[..., None] * WALL
    disc = ellipse(105, 112, 50, 12)
    assert told_share(pictures(disc, 0.5 * WALL, body)) == pytest.approx(true_share(disc), abs=0.06)


def test_a_pale_disc_may_have_a_gradient() -> None:
    disc = ellipse(95, 112, 45, 12)
    color = (1.13 + 0.0006 * (COLUMNS - 95))[..., None] * WALL
    assert told_share(pictures(disc, color)) == pytest.approx(true_share(disc), abs=0.08)


@pytest.mark.parametrize(
    ("where", "color"),
    [
        ((95, 112, 45, 12), np.array((60.0, 110.0, 170.0))),  # another hue: a foot
        ((80, 40, 45, 12), 0.6 * WALL),  # above: a hat
        ((80, 84, 14, 12), 0.6 * WALL),  # within: a pattern
    ],
)
def test_other_parts_are_the_objects(where: tuple[float, ...], color: np.ndarray) -> None:
    made = matte(ellipse(*where), color)
    assert not any("lies flat" in n for n in made.notes)


def test_what_is_round_is_no_hard_shadow() -> None:
    """A grey belly at the foot has all shades."""
    shade = 0.75 - 0.3 * np.clip((ROWS - 100) / 24, 0, 1)
    made = matte(ellipse(95, 112, 45, 12), shade[..., None] * WALL)
    assert not any("lies flat" in n for n in made.notes)


def test_a_table_before_a_wall_is_no_object() -> None:
    """Nothing of the ball stands out from such a background: the plank does."""
    table = np.clip((ROWS - 100) / 2, 0, 1) * (0.7 + 0.3 * np.sin(COLUMNS / 2))
    with pytest.raises(InputError, match=r"reaches from one side .*--keep takes it"):
        matte(table, np.array((120.0, 85.0, 60.0)))
    assert matte(table, np.array((120.0, 85.0, 60.0)), keep=True).method == "plain"


@pytest.mark.parametrize(("sides", "expected"), [("lr", True), ("tb", True), ("lt", False), ("b", False)])
def test_spans(sides: str, expected: bool) -> None:
    mask = np.zeros((6, 8), bool)
    for side, at in {"l": (3, 0), "r": (2, 7), "t": (0, 4), "b": (5, 4)}.items():
        mask[at] = side in sides
    assert spans(mask) is expected


def test_a_bar_beside_an_object_is_no_furniture() -> None:
    """A player's bar; it is left out later on, as all that stands still."""
    bar = ((ROWS > 148) & (ROWS < 153)).astype(float)
    made = matte(bar, 0.4 * WALL)
    assert not any("lies flat" in n for n in made.notes)
    assert all(f[80, 80, 3] == 255 for f in made.frames)
    frames = [np.where(ROWS[..., None] > 140, 0, f) for f in made.frames]
    shown = [ball(x) > 0.5 for x in (70.0, 75.0, 80.0, 85.0)]
    for frame, truth in zip(frames, shown, strict=True):
        assert ((frame[..., 3] > 127) == truth).mean() > 0.99


def test_a_bar_alone_is_no_object() -> None:
    bar = np.zeros((60, 80), np.uint8)
    bar[50:56] = 255
    picture = np.dstack([np.zeros((60, 80, 3), np.uint8), bar])
    assert furniture([picture])
    with_ball = picture.copy()
    with_ball[10:30, 30:50, 3] = 255
    assert not furniture([with_ball])
    joined = with_ball.copy()
    joined[30:50, 38:42, 3] = 255
    assert furniture([joined])


@pytest.mark.parametrize("soft", [0.0, 6.0])
def test_a_shadow_that_is_kept_is_told_and_doubted(soft: float, tmp_path: Path) -> None:
    """By its share of the mask, of a hard one as of a soft one."""
    dark = ndimage.gaussian_filter(ellipse(85, 112, 45, 12), soft)
    frames = pictures(dark, 0.6 * WALL)
    clip = read_clip(folder_of(tmp_path / "f", frames), frames=0, keep=True)
    (said,) = [w for w in clip.warnings if "a shadow that --keep keeps" in w]
    share = int(said.split("%")[0]) / 100
    seen = [(np.abs(f - WALL).max(-1) > 8).sum() for f in frames]
    balls = [(ball(x) > 0.5).sum() for x in (70.0, 75.0, 80.0, 85.0)]
    assert share == pytest.approx(1 - np.mean(balls) / np.mean(seen), abs=0.08)
    assert clip.matting_confidence == pytest.approx(1 - share)


def test_without_a_shadow_all_is_kept_in_confidence(tmp_path: Path) -> None:
    clip = read_clip(folder_of(tmp_path / "f", pictures(np.zeros((SIDE, SIDE)), WALL)), frames=0, keep=True)
    assert clip.matting_confidence > 0.95
    assert not any("shadow" in w for w in clip.warnings)
