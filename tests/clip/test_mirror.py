"""What folds over a row of a glossy table is an image, and is left out; what goes on below it is not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from boxes import folder_of

from vid4d.clip.clip import read_clip
from vid4d.clip.matting import remove_plain_background
from vid4d.clip.mirror import mirror_row

H, W, TABLE = 180, 200, 120
WALL, BLACK = np.array((232, 230, 226.0)), np.array((14, 14, 16.0))


def thing(i: int) -> tuple[np.ndarray, np.ndarray]:
    """Cover and colors of a leaning thing with a foot that stands on the table."""
    y, x = np.mgrid[:H, :W] + 0.5
    middle = 100 + 4 * np.sin(i) + 0.3 * (TABLE - y)
    inside = (np.abs(x - middle) < 12 + 0.25 * (TABLE - y)) & (y > 40) & (y < TABLE)
    color = np.where(
        (y > 112)[..., None], (40, 60, 120), np.where((x > middle)[..., None], (190, 80, 40), (60, 130, 70))
    )
    return inside[..., None].astype(float), color.astype(float)


def pictures(strength: float, *, wall: np.ndarray = WALL, fades: float = 40.0) -> list[np.ndarray]:
    """The thing, and below it its image, whose strength falls off over so many rows."""
    result = []
    for i in range(6):
        cover, color = thing(i)
        below = np.arange(H) - TABLE
        turned = np.clip(2 * TABLE - 1 - np.arange(H), 0, H - 1)
        share = np.where(below >= 0, strength * np.clip(1 - below / fades, 0, 1), 0)[:, None, None]
        image = cover[turned] * share
        picture = image * color[turned] + (1 - image) * wall
        picture = cover * color + (1 - cover) * picture
        result.append(
            np.rint(picture + np.random.default_rng(i).normal(0, 0.7, picture.shape)).astype(np.uint8)
        )
    return result


def row_of(frames: list[np.ndarray]) -> int | None:
    cut = remove_plain_background(frames)
    assert cut.plain is not None
    opaque = [np.dstack([f, np.full((H, W), 255, np.uint8)]) for f in frames]
    return mirror_row(opaque, cut.frames, cut.plain.background)


@pytest.mark.parametrize(
    ("strength", "wall"), [(0.2, WALL), (0.35, WALL), (0.5, WALL), (0.35, BLACK), (0.5, BLACK)]
)
def test_the_row_of_the_table(strength: float, wall: np.ndarray) -> None:
    row = row_of(pictures(strength, wall=wall))
    assert row is not None
    assert abs(row - TABLE) <= 1


def test_a_thing_alone_has_none() -> None:
    assert row_of(pictures(0.0)) is None


def test_what_is_as_strong_as_the_thing_is_a_part_of_it() -> None:
    """A playing card's king."""
    assert row_of(pictures(1.0, fades=1000)) is None


def test_a_ball_is_no_image_of_itself() -> None:
    """Lit from above before black, its lower half is its upper one turned over, and darker."""
    y, x = np.mgrid[:H, :W] + 0.5
    frames = []
    for i in range(6):
        cover = np.clip(40.5 - np.hypot(x - 95 - i, y - 90), 0, 1)[..., None]
        lit = (1 - 0.8 * np.clip((y - 50) / 80, 0, 1))[..., None] * np.array((220, 120, 60))
        frames.append(np.rint(cover * lit + (1 - cover) * 8).astype(np.uint8))
    assert row_of(frames) is None


def test_a_box_of_one_color_has_none() -> None:
    """All of its rows explain each other, but for the last ones, below which there is nothing."""
    frames = [np.full((H, W, 3), 255, np.uint8) for _ in range(4)]
    for i, frame in enumerate(frames):
        frame[60:120, 40 + i : 100 + i] = 100
    assert row_of(frames) is None


def test_posts_and_shadows_are_no_images() -> None:
    for factor in (0.5, 0.8):
        frames = []
        for picture in pictures(0.0):
            changed = picture.copy()
            line = picture[TABLE - 3].astype(float)
            changed[TABLE : TABLE + 30] = np.rint(WALL + factor * (line - WALL))
            frames.append(changed)
        assert row_of(frames) is None


def test_the_image_is_left_out_and_kept_where_asked_for(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "f", pictures(0.35))
    clip = read_clip(folder, frames=0)
    assert any("a mirror image below the object is left out" in w for w in clip.warnings)
    assert not any("shadow" in w for w in clip.warnings)
    whole = [(thing(i)[0] > 0.5).sum() for i in range(6)]
    pixel = (clip.window[2] / 256) ** 2  # type: ignore[index]
    assert (clip.frames[..., 3] > 0.5).sum((1, 2)) * pixel == pytest.approx(whole, rel=0.04)
    kept = read_clip(folder, frames=0, keep=True)
    more = (kept.frames[..., 3] > 0.5).sum((1, 2)) * (kept.window[2] / 256) ** 2  # type: ignore[index]
    assert (more > 1.1 * np.array(whole)).all()
