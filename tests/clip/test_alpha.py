"""Alpha as it is meant: 0 and 1, upside down, premultiplied; and straight alpha left alone."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from boxes import folder_of, moving
from PIL import Image, ImageFilter

from vid4d.clip.alpha import AlphaRule, alpha_rule, mask_rule
from vid4d.clip.sources import open_source
from vid4d.media import images


@pytest.fixture(autouse=True, params=["at once", "three rows at a time"])
def blocks(request, monkeypatch) -> None:
    """Pictures worked on at once, and as large ones are: in blocks of fewer rows than edges reach."""
    if request.param != "at once":
        monkeypatch.setattr(images, "BLOCK", 3 * 80)


def soft(color: tuple[int, int, int], count: int = 3) -> list[np.ndarray]:
    """Boxes with soft edges and straight alpha, of this color everywhere."""
    frames = []
    for picture in moving(count):
        blurred = Image.fromarray(picture[..., 3]).filter(ImageFilter.GaussianBlur(2))
        alpha = np.asarray(blurred)
        frames.append(
            np.dstack([np.broadcast_to(np.uint8(color), (*alpha.shape, 3)) * (alpha > 0)[..., None], alpha])
        )
    return [f.astype(np.uint8) for f in frames]


def premultiplied(frames: list[np.ndarray]) -> list[np.ndarray]:
    return [np.dstack([np.rint(f[..., :3] * (f[..., 3:] / 255)).astype(np.uint8), f[..., 3]]) for f in frames]


@pytest.mark.parametrize("color", [(222, 120, 40), (90, 20, 200), (40, 40, 40)])
def test_premultiplied_colors_are_divided(tmp_path: Path, color: tuple[int, int, int]) -> None:
    source = open_source(folder_of(tmp_path / "f", premultiplied(soft(color))))
    for frame, truth in zip(source.read(range(3)), soft(color), strict=True):
        assert (frame[..., 3] == truth[..., 3]).all()
        seen = truth[..., 3] >= 128
        assert np.abs(frame[seen][:, :3].astype(int) - color).max() <= 1
    assert "multiplied into the colors" in source.notes[0]


@pytest.mark.parametrize("color", [(222, 120, 40), (255, 255, 255), (40, 40, 40), (6, 6, 6), (0, 0, 0)])
def test_straight_alpha_stays_as_it_is(tmp_path: Path, color: tuple[int, int, int]) -> None:
    source = open_source(folder_of(tmp_path / "f", soft(color)))
    for frame, truth in zip(source.read(range(3)), soft(color), strict=True):
        assert (frame == truth).all()
    assert source.notes == ()


def test_hard_edges_say_nothing_of_premultiplication() -> None:
    assert alpha_rule(moving(3)) == AlphaRule()


def test_alpha_of_0_and_1(tmp_path: Path) -> None:
    frames = [np.dstack([f[..., :3], f[..., 3] // 255]) for f in moving(4)]
    source = open_source(folder_of(tmp_path / "f", frames))
    for frame, truth in zip(source.read(range(4)), moving(4), strict=True):
        assert (frame[..., 3] == truth[..., 3]).all()
    assert len(source.notes) == 1


def test_alpha_upside_down(tmp_path: Path) -> None:
    frames = [np.dstack([f[..., :3], 255 - f[..., 3]]) for f in moving(4)]
    source = open_source(folder_of(tmp_path / "f", frames))
    for frame, truth in zip(source.read(range(4)), moving(4), strict=True):
        assert (frame[..., 3] == truth[..., 3]).all()
    assert "turned round" in source.notes[0]


def test_an_object_at_the_border_is_not_turned_round() -> None:
    frame = np.full((60, 80, 4), 255, np.uint8)
    frame[:20, 10:, 3] = 0  # seen from close by: most of the border is opaque
    assert alpha_rule([frame]) == AlphaRule()
    mask = np.zeros((60, 80), np.uint8)
    mask[20:, 20:60] = 255
    assert mask_rule([mask]) == AlphaRule()


def test_soft_masks_keep_their_levels() -> None:
    mask = np.zeros((60, 80), np.uint8)
    mask[20:40, 20:60] = np.linspace(0, 255, 40, dtype=np.uint8)
    assert mask_rule([mask]) == AlphaRule()
    assert (AlphaRule().level(mask) == mask).all()


def test_labels_are_one_object() -> None:
    mask = np.zeros((60, 80), np.uint8)
    mask[20:40, 20:40], mask[20:40, 40:60] = 1, 3
    level = mask_rule([mask]).level(mask)
    assert (level == np.where(mask > 0, 255, 0)).all()


def test_a_large_picture_needs_no_room_for_floats_of_all_of_it(monkeypatch) -> None:
    monkeypatch.setattr(images, "BLOCK", 1 << 14)
    frames = [np.pad(f, ((0, 900), (0, 900), (0, 0))) for f in premultiplied(soft((222, 120, 40)))]
    tracemalloc.start()
    rule = alpha_rule(frames)
    looked_at = tracemalloc.get_traced_memory()[1]
    tracemalloc.reset_peak()
    rule.apply(frames[0])
    applied = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert rule == AlphaRule(premultiplied=True)
    assert looked_at < frames[0].nbytes
    assert applied < 2 * frames[0].nbytes
