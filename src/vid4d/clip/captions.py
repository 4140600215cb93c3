"""Cards: captions, stickers and the like, which come and go at once and rest while the object moves.

No animal does: a part of it that rests and goes on is found again beside its place. A card is a piece of the
masks that keeps shape, place and colors from frame to frame while another piece does not, and has begun or
ends with nothing like it in the frame before or after. What is written is known by its contrasts, too, where
it touches or covers the object. What is seen for a moment only, as a word that grows to its size, goes by the
cards at whose place it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, UInt8
from scipy import ndimage

from vid4d.clip.pieces import EIGHT, follow_pieces
from vid4d.clip.places import Places
from vid4d.clip.resting import (
    COLORED,
    LEAST,
    WRITTEN,
    Box,
    Card,
    at_rest,
    contrasting,
    found_again,
    on_a_line,
    scaled_in_place,
    unchanged,
    within,
    written,
)
from vid4d.clip.spool import Spool

LASTS = 3
"""Frames that a card is seen in, at least."""
LARGER = 4.0, 16.0
"""Area over the object's, at most, of a card alone, and of one of several that take turns."""
LEFT = 0.5
"""Share of what rested that is as it was, at least, if it is still there."""
NEAR = 3
"""Pixels beside what rests in which something is joined to it."""
TURNS, TALL, FILLED = 4, 6, 0.6
"""Of what is written over the object and never seen alone: how often cards on a line begin or end at once,
their height in pixels, and their share of their box, at least, if it is told."""
COVERED = 0.02
"""Share of the object that cards cover, at least, if it is told."""
LOOKS, OFTEN = 12, 0.25
"""Frames in which something written is looked for, and share of these that show it, at least."""
AROUND = 4
"""Frames before and after a card in which what grows or shrinks in its place belongs to it."""


@dataclass(frozen=True)
class Cards:
    """What cards show. beside: their pixels in each frame, which are no part of the object. before: those in
    front of it, whose colors are theirs.
    """

    beside: list[Bool[np.ndarray, "h w"]]
    before: list[Bool[np.ndarray, "h w"]]


def find_cards(
    masks: Sequence[Bool[np.ndarray, "h w"]],
    colors: Sequence[UInt8[np.ndarray, "h w 3"]],
    changes: Callable[[], Iterable[Bool[np.ndarray, "h w"]]] | None = None,
) -> Cards | None:
    """Cards in the masks of a clip; None where there are none.

    masks: what never moves is no longer in them. colors: premultiplied. changes: where the picture changes
    from each frame to the one after it in the source, nothing if that is the next one here; only asked for
    where something is written beside the object.
    """
    count = len(masks)
    if count < LASTS + 1:
        return None
    changed = list(changes()) if changes is not None and _often_written(masks, colors) else []
    cards = [c for c in at_rest(masks, colors, changed) if not c.joined or _a_line_itself(c)]
    for card in cards:
        _extend(card, masks, colors)
    _cut_to_common(cards)
    if not cards:
        return None
    lasts = 1 if changed else LASTS
    rest = [m.copy() for m in masks]
    for card in cards:
        for i, mask in card.masks.items():
            rest[i] &= ~mask
    moving = follow_pieces(Spool(rest, boxed=True))
    if len(moving.area) == 0:
        return None
    volume = np.bincount(moving.track, moving.area)
    own = moving.track == int(np.argmax(volume))
    object_area = volume.max() / len(np.unique(moving.frame_of()[own]))
    ends = {}
    for card in cards:
        ends[card] = sum(
            _gone(card.masks[here], here, way, masks, colors, lambda i: moving.mask(i, own))
            for here, way in ((card.first, -1), (card.last, 1))
        )
    sure = [c for c in cards if ends[c] and len(c.masks) >= lasts and c.area < LARGER[1] * object_area]
    turns = {c: sum(ends[o] for o in sure if on_a_line(c.box, o.box)) for c in sure}
    alone = [
        c
        for c in sure
        if not c.joined and (turns[c] > 2 or (len(c.masks) >= LASTS and c.area < LARGER[0] * object_area))
    ]
    over = [c for c in sure if c.joined and turns[c] >= TURNS and _a_line_itself(c)]
    if not alone:
        return Cards([np.zeros_like(m) for m in masks], _shown(over, masks)) if over else None
    sure = alone
    texts = [c for c in sure if turns[c] > 2 and written(c.masks[c.first], colors[c.first])]
    mates = [c for c in cards if any(on_a_line(c.box, o.box) for o in (texts if c.joined else sure))]
    found = _shown(mates, masks)
    for i in range(count):
        close = _lines([c.box for c in sure if c.first - AROUND <= i <= c.last + AROUND])
        for k, box in enumerate(ndimage.find_objects(moving.labels[i]) if close else ()):
            if not own[moving.first[i] + k] and any(within(box, card) for card in close):
                found[i] |= moving.labels[i] == k + 1
    height = 2 + max(c.box[0].stop - c.box[0].start for c in sure)
    before = [_in_front(f, moving.mask(i, own), height) for i, f in enumerate(found)]
    return Cards([f & ~b for f, b in zip(found, before, strict=True)], before)


def _shown(cards: Sequence[Card], masks: Sequence[Bool[np.ndarray, "h w"]]) -> list[Bool[np.ndarray, "h w"]]:
    """What cards show in each frame."""
    result = [np.zeros_like(m) for m in masks]
    for card in cards:
        for i, mask in card.masks.items():
            result[i] |= mask
    return result


