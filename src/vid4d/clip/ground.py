"""What an object stands on, or in: hard shadows, turntables, tables and floors before a plain wall.

A hard shadow and a grey disc have an edge of their own, so by color they may be parts of the object: they
stay, and are told; so is what else may be ground in shade, of the background's hue in the lower half of a
mask alone. What reaches from one side of the picture to the other is furniture, and no object at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Bool, Float, UInt8
from scipy import ndimage

from vid4d.clip.shadow_hue import ShadowHue
from vid4d.clip.shadows import DARKEST, SIDE, Shadows, at_foot, blocks, hue_limit
from vid4d.media.images import color_distance, over_white_uint8, shade_of
from vid4d.media.keying import Background, around, cut_out, mask_box, smooth

LIGHTEST = 0.93
"""Factor of the background's color above which nothing is taken for a hard shadow."""
BRIGHTER = 1.06
"""The same from which something lighter lies there: a white disc, a sheet of paper."""
ALIKE = 0.012
"""Standard deviation of that factor over what is flat, at most, and difference from piece to piece: hardly
any part of an object is as flat as a wall."""
PALE, ALIKE_PALE = 0.85, 0.022
"""Factor above which what is flat may be so little more than a wall; its standard deviation then: discs and
sheets have a shadow and a gradient of their own."""
EVEN, GRAIN = 0.015, 1.5
"""Range of that factor among neighbors, at most; what noise over the background's brightness adds to it."""
PIECE = 0.004
"""Share of the mask that each piece has, at least."""
WIDE = 1.3
"""Width over height of what lies flat, at least: the ground is seen at a slant."""
LEAST = 0.04
"""Share of the mask, at least, that is flat at the foot."""
MOST = 0.75
"""The same, at most: else it is the object."""
LOOKS = 5
"""Frames in which a shadow that is kept is looked for."""
SPANNING = 0.5
"""Share of the frames that are spanned, at least, where it is furniture."""
STRIP = 0.15
"""Width over the picture's, at most, of a bar along a side, as players show: something else is the object."""
OTHER = 0.1
"""Area of something else over the bar's, at least."""

SHADES = 0.35, 0.93
"""Factors of the background's color, from and to, that ground in shade has."""
HUE = 2.0
"""Distance from its hue, 8-bit steps, without noise."""
KEPT = 0.015
"""Share of a mask, at least, that is told as ground in shade."""
ABOVE = 0.15
"""Share of its upper half over that, at most, which is of that hue, too: else it is the object's."""


