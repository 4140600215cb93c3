"""Refusals of commands that leave the disk as it was: one sentence, exit code 2."""

from __future__ import annotations

import re
from pathlib import Path

from command_line import run


def on_disk() -> dict[str, bytes | None]:
    """Everything below the current folder."""
    return {str(p): p.read_bytes() if p.is_file() else None for p in sorted(Path().rglob("*"))}


def sentence(text: str) -> str:
    """The one sentence of a command's stderr; only the names of started stages may come before it."""
    lines = [
        line
        for line in text.splitlines()
        if not re.fullmatch(r"(frames|matrix|renders|export \w+|verify \w+) \.\.\.", line)
    ]
    assert len(lines) == 1, text
    assert re.match(r"vid4d: [\w'-]", lines[0]), text
    return lines[0].removeprefix("vid4d: ")


def refused(capsys, *arguments: object) -> str:
    """The sentence of a command that ends with 2 and leaves the disk as it was."""
    before = on_disk()
    capsys.readouterr()
    code = run(*arguments)
    said = capsys.readouterr().err
    assert code == 2, said
    assert on_disk() == before
    return sentence(said)
