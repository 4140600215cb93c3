"""Results as files that can be compared, and as tables."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from msgspec import Meta, Struct, to_builtins

from vid4d.errors import InputError, printable
from vid4d.evaluation.measure import DIGITS, NAMES, Numbers
from vid4d.evaluation.placement import Up
from vid4d.evaluation.protocol import Protocol
from vid4d.files.records import checked, read_record
from vid4d.priors.weights.registry import sha256_of

FORMAT = "vid4d evaluation"
VERSION = 1

Value = Annotated[float, Meta(ge=-1e9, le=1e9)] | None
Values = dict[str, Value]
RANGES = {
    **dict.fromkeys(("iou", "f_score"), (0.0, 1.0)),
    **dict.fromkeys(("half_transparent", "ssim", "clip"), (-1.0, 1.0)),
    **dict.fromkeys(("lpips", "cd_3d", "cd_4d", "cd_motion"), (0.0, 1e9)),
}
"""What a measure can be, where that is less than any number."""


class Source(Struct, frozen=True):
    """What was looked at. sha256: of its files; see `digest`. more: whatever else decides what is seen."""

    kind: str
    sha256: str
    files: int
    more: dict[str, Any] = {}


Shift = Annotated[float, Meta(ge=-1e3, le=1e3)]


class _Placed(Struct):
    """What `Source.more` of a judged thing may say (`vid4d.evaluation.placement.Placement`)."""

    up: Up
    turn: Annotated[float, Meta(ge=-360, le=360)]
    scale: Annotated[float, Meta(ge=1e-3, le=1e3)]
    shift: tuple[Shift, Shift, Shift]


class _More(Struct):
    alpha: str = ""
    placement: _Placed | None = None


class View(Struct, frozen=True):
    """A view's camera (degrees) and its numbers."""

    azimuth: float
    elevation: float
    numbers: Values


class Object(Struct, frozen=True):
    """The numbers of one object."""

    judged: Source
    truth: Source
    views: list[View]
    mean: Values


class Result(Struct, frozen=True):
    """A whole result. absent: measures that are not there, each with the reason. networks: SHA-256 of
    the files of those that measured, by measure."""

    format: str
    version: int
    vid4d: str
    protocol: dict[str, Any]
    objects: dict[str, Object]
    mean: Values
    absent: dict[str, str] = {}
    networks: dict[str, str] = {}


def digest(files: Sequence[Path], root: Path) -> str:
    """SHA-256 of a file; of several, that of their names and hashes, one a line, in order of the names."""
    if len(files) == 1:
        return sha256_of(files[0])
    lines = sorted(f"{f.relative_to(root).as_posix()} {sha256_of(f)}\n" for f in files)
    return hashlib.sha256("".join(lines).encode("utf-8", "surrogateescape")).hexdigest()


def values(numbers: Numbers) -> Values:
    """For JSON: six decimals; what is not a number is None."""
    return {k: round(v, 6) if math.isfinite(v) else None for k, v in numbers.items()}


def to_json(result: Result) -> dict[str, Any]:
    """Plain values."""
    plain: dict[str, Any] = to_builtins(result)
    return plain


def read_result(path: Path) -> Result:
    """A result that `vid4d evaluate --out` wrote. Raises InputError for anything else."""
    if not path.is_file():
        raise InputError(f"there is no {path}: give a result of vid4d evaluate --out")
    result = read_record(path, Result, "write it again with vid4d evaluate --out")
    if (result.format, result.version) != (FORMAT, VERSION):
        raise InputError(f"{path} is no result of this version of vid4d evaluate: write it again")
    checked(result.protocol, Protocol, f"{path}: protocol", "write it again with vid4d evaluate --out")
    every = [result.mean]
    for name, one in result.objects.items():
        where = f"{path}: objects: {printable(name)}: judged: more"
        checked(one.judged.more, _More, where, "write it again with vid4d evaluate --out")
        every += [one.mean, *(view.numbers for view in one.views)]
    for name, value in (pair for numbers in every for pair in numbers.items()):
        least, most = RANGES.get(name, (-1e9, 1e9))
        if value is not None and not least - 1e-6 <= value <= most + 1e-6:
            raise InputError(
                f"{path}: no {printable(name)} is {value:g}; write it again with vid4d evaluate --out"
            )
    return result