def _a_line_itself(card: Card) -> bool:
    """Whether a card fills a box that is wider than high, and no mere stroke."""
    rows, columns = (s.stop - s.start for s in card.box)
    return columns > rows >= TALL and card.area >= FILLED * rows * columns


def _lines(boxes: Sequence[Box]) -> list[Box]:
    """Boxes around all that are on a line with each."""
    result = []
    for box in boxes:
        line = [b for b in boxes if on_a_line(b, box)]
        rows, columns = ([b[axis] for b in line] for axis in (0, 1))
        result.append(
            (
                slice(min(r.start for r in rows), max(r.stop for r in rows)),
                slice(min(c.start for c in columns), max(c.stop for c in columns)),
            )
        )
    return result


def _often_written(
    masks: Sequence[Bool[np.ndarray, "h w"]], colors: Sequence[UInt8[np.ndarray, "h w 3"]]
) -> bool:
    """Whether something is written beside a larger or smaller piece in some of the frames at least."""
    few = np.unique(np.linspace(0, len(masks) - 1, LOOKS).round().astype(int)).tolist()
    found = 0
    for i in few:
        numbered, count = ndimage.label(masks[i], EIGHT)
        numbers = np.arange(1, count + 1)
        if count > 1:
            share = ndimage.mean(contrasting(colors[i]), numbered, numbers)
            found += bool(((share >= WRITTEN) & (np.bincount(numbered.ravel())[1:] >= LEAST)).any())
    return found >= OFTEN * len(few)


def _cut_to_common(cards: list[Card]) -> None:
    """Leaves of what is written over something only what all cards of one time and place have in common.

    Where one was seen alone at that time, it is known better.
    """
    over = [c for c in cards if c.joined]
    for card in over:
        mates = [
            o
            for o in cards
            if o is not card and on_a_line(o.box, card.box) and not o.masks.keys().isdisjoint(card.masks)
        ]
        if any(not o.joined for o in mates):
            card.masks = {}
            continue
        for i in card.masks:
            for other in mates:
                if i in other.masks:
                    card.masks[i] = card.masks[i] & other.masks[i]
    cards[:] = [c for c in cards if c.masks and all(m.any() for m in c.masks.values())]


def _extend(
    card: Card, masks: Sequence[Bool[np.ndarray, "h w"]], colors: Sequence[UInt8[np.ndarray, "h w 3"]]
) -> None:
    """Adds the frames before and after in which what is written on a card is part of a larger piece."""
    if not written(card.masks[card.first], colors[card.first]):
        return
    for at, way in ((card.first, -1), (card.last, 1)):
        mask, color = card.masks[at], colors[at]
        k = at + way
        while 0 <= k < len(masks):
            left = mask & masks[k] & unchanged(color, colors[k])
            if left.sum() < COLORED * mask.sum():
                break
            card.masks[k] = mask & masks[k]
            k += way


def _gone(
    mask: Bool[np.ndarray, "h w"],
    here: int,
    way: int,
    masks: Sequence[Bool[np.ndarray, "h w"]],
    colors: Sequence[UInt8[np.ndarray, "h w 3"]],
    mover: Callable[[int], Bool[np.ndarray, "h w"]],
) -> bool:
    """Whether what rests in one frame is neither in its place before or after it (way -1 or 1), nor
    elsewhere, nor joined to what moves: that only what is written may be. For some frames it may grow or
    shrink in place.
    """
    for there in range(here + way, here + way * (AROUND + 1), way):
        if not 0 <= there < len(masks):
            break
        moved = found_again(mask, here, there, masks, colors)
        if moved is None and scaled_in_place(mask, masks[there]):
            continue
        if moved is None:
            left = mask & masks[there] & unchanged(colors[here], colors[there])
            near = ndimage.binary_dilation(mask, EIGHT, iterations=NEAR)
            free = not (near & mover(there)).any() or written(mask, colors[here])
            return free and bool(left.sum() < LEFT * mask.sum())
        if moved >= 1:
            break
    return False


def _in_front(
    card: Bool[np.ndarray, "h w"], thing: Bool[np.ndarray, "h w"], height: int
) -> Bool[np.ndarray, "h w"]:
    """Which pixels of cards lie before a thing: those with some of it above and below them, no farther than
    cards are high.
    """
    if not card.any() or not thing.any():
        return np.zeros_like(card)
    return (
        card
        & ndimage.binary_closing(np.pad(thing, height), np.ones((height, 1), bool))[
            height:-height, height:-height
        ]
    )


def covered_note(
    cards: Cards,
    masks: Sequence[Bool[np.ndarray, "h w"]],
    times: Float[np.ndarray, " t"],
    step: int,
    places: Places,
) -> str | None:
    """A sentence about cards before the object, with place and time; None where they hardly cover any of it.

    masks: of the object. step: side of their blocks in pixels. times: seconds.
    """
    shares = np.array([b.sum() / max(1, (m | b).sum()) for b, m in zip(cards.before, masks, strict=True)])
    hidden = np.nonzero(shares >= COVERED)[0]
    if len(hidden) < LASTS:
        return None
    box = ndimage.find_objects(np.any([cards.before[i] for i in hidden], 0).astype(np.uint8))[0]
    left, top, right, bottom = places.of_box(box, step)
    return (
        f"a caption or sticker lies over the object, at {left},{top} to {right},{bottom}, from "
        f"{times[hidden[0]]:.2f} to {times[hidden[-1]]:.2f} s, and stays in its picture there: take the "
        "video without it, or frames that are free of it by --start and --end"
    )
