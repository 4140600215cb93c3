"""Stages of a run that every method shares: frames in, the fit, outputs out.

A method (`vid4d.methods`) has two functions, each a few calls of `run.stage` and of what is here:

    make_matrix(run: Run) -> ImageMatrix             reads `run.settings`, stages `frames` and `matrix`
    make_asset(run: Run, matrix) -> Gaussians4D      stage `fit`
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from vid4d.clip import Clip, read_clip
from vid4d.clip_files import key_times, load_frames, save_strip, write_frames
from vid4d.export.contact import write_contact
from vid4d.export.html import write_player
from vid4d.export.report import write_report
from vid4d.export.video import write_turntable
from vid4d.files import write_json
from vid4d.gaussians.model import Gaussians4D, load_asset, save_asset
from vid4d.gaussians.raster import splat_device
from vid4d.matrix import ImageMatrix, over_white
from vid4d.methods.fit import FitConfig
from vid4d.methods.fit import fit as fit_gaussians
from vid4d.metrics import psnr
from vid4d.progress import Bar
from vid4d.render import render
from vid4d.run import Run, Settings

CYCLIC = {"auto": "auto", "yes": True, "no": False}


def read_as_set(settings: Settings, *, frames: int, size: int, dense: int = 0) -> Clip:
    """The clip of the settings.

    frames: key frames where the settings name no number. size: pixels. dense: as for `read_clip`.
    """
    return read_clip(
        settings.clip,
        frames=frames if settings.frames is None else settings.frames,
        dense=dense,
        start=settings.start,
        end=settings.end,
        every=settings.every,
        size=size,
        cyclic=CYCLIC[settings.cyclic],  # type: ignore[arg-type]
        matting=settings.matting,
        fps=settings.fps,
    )


def frames(run: Run, *, frames: int, size: int, dense: int = 0) -> Clip:
    """Stage `frames`: reads the clip, writes frames/ and strip.png, says the clip's warnings.

    frames: key frames where the settings name no number. size: pixels. dense: with the frames between them,
    up to so many in all (`Clip.at_keys` leaves these out again); 0 for the key frames alone.
    """
    folder = run.path("frames")

    def save(clip: Clip) -> None:
        write_frames(clip, emptied(folder))
        save_strip(clip.at_keys(), run.path("strip.png"))

    clip = run.stage(
        "frames",
        lambda bar: read_as_set(run.settings, frames=frames, size=size, dense=dense),
        save=save,
        load=lambda: load_frames(folder),
    )
    for warning in clip.warnings:
        run.progress.say(f"warning: {warning}")
    return clip


def emptied(folder: Path) -> Path:
    """The folder's path, after removing what an interrupted stage left there."""
    if folder.exists():
        shutil.rmtree(folder)
    return folder


def fit(run: Run, matrix: ImageMatrix, config: FitConfig) -> Gaussians4D:
    """Stage `fit`: fits 4D Gaussians to the matrix, from its own checkpoint where it was stopped before.

    Writes asset.safetensors.
    """

    def make(bar: Bar) -> Gaussians4D:
        def report(step: int, total: int, loss: float, psnr: float, splats: int) -> None:
            bar.update(step, total, psnr=psnr, loss=loss, splats=splats)

        gaussians, _ = fit_gaussians(
            matrix,
            config,
            seed=run.settings.seed,
            device=splat_device(run.device),
            callback=report,
            checkpoint_path=run.checkpoint("fit"),
            resume=True,
        )
        return gaussians

    return run.stage("fit", make, save=lambda g: keep_asset(run, g, matrix), load=lambda: kept_asset(run))


def keep_asset(run: Run, gaussians: Gaussians4D, matrix: ImageMatrix) -> None:
    """Writes asset.safetensors with the metadata that players need."""
    told = {
        "seconds": repr(float(matrix.seconds)),
        "fps": repr(float(max(1.0, (matrix.frames - 1) / max(matrix.seconds, 1e-3)))),
    }
    save_asset(run.path("asset.safetensors"), gaussians, told)


def kept_asset(run: Run) -> Gaussians4D:
    """What `keep_asset` wrote, where it is rendered fastest."""
    return load_asset(run.path("asset.safetensors"), splat_device(run.device))[0]


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
        drawn = render(gaussians, matrix.input_camera, min(max(time, 0.0), 1.0), background=1.0)[0]
        scores.append(float(psnr(drawn, over_white(image.to(drawn.device)))))
    return float(np.mean(scores)) if scores else None


def outputs(run: Run, gaussians: Gaussians4D, matrix: ImageMatrix) -> None:
    """Stages `contact`, `turntable`, `player`, `report`: what a person looks at; and report.json."""

    def nothing(_: object = None) -> None:
        return None

    run.stage(
        "contact",
        lambda bar: write_contact(
            run.path("contact.png"),
            gaussians,
            input_images=matrix.input_images,
            input_times=matrix.input_times,
            input_camera=matrix.input_camera,
        ),
        save=nothing,
        load=nothing,
    )
    run.stage(
        "turntable",
        lambda bar: write_turntable(
            run.path("turntable.mp4"), gaussians, seconds=matrix.seconds, report=bar.update
        ),
        save=nothing,
        load=nothing,
    )
    run.stage(
        "player",
        lambda bar: write_player(
            run.path("player.html"),
            gaussians,
            seconds=matrix.seconds,
            title=run.root.name,
            report=bar.update,
        ),
        save=nothing,
        load=nothing,
    )
    keys = key_times(run.path("frames"))
    score = input_psnr(gaussians, matrix)
    at_keys = None if keys is None else input_psnr(gaussians, matrix, keys)
    report = {
        "input_psnr_db": None if score is None else round(score, 3),
        "key_frame_psnr_db": None if at_keys is None else round(at_keys, 3),
        "splats": len(gaussians),
        "views": matrix.views,
        "frames": matrix.frames,
        "seconds": matrix.seconds,
        "cyclic": matrix.cyclic,
    }
    write_json(run.path("report.json"), report)
    if score is not None:
        told = "" if at_keys is None else f" ({at_keys:.2f} dB at key frames)"
        run.progress.say(f"input view: {score:.2f} dB PSNR{told}")
    run.stage("report", lambda bar: write_report(run.root, gaussians, matrix), save=nothing, load=nothing)
