"""Help of the commands, and what importing costs."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

import vid4d
from vid4d.cli import main
from vid4d.priors.base import PRIORS


def test_help_is_quick_and_imports_nothing_heavy():
    code = (
        "import sys, vid4d.cli\n"
        "try:\n    vid4d.cli.main(['--help'])\n"
        "except SystemExit: pass\n"
        "print([m for m in ('torch', 'numpy', 'PIL', 'av', 'viser', 'scipy') if m in sys.modules])"
    )
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert output.strip().endswith("[]")
    for command in ("generate", "prepare", "matrix", "reconstruct", "render", "train", "info"):
        assert command in output

    def seconds() -> float:
        """Of work; what other programs take of the machine meanwhile is not counted."""
        before = os.times()
        subprocess.run([sys.executable, "-m", "vid4d.cli", "--help"], capture_output=True, check=True)
        after = os.times()
        return sum(after[2:4]) - sum(before[2:4])

    assert min(seconds() for _ in range(5)) < 0.5


def test_importing_the_package_imports_nothing():
    code = "import sys, vid4d; print([m for m in ('torch', 'numpy', 'tyro') if m in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"
    assert set(vid4d.__all__) <= set(dir(vid4d))
    with pytest.raises(AttributeError, match="no attribute 'generat'"):
        vid4d.generat  # noqa: B018


def test_help_names_every_prior(capsys):
    with pytest.raises(SystemExit):
        main(["generate", "--help"])
    line = next(line for line in capsys.readouterr().out.splitlines() if "--prior " in line)
    assert "|".join(PRIORS) in line


COMMANDS = (
    *("batch", "generate", "prepare", "matrix", "reconstruct", "render", "view", "export", "train", "info"),
    *("weights list", "weights fetch", "weights convert", "weights verify"),
)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_shows_no_default_that_says_nothing(command, capsys):
    with pytest.raises(SystemExit):
        main([*command.split(), "--help"])
    text = " ".join(capsys.readouterr().out.replace("│", "").split())
    assert not re.search(r"\(default: *(None|''|\"\")? *\)", text)
    assert "{None}" not in text
