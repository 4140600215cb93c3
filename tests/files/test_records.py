"""Records: what JSON may say, and the sentence about what it may not."""

from __future__ import annotations

import json
import math

import pytest
from msgspec import Struct

from vid4d.errors import InputError
from vid4d.files.records import Finite, Seconds, Share, checked, parsed, read_record


class Told(Struct):
    seconds: Seconds
    cyclic: bool = False
    shares: list[Share] | None = None
    name: str = ""


def refused(text: str) -> str:
    with pytest.raises(InputError) as caught:
        parsed(text, Told, "a.json", "mend it")
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("a.json: ")
    assert str(caught.value).endswith("; mend it")
    return str(caught.value)


def test_what_can_be_true_comes_back():
    assert parsed('{"seconds": 2, "shares": [0, 1.0], "more": []}', Told, "", "") == Told(
        2.0, shares=[0.0, 1.0]
    )
    name = "caf\udce9"  # a file name whose bytes are no UTF-8
    assert parsed(json.dumps({"seconds": 1, "name": name}), Told, "", "").name == name
    assert checked({"seconds": "2.5"}, Told, "", "", strict=False).seconds == 2.5


@pytest.mark.parametrize(
    "seconds", [math.nan, math.inf, -math.inf, 0, -1, 1e6, True, "1", None, [1], 10**400]
)
def test_a_duration_is_a_positive_number_of_at_most_a_day(seconds):
    assert "seconds" in refused(json.dumps({"seconds": seconds})) or not math.isfinite(seconds)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"seconds": 1, "cyclic": "false"}', "'cyclic' must be true or false, not text"),
        ('{"seconds": 1, "shares": [0, 2]}', "must be a number <= 1.0"),
        ('{"seconds": 1e999}', "'seconds' must be a number <= 86400.0"),
        ("{}", "the file lacks 'seconds'"),
        ("[]", "the file must be an object, not a list"),
        ("", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ('{"seconds": ' + "9" * 5000 + "}", ""),
        ('{"seconds": 1, "seconds": 2}', "it says 'seconds' twice"),
        ('{"seconds": 1, "more": [{"a": 1, "b": 2, "a": 1}]}', "it says 'a' twice"),
    ],
)
def test_the_field_and_what_it_must_be_are_named(text, words):
    assert words in refused(text)


def test_numbers_are_finite():
    with pytest.raises(InputError):
        parsed("1e999", Finite, "a", "b")
    for strange in ("NaN", "1e999"):
        with pytest.raises(InputError, match=f"{strange} is no number"):
            parsed(f'{{"more": [{strange}]}}', dict, "a", "b")
    assert parsed("3", Finite, "a", "b") == 3


def test_files(tmp_path):
    file = tmp_path / "a.json"
    file.write_text('{"seconds": 3}')
    assert read_record(file, Told, "").seconds == 3
    file.write_bytes(b'\xef\xbb\xbf{"seconds": 3}')  # as editors on Windows begin
    assert read_record(file, Told, "").seconds == 3
    for content in (b"\xff\xfe", b"\x00", b'{"seconds": 3'):
        file.write_bytes(content)
        with pytest.raises(InputError, match=r"a\.json: "):
            read_record(file, Told, "mend it")
    with pytest.raises(InputError, match=r"b\.json: "):
        read_record(tmp_path / "b.json", Told, "mend it")
