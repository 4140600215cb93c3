"""Names of picture files: which belong to one series, and in which order.

A name's numbers are cut out of it; what remains is its pattern. Files of one pattern are a series, unless a
number of them tells several apart (cam0_000, cam0_001, ..., cam1_000, ...).
"""

from __future__ import annotations

import fnmatch
import glob
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

NUMBER = re.compile(r"(?:(?<![^/_(=])-(?=\d))?\d+(?:\.\d+)*(?:[eE][-+]\d+)?")
"""An integer, a decimal, numbers joined by points; a minus only where it cannot be a hyphen."""

FIRST_COPY = (" (#)", " copy #", " - Copy (#)")
"""What the first of a series lacks in names as file managers make them: 'a.png', 'a (1).png'."""

Value = tuple[float, ...]
Item = tuple[Path, tuple[str, ...]]


@dataclass(frozen=True)
class Series:
    """Pictures in order. pattern: of their names below the folder, '#' for numbers.

    counters: what tells the frames of one series apart. notes: doubts about the order, in words.
    """

    pattern: str
    files: tuple[Path, ...]
    counters: tuple[Value, ...]
    notes: tuple[str, ...] = ()

    @property
    def words(self) -> set[str]:
        """The words of the pattern, in small letters."""
        return {w.lower() for w in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", self.pattern)}


def series_of(root: Path, files: Iterable[Path]) -> list[Series]:
    """The series among files that lie below `root`, the longest first."""
    groups: dict[str, list[Item]] = {}
    for file in files:
        name = file.relative_to(root).with_suffix("").as_posix()
        groups.setdefault(NUMBER.sub("#", name), []).append((file, tuple(NUMBER.findall(name))))
    _join_signs(groups)
    _join_first_copies(groups)
    found = []
    for pattern, items in groups.items():
        for part in _by_ending(items):
            found += [_ordered(pattern, p) for p in _by_fixed_number(pattern, part)]
    return sorted(found, key=lambda s: (-len(s.files), s.files[0].as_posix()))


def series_like(files: Sequence[Path]) -> Series:
    """Files that are in order already, with the counters that their names have."""
    root = files[0].parent
    same = {f.parent for f in files} == {root}
    found = series_of(root, files) if same else []
    if len(found) == 1:
        counters = dict(zip(found[0].files, found[0].counters, strict=True))
        return Series(found[0].pattern, tuple(files), tuple(counters[f] for f in files))
    return Series("", tuple(files), tuple((float(i),) for i in range(len(files))))


def picking_glob(root: Path, series: Series, others: Iterable[Path]) -> str | None:
    """A glob that picks this series alone of all files; None where names allow none."""
    stem = NUMBER.sub("#", series.files[0].relative_to(root).with_suffix("").as_posix())
    endings = {f.suffix for f in series.files}
    ending = endings.pop() if len(endings) == 1 else ".*"
    names = [f.relative_to(root).as_posix() for f in series.files]
    rest = {f.relative_to(root).as_posix() for f in others} - set(names)
    numbers = list(zip(*(NUMBER.findall(n.removesuffix(Path(n).suffix)) for n in names), strict=False))

    def filled(kind: int) -> str:
        pieces = [glob.escape(p) for p in stem.split("#")]
        text = pieces[0]
        for i, piece in enumerate(pieces[1:]):
            told = set(numbers[i]) if i < len(numbers) else {""}
            lengths = {len(t) for t in told}
            if len(told) == 1:
                text += told.pop()
            elif kind == 1 and len(lengths) == 1:
                text += "[0-9]" * lengths.pop()
            else:
                text += "*"
            text += piece
        return text + ending

    for pattern in (filled(0), filled(1)):
        if all(fnmatch.fnmatchcase(n, pattern) for n in names) and not any(
            fnmatch.fnmatchcase(n, pattern) for n in rest
        ):
            return f"{glob.escape(root.as_posix())}/{pattern}"
    return None


def _join_signs(groups: dict[str, list[Item]]) -> None:
    """'a-1' belongs to 'a0' and 'a1': a hyphen is a minus where the same name goes on without it."""
    for pattern in [p for p in groups if "-#" in p]:
        for at in (m.start() for m in re.finditer("-#", pattern)):
            joined = pattern[:at] + pattern[at + 1 :]
            if joined in groups:
                slot = pattern[:at].count("#")
                groups[joined] += [
                    (f, (*raw[:slot], f"-{raw[slot]}", *raw[slot + 1 :])) for f, raw in groups.pop(pattern)
                ]
                break


def _join_first_copies(groups: dict[str, list[Item]]) -> None:
    for pattern in list(groups):
        for ending in FIRST_COPY:
            first = pattern.removesuffix(ending)
            if pattern.endswith(ending) and len(groups.get(first, ())) == 1 and "#" not in first:
                file, raw = groups.pop(first)[0]
                groups[pattern].append((file, (*raw, "0")))


def _by_ending(items: list[Item]) -> list[list[Item]]:
    """Apart by ending where one number has several files (0.jpg and 0.png)."""
    if max(Counter(raw for _, raw in items).values()) == 1:
        return [items]
    endings = sorted({f.suffix.lower() for f, _ in items})
    return [[i for i in items if i[0].suffix.lower() == e] for e in endings]


def _by_fixed_number(pattern: str, items: list[Item]) -> list[list[Item]]:
    """Apart by a number that tells series apart: each of its values comes with the same counters."""
    slots = list(zip(*(raw for _, raw in items), strict=True))
    varying = [i for i, s in enumerate(slots) if len(set(s)) > 1]
    if len(varying) < 2 or re.search(r"#([-_.:/ T]?)#\1#", pattern):  # the latter: dates and times
        return [items]
    counter = max(varying, key=lambda i: (len(set(slots[i])), i))
    for slot in varying:
        if slot == counter:
            continue
        parts: dict[str, list[Item]] = {}
        for item in items:
            parts.setdefault(item[1][slot], []).append(item)
        counted = Counter(raw[:slot] + raw[slot + 1 :] for _, raw in items)
        shared = sum(n for n in counted.values() if n > 1)
        if shared > 0.5 * len(items):
            return [p for part in parts.values() for p in _by_fixed_number(pattern, part)]
    return [items]


def _ordered(pattern: str, items: list[Item]) -> Series:
    slots = list(zip(*(raw for _, raw in items), strict=True))
    varying = [i for i, s in enumerate(slots) if len(set(s)) > 1]
    decimals = {i: _are_decimals(slots[i]) for i in varying}
    keyed = [
        (tuple(v for i in varying for v in _value(raw[i], decimal=decimals[i])), file.as_posix(), file, raw)
        for file, raw in items
    ]
    keyed.sort(key=lambda k: k[:2])
    notes = []
    if len({k[0] for k in keyed}) < len(keyed):
        notes.append("some names have the same number")
    if len(varying) == 1:
        texts = [k[3][varying[0]] for k in keyed]
        start = _rolled_over(texts)
        if start:
            keyed = keyed[start:] + keyed[:start]
            notes.append(f"the counter rolls over from {texts[-1]} to {texts[0]}")
        if all(t.startswith("-") for t in texts):
            notes.append(f"all numbers are negative, from {texts[0]} to {texts[-1]}")
    first, last = keyed[0][2].name, keyed[-1][2].name
    said = tuple(f"{n}: the order of the pictures is {first} ... {last}" for n in notes)
    if len(varying) == 1 and not notes and (gaps := _gaps([k[3][varying[0]] for k in keyed])):
        said = (gaps,)
    return Series(pattern, tuple(k[2] for k in keyed), tuple(k[0] for k in keyed), said)


def _value(raw: str, *, decimal: bool) -> Value:
    if "." in raw and not decimal:
        sign = -1 if raw.startswith("-") else 1
        return tuple(float(sign * int(part)) for part in raw.lstrip("-").split("."))
    return (float(raw),)


def _are_decimals(raws: Sequence[str]) -> bool:
    """Whether '1.10' is a number with a point, and no '1' and '10'."""
    pointed = [r for r in raws if "." in r]
    if any(r.count(".") > 1 for r in pointed):
        return False
    if len(pointed) < len(raws) or any("e" in r.lower() for r in raws):
        return True
    if len({float(r) for r in raws}) < len(set(raws)):
        return False
    parts: dict[str, list[str]] = {}
    for raw in raws:
        whole, fraction = raw.split(".")
        parts.setdefault(whole, []).append(fraction)
    if len({len(r.split(".")[1]) for r in raws}) == 1:
        return True  # the same either way
    counts = [sorted(int(f) for f in fractions) for fractions in parts.values()]
    return not all(c[-1] - c[0] + 1 == len(c) for c in counts)


def _gaps(texts: Sequence[str]) -> str:
    """A sentence about numbers that a counter leaves out; empty where its steps are even, or no counter's."""
    if len(texts) < 4 or not all(t.isdecimal() for t in texts):
        return ""
    steps = [int(b) - int(a) for a, b in pairwise(texts)]
    usual, often = Counter(steps).most_common(1)[0]
    wide = [i for i, step in enumerate(steps) if step >= 2 * usual]
    if not wide or often < 0.4 * len(steps):
        return ""
    more = f" and at {len(wide) - 1} more places" if len(wide) > 1 else ""
    return (
        f"numbers are missing between {texts[wide[0]]} and {texts[wide[0] + 1]}{more}: the pictures are "
        "taken for evenly spaced in time, so the motion jumps there if pictures were left out"
    )


def _rolled_over(texts: Sequence[str]) -> int:
    """Where a counter of fixed width begins that ran to its end and went on at 0 or 1; 0 where none did."""
    width = len(texts[0])
    if width < 3 or len(texts) < 3 or not all(t.isdecimal() and len(t) == width for t in texts):
        return 0
    numbers = [int(t) for t in texts]
    steps = [b - a for a, b in pairwise(numbers)]
    widest = max(range(len(steps)), key=lambda i: steps[i])
    usual = sorted(steps)[len(steps) // 2] if len(steps) > 2 else min(steps)
    wraps = 10**width - numbers[-1] + numbers[0] <= 2 * usual + 1
    return widest + 1 if wraps and steps[widest] > 0.5 * 10**width else 0
