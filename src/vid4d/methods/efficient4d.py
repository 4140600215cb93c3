"""Efficient4D (2401.08742): a clip becomes an image matrix, the image matrix becomes 4D Gaussians.

clip  --prior-->         16 views x T key times                             (section 3.2)
      --interpolator-->  16 views x N times, with confidence maps           (sections 3.2, 3.3)
      --fit-->           4D Gaussians under the confidence-aware loss       (section 3.3)
      --refine-->        the same, if asked for, under the prior's score    (refine.py)
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Float
from torch import Tensor

from vid4d.cameras import Cameras
from vid4d.clip.clip import Clip
from vid4d.compute.randomness import seed_generator
from vid4d.errors import InputError
from vid4d.gaussians import fit_config as fits
from vid4d.gaussians.model import Gaussians3D, Gaussians4D
from vid4d.matrix.cleanup import remove_small_components
from vid4d.matrix.confidence import confidence_maps, measuring
from vid4d.matrix.io import load_matrix, save_matrix
from vid4d.matrix.matrix import ImageMatrix, TrustedView
from vid4d.media.images import as_floats, premultiplied, resized
from vid4d.methods import long_clip, stages
from vid4d.methods.also import OtherCamera, placed, read_others
from vid4d.methods.canonical import read_canonical
from vid4d.methods.carried import at_first_moment, carried_matrix, of_first_moment, turned_to_clip
from vid4d.methods.given_matrix import read_given_matrix
from vid4d.methods.refine import RefineConfig, refined
from vid4d.methods.stages import input_elevation
from vid4d.methods.tuning import tuned
from vid4d.priors.base import DrawnViews, DrawRequest, Offer, load_matrix_prior
from vid4d.priors.interpolators import (
    Interpolator,
    as_midpoint,
    interpolate,
    load_interpolator,
    times_between,
)
from vid4d.runs.progress import Bar
from vid4d.runs.run import Run


@dataclass(frozen=True)
class Efficient4DConfig:
    """Preset values. How the prior draws is the prior's own preset of that name.

    frames: key frames.
    n_interpolated: frames that the interpolator adds between two key frames.
    reference_frames: frames of the clip that the fit sees, key frames and others between them, at most
        (0: the key frames alone).
    clip_size: width of these in pixels.
    fit: how the Gaussians are fitted. refine: how they are refined, where the settings ask for it.
    """

    frames: int = 8
    n_interpolated: int = 3
    reference_frames: int = 64
    clip_size: int = 256
    fit: fits.FitConfig = field(default_factory=lambda: fits.PRESETS["standard"])
    refine: RefineConfig = field(default_factory=RefineConfig)

    def __post_init__(self) -> None:
        if self.frames < 1 or min(self.n_interpolated, self.reference_frames) < 0 or self.clip_size < 8:
            raise ValueError(
                "key frames are 1 or more, frames between and of the clip 0 or more, 8 pixels wide or more"
            )


PRESETS = {
    "draft": Efficient4DConfig(
        n_interpolated=1, reference_frames=24, fit=fits.PRESETS["draft"], refine=RefineConfig(steps=200)
    ),
    "standard": Efficient4DConfig(),
    "high": Efficient4DConfig(frames=16, fit=fits.PRESETS["high"]),
}

NEEDS: Offer = "matrix"
"""Protocol of the prior: all views at all frames."""

FROM_TEXT = False
"""Whether a text will do instead of a clip."""


def make_matrix(run: Run) -> ImageMatrix:
    """Section 3.2: the image matrix, with frames between and confidence. Stages `frames`, `matrix`."""
    config = _config(run)
    folder = run.path("matrix")

    if run.settings.source == "matrix":

        def make(bar: Bar) -> ImageMatrix:
            return with_confidence(
                read_given_matrix(run), load_interpolator(run.settings.interpolator, run.device)
            )

    else:
        given = None if "frames" in run.finished else _given(run, config)  # bad ones before any stage
        clip = stages.frames(
            run,
            frames=config.frames,
            size=config.clip_size,
            dense=config.reference_frames,
            by_length=True,
        )
        if long_clip.is_long(run, clip):
            return long_clip.make_matrix(run, clip, config.n_interpolated)

        def make(bar: Bar) -> ImageMatrix:
            return draw_matrix(run, clip, _given(run, config) if given is None else given, config, bar)

    return run.stage(
        "matrix",
        make,
        save=lambda m: save_matrix(m, stages.emptied(run, folder)),
        load=lambda: load_matrix(folder),
    )


@dataclass(frozen=True)
class Given:
    """What is known of the object beside the clip: what other cameras saw, and a finished one (`--canonical`)
    with the axes that it may have."""

    others: list[OtherCamera]
    canonical: tuple[Gaussians3D, tuple[str, ...]] | None


def _given(run: Run, config: Efficient4DConfig) -> Given:
    """Reads what the settings name. Raises InputError."""
    s = run.settings
    others = read_others(s, frames=config.frames, size=config.clip_size, dense=config.reference_frames)
    return Given(others, read_canonical(s.canonical) if s.canonical else None)


def make_asset(run: Run, matrix: ImageMatrix) -> Gaussians4D:
    """Section 3.3: 4D Gaussians, fitted with the confidence-aware loss. Stage `fit`; `refine`, if asked."""
    config = _config(run)
    if matrix.of_moments is not None:
        each = round(config.fit.iterations * long_clip.SEGMENT / config.frames)
        fit = replace(config.fit, iterations=each)
        return long_clip.fit_asset(run, matrix, fit, config.n_interpolated)
    if not run.settings.refine:
        return stages.fit_asset(run, matrix, config.fit)
    fitted = stages.fit_asset(run, matrix, config.fit, file=stages.FITTED)
    return refined(run, fitted, matrix, config.fit, config.refine)


def _config(run: Run) -> Efficient4DConfig:
    return tuned(PRESETS[run.settings.preset], run.settings.tune)


def draw_matrix(run: Run, clip: Clip, given: Given, config: Efficient4DConfig, bar: Bar) -> ImageMatrix:
    """All views at the key times from the time-synchronous prior; then the frames between, and confidence.

    The clip's own frames, those between the key frames too, are the reference; so is what other cameras saw.
    Where more is known of the first moment than of others, by a picture or a finished object, that moment's
    object is carried along the clip's motion instead.
    """
    keys, frames = clip.at_keys(), torch.from_numpy(clip.frames)
    pictures = torch.from_numpy(keys.frames)
    elevation = input_elevation(run, pictures)
    also = tuple(placed(run, other, clip, elevation, config.clip_size) for other in given.others)
    rest = None
    if given.canonical is not None:
        rest = turned_to_clip(run, given.canonical, clip, elevation)
    elif len(clip) > 1 and not all(other.is_clip for other in given.others):
        zero = torch.zeros(1)
        then = tuple(view.nearest(zero) for view in also)
        drawn = draw_views(
            run, torch.from_numpy(as_floats(clip.pixels[:1])), elevation, then, cyclic=False, bar=bar
        )
        rest = of_first_moment(run, at_first_moment(drawn, clip, also, elevation))
    if rest is not None:
        moments = len(keys) * (1 + config.n_interpolated)
        return carried_matrix(rest, clip, also, elevation, moments=moments, bar=bar)
    times = torch.from_numpy(keys.times).float()
    at_keys = tuple(view.nearest(times) for view in also)
    views = draw_views(run, pictures, elevation, at_keys, cyclic=clip.cyclic, bar=bar)
    images = remove_small_components(views.images)
    empty = times[images[..., 3].amax((0, 2, 3)) < 0.5] * clip.seconds
    if len(empty):
        raise InputError(
            f"{run.settings.prior} finds nothing solid in the frame at {float(empty[0]):.2f} s: the object "
            "is too thin or too small there; film from nearer, or leave the frame out"
        )
    matrix = ImageMatrix(
        images=images,
        cameras=views.cameras,
        times=times,
        input_images=frames,
        input_camera=Cameras.orbit([0.0], elevation, size=frames.shape[2]),
        input_times=torch.from_numpy(clip.times).float(),
        seconds=clip.seconds,
        cyclic=clip.cyclic,
        also=also,
    )
    interpolator = load_interpolator(run.settings.interpolator, run.device)
    return with_confidence(interpolate_frames(matrix, interpolator, config.n_interpolated), interpolator)


def draw_views(
    run: Run,
    frames: Float[Tensor, "t h w 4"],
    elevation: float,
    also: tuple[TrustedView, ...],
    *,
    cyclic: bool,
    bar: Bar,
) -> DrawnViews:
    """All views at the times of the frames, drawn by the prior that the settings name.

    also: what other cameras saw at these times.
    """
    settings = run.settings
    prior = load_matrix_prior(settings.prior, run.device)
    return prior.draw(
        resized(frames, prior.image_size),
        elevation,
        DrawRequest(
            settings.preset, settings.sampler, settings.steps, settings.memory, also, settings.devices
        ),
        cyclic=cyclic,
        generator=seed_generator(settings.seed),
        progress=bar.update,
    )


def interpolate_frames(matrix: ImageMatrix, interpolator: Interpolator, count: int) -> ImageMatrix:
    """Matrix with `count` frames more between each pair of key times; a loop also closes (section 3.2)."""
    if count == 0 or matrix.frames < 2:
        return matrix
    device = next(interpolator.parameters()).device
    rows = [
        interpolate(interpolator, row.permute(0, 3, 1, 2).to(device), count, cyclic=matrix.cyclic)
        for row in matrix.images
    ]
    images = torch.stack(rows).permute(0, 1, 3, 4, 2).cpu()
    times = times_between(matrix.times, count, cyclic=matrix.cyclic)
    return replace(matrix, images=images, times=times)


def with_confidence(matrix: ImageMatrix, interpolator: Interpolator) -> ImageMatrix:
    """Confidence maps where there are none: how well neighbours in time predict a frame (section 3.3)."""
    if matrix.confidence is not None:
        return matrix
    images, middle = premultiplied(matrix.images), as_midpoint(interpolator)
    device = measuring(next(interpolator.parameters()).device)
    return matrix.with_confidence(confidence_maps(images, middle, cyclic=matrix.cyclic, device=device))
