"""What the tests of evaluation share: a jumping ball as pictures and as a truth, and the command's result."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from command_line import run
from toys import jumping_ball

from vid4d.cameras import Cameras
from vid4d.evaluation.seen import splat_views
from vid4d.matrix.io import save_matrix
from vid4d.matrix.matrix import ImageMatrix

TIMES = (0.0, 0.25, 0.5, 1.0)
SIZE = 48


def pictures(cameras: Cameras) -> np.ndarray:
    ball = jumping_ball(60)
    return splat_views(lambda t: ball.at(TIMES[t]), len(TIMES), cameras).rgba


def truth_of(folder: Path, cameras: Cameras | None = None) -> Path:
    cameras = cameras or Cameras.orbit([0.0, 90.0, 200.0], 10.0, size=SIZE)
    images = torch.from_numpy(pictures(cameras)).float() / 255
    return save_matrix(ImageMatrix(images, cameras, torch.tensor(TIMES)), folder)


def evaluated(capsys, judged: Path, truth: Path, out: Path, *options: object) -> dict:
    assert run("evaluate", judged, "--truth", truth, "--out", out, *options) == 0, capsys.readouterr().err
    return json.loads(out.read_text())