def table(result: Result) -> str:
    """A line for each view of a single object, or for each object, and the mean; in Markdown."""
    rows: list[tuple[str, Mapping[str, Value]]]
    if len(result.objects) == 1:
        (only,) = result.objects.values()
        rows = [(f"{v.azimuth:g}°, el {v.elevation:g}°", v.numbers) for v in only.views]
    else:
        rows = [(_cell(name), o.mean) for name, o in result.objects.items()]
    names = [n for n in NAMES if n in result.mean]
    lines = ["| | " + " | ".join(NAMES[n] for n in names) + " |", "|---" * (len(names) + 1) + "|"]
    for title, numbers in [*rows, ("mean", result.mean)]:
        lines.append(f"| {title} | " + " | ".join(_shown(n, numbers.get(n)) for n in names) + " |")
    return "\n".join(lines)


def _cell(name: str) -> str:
    """The name of an object, which is a folder's and may be anything."""
    return printable(name).replace("|", "\\|")


def _shown(name: str, value: Value) -> str:
    return "" if value is None else f"{value:.{DIGITS.get(name, 3)}f}"


def refuse_incomparable(first: Result, second: Result) -> None:
    """Raises InputError where the numbers of two results do not mean the same."""
    for name in first.protocol.keys() | second.protocol.keys():
        a, b = first.protocol.get(name), second.protocol.get(name)
        if a != b:
            raise InputError(
                f"the results are of different protocols ({name}: {a} and {b}) and cannot be compared: "
                "judge both alike"
            )
    for name in first.networks.keys() & second.networks.keys():
        if first.networks[name] != second.networks[name]:
            raise InputError(f"the results have {name} from different weights: judge both with the same file")
    if first.objects.keys() != second.objects.keys():
        lacking = min(first.objects.keys() ^ second.objects.keys())
        raise InputError(f"only one of the results has {lacking}: judge the same objects")
    for name, one in first.objects.items():
        if one.truth != second.objects[name].truth:
            raise InputError(f"the results hold {name} against different truths: judge both by the same")
        cameras = [[(v.azimuth, v.elevation) for v in o.views] for o in (one, second.objects[name])]
        if cameras[0] != cameras[1]:
            raise InputError(f"the results see {name} from different sides: judge both by the same truth")


def comparison(first: Result, second: Result, names: tuple[str, str] = ("A", "B")) -> str:
    """Both results side by side, an object a line, in Markdown; what only one of them measured is left out.

    Raises InputError where they cannot be compared.
    """
    refuse_incomparable(first, second)
    measured = [n for n in NAMES if n in first.mean and n in second.mean]
    lines = [
        "| | | " + " | ".join(NAMES[n] for n in measured) + " |",
        "|---" * (len(measured) + 2) + "|",
    ]
    rows = [(_cell(name), o.mean, second.objects[name].mean) for name, o in first.objects.items()]
    if len(rows) > 1:
        rows.append(("mean", first.mean, second.mean))
    for title, a, b in rows:
        for which, numbers in zip(names, (a, b), strict=True):
            lines.append(
                f"| {title} | {which} | " + " | ".join(_shown(n, numbers.get(n)) for n in measured) + " |"
            )
        apart = {n: x - y for n in measured if (x := b.get(n)) is not None and (y := a.get(n)) is not None}
        cells = [_shown(n, apart.get(n)) if abs(apart.get(n, 1)) >= 5e-7 else "same" for n in measured]
        lines.append(f"| | {names[1]} - {names[0]} | " + " | ".join(cells) + " |")
    return "\n".join(lines)
