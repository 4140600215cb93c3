"""Faults of a command line, each as one sentence instead of tyro's box of a dozen lines."""

from __future__ import annotations

import re
from collections.abc import Sequence

FRAME = "│╭╮╰╯"
ESCAPES = re.compile(r"\x1b\[[0-9;]*m")
RULE = re.compile(r"[─\- ]+")


def _sections(box: str) -> list[list[str]]:
    """Parts of a box between its rules, as lines with their indentation; its title is left out."""
    parts: list[list[str]] = [[]]
    for line in ESCAPES.sub("", box).splitlines():
        text = line.strip(FRAME).rstrip()
        if not text.strip() or any(corner in line for corner in "╭╰"):
            continue
        if RULE.fullmatch(text):
            parts.append([])
        else:
            parts[-1].append(text)
    return [part for part in parts[0 if "╭" in box else 1 :] if part]


def _least_indented(lines: Sequence[str]) -> list[str]:
    """Names of options, without what is explained below each."""
    indents = [len(line) - len(line.lstrip()) for line in lines]
    return [line.strip() for line, i in zip(lines, indents, strict=True) if i == min(indents)]


def _given(name: str, arguments: Sequence[str]) -> str:
    """What was written behind an option, as one quotation."""
    values: list[str] = []
    for i, argument in enumerate(arguments):
        if argument == name:
            rest = arguments[i + 1 :]
            values = list(rest[: next((k for k, a in enumerate(rest) if a.startswith("--")), len(rest))])
        elif argument.startswith(f"{name}="):
            values = [argument.partition("=")[2]]
    return repr(" ".join(values))


def _wrong_value(name: str, reason: str, arguments: Sequence[str]) -> str:
    """Of a value that is of another type, the start of a sentence. reason: tyro's, in Python's words."""
    given = _given(name, arguments)
    if count := re.search(r"expected argument count (\d+)", reason):
        return f"{name} takes {count[1]} values, not {given}"
    choices = re.search(r"does not match choices \((.+?),?\)", reason)
    kinds = [choices[1].replace("'", "")] if choices else []
    if "float" in reason.lower():
        kinds.append("numbers" if "tuple" in reason.lower() else "a number")
    elif re.search(r"\bint\b", reason.lower()):
        kinds.append("a whole number")
    return f"{name} must be {' or '.join(kinds)}, not {given}" if kinds else f"{name} cannot be {given}"


def usage_sentence(box: str, arguments: Sequence[str]) -> str | None:
    """Sentence for arguments that tyro refuses; None where it says something unheard of.

    box: what it would print. arguments: of the command line, the command first.
    """
    sections = _sections(box)
    if not sections:
        return None
    first, *others = sections
    page = re.search(r"vid4d [a-z ]*--help", " ".join(line.strip() for line in sections[-1]))
    words = " ".join(line.strip() for line in first)
    after = {part[0].strip().partition(":")[0]: part for part in others}
    if missing := re.match(r"Missing from (vid4d [a-z ]+):", words):
        names = " and ".join(name.split()[0] for name in _least_indented(first[1:]))
        return f"{missing[1]} needs {names}; {missing[1]} --help tells more"
    if elsewhere := re.match(
        r"Unrecognized or misplaced options: (\S+) \(applied to (vid4d [a-z ]+)\)", words
    ):
        return f"{elsewhere[2]} has no {elsewhere[1]}; {elsewhere[2]} --help lists what it has"
    if unknown := re.match(r"Unrecognized options: (.+)", words):
        name = unknown[1].split(", ")[0]
        if commands := after.get("Available subcommands"):
            choice = " ".join(line.strip() for line in commands).partition(": ")[2]
            return f"there is no command {name!r}: choose one of {choice}"
        help_page = f"vid4d {arguments[0]} --help"
        if not name.startswith("-"):
            return f"{name!r} is one argument too many; {help_page} tells which there are"
        close = [o.split()[0] for o in _least_indented(after.get("Perhaps you meant", ["", ""])[1:]) if o]
        meant = f": did you mean {close[0]}?" if close else ";"
        return f"there is no option {name}{meant} {help_page} lists them all"
    tell = f"; {page[0] if page else 'vid4d --help'} tells more"
    if refused := re.match(r"invalid choice (.+) for argument '(.+)'\. Expected one of \((.+)\)", words):
        return f"{refused[2]} cannot be {refused[1]}: choose one of {refused[3].replace(chr(39), '')}"
    if lacking := re.match(r"Missing value for argument '(.+)'", words):
        return f"{lacking[1]} needs a value{tell}"
    if wrong := re.match(r"Error parsing (--[a-z0-9-]+): (.+)", words):
        return f"{_wrong_value(wrong[1], wrong[2], arguments)}; vid4d {arguments[0]} --help tells more"
    sentence = words[:1].lower() + words[1:].rstrip(".")
    return f"{sentence}{tell}"
