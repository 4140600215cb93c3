"""`vid4d view RUN [RUN ...]`: look at runs in a browser, live."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from tyro.conf import Positional, arg


@dataclass(frozen=True)
class View:
    """Look at runs in a browser: turn them, scrub through time, side by side."""

    runs: Positional[Annotated[tuple[str, ...], arg(metavar="RUN [RUN ...]", help_behavior_hint="")]]
    """Run folders or asset.safetensors files; several are shown side by side, cameras and time linked."""
    host: str = "127.0.0.1"
    """Who may look: 127.0.0.1 is this machine alone, 0.0.0.0 everyone who can reach it."""
    port: int = 8080
    """Of the page; 0 takes any free one. Several runs take as many ports after it."""
    device: str = "auto"
    """'auto', 'cpu', 'cuda' or 'cuda:1'."""

    def run(self) -> None:
        """Serves the viewer until it is stopped."""
        from vid4d.viewer import view

        view(self.runs, host=self.host, port=self.port, device=self.device)
