"""Motion blur of a disc whose shutter was open for a part of its way."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from boxes import folder_of
from scipy import ndimage

from vid4d.clip.clip import read_clip
from vid4d.clip.smear import smeared

RADIUS, STEP = 24, 16


def disc(x: float, y: float) -> np.ndarray:
    """A striped disc of 48 pixels before grey; RGB of 120 x 180 pixels."""
    v, u = np.mgrid[:120, :180] + 0.5
    a = np.clip(RADIUS + 0.5 - np.hypot(u - x, v - y), 0, 1)[..., None]
    color = np.array((200, 70, 40)) * (1 + 0.2 * np.sign(np.sin((u - x + v - y) / 4)))[..., None]
    return a * color + (1 - a) * 230


def shot(smear: float, *, way: tuple[float, float] = (STEP, 0), soft: float = 0.7) -> list[np.ndarray]:
    """Six frames a step apart, smeared over so many pixels of their way."""
    direction = np.array(way) / (np.linalg.norm(way) or 1)
    frames = []
    for i in range(6):
        middle = np.array([90, 60]) + (i - 2.5) * np.array(way)
        open_for = np.linspace(-0.5, 0.5, 1 + 2 * int(smear)) * smear
        mean = np.mean([disc(*(middle + s * direction)) for s in open_for], 0)
        blurred = ndimage.gaussian_filter(mean, (soft, soft, 0))
        frames.append(np.rint(np.clip(blurred, 0, 255)).astype(np.uint8))
    return frames


def prepared(place: Path, frames: list[np.ndarray]):
    return read_clip(folder_of(place, frames), frames=0, cyclic=False)


@pytest.mark.parametrize(("smear", "way"), [(12, (STEP, 0)), (16, (10, -10)), (14, (0, 9))])
def test_a_smear_is_told_and_measured(tmp_path: Path, smear: float, way: tuple[float, float]) -> None:
    clip = prepared(tmp_path / "clip", shot(smear, way=way))
    said = next(w for w in clip.warnings if "smeared by its motion" in w)
    share = int(said.split("up to ")[1].split("%")[0]) / 100
    assert share == pytest.approx(smear / (2 * RADIUS), abs=0.06)
    # the mask is the union of all places; a disc moved by s of its size takes 1 / (1 + 4 s / pi) of it
    truth = 1 / (1 + 4 / np.pi * smear / (2 * RADIUS))
    assert clip.matting_confidence == pytest.approx(truth, abs=0.05)


@pytest.mark.parametrize(
    ("smear", "way", "soft"),
    [(0, (STEP, 0), 0.7), (3, (STEP, 0), 0.7), (0, (STEP, 0), 3.0), (20, (0, 0), 0.7), (20, (3, 0), 0.7)],
)
def test_sharp_soft_and_still_things_are_not_smeared(tmp_path: Path, smear, way, soft) -> None:
    """A short smear, wrong focus, and what is long and soft but moves little."""
    clip = prepared(tmp_path / "clip", shot(smear, way=way, soft=soft))
    assert not any("smeared" in w for w in clip.warnings)


def test_alpha_says_it_as_well() -> None:
    """Alpha that rises over 20 of 48 pixels along the way; frames without motion are left out."""
    frames = []
    for rgb in shot(20):
        alpha = np.clip((230 - rgb[..., 2].astype(float)) / 190, 0, 1)
        alpha = ndimage.uniform_filter1d((ndimage.gaussian_filter(alpha, 3) > 0.25).astype(float), 21, axis=1)
        frames.append(np.dstack([rgb, np.rint(255 * alpha).astype(np.uint8)]))
    found = smeared(frames, lambda i: frames[i][..., 3:].repeat(3, -1).astype(np.float32))
    assert list(found) == list(range(6))
    assert smeared([frames[0]] * 6, lambda i: frames[0][..., 3:].repeat(3, -1).astype(np.float32)) == {}


def test_a_part_that_is_lost_is_no_motion() -> None:
    """A soft thing whose mask lacks its left half in every second frame: the middle of the box jumps."""
    whole = ndimage.gaussian_filter(np.repeat(disc(90, 60)[..., :1] < 200, 4, -1).astype(float), (0, 6, 0))
    frames = []
    for i in range(6):
        rgba = np.rint(255 * whole).astype(np.uint8)
        rgba[:, : 90 if i % 2 else 0] = 0
        frames.append(rgba)
    assert smeared(frames, lambda i: frames[i][..., :3].astype(np.float32)) == {}
