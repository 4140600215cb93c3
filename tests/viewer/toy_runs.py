"""Run folders to look at, without the work of a run."""

from __future__ import annotations

from pathlib import Path

from toys import jumping_ball, toy_matrix

from vid4d.matrix.io import save_matrix
from vid4d.methods import stages
from vid4d.runs.run import Run
from vid4d.settings import Settings


def toy_run(root: Path, *, splats: int = 150, radius: float = 0.22) -> Path:
    """A jumping ball over a second: in the middle of the picture's height at 0 and 1, higher at 1/2."""
    run = Run.create(root, Settings(clip="ball.mp4"))
    matrix = toy_matrix()
    save_matrix(matrix, run.path("matrix"))
    stages.keep_asset(run, jumping_ball(splats, radius=radius, height=0.15), matrix)
    return run.root
