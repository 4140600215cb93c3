"""`vid4d matrix CLIP`: from a clip to its image matrix."""

from __future__ import annotations

import shlex
from dataclasses import asdict, dataclass

from vid4d.commands.generate import FromClip
from vid4d.settings import Settings, as_options


@dataclass(frozen=True)
class Matrix(FromClip):
    """Make only the image matrix from a clip: all sides at all key frames."""

    def run(self) -> None:
        """Writes the image matrix alone."""
        from vid4d import api
        from vid4d.runs.progress import Progress

        settings = self.settings()
        with Progress() as progress:
            root = api.make_matrix(settings, out=self.out, resume=self.resume, progress=progress)
            progress.say(f"finished: look into {root / 'matrix'}")
            same = as_options(asdict(settings), asdict(Settings()))
            further = ["vid4d", "generate", self.clip, *same, "--out", str(root), "--resume"]
            progress.say(f"go on with: {shlex.join(further)}")
