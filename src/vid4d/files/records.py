"""JSON that comes in: believed only where every field has the type and the range that it must have."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from dataclasses import is_dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args, get_type_hints

import msgspec
from msgspec import Meta

from vid4d.errors import InputError
from vid4d.files.paths import refuse_special

T = TypeVar("T")
Kind = Callable[..., T]
"""A type, `dict[str, int]` say, that gives values of T."""

LARGEST = 256 << 20
"""Bytes of a description that are read."""

Finite = Annotated[float, Meta(ge=-1e12, le=1e12)]
Amount = Annotated[float, Meta(ge=0, le=1e12)]
Step = Annotated[int, Meta(ge=0, le=1 << 40)]
Share = Annotated[float, Meta(ge=0, le=1)]
Time = Annotated[float, Meta(ge=-1e-6, le=1 + 1e-6)]
"""Of a clip: 0 is its start and 1 its end."""
SHORTEST, LONGEST = 1e-3, 86_400.0
Seconds = Annotated[float, Meta(ge=SHORTEST, le=LONGEST)]
"""Of a clip: a day at most, and at least what a frame of a quick camera lasts."""

WORDS = {
    "float": "a number",
    "int": "a whole number",
    "bool": "true or false",
    "str": "text",
    "array": "a list",
    "object": "an object",
    "null": "null",
}


def read_record(file: Path, kind: Kind[T], advice: str) -> T:
    """The value of a JSON file, as a `msgspec.Struct`, dataclass, TypedDict or plain type.

    advice: what to do about a file that is wrong, the end of the sentence.
    Raises InputError, with the file and the field, for anything but JSON of that type.
    """
    refuse_special(file)
    try:
        if file.stat().st_size > LARGEST:
            raise InputError(f"{file}: larger than any description; {advice}")
        text = file.read_text(encoding="utf-8-sig")  # editors on Windows begin with a mark
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{file}: cannot be read ({error}); {advice}") from error
    return parsed(text, kind, str(file), advice)


def parsed(text: str, kind: Kind[T], where: str, advice: str) -> T:
    """The value of a JSON text; see `read_record`. where: names the text in the sentence."""
    strange: list[str] = []
    twice: list[str] = []

    def members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        result = dict(pairs)
        if len(result) < len(pairs):
            names = [name for name, _ in pairs]
            twice.append(next(name for name in result if names.count(name) > 1))
        return result

    def number(digits: str) -> float:
        if not math.isfinite(float(digits)):
            strange.append(digits)
        return float(digits)

    try:
        value = json.loads(text, parse_constant=number, parse_float=number, object_pairs_hook=members)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where}: not JSON ({error}); {advice}") from error
    if twice:
        raise InputError(f"{where}: it says {twice[0]!r} twice, and which counts is not known; {advice}")
    result = checked(value, kind, where, advice)  # names the field, where its range is known
    if strange:
        raise InputError(f"{where}: {strange[0]} is no number; {advice}")
    return result


def checked(value: Any, kind: Kind[T], where: str, advice: str, *, strict: bool = True) -> T:
    """A value as `json.loads` gives it, as another type; see `read_record`.

    strict: texts are no numbers; otherwise those of numbers are, for metadata that hold nothing else.
    """
    try:
        return msgspec.convert(value, kind, strict=strict)
    except (msgspec.ValidationError, RecursionError, ValueError, TypeError) as error:
        raise InputError(f"{where}: {_in_words(str(error))}; {advice}") from error


def unknown_field(kind: Any, value: Any) -> str | None:
    """'width in LevelConfig': the first name that a dataclass (or None, or a tuple of it) does not have."""
    inner: list[tuple[Any, Any]] = []
    dataclass_type = next(
        (k for k in (kind, *get_args(kind)) if isinstance(k, type) and is_dataclass(k)), None
    )
    if isinstance(value, list):
        inner = [((get_args(kind) or (None,))[0], item) for item in value]
    elif isinstance(value, dict) and dataclass_type is not None:
        types = get_type_hints(dataclass_type)
        if unknown := sorted(value.keys() - types.keys()):
            return f"{unknown[0]!r} in {dataclass_type.__name__}"
        inner = [(types[name], item) for name, item in value.items()]
    return next(filter(None, (unknown_field(*pair) for pair in inner)), None)


def _in_words(message: str) -> str:
    """msgspec's message for people: "'cyclic' must be true or false, not text"."""
    what, _, place = message.partition(" - at `")
    at = place.rstrip("`").removeprefix("$").removeprefix(".")
    field = f"{at!r}" if at else "the file"
    if missing := re.fullmatch(r"Object missing required field `(.+)`", what):
        return f"{field} lacks {missing[1]!r}"
    if other := re.fullmatch(r"Expected `([^`]+)`(?:, got `([^`]+)`)?(.*)", what):
        kinds = " or ".join(WORDS.get(word, word) for word in other[1].split(" | "))
        got = f", not {WORDS.get(other[2], other[2])}" if other[2] else ""
        return f"{field} must be {kinds}{got}{other[3]}"
    return f"{field} cannot be: {what[:1].lower()}{what[1:]}" if at else what
