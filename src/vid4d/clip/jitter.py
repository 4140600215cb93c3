"""Jitter: an object whose size or place jumps from frame to frame, as in frames that were cropped one by one.

What moves by itself goes on for some frames as it went before; noise of the crop turns back at once. It
scales width, height and area together, where a limb that swings changes one of them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, UInt8

from vid4d.media.keying import mask_box, mask_middle

FEWEST = 6
"""Frames with which one can tell."""
SIZE = 0.025
"""Bend of the logarithm of the size, three frames in a row, that is told: a jitter of 1.5 %."""
PLACE = 0.06
"""Bend of the object's way, three frames in a row, over its size."""
BACK = 1.25
"""Bend over the way that is left after two frames; without memory from frame to frame it is 1.7."""
CENTRED = 1.2
"""Pixels that the middle of boxes that were centred one by one is off, at most."""
LONG = 0.14
"""Seconds between frames beyond which a quick object moves to and fro by itself."""
WAY_OUT = "give the frames as they were before they were cropped, or crop all by one window"


def unsteady(
    frames: Sequence[UInt8[np.ndarray, "h w 4"]], numbers: Sequence[int], times: Float[np.ndarray, " t"]
) -> list[str]:
    """What jumps, in words, of frames whose masks are not empty.

    numbers, times: of the frames in their source, seconds. Of frames with others between them, far apart,
    nothing is said.
    """
    if len(frames) < FEWEST or (np.median(np.diff(numbers)) > 1 and np.median(np.diff(times)) > LONG):
        return []
    masks = [f[..., 3] > 127 for f in frames]
    boxes = np.array([mask_box(m) for m in masks], np.float64)
    wide, high = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    size = np.sqrt([m.sum() for m in masks])
    said = []
    common = _together(np.log(np.stack([wide, high, size], 1)))
    if float(np.median(common)) > SIZE:
        step = np.expm1(np.abs(np.diff(np.log(size))).max())
        said.append(f"the object's size jumps by up to {step:.0%} from frame to frame: {WAY_OUT}")
    place = np.array([mask_middle(m.sum(0), m.sum(1)) for m in masks]) / np.median(size)
    bends = np.linalg.norm(np.diff(place, 2, axis=0), axis=1)
    left = np.linalg.norm(place[2:] - place[:-2], axis=1)
    if np.median(bends) > max(PLACE, BACK * np.median(left)):
        step = np.linalg.norm(np.diff(place, axis=0), axis=1).max()
        said.append(
            f"the object's place jumps to and fro, by up to {step:.0%} of its size from frame to frame: "
            f"{WAY_OUT}"
        )
    longest = np.maximum(wide, high)
    if not said and _each_centred(boxes, high) and np.ptp(longest) <= 2 * CENTRED:
        said.append(
            f"every frame seems to be cropped and scaled to its own object (always centred, {longest[0]:.0f} "
            f"pixels long, while its shape changes): how it moves and grows is lost; {WAY_OUT}"
        )
    return said


def _together(logs: Float[np.ndarray, "t 3"]) -> Float[np.ndarray, " n"]:
    """Bends of logarithms where all three bend alike, else 0."""
    bends = np.diff(logs, 2, axis=0)
    least, most = np.abs(bends).min(1), np.abs(bends).max(1)
    alike = (np.abs(np.sign(bends).sum(1)) == 3) & (least > 0.4 * most)
    return np.where(alike, np.median(np.abs(bends), 1), 0.0)


def _each_centred(boxes: Float[np.ndarray, "t 4"], high: Float[np.ndarray, " t"]) -> bool:
    """Whether the middles of all boxes are one place while their heights differ.

    Heights: a symmetrical thing on a turntable stays centred from left to right, but it stands on its foot.
    """
    middle = (boxes[:, :2] + boxes[:, 2:]) / 2
    return bool(np.ptp(middle, axis=0).max() <= CENTRED and np.ptp(high) > 4 * CENTRED)
