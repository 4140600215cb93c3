"""`vid4d app`: a page in the browser on which a clip is dropped and an asset comes out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from vid4d.errors import printable


@dataclass(frozen=True)
class App:
    """Open the app: drop a clip in a browser, watch, turn what comes out, take it along."""

    runs: Path = Path("runs")
    """Folder of the runs, and of the clips that were dropped."""
    host: str = "127.0.0.1"
    """Who may come: 127.0.0.1 is this machine alone, 0.0.0.0 everyone who can reach it and has the password
    that is printed."""
    port: int = 7860
    """Of the page; 0 takes any free one."""
    public: bool = False
    """For visitors who do not know each other: no password; each sees their own runs alone, which are removed
    when they are gone."""
    device: str = "auto"
    """'auto', 'cpu', 'cuda', 'cuda:1' or 'mps'."""

    def run(self) -> None:
        """Serves the app until it is stopped."""
        from vid4d.app.serve import USER
        from vid4d.app.serve import App as Server
        from vid4d.compute.machine import check_device

        check_device(self.device)
        with Server(self.runs, host=self.host, port=self.port, public=self.public, device=self.device) as app:
            print(f"open {app.url} in a browser; Ctrl-C ends it")
            if app.password is not None:
                print(f"user {USER}, password {app.password}")
            print(f"runs are in {printable(str(app.desk.runs))}", flush=True)
            app.wait()