def shade_kept(
    frame: UInt8[np.ndarray, "h w 3"],
    rgba: UInt8[np.ndarray, "h w 4"],
    surface: Float[np.ndarray, "h w 3"],
    background: Background,
    hue: ShadowHue | None,
) -> tuple[float, float, float]:
    """Shares of a frame's mask that are of the hue of ground in shade: in its lower half, and in its upper.

    And where the first lies, from 0 at the left end of the mask to 1 at its right. surface: without a shadow.
    """
    step = max(1, -(-max(frame.shape[:2]) // SIDE))
    mask = rgba[step // 2 :: step, step // 2 :: step, 3] > 127
    if not mask.any():
        return 0.0, 0.0, 0.5
    box = around(mask, 4)
    part = tuple(slice(s.start * step, s.stop * step) for s in box)
    mask = mask[box]
    picture, bare = (blocks(x[part], step)[: mask.shape[0], : mask.shape[1]] for x in (frame, surface))
    picture = smooth(picture, 1.0)
    factor = shade_of(picture, bare)
    tinted = factor[..., None] * bare
    limit = HUE + 0.3 * background.noise
    if hue is not None:
        tinted = tinted + ((1 - factor) * color_distance(bare))[..., None] * hue.tint
        limit = max(limit, hue.limit)
    shade = mask & (color_distance(picture - tinted) < limit) & (factor > SHADES[0]) & (factor < SHADES[1])
    shade = ndimage.binary_opening(shade, np.ones((3, 3), bool))
    half = int(np.median(np.nonzero(mask)[0]))
    upper, lower = shade[:half].sum() / mask.sum(), shade[half:].sum() / mask.sum()
    columns = np.nonzero(mask.any(0))[0]
    middle = np.nonzero(shade[half:])[1].mean() if lower else columns.mean()
    return float(lower), float(upper), float((middle - columns[0]) / max(1, np.ptp(columns)))


def flat_at_foot(
    frame: UInt8[np.ndarray, "h w 3"],
    rgba: UInt8[np.ndarray, "h w 4"],
    surface: Float[np.ndarray, "h w 3"],
    background: Background,
) -> float:
    """Share of a frame's mask that is one flat shade of the background at the foot of the rest; 0 if none is.

    Shades are as of `shadows`, but all of one piece is equally dark: what is round or soft is not.
    """
    whole = rgba[..., 3] > 127
    if spans(whole):
        whole &= ~_bars(whole)
    if not whole.any():
        return 0.0
    left, top, right, bottom = mask_box(whole)
    step = max(1, -(-max(right - left, bottom - top) // SIDE))
    fine = max(
        1, round(max(frame.shape[:2]) / SIDE / step)
    )  # pixels of a rim, which is as wide in any picture
    part = around(whole, 2 * step)
    mask = whole[part][step // 2 :: step, step // 2 :: step]
    picture, bare = (blocks(x[part], step)[: mask.shape[0], : mask.shape[1]] for x in (frame, surface))
    picture = smooth(picture)
    factor = shade_of(picture, bare)
    shade = mask & (color_distance(picture - factor[..., None] * bare) < hue_limit(bare, background))
    shade &= ((factor > DARKEST) & (factor < LIGHTEST)) | (factor > BRIGHTER)
    even = EVEN + GRAIN * background.noise / color_distance(bare).mean()
    shade &= ndimage.maximum_filter(factor, 3) - ndimage.minimum_filter(factor, 3) < even
    pieces, count = ndimage.label(shade)
    numbers = np.arange(1, count + 1)
    size = ndimage.sum_labels(shade, pieces, numbers)
    usual, spread = (
        np.asarray(f(factor, pieces, numbers)) for f in (ndimage.mean, ndimage.standard_deviation)
    )
    left = (size > PIECE * mask.sum()) & (spread < np.where(usual > PALE, ALIKE_PALE, ALIKE))
    while left.any():  # all pieces of one shade at once: limbs lie between them
        alike = left & (np.abs(usual - usual[int(np.argmax(left * size))]) < ALIKE)
        left &= ~alike
        flat = np.isin(pieces, numbers[alike])
        flat = ndimage.binary_dilation(flat, iterations=2 * fine) & mask  # the rim is not even
        rows, columns = (np.ptp(np.nonzero(flat.any(axis))[0]) + 1 for axis in (1, 0))
        rest = ndimage.binary_opening(
            mask & ~ndimage.binary_dilation(flat, iterations=3 * fine), iterations=fine
        )
        share = float(flat.sum() / mask.sum())
        if LEAST < share < MOST and columns > WIDE * rows and at_foot(flat, rest):
            return share
    return 0.0


def kept_shadow(
    frames: Sequence[UInt8[np.ndarray, "h w 4"]],
    kept: Sequence[UInt8[np.ndarray, "h w 4"]],
    background: Background,
) -> float:
    """Share of the masks that is a shadow, where shadows were not left out; 0 where there is none.

    frames: as they came. kept: without background.
    """
    few = np.unique(np.linspace(0, len(frames) - 1, min(len(frames), LOOKS)).round().astype(int)).tolist()
    pictures = {i: over_white_uint8(frames[i]) for i in few}
    shadows = Shadows.look([pictures[i] for i in few], replace(background, offsets=background.offsets[few]))
    shares = []
    for i, picture in pictures.items():
        surface = background.surface + background.offsets[i]
        whole = kept[i][..., 3] > 127
        if not whole.any():
            continue
        if shadows.there:
            shaded, ground = shadows.on(picture, surface)
            alone = cut_out(picture, shaded, background, ground)[0][..., 3] > 127
            shares.append(float((whole & ~alone).sum() / whole.sum()))
        else:
            shares.append(flat_at_foot(picture, kept[i], surface, background))
    share = float(np.median(shares)) if shares else 0.0
    return share if share >= LEAST else 0.0


def spans(mask: Bool[np.ndarray, "h w"]) -> bool:
    """Whether a mask reaches the left and the right side of the picture, or its top and its bottom."""
    left, right, top, bottom = (line.any() for line in (mask[:, 0], mask[:, -1], mask[0], mask[-1]))
    return bool((left and right) or (top and bottom))


def furniture(frames: Sequence[UInt8[np.ndarray, "h w 4"]]) -> bool:
    """Whether what is left of most frames spans the picture, and is no bar beside an object."""
    return bool(np.mean([_spanned(f[..., 3] > 127) for f in frames]) > SPANNING)


def _spanned(mask: Bool[np.ndarray, "h w"]) -> bool:
    if not spans(mask):
        return False
    bars = _bars(mask)
    rest = mask & ~bars
    return spans(rest) or bool(rest.sum() < OTHER * bars.sum())


def _bars(mask: Bool[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
    """Thin pieces of a mask that span the picture."""
    pieces, count = ndimage.label(mask, np.ones((3, 3), bool))
    bars = np.zeros(count + 1, bool)
    for k, box in enumerate(ndimage.find_objects(pieces), start=1):
        thin = min((s.stop - s.start) / n for s, n in zip(box, mask.shape, strict=True))
        bars[k] = thin <= STRIP and spans(pieces == k)
    return bars[pieces]
