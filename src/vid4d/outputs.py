"""Outputs of a run for people: contact sheet, turntable, player, report."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from vid4d.clip.files import key_times
from vid4d.export.html import write_player
from vid4d.export.video import write_turntable
from vid4d.files.write import write_json
from vid4d.gaussians.model import Gaussians4D
from vid4d.matrix.matrix import ImageMatrix
from vid4d.media.images import over_white
from vid4d.metrics import psnr
from vid4d.render import render_asset
from vid4d.report.contact import write_contact
from vid4d.report.report import write_report
from vid4d.runs.run import Run


def input_psnr(
    gaussians: Gaussians4D, matrix: ImageMatrix, times: Sequence[float] | None = None
) -> float | None:
    """PSNR in dB, over white, of the asset seen from the clip's camera against the clip's frames.

    times: of the frames that count; all where not given. The mean over these frames; None where the matrix
    knows no input video, or none of them.
    """
    if matrix.input_images is None or matrix.input_camera is None or matrix.input_times is None:
        return None
    truth = torch.as_tensor(matrix.input_images, dtype=torch.float32)
    scores = []
    for image, time in zip(truth, matrix.input_times.tolist(), strict=True):
        if times is not None and not any(abs(time - wanted) < 1e-5 for wanted in times):
            continue
        rendered = render_asset(gaussians, matrix.input_camera, min(max(time, 0.0), 1.0), background=1.0)[0]
        scores.append(float(psnr(rendered, over_white(image.to(rendered.device)))))
    return float(np.mean(scores)) if scores else None


def write_outputs(run: Run, gaussians: Gaussians4D, matrix: ImageMatrix) -> None:
    """Stages `contact`, `turntable`, `player`, `report`: what a person looks at; and report.json."""

    run.stage(
        "contact",
        lambda bar: write_contact(
            run.path("contact.png"),
            gaussians,
            input_images=matrix.input_images,
            input_times=matrix.input_times,
            input_camera=matrix.input_camera,
            elevation=matrix.elevation,
        ),
    )
    run.stage(
        "turntable",
        lambda bar: write_turntable(
            run.path("turntable.mp4"),
            gaussians,
            seconds=matrix.seconds,
            elevation=matrix.elevation,
            report=bar.update,
        ),
    )
    run.stage(
        "player",
        lambda bar: write_player(
            run.path("player.html"),
            gaussians,
            seconds=matrix.seconds,
            elevation=matrix.elevation,
            title=run.root.name,
            report=bar.update,
        ),
    )
    keys = key_times(run.path("frames"))
    score = input_psnr(gaussians, matrix)
    at_keys = None if keys is None else input_psnr(gaussians, matrix, keys)
    report: dict[str, object] = {
        "input_psnr_db": None if score is None else round(score, 3),
        "key_frame_psnr_db": None if at_keys is None else round(at_keys, 3),
        "splats": len(gaussians),
        "views": matrix.views,
        "frames": matrix.of_moments or matrix.frames,
        "seconds": matrix.seconds,
        "cyclic": matrix.cyclic,
    }
    if matrix.also:
        report["also"] = [
            {
                "azimuth": round(float(view.camera.azimuth[0]), 3),
                "elevation": round(float(view.camera.elevation[0]), 3),
                "pictures": len(view.times),
            }
            for view in matrix.also
        ]
    write_json(run.path("report.json"), report)
    if score is not None:
        at_key_frames = "" if at_keys is None else f" ({at_keys:.2f} dB at key frames)"
        run.progress.say(f"input view: {score:.2f} dB PSNR{at_key_frames}")
    run.stage("report", lambda bar: write_report(run.root, gaussians, matrix))
