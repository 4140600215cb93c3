"""Pieces of masks that rest for some frames while others move."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8
from scipy import ndimage

from vid4d.clip.pieces import EIGHT, overlap, shifted
from vid4d.media.keying import around, mask_box

SAME_COLOR = 20.0
"""Distance of premultiplied colors, 8-bit steps, of what has not changed."""
STILL = 0.95
"""Share of a piece's shape that is the same in two frames, if it rests, but for a pixel of its outline."""
COLORED, BOXED = 0.85, 0.5
"""Share of it that keeps its color; the same of a box, in which something else may be written."""
RECTANGLE = 0.9
"""Area over its bounding box's from which a piece is a box."""
OTHER = 1 / 16
"""Area of what moves meanwhile over the piece's, at least."""
DRIFT = 0.15, 0.3
"""Pixels that its middle moves, at most, from frame to frame and in all: compression moves the outline to and
fro, and the middle hardly."""
CONTRAST, WRITTEN = 100, 0.6
"""Range of levels within a pixel's reach, and share of the pixels with it, at least, of what is written."""
LEAST = 40
"""Pixels of what is written over the object, at least."""
CHANGED = 0.5
"""Share of the other contrasts around it that change meanwhile, at least."""
LIKE, SAME_THING = 1.5, 0.7
"""Factor between the areas, and share in common, of one thing in two frames."""
EVENLY = 0.12
"""Difference between the logarithms of how height and width change, at most, of what grows or shrinks, and
their sum, at least."""
WIDER = 0.25
"""What lies at a card's place and reaches beyond its box, over the box's height, at most."""

Box = tuple[slice, slice]


@dataclass(eq=False)
class Card:
    """What rests over some frames. masks: of each of these. middle: row and column. joined: to what moves."""

    box: Box
    area: int
    middle: Float[np.ndarray, " 2"]
    joined: bool
    masks: dict[int, Bool[np.ndarray, "h w"]]

    @property
    def first(self) -> int:
        """Its first frame."""
        return min(self.masks)

    @property
    def last(self) -> int:
        """Its last frame."""
        return max(self.masks)


def at_rest(
    masks: Sequence[Bool[np.ndarray, "h w"]],
    colors: Sequence[UInt8[np.ndarray, "h w 3"]],
    changes: Iterable[Bool[np.ndarray, "h w"]] | None = None,
) -> list[Card]:
    """What rests from frame to frame while another piece moves, and what is written and rests on one.

    changes: where the picture changes right after each frame, if the next one is farther.
    """
    count, shape = len(masks), masks[0].shape
    alone, over = (np.zeros((count, *shape), bool) for _ in range(2))
    before, n = ndimage.label(masks[0], EIGHT)
    rested: np.ndarray | None = None
    for i in range(1, count):
        here, m = ndimage.label(masks[i], EIGHT)
        either = masks[i - 1] | masks[i]
        box = around(either, 3) if either.any() else (slice(0), slice(0))
        same, rests_now = np.zeros(shape, bool), np.zeros(shape, bool)
        same[box] = unchanged(colors[i - 1][box], colors[i][box])
        if n > 1 and m > 1:
            pairs = np.array(_same_pieces(before, here, same), np.int64).reshape(-1, 2)
            for labels, still, k in ((before, pairs[:, 0], i - 1), (here, pairs[:, 1], i)):
                area = np.bincount(labels.ravel())
                area[0] = 0
                rests = np.isin(np.arange(len(area)), still)
                rests &= OTHER * area <= area[~rests].max(initial=0)
                rests[0] = False
                alone[k] |= rests[labels]
        rests_now[box] = contrasting(colors[i - 1][box]) & (masks[i - 1] & masks[i] & same)[box]
        if rested is not None and (both := rested & rests_now).sum() >= WRITTEN * LEAST:
            part = around(masks[i - 2], 3)
            parts = (x[part] for x in (both, masks[i - 2], masks[i], colors[i - 2], colors[i]))
            over[(slice(i - 2, i + 1), *part)] |= _written_over(*parts)
        rested, before, n = rests_now, here, m
    for i, change in enumerate(changes or ()):
        alone[i] |= _unmoved(masks[i], colors[i], change)
    return _followed(alone, colors, joined=False) + _followed(over & ~alone, colors, joined=True)


