"""Help of the commands, and what importing costs."""

from __future__ import annotations

import io
import os
import re
import shutil
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Literal

import pytest

import vid4d
from vid4d.cli import main
from vid4d.commands.help import value_name
from vid4d.priors.base import PRIORS
from vid4d.runs.progress import Progress


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
    *("batch", "generate", "prepare", "matrix", "reconstruct", "render", "view", "export", "train"),
    *("app", "info", "completion"),
    *("weights list", "weights fetch", "weights convert", "weights verify"),
)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_shows_no_default_that_says_nothing(command, capsys):
    with pytest.raises(SystemExit):
        main([*command.split(), "--help"])
    text = " ".join(capsys.readouterr().out.replace("│", "").split())
    assert not re.search(r"\(default: *(None|''|\"\")? *\)", text)
    assert "{" not in text.replace("vid4d weights [-h] {", "")  # tyro's braces, "{None}|INT"
    assert not re.search(r"\b(INT|FLOAT|STR|None|False|True)\b", text)


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (int, "N"),
        (int | None, "N"),
        (Path | None, "PATH"),
        (Literal["auto"] | float, "auto|NUMBER"),
        (Literal["no", "yes"], "no|yes"),
        (tuple[float, ...] | None, "NUMBER [NUMBER ...]"),
        (Annotated[str, "anything"], "TEXT"),
        (dict[str, int], None),
    ],
)
def test_values_have_names_not_types(kind, name):
    assert value_name(kind) == name


def on_a_terminal(*words: str, **environment: str) -> str:
    """What a command prints on a terminal."""
    pty = pytest.importorskip("pty", reason="no terminals to be had here")
    leader, follower = pty.openpty()
    kept = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "FORCE_COLOR")}
    process = subprocess.Popen(
        [sys.executable, "-m", "vid4d.cli", *words],
        stdout=follower,
        stderr=follower,
        stdin=follower,
        env=kept | {"TERM": "xterm-256color"} | environment,
    )
    os.close(follower)
    said = b""
    with suppress(OSError):  # the end, on Linux
        while part := os.read(leader, 4096):
            said += part
    process.wait()
    os.close(leader)
    return said.decode()


def test_no_color_is_heeded():
    """https://no-color.org: by help, errors, and the bar of a stage."""
    assert "\x1b[1m" in on_a_terminal("--help")
    for words in (["--help"], ["export", "--help"], ["generate", "nowhere.mp4"]):
        assert not re.search(r"\x1b\[[0-9;]+m", on_a_terminal(*words, NO_COLOR="1"))


def test_bars_have_no_color_then(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    colors = r"\x1b\[[0-9;]*3[0-9][0-9;]*m"
    for no_color in ("", "1"):
        monkeypatch.setenv("NO_COLOR", no_color)
        stream = Terminal()
        with Progress(stream=stream) as progress, progress.stage("fit") as bar:
            bar.update(1, 2, psnr=20.0)
        assert bool(re.search(colors, stream.getvalue())) == (not no_color)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_complete_commands_and_options(shell, capfd):
    main(["completion", shell])
    script = capfd.readouterr().out
    assert "vid4d" in script
    assert all(name in script for name in ("export", "elevation", "turntable"))


def test_bash_completes_a_command():
    if not (bash := shutil.which("bash")):
        pytest.skip("no bash here")
    script = subprocess.check_output([sys.executable, "-m", "vid4d", "completion", "bash"], text=True)
    ask = (
        script
        + "\nCOMP_WORDS=(vid4d recon); COMP_CWORD=1; $(complete -p vid4d | sed 's/.*-F \\([^ ]*\\).*/\\1/')"
    )
    ask += '\necho "${COMPREPLY[@]}"'
    assert subprocess.check_output([bash, "-c", ask], text=True).split() == ["reconstruct"]
