"""What is to be expected of priors: the numbers that ship, and how they are read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from vid4d.errors import InputError
from vid4d.priors.base import PRIORS
from vid4d.priors.expected import FILE, KINDS, Expected, expected_of


def test_between_measured_directions_in_a_straight_line_and_both_ways_round() -> None:
    expected = Expected(3, (0.8, 0.6, 0.5))
    for azimuth, value in ((0, 0.8), (45, 0.7), (90, 0.6), (-90, 0.6), (270, 0.6), (135, 0.55), (180, 0.5)):
        assert expected.at(azimuth) == pytest.approx(value)
    assert expected.at(360) == pytest.approx(0.8)


def test_sets_of_models_weigh_as_many_models_as_they_have(tmp_path: Path) -> None:
    file = tmp_path / "expected.json"
    sets = {"one": {"models": 3, "overlap": [0.8, 0.4]}, "other": {"models": 1, "overlap": [0.4, 0.0]}}
    file.write_text(json.dumps({"frustum": sets}))
    expected = expected_of("frustum", file)
    assert expected is not None
    assert expected.models == 4
    assert expected.overlap == pytest.approx((0.7, 0.3))
    assert expected_of("other", file) is None


def test_what_cannot_be_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "expected.json"
    file.write_text(json.dumps({"frustum": {"one": {"models": 3, "overlap": [0.8, 1.4]}}}))
    with pytest.raises(InputError, match="overlap"):
        expected_of("frustum", file)


def test_what_ships_names_priors_of_the_table() -> None:
    assert set(json.loads(FILE.read_text())) <= set(PRIORS)
    expected = expected_of("frustum")
    assert expected is not None
    assert expected.models >= 20
    assert expected.at(0) == max(expected.overlap)
    assert set(expected.kinds) == set(KINDS.values())
    assert expected.kinds["animated creatures"] < expected.kinds["everyday things"]
