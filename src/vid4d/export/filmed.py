"""The clip that an asset was made of, as far as its run folder tells."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, NamedTuple

from vid4d.cameras import Cameras
from vid4d.clip.files import key_times
from vid4d.errors import InputError
from vid4d.matrix.descriptions import cameras_of, read_described

if TYPE_CHECKING:
    from vid4d.asset import Asset

log = logging.getLogger("vid4d.export")


class Filmed(NamedTuple):
    """The clip's camera, and the times of its key frames."""

    camera: Cameras
    times: tuple[float, ...]


def clip_of(asset: Asset) -> Filmed | None:
    """Camera and times of an asset's clip, where it lies in its run folder and that is known."""
    file = asset.root / "matrix" / "cameras.json"
    if not file.is_file():
        return None
    try:
        clip = read_described(file).input
        if clip is None:
            return None
        given = clip.camera
        if given.width is None or given.height is None:
            raise InputError("the clip's camera lacks width or height")
        camera = cameras_of([given], None, given.width, given.height, file)
        return Filmed(camera, key_times(asset.root / "frames") or tuple(clip.times))
    except InputError as error:
        log.warning("%s cannot be read (%s): the clip's camera is not used", file, error)
        return None
