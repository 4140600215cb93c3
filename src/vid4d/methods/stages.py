"""Stages of a run that every method shares: frames in, the fit, outputs out.

A method (`vid4d.methods`) has two functions, each a few calls of `run.stage` and of what is here:

    make_matrix(run: Run) -> ImageMatrix             reads `run.settings`, stages `frames` and `matrix`
    make_asset(run: Run, matrix) -> Gaussians4D      stage `fit`
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from jaxtyping import Float
from torch import Tensor

from vid4d.clip.clip import Clip, read_clip
from vid4d.clip.files import load_frames, save_strip, write_frames
from vid4d.clip.options import ClipOptions
from vid4d.files.write import clear_away, write_json
from vid4d.gaussians.fit import fit as fit_gaussians
from vid4d.gaussians.fit_config import FitConfig
from vid4d.gaussians.guide import Guide
from vid4d.gaussians.model import Gaussians4D, load_asset, save_asset
from vid4d.gaussians.raster import splat_device
from vid4d.matrix.matrix import ImageMatrix
from vid4d.priors.base import guess_elevation, prior_spec
from vid4d.runs.progress import Bar
from vid4d.runs.run import Run
from vid4d.settings import Settings

ASSET, FITTED = "asset.safetensors", "fitted.safetensors"
"""The splats of a run; and what one that refines them keeps of them as they were fitted."""

CYCLIC = {"auto": "auto", "yes": True, "no": False}


MEANT = 4.0
"""Seconds of clip that the presets' numbers of frames are meant for: a longer one gets as many a second."""

UNASKED = 64.0
"""Seconds beyond which a clip gets no more frames for its length, unless `--key-frames-per-second` asks."""


def counts(
    frames: int | None, per_second: float | None, preset: int, dense: int, *, by_length: bool
) -> dict[str, Any]:
    """Options of `read_clip` that say how many frames there are. frames, per_second: that a user asked for.

    preset, dense: key frames and frames in all of a clip of MEANT seconds; by_length: of a longer one more,
    of those between key frames no more than these.
    """
    rate = preset / MEANT
    dense_rate = 2 * rate if dense else 0.0
    if per_second is not None:
        return {"frames": 2, "dense": dense, "rate": per_second, "dense_rate": dense_rate}
    if frames is not None or not by_length:
        return {"frames": preset if frames is None else frames, "dense": dense}
    rates = {"rate": rate, "dense_rate": dense_rate, "rate_until": UNASKED}
    return {"frames": preset, "dense": dense, **rates}


def read_as_set(
    settings: Settings, *, frames: int, size: int, dense: int = 0, by_length: bool = False
) -> Clip:
    """The clip of the settings.

    frames: key frames where the settings name no number. size: pixels. dense: as for `read_clip`. by_length:
    a clip of more than MEANT seconds gets more of both, where the settings name no number of key frames.
    """
    chosen = clip_options(settings, frames=frames, size=size, dense=dense, by_length=by_length)
    return read_clip(settings.clip, **vars(chosen))


def clip_options(
    settings: Settings, *, frames: int = 8, size: int = 256, dense: int = 0, by_length: bool = False
) -> ClipOptions:
    """How the settings have their clip read; arguments as of `read_as_set`."""
    return ClipOptions(
        **counts(settings.frames, settings.key_frames_per_second, frames, dense, by_length=by_length),
        start=settings.start,
        end=settings.end,
        every=settings.every,
        trim=settings.trim,
        size=size,
        cyclic=CYCLIC[settings.cyclic],  # type: ignore[arg-type]
        matting=settings.matting,
        matting_kind=settings.matting_kind,
        follow=settings.follow,
        click=settings.click,
        box=settings.box,
        crop=settings.crop,
        sheet=settings.sheet,
        held=settings.held,
        keep=settings.keep,
        fps=settings.fps,
        masks=settings.masks,
    )


def frames(run: Run, *, frames: int, size: int, dense: int = 0, by_length: bool = False) -> Clip:
    """Stage `frames`: reads the clip, writes frames/ and strip.png, says the clip's warnings.

    frames: key frames where the settings name no number. size: pixels. dense: with the frames between them,
    up to so many in all (`Clip.at_keys` leaves these out again); 0 for the key frames alone. by_length: as
    for `read_as_set`.
    """
    folder = run.path("frames")

    def save(clip: Clip) -> None:
        write_frames(clip, emptied(run, folder))
        save_strip(clip.at_keys(), run.path("strip.png"))

    clip = run.stage(
        "frames",
        lambda bar: read_as_set(run.settings, frames=frames, size=size, dense=dense, by_length=by_length),
        save=save,
        load=lambda: load_frames(folder),
    )
    for warning in clip.warnings:
        run.progress.say(f"warning: {warning}")
    return clip


def input_elevation(run: Run, frames: Float[Tensor, "t h w 4"]) -> float:
    """Elevation of the clip's camera in degrees: as the settings say, else as the run's prior guesses it.

    Writes elevation.json where it is guessed. frames: square, straight-alpha RGBA in [0, 1].
    """
    if run.settings.elevation != "auto":
        told, (low, high) = float(run.settings.elevation), prior_spec(run.settings.prior).elevations
        if not low <= told <= high:
            run.progress.say(
                f"warning: {run.settings.prior} has learned from cameras that look down by {low:g} to "
                f"{high:g} degrees, this one looks down by {told:g}: expect less of the other sides"
            )
        return told
    guess = guess_elevation(run.settings.prior, frames, run.device)
    write_json(run.path("elevation.json"), guess._asdict())
    degrees = round(guess.degrees)
    run.progress.say(f"the camera seems to look down by {degrees} degrees (--elevation tells it)")
    return guess.degrees


def emptied(run: Run, folder: Path) -> Path:
    """The folder's path, after removing what vid4d wrote there; all else is kept beside it, and said."""
    if (aside := clear_away(folder)) is not None:
        run.progress.say(f"{folder} held files that vid4d did not write: they are in {aside}")
    return folder


def fit_asset(
    run: Run,
    matrix: ImageMatrix,
    config: FitConfig,
    *,
    stage: str = "fit",
    file: str = ASSET,
    start: Gaussians4D | None = None,
    guide: Callable[[], Guide] | None = None,
) -> Gaussians4D:
    """Stage `fit`: fits 4D Gaussians to the matrix, from its own checkpoint where it was stopped before.

    stage: another name. file: that is written. start, guide: as for `gaussians.fit.fit`; the guide is made
    when it is needed.
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
            checkpoint_path=run.checkpoint(stage),
            resume=True,
            start=start,
            guide=None if guide is None else guide(),
        )
        return gaussians

    return run.stage(
        stage,
        make,
        save=lambda gaussians: keep_asset(run, gaussians, matrix, file),
        load=lambda: kept_asset(run, file),
    )


def keep_asset(run: Run, gaussians: Gaussians4D, matrix: ImageMatrix, file: str = ASSET) -> None:
    """Writes an asset with the metadata that players need."""
    moments = matrix.of_moments or matrix.frames
    steps = moments if gaussians.cyclic else moments - 1  # a loop's last leads to its first
    metadata = {
        "seconds": repr(float(matrix.seconds)),
        "fps": repr(float(max(1.0, steps / max(matrix.seconds, 1e-3)))),
    }
    if matrix.input_camera is not None:
        metadata["elevation"] = repr(matrix.elevation)
    save_asset(run.path(file), gaussians, metadata)


def kept_asset(run: Run, file: str = ASSET) -> Gaussians4D:
    """Loads the asset of a run, on the device that renders it fastest."""
    return load_asset(run.path(file), splat_device(run.device))[0]
