"""A picture within the picture: the part before a plain background, inside of frames, screens, tickers.

Where the whole has no plain background, or shows a thing that spans it or never changes its outline while
something moves in it, or a line of text runs through it, parts are looked for that are smooth but for what
moves in them, and the same removal of the background is tried on the largest rectangles in these. One is
taken where a whole thing moves in it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, UInt8
from scipy import ndimage

from vid4d.clip.checks import touched_sides
from vid4d.clip.ground import furniture
from vid4d.clip.matting import UNSURE, Matte
from vid4d.clip.spool import Mapped
from vid4d.errors import InputError

SIDE = 256
"""Longer side of the copies on which parts are looked for."""
LOOKS = 16
"""Frames that are looked at."""
EDGES = 12.0, 5.0
"""Change of color over two pixels of these, 8-bit steps, that is an edge: as at frames, and in fades."""
LEAST = 0.1
"""Share of the picture that a part has, at least."""
WHOLE = 0.985
"""Share of it from which it is the whole."""
TRIED = 4
"""Parts that are tried."""
SURE = 0.8
"""Confidence, at least, in what is found in a part."""
CUT_OFF = 0.1
"""Share of the frames, at most, in which it touches the part's own border."""
SEEN = 0.9
"""Share of the frames, at least, in which it is seen."""
OUTLINE, PLATE = 0.95, 0.3
"""What the masks of all frames have in common, over what any shows, and over the picture, at least, where the
picture itself, in a frame or on a screen, is taken for the object."""
MOVES, LEAST_MOVED = 40, 0.01
"""Change of a pixel's color, 8-bit steps, and share of the pixels with it, at least, where a thing moves."""
RIVAL = 0.8
"""Area of a second part over the first's, from which either may be meant."""

Pictures = Sequence[UInt8[np.ndarray, "h w 4"]]
Box = tuple[slice, slice]


@dataclass(frozen=True)
class Inner:
    """A part of the pictures, and what was cut out in it. box: rows and columns; None for the whole."""

    frames: Pictures
    cut: Matte
    box: Box | None = None


def matte_inside(frames: Pictures, remove: Callable[[Pictures], Matte], named: Callable[[Box], str]) -> Inner:
    """What `remove` cuts out, of the whole or of the part where it can.

    named: a box of pixels as --crop takes it. Raises InputError where neither can be, or parts are alike.
    """
    refused: InputError | None = None
    whole: Matte | None = None
    try:
        whole = remove(frames)
    except InputError as e:
        refused = e
    if whole is not None and not _doubtful(whole):
        return Inner(frames, whole)
    if any((frames[i][..., 3] < 255).any() for i in _few(frames)):
        found = []
    else:
        found = _tried(frames, remove)
    if len(found) > 1 and _area(found[1]) >= RIVAL * _area(found[0]):
        raise InputError(
            "the picture holds several parts in which something moves before a plain background: choose one "
            f"by --crop {named(found[0].box)} or --crop {named(found[1].box)}"  # type: ignore[arg-type]
        )
    if found:
        return found[0]
    if whole is None:
        raise InputError(
            f"{refused}; no part of it was found in which a whole thing moves before a plain background"
        ) from refused
    return Inner(frames, whole)


def _doubtful(cut: Matte) -> bool:
    """Whether what was cut out may be something around the object, and not the object."""
    if cut.method != "plain":
        return False
    if cut.confidence < UNSURE or is_plate(cut.frames) or runs_out(cut.frames):
        return True
    return cut.confidence < SURE and furniture([cut.frames[i] for i in _few(cut.frames)])


