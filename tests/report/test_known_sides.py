"""What a report says of each side."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from toys import toy_matrix

from vid4d.priors.expected import Expected
from vid4d.report.sides import KnownSides, known_sides

EXPECTED = Expected(20, (1.0, 0.5, 0.75))


def test_every_view_has_the_overlap_of_its_direction() -> None:
    matrix = toy_matrix()
    sides = known_sides(matrix, EXPECTED)
    assert sides is not None
    assert list(sides.azimuths) == sorted(sides.azimuths)
    for azimuth, value in zip(sides.azimuths, sides.expected, strict=True):
        away = min(azimuth, 360 - azimuth)
        assert value == pytest.approx(1 - away / 180 if away <= 90 else 0.5 + (away - 90) / 360)
    assert sides.confidence is None
    assert sides.doubtful == []


def test_confidence_is_that_of_the_objects_pixels() -> None:
    matrix = toy_matrix()
    confidence = torch.where(matrix.images[..., 3] > 0.5, 0.8, 0.1)
    confidence[1] *= 0.5
    sides = known_sides(matrix.with_confidence(confidence), EXPECTED)
    assert sides is not None
    assert sides.confidence is not None
    assert sides.confidence[0] == pytest.approx(0.8, abs=0.1)
    assert sides.confidence[1] == pytest.approx(0.4, abs=0.1)
    assert sides.doubtful == [sides.azimuths[1]]


def test_words_name_the_numbers() -> None:
    sides = KnownSides([0.0, 90.0, 180.0, 270.0], [0.9, 0.5, 0.75, 0.7], [0.9, 0.6, 0.9, 0.9], 21)
    first, second = sides.sentences()
    assert "21 objects" in first
    assert "0.90 at the clip's own side, 0.60 at the sides, 0.75 behind" in first
    assert "expect less of filmed things" in first
    kinds = replace(sides, kinds={"cats": 0.64, "cups": 0.76})
    assert "0.75 behind, all around cats 0.64, cups 0.76 (1 is" in kinds.sentences()[0]
    assert "most at 90°" in second


def test_nothing_is_told_of_what_was_not_measured() -> None:
    assert known_sides(toy_matrix(), None) is None


def test_neighbouring_directions_are_one_stretch_also_across_the_clips_side() -> None:
    ring = [22.5 * i for i in range(16)]
    confidence = [0.5 if i in (14, 15, 0, 1, 6) else 0.9 for i in range(16)]
    words = KnownSides(ring, [0.7] * 16, confidence, 21).sentences()[1]
    assert "most at 135°, 315° to 22.5°." in words
