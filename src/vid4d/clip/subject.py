"""The object among all that masks show: one rule over the whole clip, whatever the masks come from.

Pieces of the masks are followed from frame to frame. The largest is the object, with all that touches it at
some time. Told from it are pieces that never move or change while something else does (captions, watermarks,
bars), specks, and haze. Masks are judged on copies of at most 256 pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8
from scipy import ndimage

from vid4d.clip.captions import covered_note, find_cards
from vid4d.clip.loose import loose_note
from vid4d.clip.pieces import EIGHT, Pieces, follow_pieces, overlap, shifted
from vid4d.clip.places import Places, still_note
from vid4d.clip.resting import BOXED, RECTANGLE
from vid4d.clip.spool import Mapped, Spool
from vid4d.media.keying import around, mask_middle

SIDE = 256
SAME_COLOR = 20.0  # distance of premultiplied colors, 8-bit steps, of what has not changed
STILL = 0.95  # share of a piece that is the same at every time, if it never moves
SPECK = 0.003  # area of a speck over the object's
BRIEF_SPECK = 0.02  # the same for what is seen in fewer than a quarter of the frames
CAPTION = 0.5  # area over the object's, at most, of what stands still for a while only
HOPS = 0.2  # share of the steps in which a caption is found elsewhere, at most: lines of a chat move up
SAME_SHAPE = 0.7  # what two outlines of one thing have in common, once one is moved to the other
STATUE = 4.0  # the same of what keeps its outline all the time
HAZE = 24  # alpha of 255 that is no haze where it is connected to the object


@dataclass(frozen=True)
class Subject:
    """Frames with the object alone. left_out: sentences about what was beside it. loose: one about a thing
    that moves on its own. covered: one about captions before the object.
    """

    frames: Sequence[UInt8[np.ndarray, "h w 4"]]
    left_out: list[str]
    loose: str | None = None
    covered: str | None = None


def keep_subject(
    frames: Sequence[UInt8[np.ndarray, "h w 4"]],
    times: Float[np.ndarray, " t"],
    places: Places,
    changes: Callable[[int], Iterable[Bool[np.ndarray, "h w"]]] | None = None,
) -> Subject:
    """Frames with the object alone, and what was found beside it.

    frames: straight alpha. times, places: to say when and where, in seconds and in pixels of the source.
    changes: of the side of blocks of pixels, as of `find_cards`.
    """
    step = max(1, -(-max(frames[0].shape[:2]) // SIDE))
    strongest, colors = Spool(boxed=True), Spool()
    for frame in frames:
        strongest.append(strongest_alpha(frame, step))
        colors.append(_first_colors(frame, step))
    never, stands = _never_moving(Mapped(strongest, _opaque), colors)
    still = never
    masks = Spool((_opaque(s) & ~still[i] for i, s in enumerate(strongest)), boxed=True)
    cards = find_cards(masks, colors, None if changes is None else partial(changes, step))
    if cards is not None:
        masks = Spool((m & ~c for m, c in zip(masks, cards.beside, strict=True)), boxed=True)
        still = Spool((s | c for s, c in zip(still, cards.beside, strict=True)), boxed=True)
    pieces = follow_pieces(masks)
    if len(pieces.area) == 0:
        return Subject(frames, [])
    specks, captions = _told_apart(pieces, colors)
    specks &= ~_held_softly(pieces, Mapped(strongest, lambda s: s > HAZE), specks)
    cleaned, hazy = Spool(boxed=True), 0
    for i, frame in enumerate(frames):
        unwanted = still[i] | pieces.mask(i, specks | captions)
        result, haze = cleared(frame, unwanted, masks[i] & ~unwanted, step)
        cleaned.append(result)
        hazy = max(hazy, haze)
    seen = np.unique(pieces.frame_of()[specks])
    notes = []
    if stands or captions.any():
        standing = [never[i] | pieces.mask(i, captions) for i in range(len(frames))]
        notes.append(still_note(standing, times, step, places))
    if cards is not None and any(c.any() for c in cards.beside):
        notes.append(still_note(cards.beside, times, step, places, "what comes and goes at once"))
    if len(seen):
        listed = ", ".join(f"{times[i]:.2f}" for i in seen[:5]) + (" ..." if len(seen) > 5 else "")
        notes.append(f"specks beside the object are left out, at {listed} s; --keep keeps them")
    if hazy:
        notes.append(f"haze around the object is left out (alpha up to {hazy} of 255); --keep keeps it")
    loose = loose_note(pieces, ~(specks | captions), colors, times, step, places, specks)
    covered = None if cards is None else covered_note(cards, masks, times, step, places)
    return Subject(cleaned, notes, loose, covered)


def _held_softly(
    pieces: Pieces, soft: Sequence[Bool[np.ndarray, "h w"]], specks: Bool[np.ndarray, " n"]
) -> Bool[np.ndarray, " n"]:
    """Which specks are joined to the object by half-transparent pixels, so that they are none.

    soft: everything but haze.
    """
    main = pieces.track == int(np.argmax(np.bincount(pieces.track, pieces.area)))
    result = np.zeros_like(specks)
    for i in np.unique(pieces.frame_of()[specks]).tolist():
        numbered, count = ndimage.label(soft[i], EIGHT)
        own = np.zeros(count + 1, bool)
        own[np.unique(numbered[pieces.mask(i, main)])] = True
        for k in np.nonzero(specks[pieces.first[i] : pieces.first[i + 1]])[0]:
            result[pieces.first[i] + k] = own[numbered[pieces.labels[i] == k + 1]].any()
    return result


def strongest_alpha(frame: UInt8[np.ndarray, "h w 4"], step: int) -> UInt8[np.ndarray, "h2 w2"]:
    """The most alpha of each block of pixels."""
    h, w = frame.shape[:2]
    alpha = np.pad(frame[..., 3], ((0, -h % step), (0, -w % step)))
    rows = np.max([alpha[k::step] for k in range(step)], 0)
    return np.max([rows[:, k::step] for k in range(step)], 0)


def _first_colors(frame: UInt8[np.ndarray, "h w 4"], step: int) -> UInt8[np.ndarray, "h2 w2 3"]:
    """The premultiplied color of the first pixel of each block."""
    corner = frame[::step, ::step].astype(np.uint16)
    return (corner[..., :3] * corner[..., 3:] // 255).astype(np.uint8)


def _opaque(alpha: UInt8[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
    return alpha > 127


def _difference(a: UInt8[np.ndarray, "h w 3"], b: np.ndarray) -> np.ndarray:
    """The largest difference of a channel."""
    signed = np.promote_types(np.int16, b.dtype)
    return np.abs(a.astype(signed) - b.astype(signed)).max(-1)


def _never_moving(
    masks: Sequence[np.ndarray], colors: Sequence[np.ndarray]
) -> tuple[Sequence[Bool[np.ndarray, "h w"]], bool]:
    """What stays as it is over the whole clip while something else moves, frame by frame; whether anything.

    A pixel stays if it is opaque and of one color in half of the frames at least: something may pass before
    it. A connected blob of such pixels never moves if it is never seen through, and fills its piece of the
    mask where nothing passes.
    """
    none = [np.zeros(masks[0].shape, bool)] * len(masks)
    if len(masks) < 4:
        return none, False
    sample = np.linspace(0, len(masks) - 1, min(len(masks), 32)).round().astype(int)
    opaque = np.stack([masks[i] for i in sample])
    shades = np.stack([colors[i] for i in sample]).astype(np.int16)
    usual = _median(opaque, shades)
    same = opaque & (np.abs(shades - usual).max(-1) < SAME_COLOR)
    stays = same.mean(0) >= 0.5
    blobs, count = ndimage.label(stays, EIGHT)
    if count == 0:
        return none, False
    alone, there, joined = np.zeros((3, len(sample), count + 1), bool)
    moving = []
    near = ndimage.binary_dilation(stays, EIGHT)
    for k in range(len(sample)):
        numbered, n = ndimage.label(opaque[k], EIGHT)
        inside = ndimage.sum_labels(near, numbered, np.arange(n + 1))
        area = np.bincount(numbered.ravel(), minlength=n + 1)
        quiet = inside >= 0.97 * area
        quiet[0] = False
        share = ndimage.mean(same[k] & quiet[numbered], blobs, np.arange(count + 1))
        alone[k] = share >= STILL
        there[k] = ndimage.mean(opaque[k], blobs, np.arange(count + 1)) >= 0.9
        joined[k] = ndimage.mean(opaque[k] & ~quiet[numbered], blobs, np.arange(count + 1)) >= 0.5
        moving.append(int(area[1:][~quiet[1:]].max(initial=0)))
    frozen = (alone.mean(0) >= 0.4) & (there.mean(0) >= 0.9)
    if any(moving):  # what moves now and then, and is joined to a blob whenever it does, is a part of it
        frozen &= joined[np.array(moving) > 0].mean(0) <= 0.5
    frozen[0] = False
    size = np.bincount(blobs.ravel(), minlength=count + 1)
    object_area = float(np.quantile(moving, 0.75))
    if not frozen.any() or object_area == 0:
        return none, False
    bars = _along_a_side(blobs, count)
    frozen &= bars | (size < 4 * object_area)
    if not frozen.any():
        return none, False
    still = frozen[blobs]
    reach = ndimage.binary_dilation(still, EIGHT)
    usual = np.where(still[..., None], usual, np.nan)
    result = Spool(boxed=True)
    for mask, color in zip(masks, colors, strict=True):
        with np.errstate(invalid="ignore"):
            own = still & mask & (_difference(color, usual) < 2 * SAME_COLOR)
        numbered, n = ndimage.label(mask, EIGHT)
        within = ndimage.mean(reach, numbered, np.arange(n + 1)) > 0.97
        within[0] = False
        result.append(own | within[numbered])
    return result, True


def _median(opaque: np.ndarray, shades: np.ndarray) -> Int[np.ndarray, "h w 3"]:
    """Median color of each pixel over the frames in which it is opaque; 0 where it never is."""
    count = opaque.sum(0)
    ordered = np.sort(np.where(opaque[..., None], shades, np.int16(256)), 0)
    middle = np.clip((count - 1) // 2, 0, None)[None, ..., None]
    return np.where(count[..., None] > 0, np.take_along_axis(ordered, middle, 0)[0], 0)


def _along_a_side(blobs: np.ndarray, count: int) -> Bool[np.ndarray, " n"]:
    """Which blobs cover nearly a whole side of the picture."""
    result = np.zeros(count + 1, bool)
    for side in (blobs[0], blobs[-1], blobs[:, 0], blobs[:, -1]):
        result |= np.bincount(side, minlength=count + 1) > 0.9 * len(side)
    result[0] = False
    return result


def _told_apart(
    pieces: Pieces, colors: Sequence[np.ndarray]
) -> tuple[Bool[np.ndarray, " n"], Bool[np.ndarray, " n"]]:
    """Which pieces are specks, and which stand still for as long as they are seen."""
    frame = pieces.frame_of()
    volume = np.bincount(pieces.track, pieces.area)
    main = _main_track(pieces, volume)
    own = pieces.track == main
    object_area = volume[main] / len(np.unique(frame[own]))
    specks, captions = np.zeros(len(pieces.area), bool), np.zeros(len(pieces.area), bool)
    count = len(pieces.first) - 1
    for track in np.unique(pieces.track).tolist():
        if track == main:
            continue
        parts = np.nonzero(pieces.track == track)[0]
        seen = np.unique(frame[parts])
        area = volume[track] / len(seen)
        if area < SPECK * object_area or (area < BRIEF_SPECK * object_area and len(seen) < 0.25 * count):
            specks[parts] = True
        elif len(seen) >= 3 and area < (STATUE if _constant(pieces, track) else CAPTION) * object_area:
            captions[parts] = _stood_still(pieces, parts, own, seen, colors)
    return specks, captions


def _main_track(pieces: Pieces, volume: Float[np.ndarray, " n"]) -> int:
    """The largest track; but the next in size where that keeps its outline, and the other does not."""
    first, *others = np.argsort(-volume, kind="stable")[:3].tolist()
    for other in others:
        large = STATUE * volume[other] > volume[first]
        if large and _constant(pieces, first) and not _constant(pieces, other):
            return int(other)
    return int(first)


def _constant(pieces: Pieces, track: int) -> bool:
    """Whether the outline of a track stays where it is from nearly each frame to the next, and is in most."""
    chosen = pieces.track == track
    seen = np.unique(pieces.frame_of()[chosen]).tolist()
    if len(seen) < max(3, 0.5 * (len(pieces.first) - 1)):
        return False
    same = [_same_outline(pieces.mask(i, chosen), pieces.mask(k, chosen)) for i, k in pairwise(seen)]
    ends = pieces.mask(seen[0], chosen), pieces.mask(seen[-1], chosen)
    return bool(np.mean(same) >= 0.9 and _same_outline(*ends))


def _same_outline(a: Bool[np.ndarray, "h w"], b: Bool[np.ndarray, "h w"]) -> bool:
    edge = 2 * np.sqrt(max(a.sum(), b.sum()))  # compression moves a few pixels of the outline
    return bool((a & b).sum() + edge >= STILL * (a | b).sum())


def _stood_still(
    pieces: Pieces, parts: np.ndarray, own: np.ndarray, seen: np.ndarray, colors: Sequence[np.ndarray]
) -> bool:
    """Whether pieces keep shape, place and color from most frames to the next, and the object does not.

    Captions do, which change from time to time.
    """
    chosen = np.zeros(len(pieces.area), bool)
    chosen[parts] = True
    same, object_same, moved = [], [], []
    for i, k in pairwise(seen.tolist()):
        a, b = pieces.mask(i, chosen), pieces.mask(k, chosen)
        colored = BOXED if a.sum() >= RECTANGLE * a[around(a, 0)].size else STILL - 0.1
        unchanged = (_difference(colors[i], colors[k]) < SAME_COLOR)[a & b]
        same.append(_same_outline(a, b) and unchanged.mean() >= colored)
        moved.append(not same[-1] and _same_elsewhere(a, b))
        a, b = pieces.mask(i, own), pieces.mask(k, own)
        object_same.append((a & b).sum() >= 0.995 * (a | b).sum())
    if np.mean(moved) > HOPS:
        return False
    return float(np.mean(same)) >= 0.5 > float(np.mean(object_same))


def _same_elsewhere(a: Bool[np.ndarray, "h w"], b: Bool[np.ndarray, "h w"]) -> bool:
    """Whether a mask is another that moved by a pixel or more."""
    way = mask_middle(b.sum(0), b.sum(1)) - mask_middle(a.sum(0), a.sum(1))
    return bool(np.hypot(*way) >= 1 and overlap(shifted(a, way), b) >= SAME_SHAPE)


def cleared(
    frame: np.ndarray, unwanted: np.ndarray, wanted: np.ndarray, step: int
) -> tuple[UInt8[np.ndarray, "h w 4"], int]:
    """The frame without unwanted blocks and haze; the strongest alpha of haze that was taken away."""
    h, w = frame.shape[:2]
    if not frame[..., 3].any():
        return frame, 0
    box = around(frame[..., 3] > 0, 4)  # farther than what is done about the edge of what is unwanted
    alpha = frame[..., 3][box]
    soft, count = ndimage.label(alpha > HAZE, EIGHT)
    solid = _enlarged(wanted, step, h, w)[box] & (alpha > 127)
    held = np.zeros(count + 1, bool)
    held[np.unique(soft[solid])] = True
    held[0] = False
    kept = held[soft]
    bad = _enlarged(unwanted, step, h, w)[box]
    if unwanted.any():  # with its soft edge, but not the object's
        bad = ndimage.binary_dilation(bad, EIGHT, iterations=2) & ~solid
        kept &= ~bad
    kept = ndimage.binary_dilation(kept, EIGHT, iterations=3) & ~bad
    lost = (alpha > 0) & ~kept
    if not lost.any():
        return frame, 0
    faint = lost & (alpha <= 127) & ~bad
    result = frame.copy()
    result[box][lost] = 0
    return result, int(alpha[faint].max()) if faint.sum() > 0.01 * h * w else 0


def _enlarged(mask: np.ndarray, step: int, h: int, w: int) -> Bool[np.ndarray, "h w"]:
    return mask.repeat(step, 0).repeat(step, 1)[:h, :w] if step > 1 else mask
