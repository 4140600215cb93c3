"""Commands in this process, as a shell would see them."""

from __future__ import annotations

from vid4d import cli


def run(*arguments: object) -> int:
    """The command's exit code; 0 where it returns."""
    try:
        cli.main([str(a) for a in arguments])
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0


def refused(capsys, *arguments: object) -> str:
    """The one sentence of a command that exits with 2; stages that were started may be named before it."""
    capsys.readouterr()
    code = run(*arguments)
    said = capsys.readouterr().err.strip().splitlines()
    assert code == 2, said
    assert "Traceback" not in "\n".join(said)
    assert said[-1].startswith("vid4d: ")
    return said[-1]