def is_plate(masked: Pictures) -> bool:
    """Whether masks are large and all the same, and what they show is not."""
    few = _few(masked)
    step = max(1, -(-max(masked[0].shape[:2]) // SIDE))
    pictures = np.stack([masked[i][::step, ::step] for i in few])
    shown = pictures[..., 3] > 127
    always = shown.all(0)
    if always.mean() < PLATE or always.sum() < OUTLINE * shown.any(0).sum():
        return False
    heart = ndimage.binary_erosion(always, iterations=2)
    colors = pictures[..., :3].astype(np.int16)
    return bool((np.ptp(colors, axis=0).max(-1) > MOVES)[heart].mean() > LEAST_MOVED)


def runs_out(masked: Pictures) -> bool:
    """Whether in most frames something reaches the left or right side of the picture above or below the rest.

    As a line of text does that runs through the picture: no row of it is one of the largest piece.
    """
    few, count = _few(masked), 0
    for i in few:
        mask = masked[i][..., 3] > 127
        pieces, number = ndimage.label(mask)
        if number < 2:
            continue
        largest = pieces == 1 + np.argmax(np.bincount(pieces.ravel())[1:])
        in_its_rows = np.unique(pieces[largest.any(1)])
        count += bool(touched_sides(mask & ~np.isin(pieces, in_its_rows))[2:].any())
    return 2 * count > len(few)


def _tried(frames: Pictures, remove: Callable[[Pictures], Matte]) -> list[Inner]:
    """Parts in which a thing moves as a whole before a plain background, the largest first."""
    found: list[Inner] = []
    for box in parts(frames)[:TRIED]:
        if any(_common(box, f.box) for f in found):  # type: ignore[arg-type]
            continue
        inner = Mapped(frames, lambda f, box=box: f[box])  # type: ignore[misc]
        try:
            cut = remove(inner)
        except InputError:
            continue
        if (
            cut.method == "plain"
            and cut.confidence >= SURE
            and _whole_thing(cut.frames, box, frames[0].shape)
        ):
            found.append(Inner(inner, cut, box))
    return found


def _whole_thing(masked: Pictures, box: Box, shape: tuple[int, ...]) -> bool:
    """Whether masks show a thing that moves and hardly touches the border of its part within the picture."""
    if is_plate(masked):
        return False
    own = np.array([box[0].start > 0, box[0].stop < shape[0], box[1].start > 0, box[1].stop < shape[1]])
    masks = [masked[i][..., 3] > 127 for i in _few(masked)]
    touched = np.mean([(touched_sides(m) & own).any() for m in masks])
    moves = np.any(masks, 0).sum() > np.all(masks, 0).sum()
    return bool(np.mean([m.any() for m in masks]) >= SEEN and touched <= CUT_OFF and moves)


def parts(frames: Pictures) -> list[Box]:
    """The largest rectangles in smooth parts of the picture, with what moves in them, the largest first."""
    step = max(1, -(-max(frames[0].shape[:2]) // SIDE))
    usual = np.median([frames[i][::step, ::step, :3] for i in _few(frames)], 0)
    found: list[tuple[int, Box]] = []
    for limit in EDGES:
        pieces, count = ndimage.label(_change(usual) < limit)
        area = np.bincount(pieces.ravel(), minlength=count + 1)
        for k in range(1, count + 1):
            if area[k] < LEAST * pieces.size:
                continue
            rows, columns = largest_rectangle(ndimage.binary_fill_holes(pieces == k))
            size = (rows.stop - rows.start) * (columns.stop - columns.start)
            if LEAST * pieces.size <= size < WHOLE * pieces.size:
                found.append((size, (rows, columns)))
    found.sort(key=lambda f: -f[0])
    return [_in_pixels(box, step, frames[0].shape) for _, box in found]


def _change(picture: Float[np.ndarray, "h w 3"]) -> Float[np.ndarray, "h w"]:
    """The largest change of a channel over two pixels, in either direction."""
    result = np.zeros(picture.shape[:2])
    result[1:-1] = np.abs(picture[2:] - picture[:-2]).max(-1)
    result[:, 1:-1] = np.maximum(result[:, 1:-1], np.abs(picture[:, 2:] - picture[:, :-2]).max(-1))
    return result


def largest_rectangle(mask: Bool[np.ndarray, "h w"]) -> Box:
    """Rows and columns of the largest rectangle in a mask: in each row, the largest in a histogram."""
    height = np.zeros(mask.shape[1] + 1, int)
    best, result = 0, (slice(0, 0), slice(0, 0))
    for y, line in enumerate(mask):
        height[:-1] = np.where(line, height[:-1] + 1, 0)
        stack: list[int] = []
        for x, h in enumerate(height.tolist()):
            while stack and height[stack[-1]] >= h:
                tall = int(height[stack.pop()])
                left = stack[-1] + 1 if stack else 0
                if tall * (x - left) > best:
                    best = tall * (x - left)
                    result = slice(y + 1 - tall, y + 1), slice(left, x)
            stack.append(x)
    return result


def _in_pixels(box: Box, step: int, shape: tuple[int, ...]) -> Box:
    """A box of blocks in pixels, without the outermost block where the picture goes on."""
    result = []
    for side, length in zip(box, shape, strict=False):
        start = (side.start + 1) * step if side.start > 0 else 0
        end = (side.stop - 1) * step if side.stop * step < length else length
        result.append(slice(start, end))
    return result[0], result[1]


def _few(frames: Pictures) -> list[int]:
    return np.unique(np.linspace(0, len(frames) - 1, min(len(frames), LOOKS)).round().astype(int)).tolist()


def _area(inner: Inner) -> int:
    h, w = inner.frames[0].shape[:2]
    return int(h * w)


def _common(a: Box, b: Box) -> bool:
    """Whether two boxes overlap."""
    return all(max(i.start, k.start) < min(i.stop, k.stop) for i, k in zip(a, b, strict=True))
