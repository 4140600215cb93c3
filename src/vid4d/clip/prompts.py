"""Clicks and a box that say which of several things in a clip is the object.

They choose among what the masks show, wherever the masks come from: a click the piece below it, a box all
pieces that lie in it, in the first frame that is used. What is chosen is followed through the clip as
`subject` follows it; all the rest is left out. No network is asked: a thing that the masks do not show cannot
be chosen, and two things that touch at some time are one.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, UInt8
from scipy import ndimage

from vid4d.clip.pieces import Pieces, follow_pieces
from vid4d.clip.places import Places
from vid4d.clip.spool import Spool
from vid4d.clip.subject import SIDE, cleared, strongest_alpha
from vid4d.errors import InputError

NEAR = 0.02
"""Distance of a click from a piece that it means, over the longer side of the picture, at most."""
WITHIN = 0.5
"""Share of a piece that lies in a box, if it is meant."""


@dataclass(frozen=True)
class Prompts:
    """What a user points at, in pixels: x to the right, y down, from the upper left corner of the picture.

    clicks: each on a thing. box: left, top, right, bottom around things; None where there is none.
    """

    clicks: tuple[tuple[float, float], ...] = ()
    box: tuple[float, float, float, float] | None = None

    def __bool__(self) -> bool:
        return bool(self.clicks or self.box)

    def in_picture(self, places: Places) -> Prompts:
        """The same in a picture that was made smaller and cut."""
        shrunk, (x0, y0) = places.shrunk, places.corner
        clicks = tuple((x / shrunk - x0, y / shrunk - y0) for x, y in self.clicks)
        if self.box is None:
            return Prompts(clicks)
        left, top, right, bottom = (v / shrunk for v in self.box)
        return Prompts(clicks, (left - x0, top - y0, right - x0, bottom - y0))


def read_prompts(click: Sequence[str], box: str) -> Prompts:
    """Clicks 'X,Y' and a box 'X0,Y0,X1,Y1'. Raises InputError for anything else."""
    clicks = tuple(numbers(text, 2, "--click", "X,Y") for text in click)
    corners = numbers(box, 4, "--box", "X0,Y0,X1,Y1") if box else None
    if corners is not None and not (corners[0] < corners[2] and corners[1] < corners[3]):
        raise InputError(f"--box {box}: holds nothing; give left, top, right and bottom as X0,Y0,X1,Y1")
    return Prompts(clicks, corners)  # type: ignore[arg-type]


def numbers(text: str, count: int, option: str, form: str) -> tuple[float, ...]:
    """So many pixels of the source, with commas between them. Raises InputError for anything else."""
    parts = text.split(",")
    if len(parts) != count or not all(re.fullmatch(r"\s*\d{1,6}(\.\d*)?\s*", p) for p in parts):
        example = ",".join(("120", "80", "480", "320")[:count])
        raise InputError(f"{option} {text}: give pixels of the source as {form}, for example {example}")
    return tuple(float(p) for p in parts)


def keep_chosen(
    frames: Sequence[UInt8[np.ndarray, "h w 4"]],
    given: Prompts,
    places: Places,
) -> tuple[Sequence[UInt8[np.ndarray, "h w 4"]], list[str]]:
    """Frames with what was chosen alone, and a sentence about it.

    given: in pixels of the source. places: of the frames in it. Raises InputError where they hit nothing in
    the first frame.
    """
    step = max(1, -(-max(frames[0].shape[:2]) // SIDE))
    masks = Spool((strongest_alpha(f, step) > 127 for f in frames), boxed=True)
    pieces = follow_pieces(masks)
    chosen = _chosen(pieces, given, step, places)
    mine = np.isin(pieces.track, np.unique(pieces.track[: pieces.first[1]][chosen]))
    result = Spool(boxed=True)
    for i, frame in enumerate(frames):
        unwanted = pieces.mask(i, ~mine)
        result.append(cleared(frame, unwanted, masks[i] & ~unwanted, step)[0])
    others = len(np.unique(pieces.track[~mine]))
    said = "one other thing is" if others == 1 else f"{others} other things are"
    return result, [f"{said} left out, beside what was chosen"] if others else []


def _chosen(pieces: Pieces, given: Prompts, step: int, places: Places) -> Bool[np.ndarray, " n"]:
    """Which pieces of the first frame are meant."""
    prompts = given.in_picture(places)
    labels, seen = pieces.labels[0], _seen(pieces, step, places)
    count = pieces.first[1]
    meant = np.zeros(count + 1, bool)
    h, w = labels.shape
    for (x, y), told in zip(prompts.clicks, given.clicks, strict=True):
        option = f"--click {told[0]:g},{told[1]:g}"
        row, column = int(y // step), int(x // step)
        if not (0 <= row < h and 0 <= column < w):
            raise InputError(f"{option}: lies outside of the picture; give pixels of the source, x and y")
        away, nearest = ndimage.distance_transform_edt(labels == 0, return_indices=True)
        if count == 0 or away[row, column] > max(2, NEAR * max(h, w)):
            raise InputError(f"{option}: nothing lies there in the first frame{seen}")
        meant[labels[nearest[0][row, column], nearest[1][row, column]]] = True
    if prompts.box is not None and given.box is not None:
        v, u = (np.mgrid[:h, :w] + 0.5) * step
        left, top, right, bottom = prompts.box
        inside = (u >= left) & (u < right) & (v >= top) & (v < bottom)
        share = ndimage.mean(inside, labels, np.arange(count + 1))
        within = np.nan_to_num(share) >= WITHIN
        within[0] = False
        if not within.any():
            option = "--box " + ",".join(f"{n:g}" for n in given.box)
            raise InputError(f"{option}: holds nothing in the first frame{seen}")
        meant |= within
    return meant[1:]


def _seen(pieces: Pieces, step: int, places: Places) -> str:
    """Where things lie in the first frame, in pixels of the source, the largest first, in words."""
    boxes = ndimage.find_objects(pieces.labels[0])
    order = np.argsort(-pieces.area[: len(boxes)])[:3]
    if not boxes:
        return "; give another --start, or another --matting"
    said = [",".join(map(str, places.of_box(boxes[i], step))) for i in order]
    return f"; of what the masks show there, the largest lies in {' and '.join(said)} (X0,Y0,X1,Y1)"
