"""Jitter of frames that were cropped one by one, and motion that is none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from boxes import folder_of

from vid4d.clip import jitter
from vid4d.clip.clip import read_clip

SIDE = 160


def unsteady(frames: list[np.ndarray], apart: int = 1) -> list[str]:
    """Of frames of a clip of 24 a second, so many frames apart."""
    numbers = np.arange(len(frames)) * apart
    return jitter.unsteady(frames, numbers.tolist(), numbers / 24)


def creature(x: float, y: float, size: float, swing: float = 0.0) -> np.ndarray:
    """A round body with a head, and a tail that swings; RGBA."""
    v, u = (np.mgrid[:SIDE, :SIDE] + 0.5 - np.array((y, x))[:, None, None]) / size
    body = np.hypot(u / 1.2, v) < 0.5
    head = np.hypot(u - 0.6, v + 0.5) < 0.25
    tail = (np.abs(v - swing * (u + 0.5)) < 0.06) & (u < -0.5) & (u > -1.1)
    mask = body | head | tail
    return np.dstack([np.where(mask[..., None], (200, 90, 40), 0), 255 * mask]).astype(np.uint8)


def walking(scale=lambda i: 1.0, place=lambda i: (0.0, 0.0)) -> list[np.ndarray]:
    """Twelve frames of a creature that walks by 2 pixels a frame and swings its tail."""
    frames = []
    for i in range(12):
        dx, dy = place(i)
        frames.append(creature(70 + 2 * i + dx, 80 + dy, 55 * scale(i), 1.2 * np.sin(1.3 * i)))
    return frames


def test_what_moves_by_itself_is_steady() -> None:
    assert unsteady(walking()) == []
    assert unsteady(walking(scale=lambda i: 1 + 0.03 * i)) == []  # comes nearer
    assert unsteady(walking(scale=lambda i: 1 + 0.1 * np.sin(0.9 * i))) == []  # breathes
    assert unsteady(walking(place=lambda i: (0, -25 * abs(np.sin(0.8 * i))))) == []  # hops
    assert unsteady([creature(80, 80, 55)] * 12) == []


def test_size_and_place_that_jump_are_told(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    noise, away = rng.standard_normal(12), 5 * rng.standard_normal((12, 2))
    scaled = walking(scale=lambda i: 1 + 0.05 * noise[i])
    said = read_clip(folder_of(tmp_path / "scaled", scaled), frames=0, cyclic=False).warnings
    step = np.expm1(np.abs(np.diff(np.log(1 + 0.05 * noise))).max())
    found = next(w for w in said if "size jumps by up to" in w).split("up to ")[1].split("%")[0]
    assert abs(int(found) / 100 - step) < 0.02
    moved = unsteady(walking(place=lambda i: tuple(away[i])))
    assert len(moved) == 1
    assert "place jumps to and fro" in moved[0]


def test_frames_cropped_to_their_own_object_are_told() -> None:
    """Without noise: always centred, always as long, while the shape changes."""
    cropped = []
    for i in range(12):
        # a bird's wings: as wide as ever, higher and lower
        high = 0.5 + 0.3 * np.sin(0.7 * i)
        v, u = (np.mgrid[:SIDE, :SIDE] + 0.5 - SIDE / 2) / 70
        mask = (np.abs(u) < 1) & (np.abs(v) < high)
        cropped.append(np.dstack([np.full((SIDE, SIDE, 3), 120), 255 * mask]).astype(np.uint8))
    said = unsteady(cropped)
    assert len(said) == 1
    assert "cropped and scaled to its own object (always centred, 140 pixels long" in said[0]
    on_the_ground = [np.roll(f, SIDE - 20 - np.nonzero(f[..., 3].any(1))[0][-1], axis=0) for f in cropped]
    assert unsteady(on_the_ground) == []


def test_frames_far_apart_tell_nothing() -> None:
    """A quick hop that every sixth frame shows turns back each time, as jitter does."""
    hops = walking(place=lambda i: (0, -25 * (i % 2)))
    assert any("place" in said for said in unsteady(hops))
    assert any("place" in said for said in unsteady(hops, apart=3)), "8 a second"
    assert unsteady(hops, apart=6) == []
