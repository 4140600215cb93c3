"""`vid4d matrix CLIP`: from a clip to its image matrix."""

from __future__ import annotations

import shlex
from dataclasses import dataclass

from vid4d.commands.generate import FromClip


@dataclass(frozen=True)
class Matrix(FromClip):
    """Make only the image matrix from a clip: all sides at all key frames."""

    def run(self) -> None:
        """Writes the image matrix alone."""
        from vid4d import api
        from vid4d.runs.progress import Progress

        with Progress() as progress:
            root = api.make_matrix(self.settings(), out=self.out, resume=self.resume, progress=progress)
            progress.say(f"finished: look into {root / 'matrix'}")
            progress.say(f"go on with: vid4d generate {shlex.quote(self.clip)} --out {root} --resume")
