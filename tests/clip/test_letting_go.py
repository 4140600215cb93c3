"""What holds the object is cut off by its color, and the object is left whole; or it is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from boxes import folder_of, refuse

from vid4d.clip.clip import read_clip
from vid4d.clip.letting_go import let_go
from vid4d.errors import InputError

H, W = 240, 320
SKIN = np.array((222, 170, 140))


def disc(i: int, radius: float = 44) -> np.ndarray:
    """A blue disc with white spots, that swings."""
    y, x = np.mgrid[:H, :W]
    picture = np.zeros((H, W, 4), np.uint8)
    away = np.hypot(x - 150 - 10 * np.sin(i), y - 90)
    picture[away < radius] = (60, 90, 170, 255)
    picture[(away < radius) & (np.sin(x / 5) * np.sin(y / 5) > 0.6)] = (240, 240, 235, 255)
    return picture


def arm(i: int, color: np.ndarray = SKIN, side: int = 1) -> np.ndarray:
    """Where an arm is that goes from the lower border over the disc, and its colors, darker below."""
    y, x = np.mgrid[:H, :W]
    where = (np.abs(x - 170 - 0.4 * (y - 110) - 3 * np.sin(i)) < 14) & (y > 110)
    shaded = color * (1.1 - 0.3 * y / H)[..., None] + np.random.default_rng(i).normal(0, 2, (H, W, 1))
    return np.dstack([shaded.clip(0, 255), 255 * where]).astype(np.uint8)


def held(count: int = 8, color: np.ndarray = SKIN) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Pictures of the disc in a hand, and what can be seen of it."""
    pictures, truth = [], []
    for i in range(count):
        mine, other = disc(i), arm(i, color)
        before = other[..., 3:] > 0
        pictures.append(np.where(before, other, mine))
        truth.append((mine[..., 3] > 0) & ~before[..., 0])
    return pictures, truth


def overlap(frames: list[np.ndarray], truth: list[np.ndarray]) -> float:
    masks = [f[..., 3] > 127 for f in frames]
    return min((m & t).sum() / (m | t).sum() for m, t in zip(masks, truth, strict=True))


def test_the_object_is_left() -> None:
    pictures, truth = held()
    assert overlap(pictures, truth) < 0.7
    frames, said = let_go(pictures)
    assert overlap(list(frames), truth) > 0.95
    gone = 1 - np.median([t.sum() / (p[..., 3] > 0).sum() for p, t in zip(pictures, truth, strict=True)])
    assert said.startswith(
        f"what comes in from the bottom border is cut off where its color ends ({gone:.0%}"
    )


def test_colors_of_what_is_left_are_not_touched() -> None:
    pictures, _ = held()
    frames, _ = let_go(pictures)
    for frame, picture in zip(frames, pictures, strict=True):
        seen = frame[..., 3] > 0
        assert (frame[seen][:, :3] == picture[seen][:, :3]).all()


def test_large_pictures_are_cut_as_small_ones() -> None:
    pictures, truth = held(4)
    large, whole = ([x.repeat(3, 0).repeat(3, 1) for x in xs] for xs in (pictures, truth))
    frames, _ = let_go(large)
    assert frames[0].shape == (3 * H, 3 * W, 4)
    assert overlap(list(frames), whole) > 0.95


def test_what_is_of_the_objects_colors_is_refused() -> None:
    pictures, _ = held(color=np.array((62, 92, 172)))
    with pytest.raises(InputError, match="cannot be told from the object by its color"):
        let_go(pictures)


def test_an_object_alone_is_refused() -> None:
    with pytest.raises(InputError, match="nothing that is narrower than the object comes in"):
        let_go([disc(i) for i in range(6)])


def test_the_option(tmp_path: Path) -> None:
    pictures, truth = held()
    over = [np.where(p[..., 3:] > 0, p[..., :3], (120, 170, 130)).astype(np.uint8) for p in pictures]
    folder = folder_of(tmp_path / "f", over)
    clip = read_clip(folder, frames=0, held=True)
    assert clip.matting_confidence == 0.7
    assert not any("joined to the object" in w for w in clip.warnings)
    shown = (clip.frames[..., 3] > 0.5).sum((1, 2)) * (clip.window[2] / 256) ** 2  # type: ignore[index]
    assert shown == pytest.approx([t.sum() for t in truth], rel=0.05)
    refuse("--held has no effect beside --keep", folder, held=True, keep=True)
