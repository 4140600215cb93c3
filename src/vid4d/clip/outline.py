"""How sure a mask is for the pixels along its outline alone: of tiny objects they are most of it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt8
from scipy import ndimage

from vid4d.media.keying import around

OFF = 0.5
"""Share of the pixels along an outline that may be on the wrong side: each is a mixture of both."""


def sure_share(frames: Sequence[UInt8[np.ndarray, "h w 4"]], shrunk: float = 1.0) -> float:
    """Share of a mask that is sure though half of the pixels along its outline may be wrong, usual of frames.

    Compression and scaling move outlines by about as much: tiny objects of video were measured at this
    intersection over union, from 12 pixels (0.7) to 40 (0.9). shrunk: how many times smaller than the source
    the frames are. Empty frames do not count; 1 where all are.
    """
    found = []
    for frame in frames:
        mask = frame[..., 3] > 127
        if mask.any():
            part = np.pad(mask[around(mask, 1)], 1)
            outline = part & ~ndimage.binary_erosion(part)
            found.append(1 - OFF * outline.sum() / (part.sum() * max(1.0, shrunk)))
    return round(float(np.median(found)), 3) if found else 1.0
