"""How sure the masks of a clip are, and what is told of the frames that are used."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, UInt8

from vid4d.clip.checks import FEW_PIXELS, are_several, warn
from vid4d.clip.cutting import CutOut
from vid4d.clip.held import UNSURE, grip
from vid4d.clip.jitter import unsteady
from vid4d.clip.letting_go import SURE
from vid4d.clip.options import ClipOptions
from vid4d.clip.outline import sure_share
from vid4d.clip.smear import smear_note, smeared
from vid4d.clip.window import Windows

OFTEN, QUESTIONED = 0.25, 0.75
"""Share of the frames with several things from which these may be more than the object, if nobody chose; and
confidence then, at most."""
LOOKED_AT = 24
"""Frames in which they are counted, at most."""


@dataclass(frozen=True, eq=False)
class Used:
    """Frames that are used: without background, and as they came.

    kept: their places among those that were looked at. chosen: their indices in the source. times: seconds.
    keys: places of the key frames among them. rate: so many a second, where the clip's length decides.
    """

    objects: Sequence[UInt8[np.ndarray, "h w 4"]]
    originals: Sequence[UInt8[np.ndarray, "h w 4"]]
    kept: Sequence[int]
    chosen: Sequence[int]
    times: Float[np.ndarray, " t"]
    keys: Sequence[int]
    rate: float | None
    windows: Windows


def judged(cut: CutOut, used: Used, options: ClipOptions) -> tuple[float, list[str]]:
    """Confidence in the masks, 0 to 1, and what is told of the frames."""
    objects, times = used.objects, used.times
    pixels = used.windows.extent * cut.pictures.shrunk
    told = list(unsteady(objects, used.chosen, times))
    limits = [cut.matte.confidence]
    if cut.shadow:
        limits.append(1 - cut.shadow)
    smear = smeared(objects, lambda i: cut.matte.contrast(used.kept[i], used.originals[i], objects[i]))
    if smear:
        told.append(smear_note(smear, times))
        if cut.keyed:
            limits.append(round(float(np.median([s.kept for s in smear.values()])), 3))
    if pixels < FEW_PIXELS and cut.keyed:
        limits.append(sure_share(objects, cut.pictures.shrunk))
    if options.held:
        limits.append(SURE)
    if cut.keyed and not (options.click or options.box or options.keep) and _often_several(objects):
        limits.append(QUESTIONED)
    if cut.covered:
        limits.append(UNSURE)
    holding = grip(objects)
    told += [holding.note()] if holding else []
    told += warn(
        objects,
        used.originals,
        times,
        confidence=min(limits),
        has_background=cut.keyed,
        object_pixels=pixels,
        keys=used.keys,
        rate=used.rate,
        moved=used.windows.centers,
        left_out=cut.left_out,
        prompted=bool(options.click or options.box),
        held=holding is not None,
    )
    if cut.touched is not None:
        limits.append(cut.touched.confidence(list(used.kept)))
    if holding and cut.keyed:
        limits.append(UNSURE)
    return min(limits), told


def _often_several(objects: Sequence[UInt8[np.ndarray, "h w 4"]]) -> bool:
    """Whether several things are seen in many of the frames."""
    some = np.unique(np.linspace(0, len(objects) - 1, min(len(objects), LOOKED_AT)).round().astype(int))
    return bool(np.mean([are_several(objects[i][..., 3] > 127) for i in some]) > OFTEN)
