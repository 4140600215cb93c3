"""Clicks and a box that say which of several things in a clip is the object.

They choose among what the masks show, wherever the masks come from: a click the piece below it, a box all
pieces that lie in it, in the first frame that is used. What is one piece there and comes apart later is
looked up as the things that it is then. What is chosen is followed through the clip, also where other things
touch it (`touching`); all the rest is left out. No network is asked: a thing that the masks do not show
cannot be chosen, and two things that touch at all times are one.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int, UInt8
from scipy import ndimage

from vid4d.clip.graph_cut import block_colors, without
from vid4d.clip.pieces import Pieces, follow_pieces
from vid4d.clip.places import Places
from vid4d.clip.spool import Spool
from vid4d.clip.subject import SIDE, cleared, strongest_alpha
from vid4d.clip.touched import Touched
from vid4d.clip.touching import BESIDE, Followed, Follower, comes_apart, frames_with_several
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
) -> tuple[Sequence[UInt8[np.ndarray, "h w 4"]], list[str], Touched | None]:
    """Frames with what was chosen alone, a sentence about it, and what touches it; None where nothing does.

    given: in pixels of the source. places: of the frames in it. Raises InputError where they hit nothing in
    the first frame.
    """
    step = max(1, -(-max(frames[0].shape[:2]) // SIDE))
    masks = Spool((strongest_alpha(f, step) > 127 for f in frames), boxed=True)
    pieces = follow_pieces(masks)
    colors = functools.lru_cache(8)(lambda k: block_colors(frames[k], step))
    labels, things = _things(pieces, given.in_picture(places), step, colors)
    chosen = [things[n] for n in np.nonzero(_chosen(labels, given, step, places))[0]]
    whole = np.isin(pieces.track, [t.track for t in chosen if not t.mixed])
    followed = []
    for track in sorted({t.track for t in chosen if t.mixed}):
        mine = [t for t in chosen if t.track == track]
        known = mine[0].followed if len(mine) == 1 else None
        mask = np.any([t.mask for t in mine], 0)
        followed.append(known or Follower(pieces, track, colors).follow(mine[0].start, mask))
    wanted = [np.any([pieces.mask(i, whole), *(f.masks[i] for f in followed)], 0) for i in range(len(frames))]
    result = Spool(boxed=True)
    for i, frame in enumerate(frames):
        unwanted = masks[i] & ~wanted[i]
        if any(f.touched[i] for f in followed):
            frame = without(frame, wanted[i], unwanted, step)
        result.append(cleared(frame, unwanted, wanted[i], step)[0])
    others = len(np.unique(pieces.track[~np.isin(pieces.track, [t.track for t in chosen])]))
    said = "one other thing is" if others == 1 else f"{others} other things are"
    notes = [f"{said} left out, beside what was chosen"] if others else []
    return result, notes, Touched.of(followed, wanted, step, places)


class _Thing(NamedTuple):
    """Something that can be chosen in the first frame. mixed: its track holds other things, too.

    start, mask: a frame in which it is a piece of its own, and its mask there. followed: if it is known.
    """

    track: int
    mixed: bool
    start: int
    mask: Bool[np.ndarray, "h w"]
    followed: Followed | None = None


def _things(
    pieces: Pieces,
    prompts: Prompts,
    step: int,
    colors: Callable[[int], UInt8[np.ndarray, "h w 3"]],
) -> tuple[Int[np.ndarray, "h w"], list[_Thing]]:
    """What can be chosen in the first frame: numbers from 1 on for each pixel, and things in their order.

    A piece that comes apart later is several things, if a prompt, in pixels of the picture, may mean it.
    """
    labels = pieces.labels[0].copy()
    tracks = pieces.track[: pieces.first[1]].tolist()
    mixed = {track: frames_with_several(pieces, track) > 0 for track in set(tracks)}
    things = [_Thing(track, mixed[track], 0, labels == n) for n, track in enumerate(tracks, start=1)]
    for n in sorted(_pointed_at(labels, prompts, step)) if things else []:
        whole = things[n - 1]
        start = comes_apart(pieces, whole.mask) if whole.mixed else 0
        if start:
            own = np.where(pieces.mask(start, pieces.track == whole.track), pieces.labels[start], 0)
            area = np.bincount(own.ravel())
            area[0] = 0
            for k in np.nonzero(area > BESIDE * area.max())[0].tolist():
                followed = Follower(pieces, whole.track, colors).follow(start, own == k)
                things.append(_Thing(whole.track, True, start, own == k, followed))
                labels[followed.masks[0] & whole.mask] = len(things)
    return labels, things


def _pointed_at(labels: Int[np.ndarray, "h w"], prompts: Prompts, step: int) -> set[int]:
    """Pieces that may be meant."""
    found: set[int] = set()
    nearest = ndimage.distance_transform_edt(labels == 0, return_distances=False, return_indices=True)
    h, w = labels.shape
    for x, y in prompts.clicks:
        at = min(max(int(y // step), 0), h - 1), min(max(int(x // step), 0), w - 1)
        found.add(int(labels[nearest[0][at], nearest[1][at]]))
    if prompts.box is not None:
        left, top, right, bottom = (max(0, int(v // step)) for v in prompts.box)
        found |= set(np.unique(labels[top : bottom + 1, left : right + 1]).tolist())
    return found - {0}


def _chosen(
    labels: Int[np.ndarray, "h w"], given: Prompts, step: int, places: Places
) -> Bool[np.ndarray, " n"]:
    """Which things of the first frame are meant."""
    prompts, seen = given.in_picture(places), _seen(labels, step, places)
    count = int(labels.max())
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
        area = np.bincount(labels.ravel(), minlength=count + 1)
        within = np.bincount(labels[inside], minlength=count + 1) >= WITHIN * np.maximum(area, 1)
        within[0] = False
        if not within.any():
            option = "--box " + ",".join(f"{n:g}" for n in given.box)
            raise InputError(f"{option}: holds nothing in the first frame{seen}")
        meant |= within
    return meant[1:]


def _seen(labels: Int[np.ndarray, "h w"], step: int, places: Places) -> str:
    """Where things lie in the first frame, in pixels of the source, the largest first, in words."""
    boxes = ndimage.find_objects(labels)
    area = np.bincount(labels.ravel(), minlength=1)[1:]
    order = [i for i in np.argsort(-area)[:3] if area[i]]
    if not order:
        return "; give another --start, or another --matting"
    said = [",".join(map(str, places.of_box(boxes[i], step))) for i in order]
    return f"; of what the masks show there, the largest lies in {' and '.join(said)} (X0,Y0,X1,Y1)"