def _unmoved(
    mask: Bool[np.ndarray, "h w"], colors: UInt8[np.ndarray, "h w 3"], change: Bool[np.ndarray, "h w"]
) -> Bool[np.ndarray, "h w"]:
    """Written pieces of a mask in which the picture does not change while it does in another."""
    numbered, count = ndimage.label(mask, EIGHT)
    if count < 2:
        return np.zeros_like(mask)
    numbers = np.arange(1, count + 1)
    area = np.bincount(numbered.ravel())[1:]
    still = ndimage.mean(change, numbered, numbers) <= 1 - STILL
    still &= OTHER * area <= area[~still].max(initial=0)
    still &= (area >= LEAST) & (ndimage.mean(contrasting(colors), numbered, numbers) >= WRITTEN)
    return np.concatenate([[False], still])[numbered]


def unchanged(a: UInt8[np.ndarray, "h w 3"], b: UInt8[np.ndarray, "h w 3"]) -> Bool[np.ndarray, "h w"]:
    """Where two frames have one color."""
    return np.abs(a.astype(np.int16) - b).max(-1) < SAME_COLOR


def contrasting(colors: UInt8[np.ndarray, "h w 3"]) -> Bool[np.ndarray, "h w"]:
    """Where light and dark lie beside each other."""
    grey = colors.max(-1)
    return ndimage.maximum_filter(grey, 3).astype(np.int16) - ndimage.minimum_filter(grey, 3) >= CONTRAST


def written(mask: Bool[np.ndarray, "h w"], colors: UInt8[np.ndarray, "h w 3"]) -> bool:
    """Whether what a mask shows is full of contrast, as writing is."""
    return bool(contrasting(colors)[mask].mean() >= WRITTEN)


def on_a_line(a: Box, b: Box) -> bool:
    """Whether two boxes have most of their rows in common."""
    common = min(a[0].stop, b[0].stop) - max(a[0].start, b[0].start)
    return common >= 0.5 * min(a[0].stop - a[0].start, b[0].stop - b[0].start)


def within(box: Box, card: Box) -> bool:
    """Whether a box lies about in that of a card."""
    margin = 1 + WIDER * (card[0].stop - card[0].start)
    return all(
        b.start >= c.start - margin and b.stop <= c.stop + margin for b, c in zip(box, card, strict=True)
    )


def found_again(
    mask: Bool[np.ndarray, "h w"],
    here: int,
    there: int,
    masks: Sequence[Bool[np.ndarray, "h w"]],
    colors: Sequence[UInt8[np.ndarray, "h w 3"]],
) -> float | None:
    """How far a thing of one frame has moved in another, where it may be a little changed, in pixels; None
    where it is not seen there."""
    numbered, _ = ndimage.label(masks[there], EIGHT)
    area, own = int(mask.sum()), np.array(ndimage.center_of_mass(mask))
    areas = np.bincount(numbered.ravel())
    for k in range(1, len(areas)):
        if not area / LIKE < areas[k] < area * LIKE:
            continue
        other = numbered == k
        way = (np.array(ndimage.center_of_mass(other)) - own)[::-1]
        moved = shifted(mask, way)
        if overlap(moved, other) < SAME_THING:
            continue
        carried = np.dstack([shifted(colors[here][..., c], way) for c in range(3)])
        if unchanged(carried, colors[there])[moved & other].mean() >= SAME_THING:
            return float(np.hypot(*way))
    return None


def scaled_in_place(mask: Bool[np.ndarray, "h w"], other: Bool[np.ndarray, "h w"]) -> bool:
    """Whether another frame's mask has a piece of the same middle and proportions, and another size."""
    numbered, _ = ndimage.label(other, EIGHT)
    touched = np.bincount(numbered[mask])
    touched[:1] = 0
    if not touched.any():
        return False
    piece = numbered == int(np.argmax(touched))
    away = np.subtract(ndimage.center_of_mass(piece), ndimage.center_of_mass(mask))
    rows, columns = np.log(_extent(piece)) - np.log(_extent(mask))
    return bool(np.hypot(*away) < 1 and abs(rows - columns) < EVENLY < abs(rows + columns))


def _extent(mask: Bool[np.ndarray, "h w"]) -> tuple[int, int]:
    """Rows and columns of a mask's box."""
    left, top, right, bottom = mask_box(mask)
    return bottom - top, right - left


