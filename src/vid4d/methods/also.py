"""Pictures and clips of other cameras (`--also`): read, cut out and placed beside the clip."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from vid4d.cameras import Cameras
from vid4d.clip.clip import Clip, read_clip
from vid4d.clip.sources import open_source
from vid4d.errors import InputError
from vid4d.matrix.alignment import as_seen, place
from vid4d.matrix.matrix import TrustedView
from vid4d.media.images import as_floats
from vid4d.runs.run import Run
from vid4d.settings import Also, Settings, read_also

AGREED = 0.8
"""Agreement of silhouettes below which a direction, or a moment, is taken to be wrong."""


@dataclass(frozen=True)
class OtherCamera:
    """What another camera saw, before it is placed. is_clip: its frames have the clip's timing."""

    named: Also
    clip: Clip
    is_clip: bool


def read_others(settings: Settings, *, frames: int, size: int, dense: int) -> list[OtherCamera]:
    """What `--also` names, cut out as the clip is. frames, size, dense: as for `read_clip`.

    Raises InputError for what is no clip or picture.
    """
    return [_read(read_also(text), settings, frames, size, dense) for text in settings.also]


def _read(named: Also, settings: Settings, frames: int, size: int, dense: int) -> OtherCamera:
    is_clip = len(open_source(named.file, fps=settings.fps).times) > 1
    try:
        clip = read_clip(
            named.file,
            frames=frames if is_clip else 1,
            dense=dense if is_clip else 0,
            start=settings.start if is_clip else None,
            end=settings.end if is_clip else None,
            every=settings.every if is_clip else 1,
            size=size,
            cyclic=False,
            matting=settings.matting,
            matting_kind=settings.matting_kind,
            follow="no",
            keep=settings.keep,
            fps=settings.fps,
            sheet="1x1",
        )
    except InputError as error:
        raise InputError(f"--also {named.file}: {error}") from error
    return OtherCamera(named, clip, is_clip)


def placed(run: Run, other: OtherCamera, clip: Clip, elevation: float, size: int) -> TrustedView:
    """Another camera's pictures as a camera of the ring's distance sees them, at the clip's times.

    elevation: of the clip's camera, and of the other one where it has none of its own, degrees. size: pixels.
    Says how well the silhouettes agree. Raises InputError where the clip's window follows the object, which
    another camera's cannot do alike.
    """
    named = other.named
    if clip.path is not None and other.is_clip:
        raise InputError(
            f"--also {named.file}: the clip's window follows the object, which a second clip's cannot do in "
            "the same way: give --follow no, or a picture"
        )
    times = torch.from_numpy(other.clip.times).float() * (other.clip.seconds / clip.seconds)
    pictures = torch.from_numpy(other.clip.frames)
    if not other.is_clip:
        times = torch.zeros(1)
    within = times < 1 - 1e-4 if clip.cyclic else times <= 1 + 1e-4
    times, pictures = times[within].clamp(max=1), pictures[within]
    camera = Cameras.orbit(
        [named.azimuth], elevation if named.elevation is None else named.elevation, size=size
    )
    own = torch.from_numpy(as_floats(clip.pixels[..., 3]))
    nearest = (torch.from_numpy(clip.times).float()[None] - times[:, None]).abs().argmin(1)
    own_camera = Cameras.orbit([0.0], elevation, size=own.shape[2])
    at = place(own[nearest], own_camera, pictures[..., 3], camera)
    for warning in other.clip.warnings:
        run.progress.say(f"warning: {named.file}: {warning}")
    run.progress.say(
        f"{named.file} is trusted at {named.azimuth:g} degrees, {at.scale:.2f} times as large; its outlines "
        f"and the clip's agree by {at.agreement:.2f}"
    )
    if at.agreement < AGREED:
        run.progress.say(
            f"warning: {named.file}: its outlines do not fit those of the clip: is it the same "
            "moment, and does its camera stand at that azimuth and elevation?"
        )
    return TrustedView(as_seen(pictures, at, size), camera, times)
