"""Every rule of the advice applies where it should, and nowhere else."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from vid4d.clip.checks import warn
from vid4d.clip.jitter import unsteady
from vid4d.clip.smear import Smear, smear_note
from vid4d.report.advice import RULES, Facts, advice

FINE = Facts(confidence=0.9, input_psnr=30.0, agreement=0.9, key_frames=8, visible=(900, 1000, 950))
CASES = {
    "cut off": {"warnings": ("the mask touches the border of the picture at 0.10 s: ...",)},
    "held": {"warnings": ("something comes in from the top border ... and is joined to the object: ...",)},
    "uncertain mask": {"matting_confidence": 0.55},
    "mask jumps": {"warnings": ("the mask's area jumps at 0.10 s: ...",)},
    "several objects": {"warnings": ("several separate objects at 0.10 s: ...",)},
    "moving camera": {"warnings": ("...: the camera seems to move, ...",)},
    "soft frames": {"warnings": ("soft frames at 0.10 s: ...",)},
    "motion blur": {"warnings": ("the object is smeared by its motion at 0.10 s, ...",)},
    "jitter": {"warnings": ("... jumps by up to 9% from frame to frame: give the frames ...",)},
    "low resolution": {"warnings": ("very low resolution: ...",)},
    "low confidence": {"confidence": 0.62},
    "sides disagree": {"agreement": 0.6},
    "poor likeness": {"input_psnr": 19.5},
    "few splats": {"splats": 800},
    "fading": {"visible": (1000, 100, 1000)},
    "sparse key frames": {"seconds": 10.0},
    "still learning": {"still_falling": 0.2},
    "draft": {"preset": "draft"},
    "guessed elevation": {"elevation_unsure": True},
    "slow": {"minutes": 45.0},
}


def test_a_run_that_is_fine_gets_no_advice():
    assert advice(FINE) == []
    assert advice(Facts()) == []  # nothing known


def test_every_rule_has_a_case():
    assert [rule.name for rule in RULES] == list(CASES)


@pytest.mark.parametrize("name", CASES)
def test_a_rule_applies_alone_and_says_something(name):
    hints = advice(replace(FINE, **CASES[name]))
    assert [a.name for a in hints] == [name]
    for sentence in (hints[0].looks, hints[0].try_next):
        assert sentence[-1] == "."
        assert "{" not in sentence


def test_numbers_are_filled_in():
    assert "19.5 dB" in advice(replace(FINE, input_psnr=19.54))[0].looks
    assert "8 key frames stand for 10.0 s" in advice(replace(FINE, seconds=10.0))[0].looks


def test_serious_advice_comes_first():
    hints = advice(replace(FINE, preset="draft", input_psnr=15.0, elevation_unsure=True))
    assert [a.name for a in hints] == ["poor likeness", "draft", "guessed elevation"]


def test_a_gpu_run_is_not_called_slow():
    assert advice(replace(FINE, minutes=45.0, gpu=True)) == []


def discs(*shapes: tuple[float, float, float], detail: float = 40.0, size: int = 64) -> np.ndarray:
    """One frame with a textured disc (x, y, radius) for each shape."""
    y, x = np.mgrid[:size, :size] + 0.5
    frame = np.zeros((size, size, 4), np.uint8)
    frame[..., :3] = (120 + detail * np.sin(1.9 * x) * np.cos(1.7 * y))[..., None].astype(np.uint8)
    for cx, cy, radius in shapes:
        frame[(x - cx) ** 2 + (y - cy) ** 2 < radius**2, 3] = 255
    return frame


MIDDLE = (32, 32, 14)


@pytest.mark.parametrize(
    ("name", "frames"),
    [
        ("cut off", [discs((4, 32, 14))] * 3),
        ("mask jumps", [discs(MIDDLE)] * 3 + [discs((32, 32, 22))] * 3),
        ("several objects", [discs((16, 32, 10), (48, 32, 9))] * 3),
    ],
)
def test_rules_recognise_the_warnings_that_clips_really_give(name, frames):
    """The rules look for words of the sentences in vid4d.clip.checks."""
    warnings = warn(
        frames, frames, np.arange(len(frames)) / 10, confidence=1.0, has_background=False, object_pixels=240
    )
    assert [a.name for a in advice(replace(FINE, warnings=tuple(warnings)))] == [name]


def test_rules_recognise_smears_and_jitter():
    said = (
        smear_note({2: Smear(0.3, 0.7)}, np.arange(3.0)),
        *unsteady([discs((32, 32, 10 + i % 2)) for i in range(8)], range(8), np.arange(8) / 24),
    )
    assert len(said) == 2
    names = {a.name for a in advice(replace(FINE, warnings=said))}
    assert names == {"motion blur", "jitter"}


def test_rules_recognise_soft_small_and_moving_clips():
    sharp, soft = discs((32, 32, 24)), discs((32, 32, 24), detail=0.0)
    warnings = warn(
        [sharp] * 4 + [soft],
        [sharp] * 5,
        np.arange(5) / 10,
        confidence=1,
        has_background=False,
        object_pixels=48,
    )
    names = {a.name for a in advice(replace(FINE, warnings=tuple(warnings)))}
    assert names == {"soft frames", "low resolution"}
    shifted = [np.roll(discs(MIDDLE, size=96), 3 * i, axis=1) for i in range(4)]
    opaque = [np.dstack([f[..., :3], np.full(f.shape[:2], 255, np.uint8)]) for f in shifted]
    warnings = warn(
        [discs(MIDDLE, size=96)] * 4,
        opaque,
        np.arange(4) / 10,
        confidence=1,
        has_background=True,
        object_pixels=240,
    )
    assert {a.name for a in advice(replace(FINE, warnings=tuple(warnings)))} == {"moving camera"}
