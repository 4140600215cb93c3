"""Numbers of a preset that a user changes: `--tune lambda_icl=5000 --tune batch.spatial=0.25`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, is_dataclass
from typing import Any, TypeVar

from vid4d.errors import InputError
from vid4d.files.records import checked, parsed

T = TypeVar("T")


def tuned(config: T, changes: Sequence[str]) -> T:
    """A method's configuration with some of its fields changed.

    changes: 'NAME=VALUE'; a field of a field is named with dots, a value is written as in JSON.
    Raises InputError for a field that there is not, and for a value that it cannot have.
    """
    assert is_dataclass(config) and not isinstance(config, type)  # noqa: PT018
    values: Any = asdict(config)
    for change in changes:
        name, equals, text = (part.strip() for part in change.partition("="))
        if not equals or not name:
            raise InputError(f"--tune {change!r}: give NAME=VALUE, as in --tune fit.iterations=300")
        *path, last = name.split(".")
        place = values
        for part in [*path, last]:
            if not isinstance(place, dict) or part not in place:
                there = f"choose one of {', '.join(place)}" if isinstance(place, dict) else "it has no parts"
                raise InputError(f"--tune {name}: there is no {part!r}; {there}")
            holder, place = place, place[part]
        if isinstance(place, dict):
            raise InputError(f"--tune {name}: it has parts; choose one of {', '.join(place)}")
        holder[last] = parsed(text, object, f"--tune {name}", "write a number, or a list as [1, 2]")
    return checked(values, type(config), f"--tune {' '.join(changes)}", "choose other values")
