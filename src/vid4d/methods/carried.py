"""One moment's object carried through the clip: its motion is found, the image matrix drawn from it."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from vid4d.cameras import Cameras
from vid4d.clip.clip import Clip
from vid4d.gaussians.fit import fit
from vid4d.gaussians.fit_config import FitConfig
from vid4d.gaussians.hull import HullConfig
from vid4d.gaussians.model import Gaussians3D
from vid4d.gaussians.motion import MotionConfig, follow_clip, rendered
from vid4d.gaussians.raster import splat_device
from vid4d.matrix.cleanup import remove_small_components
from vid4d.matrix.matrix import ImageMatrix, TrustedView
from vid4d.media.images import as_floats
from vid4d.methods.canonical import DIFFERENT, fitted, in_colors_of
from vid4d.priors.base import DrawnViews
from vid4d.runs.progress import Bar
from vid4d.runs.run import Run

SIZE = 192
"""Pixels of the drawn pictures: as sharp as the clip's where the object takes most of them."""

MOTION = MotionConfig()
"""How the motion is searched for."""

STILL = FitConfig(iterations=400, hull=HullConfig(splats=5000))
"""The fit of one moment's object to a prior's pictures of it."""


def turned_to_clip(
    run: Run, given: tuple[Gaussians3D, tuple[str, ...]], clip: Clip, elevation: float
) -> Gaussians3D:
    """A finished object as the clip's first frame shows it, in its light. Says how it was turned.

    given: splats and the axes that they may have (`read_canonical`). elevation: of the clip's camera.
    """
    azimuth = run.settings.canonical_azimuth
    first = torch.from_numpy(as_floats(clip.pixels[0]))
    found = fitted(*given, first, elevation, None if azimuth == "auto" else float(azimuth))
    axes = "" if len(given[1]) == 1 else f", its axes are {found.up}"
    run.progress.say(
        f"{run.settings.canonical} fits the first frame when it is turned by {found.azimuth:g} degrees"
        f"{axes}: outlines overlap by {found.overlap:.2f} (--canonical-azimuth decides otherwise)"
    )
    if found.overlap < DIFFERENT:
        run.progress.say(
            f"warning: {run.settings.canonical} does not look like the clip's first frame: give that "
            "moment's object, --canonical-azimuth, the camera's --elevation, or another --start"
        )
    return in_colors_of(found.splats, first, elevation)


def of_first_moment(run: Run, matrix: ImageMatrix) -> Gaussians3D:
    """The object of a matrix's only moment, as splats: those of the prior's pictures and what cameras saw."""
    gaussians, _ = fit(matrix, STILL, seed=run.settings.seed, device=splat_device(run.device))
    return gaussians.at(float(matrix.times[0]))


def at_first_moment(
    views: DrawnViews, clip: Clip, also: Sequence[TrustedView], elevation: float
) -> ImageMatrix:
    """The matrix of one moment: drawn views, the clip's first frame, and what other cameras saw then."""
    first = torch.from_numpy(as_floats(clip.pixels[:1]))
    zero = torch.zeros(1)
    return ImageMatrix(
        images=remove_small_components(views.images),
        cameras=views.cameras,
        times=zero,
        input_images=first,
        input_camera=Cameras.orbit([0.0], elevation, size=first.shape[2]),
        input_times=zero,
        also=tuple(view.nearest(zero) for view in also),
    )


def carried_matrix(
    rest: Gaussians3D,
    clip: Clip,
    also: Sequence[TrustedView],
    elevation: float,
    *,
    moments: int,
    bar: Bar,
) -> ImageMatrix:
    """The image matrix of an object that moves as the clip does. rest: it at the first moment.

    also: what other cameras saw; their pictures of other moments tell of the motion, too. moments: of the
    matrix, at most; they are the clip's frames' own, key frames or not.
    """
    frames = torch.from_numpy(clip.frames)
    times = torch.from_numpy(clip.times).float()
    camera = Cameras.orbit([0.0], elevation, size=frames.shape[2])
    seen = [TrustedView(frames, camera, times), *also]
    moved = follow_clip(rest, seen, times, MOTION, cyclic=clip.cyclic, progress=bar.update)
    count = min(moments, len(times))
    step = len(times) / count if clip.cyclic else (len(times) - 1) / max(1, count - 1)
    chosen = [round(i * step) for i in range(count)]
    ring = Cameras.ring(size=SIZE)
    return ImageMatrix(
        images=rendered([moved[i] for i in chosen], ring),
        cameras=ring,
        times=times[chosen],
        input_images=frames,
        input_camera=camera,
        input_times=times,
        seconds=clip.seconds,
        cyclic=clip.cyclic,
        also=tuple(also),
    )
