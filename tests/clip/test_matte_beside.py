"""A matte beside the picture becomes its alpha; two things beside each other do not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from boxes import box, folder_of, moving
from PIL import Image

from vid4d.clip.clip import read_clip
from vid4d.clip.matte_beside import with_matte
from vid4d.clip.sources import open_source


def parts(count: int = 4, ground: int = 0) -> list[tuple[np.ndarray, np.ndarray]]:
    """Pictures of a textured disc on a ground with a pattern, and their mattes; 3 colors each."""
    rng = np.random.default_rng(1)
    pattern = ground + rng.integers(0, 40, (96, 96, 3)).astype(np.uint8)
    found = []
    for i in range(count):
        v, u = np.mgrid[:96, :96]
        disc = np.hypot(u - 40 - 4 * i, v - 48) < 24
        color = np.stack([200 - v, 90 + u, np.full_like(u, 60)], -1).astype(np.uint8)
        found.append((np.where(disc[..., None], color, pattern), np.where(disc[..., None], 255, 0)))
    return [(p.astype(np.uint8), m.astype(np.uint8).repeat(3, -1)) for p, m in found]


@pytest.mark.parametrize("axis", [0, 1])
def test_the_matte_is_the_alpha(axis: int, tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "f", [np.concatenate(p, axis) for p in parts()])
    source = with_matte(open_source(folder))
    for frame, (picture, matte) in zip(source.read(range(4)), parts(), strict=True):
        assert (frame[..., :3] == picture).all()
        assert (frame[..., 3] == matte[..., 0]).all()
    clip = read_clip(folder, frames=0, cyclic=False)
    assert clip.matting == "alpha"
    (said,) = [w for w in clip.warnings if "is a matte of the other half" in w]
    assert ("lower" if axis == 0 else "right") in said
    cropped = read_clip(folder, frames=0, cyclic=False, crop="0,0,96,96")
    assert cropped.matting == "plain"


def test_what_is_no_matte(tmp_path: Path) -> None:
    """Twice the same thing; a white thing on black beside another; a matte of something else; one box."""
    pictures = parts()
    others = {
        "twice": [np.concatenate([p, p], 1) for p, _ in pictures],
        "white": [np.concatenate([m, m], 1) for _, m in pictures],
        "another": [np.concatenate([p, np.roll(m, 30, 0)], 1) for p, m in pictures],
        "alone": [np.concatenate([p, 0 * m], 1) for p, m in pictures],
        "alpha": moving(4),
    }
    for name, frames in others.items():
        source = open_source(folder_of(tmp_path / name, frames))
        assert with_matte(source) is source
    Image.fromarray(box(10)[..., :3]).save(tmp_path / "one.png")
    one = open_source(tmp_path / "one.png")
    assert with_matte(one) is one
