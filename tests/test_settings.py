"""Settings that are texts: what `--also` names, and what it refuses."""

from __future__ import annotations

import pytest

from vid4d.errors import InputError
from vid4d.settings import Also, Settings, check_also, read_also


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("back.png@180", Also("back.png", 180.0, None)),
        ("a/left.mp4@-90,12.5", Also("a/left.mp4", 270.0, 12.5)),
        ("me@home.mp4@45", Also("me@home.mp4", 45.0, None)),
        ("C:\\clips\\top.mov@0,80", Also("C:\\clips\\top.mov", 0.0, 80.0)),
    ],
)
def test_a_file_and_its_direction(text, expected):
    assert read_also(text) == expected


@pytest.mark.parametrize("text", ["back.png", "back.png@", "@90", "back.png@left", "a.png@1,2,3", "a@nan"])
def test_what_has_no_direction_is_refused(text):
    with pytest.raises(InputError, match="degrees from the clip's camera"):
        read_also(text)


def test_an_elevation_that_does_not_exist_is_refused():
    with pytest.raises(InputError, match="elevation of 91 degrees does not exist"):
        check_also(["a.png@90,91"])


@pytest.mark.parametrize("also", [["a.png@0"], ["a.png@357"], ["a.png@90", "b.png@92"]])
def test_a_direction_that_is_seen_already_is_refused(also):
    with pytest.raises(InputError, match="is seen from there already"):
        check_also(also)


def test_other_heights_are_other_directions():
    check_also(["a.png@90,0", "b.png@90,40", "c.png@180"])
    check_also(["above.png@90,60", "below.png@90,-20"])


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"key_frames_per_second": 0.0}, "0 key frames a second"),
        ({"key_frames_per_second": float("inf")}, "inf key frames a second"),
        ({"key_frames_per_second": 2.0, "frames": 8}, "give one of them"),
    ],
)
def test_rates_of_key_frames_that_cannot_be(settings, words):
    with pytest.raises(InputError, match=words):
        Settings(clip="a.mp4", **settings).check_ranges()