def _written_over(
    rests: Bool[np.ndarray, "h w"],
    earlier: Bool[np.ndarray, "h w"],
    later: Bool[np.ndarray, "h w"],
    before: UInt8[np.ndarray, "h w 3"],
    after: UInt8[np.ndarray, "h w 3"],
) -> Bool[np.ndarray, "h w"]:
    """What is full of contrast and rests within pieces of a mask whose other contrasts do not.

    rests: contrasts that are the same in frames, of which masks and colors of the first and last are given.
    """
    whole = ndimage.binary_closing(rests, EIGHT, iterations=2) & earlier & later
    numbered, count = ndimage.label(whole, EIGHT)
    numbers = np.arange(1, count + 1)
    good = np.zeros(count + 1, bool)
    good[1:] = ndimage.sum_labels(whole, numbered, numbers) >= LEAST
    good[1:] &= ndimage.mean(rests, numbered, numbers) >= WRITTEN if count else True
    if not good.any():
        return np.zeros_like(whole)
    pieces, n = ndimage.label(earlier, EIGHT)
    outer = contrasting(before) & earlier & ~ndimage.binary_dilation(whole, EIGHT)
    total = np.maximum(1, np.bincount(pieces[outer], minlength=n + 1))
    changes = ~unchanged(before, after) | ~contrasting(after)
    changed = np.bincount(pieces[outer & changes], minlength=n + 1) / total
    inside = np.asarray(ndimage.maximum(pieces, numbered, numbers)).astype(int)
    good[1:] &= changed[inside] >= CHANGED
    return good[numbered]


def _same_pieces(
    a: Int[np.ndarray, "h w"], b: Int[np.ndarray, "h w"], same: Bool[np.ndarray, "h w"]
) -> list[tuple[int, int]]:
    """Numbers of pieces in two frames that have one shape, place and color. same: where the colors are."""
    area_a, area_b = np.bincount(a.ravel()), np.bincount(b.ravel())
    both = (a > 0) & (b > 0)
    code = a[both].astype(np.int64) * len(area_b) + b[both]
    codes, index, common = np.unique(code, return_inverse=True, return_counts=True)
    alike = np.bincount(index, same[both], minlength=len(codes)) / common
    boxes = ndimage.find_objects(a)
    middles = _middles(a), _middles(b)
    result = []
    for c, n, share in zip(codes.tolist(), common.tolist(), alike.tolist(), strict=True):
        k, m = divmod(c, len(area_b))
        large = max(area_a[k], area_b[m])
        edge = 2 * np.sqrt(large)  # compression moves a few pixels of the outline
        if n + edge < STILL * (area_a[k] + area_b[m] - n) or n < 0.5 * large:
            continue
        if np.hypot(*(middles[0][k] - middles[1][m])) > DRIFT[0]:
            continue
        rows, columns = boxes[k - 1]
        extent = (rows.stop - rows.start) * (columns.stop - columns.start)
        if share >= (BOXED if area_a[k] >= RECTANGLE * extent else COLORED):
            result.append((k, m))
    return result


def _middles(labels: Int[np.ndarray, "h w"]) -> Float[np.ndarray, "n 2"]:
    """Row and column of the middle of each piece; of none first."""
    rows, columns = np.nonzero(labels)
    numbers = labels[rows, columns]
    count = np.bincount(numbers, minlength=int(labels.max()) + 1)
    sums = [np.bincount(numbers, weights, len(count)) for weights in (rows, columns)]
    return np.stack(sums, -1) / np.maximum(1, count)[:, None]


def _followed(
    resting: Bool[np.ndarray, "t h w"], colors: Sequence[UInt8[np.ndarray, "h w 3"]], *, joined: bool
) -> list[Card]:
    """What rests, as cards: what is the same in two frames is one."""
    cards: list[Card] = []
    known: dict[int, Card] = {}
    before = np.zeros(resting.shape[1:], np.int32)
    for i, rests in enumerate(resting):
        here, _ = ndimage.label(rests, EIGHT)
        pairs = {}
        if known:
            pairs = {b: a for a, b in _same_pieces(before, here, unchanged(colors[i - 1], colors[i]))}
        following = {}
        for k, box in enumerate(ndimage.find_objects(here), start=1):
            mask = here == k
            middle = np.array(ndimage.center_of_mass(mask))
            card = known.get(pairs.get(k, 0))
            if card is None or np.hypot(*(middle - card.middle)) > DRIFT[1]:
                card = Card(box, int(mask.sum()), middle, joined, {})
                cards.append(card)
            card.masks[i] = mask
            following[k] = card
        known, before = following, here
    return cards
