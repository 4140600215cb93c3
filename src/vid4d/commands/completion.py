"""`vid4d completion SHELL`: lets a shell complete commands and options."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from typing import Annotated, Literal

from tyro.conf import Positional, arg

SHELLS = Literal["bash", "zsh", "fish"]


@dataclass(frozen=True)
class Completion:
    """Print what lets a shell complete commands and options (docs/first_steps.md)."""

    shell: Positional[Annotated[SHELLS, arg(metavar="SHELL")]]
    """bash, zsh or fish."""

    def run(self) -> None:
        """Prints the script. It is made from all commands, which only the command line knows."""
        command = [sys.executable, "-m", "vid4d", "--tyro-print-completion", self.shell]
        print(subprocess.check_output(command, text=True), end="", flush=True)
