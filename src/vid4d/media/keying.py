"""Keying: one picture of an object before a known, smooth background gets its alpha.

The object is what differs from the background. Edges get a soft alpha from how far a pixel lies between the
two colors, and are freed from the background's color. Pictures are 8-bit; distances of color are
Euclidean, in 8-bit steps.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8
from scipy import ndimage

from vid4d.media.fading import fading_bays, fading_holes, fading_outline
from vid4d.media.images import color_distance
from vid4d.media.shining import has_hue, shining_through

CORE = 30.0  # certainly not background
REGION = 15.0  # object where connected to certain pixels; ringing of compressed video stays below
BAND = 2.6  # width of the soft edge, pixels


@dataclass(frozen=True)
class Background:
    """A smooth background. surface: its color at every pixel. offsets: brightness changes, per frame.

    noise: spread of its pixels, 8-bit steps. inliers: share of the border that it explains.
    limit: distance that nothing but noise comes up to, beside the object, 8-bit steps.
    contrast: distance that the object comes up to, where that is little, 8-bit steps.
    """

    surface: Float[np.ndarray, "h w 3"]
    offsets: Float[np.ndarray, "t 3"]
    noise: float
    inliers: float
    limit: float = REGION
    contrast: float = np.inf

    @property
    def region(self) -> float:
        """Color distance, 8-bit steps, above which a pixel is object if connected to a certain one."""
        return max(self.limit, 6.0 * self.noise)

    @property
    def flat(self) -> float:
        """Color distance, 8-bit steps, that the background's own pixels come up to."""
        return max(6.0, 3.0 * self.noise)

    @property
    def core(self) -> float:
        """Color distance, 8-bit steps, above which a pixel is certainly object."""
        usual = max(CORE / REGION * self.limit, 10.0 * self.noise)
        return min(usual, max(0.75 * self.contrast, 1.2 * self.region))


def remove_white_background(picture: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "h w 4"]:
    """White background keyed out, which generative priors draw; RGBA, transparent where nothing is shown."""
    return _cut_from(picture, np.full(3, 255, np.float32))


def remove_border_background(picture: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "h w 4"]:
    """Background of one color keyed out, the median of the picture's border."""
    border = np.concatenate([picture[0], picture[-1], picture[:, 0], picture[:, -1]])
    return _cut_from(picture, np.median(border, axis=0).astype(np.float32))


def _cut_from(
    picture: UInt8[np.ndarray, "h w 3"], color: Float[np.ndarray, " 3"]
) -> UInt8[np.ndarray, "h w 4"]:
    surface = np.broadcast_to(color, picture.shape)
    return cut_out(picture, surface, Background(surface, np.zeros((1, 3), np.float32), 1.5, 1.0))[0]


def cut_out(
    frame: UInt8[np.ndarray, "h w 3"],
    surface: Float[np.ndarray, "h w 3"],
    background: Background,
    ground: Bool[np.ndarray, "h w"] | None = None,
) -> tuple[UInt8[np.ndarray, "h w 4"], float]:
    """One frame's RGBA, and the share of its object that stands out clearly from the background.

    ground: what is known to be background where it is enclosed and of the surface's color.
    """
    picture = frame.astype(np.float32)
    residual = picture - surface
    distance = color_distance(smooth(residual) if background.noise > 1.5 else residual)
    inside = _object_mask(picture, surface, distance, background, ground)
    if not inside.any():
        return np.dstack([frame, np.zeros(frame.shape[:2], np.uint8)]), 0.0
    alpha, color = np.zeros(inside.shape, np.float32), picture
    box = around(inside, 8)
    alpha[box], color[box] = _soft_edge(picture[box], surface[box], residual[box], inside[box], distance[box])
    alpha = _drop_specks(alpha)
    distinct = float((distance[alpha > 0.5] > background.region).mean()) if (alpha > 0.5).any() else 0.0
    rgba = np.dstack([np.clip(color, 0, 255), alpha * 255])
    return np.rint(rgba).astype(np.uint8), distinct


def mask_middle(columns: Int[np.ndarray, " w"], rows: Int[np.ndarray, " h"]) -> Float[np.ndarray, "2"]:
    """Centre of mass, x and y, of a mask with so many pixels in each column and row; NaN where empty."""
    with np.errstate(invalid="ignore"):
        return np.array([np.arange(len(n)) @ n / np.float64(n.sum()) for n in (columns, rows)])


def around(mask: Bool[np.ndarray, "h w"], margin: int) -> tuple[slice, slice]:
    """The bounding box of a mask that is not empty, and so many pixels around it."""
    left, top, right, bottom = mask_box(mask)
    return slice(max(0, top - margin), bottom + margin), slice(max(0, left - margin), right + margin)


def mask_box(mask: Bool[np.ndarray, "h w"]) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of what a mask shows, which has to be something."""
    rows, columns = np.nonzero(mask.any(1))[0], np.nonzero(mask.any(0))[0]
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def _object_mask(
    picture: Float[np.ndarray, "h w 3"],
    surface: Float[np.ndarray, "h w 3"],
    distance: Float[np.ndarray, "h w"],
    background: Background,
    ground: Bool[np.ndarray, "h w"] | None,
) -> Bool[np.ndarray, "h w"]:
    """Hysteresis, then what the object has in the background's color: see `_without_holes`."""
    eight = np.ones((3, 3), bool)
    region, count = ndimage.label(distance > background.region, eight)
    strong = np.zeros(count + 1, bool)
    strong[np.unique(region[distance > background.core])] = True
    strong[0] = False
    inside = strong[region]
    if background.region < REGION:  # weak between background and strong: a soft edge
        edge = ndimage.binary_dilation(~inside, eight) & (distance < REGION)
        inside &= ~(edge & (ndimage.maximum_filter(distance, 3) > CORE))
    if inside.any():
        box = around(inside, 8)
        known = np.zeros_like(inside[box]) if ground is None else ground[box]
        inside[box] = _without_holes(
            picture[box], surface[box], distance[box], inside[box], background, known
        )
    return inside


def _without_holes(
    picture: Float[np.ndarray, "h w 3"],
    surface: Float[np.ndarray, "h w 3"],
    distance: Float[np.ndarray, "h w"],
    inside: Bool[np.ndarray, "h w"],
    background: Background,
    ground: Bool[np.ndarray, "h w"],
) -> Bool[np.ndarray, "h w"]:
    """A mask with its enclosed spots of background color, unless they are gaps.

    A gap is as flat as the background itself, lies near the outline (between fingers) or is of some size
    (between an arm and the body), and its own outline does not fade; a small flat spot deep inside is a
    highlight, and so is a spot of any size into which the object fades. Where the background has a hue that
    the object has not, that hue alone tells a gap: see `shining`. What is known as ground is a gap.
    """
    left, top, right, bottom = mask_box(inside)
    side = max(right - left, bottom - top)
    fading = fading_outline(distance, inside, background.core, side)
    result = inside
    if fading.any():
        result = inside | fading_holes(inside, fading, side) | fading_bays(inside, fading, side)
    flat_limit = background.flat
    gaps = ground & ~inside
    if has_hue(surface, flat_limit):
        gaps |= shining_through(picture, surface, inside, (result | filled(inside)) & ~inside, flat_limit)
    result = result & ~gaps
    holes, count = ndimage.label(~result)
    outside = set(border_labels(holes).tolist()) - {0}
    if count == len(outside):
        return result
    smallest = max(12, 3e-3 * inside.sum())  # smaller ones are highlights
    outer = np.isin(holes, list(outside))
    near = 0.02 * (side - 1)
    away = ndimage.distance_transform_edt(~outer) if outer.any() else np.full(inside.shape, np.inf)
    for i, box in enumerate(ndimage.find_objects(holes), start=1):
        if i in outside or box is None:
            continue
        spot = holes[box] == i
        if (spot & gaps[box]).any():
            continue
        heart = ndimage.binary_erosion(np.pad(spot, 1))[1:-1, 1:-1]
        by_outline = away[box][spot].min() < near
        enough, limit = (3, 1.7 * flat_limit) if by_outline else (smallest, flat_limit)
        gap = heart.sum() >= enough and np.median(distance[box][heart]) < limit
        if not gap:
            result[box] |= spot
    return result


def _soft_edge(
    picture: Float[np.ndarray, "h w 3"],
    surface: Float[np.ndarray, "h w 3"],
    residual: Float[np.ndarray, "h w 3"],
    inside: Bool[np.ndarray, "h w"],
    distance: Float[np.ndarray, "h w"],
) -> tuple[Float[np.ndarray, "h w"], Float[np.ndarray, "h w 3"]]:
    """Alpha and object colors in a band along the edge; opaque inside it.

    The object's color at an edge pixel is that of the nearest pixel well inside; in parts too thin to have
    an inside, the nearby pixel that differs most from the background. Alpha is the pixel's place between
    background and object color.
    """
    depth = ndimage.distance_transform_edt(np.pad(inside, 1, mode="edge"))[1:-1, 1:-1]
    solid = depth > BAND
    alpha = inside.astype(np.float32)
    color = picture.copy()
    band = ndimage.binary_dilation(inside, iterations=1) & ~solid
    y, x = np.nonzero(band)
    if len(y) == 0:
        return alpha, color
    source_y, source_x = _strongest(distance * inside, y, x)
    if solid.any():
        away, nearest = ndimage.distance_transform_edt(~solid, return_indices=True)
        near = away[y, x] <= 2 * BAND
        source_y = np.where(near, nearest[0][y, x], source_y)
        source_x = np.where(near, nearest[1][y, x], source_x)
    contrast = residual[source_y, source_x]  # object color minus background, at its source
    length = (contrast**2).sum(-1)
    place = (residual[y, x] * contrast).sum(-1) / np.maximum(length, 1)
    soft = np.clip((place - 0.08) / 0.84, 0, 1)
    # where object and background look alike the place between them is noise: a slightly blurred mask instead
    geometric = ndimage.gaussian_filter(inside.astype(np.float32), 0.7)[y, x]
    trust = np.clip((np.sqrt(length) - 25) / 35, 0, 1)
    a = trust * soft + (1 - trust) * geometric
    # darker than both (outlines, shaded rims) is object, not a mixture
    off_line = np.linalg.norm(residual[y, x] - place[:, None] * contrast, axis=-1)
    a = np.maximum(a, np.clip((off_line - CORE) / (2 * CORE), 0, 1) * inside[y, x])
    # next to an opaque inner pixel nothing may fall to zero inside: keep enclosed pale spots
    alpha[y, x] = np.where(depth[y, x] > BAND - 0.4, np.maximum(a, 0.5 * inside[y, x]), a)
    freed = (picture[y, x] - (1 - a[:, None]) * surface[y, x]) / np.maximum(a[:, None], 0.05)
    plausible = surface[y, x] + contrast
    mix = np.clip((a[:, None] - 0.3) / 0.6, 0, 1)
    color[y, x] = np.clip(mix * np.clip(freed, 0, 255) + (1 - mix) * plausible, 0, 255)
    return alpha, color


def _strongest(
    score: np.ndarray, y: np.ndarray, x: np.ndarray, radius: int = 2
) -> tuple[np.ndarray, np.ndarray]:
    """For each pixel the place of the highest score within a few pixels."""
    padded = np.pad(score, radius)
    best = np.full(len(y), -1.0)
    best_y, best_x = y.copy(), x.copy()
    for dy in range(-radius, radius + 1):
        for dx in range(-radius, radius + 1):
            value = padded[y + dy + radius, x + dx + radius]
            better = value > best
            best = np.where(better, value, best)
            best_y, best_x = np.where(better, y + dy, best_y), np.where(better, x + dx, best_x)
    return np.clip(best_y, 0, score.shape[0] - 1), np.clip(best_x, 0, score.shape[1] - 1)


def _drop_specks(alpha: Float[np.ndarray, "h w"]) -> Float[np.ndarray, "h w"]:
    """Removes islands below 0.2 % of the object, dust and compression noise among them."""
    islands, count = ndimage.label(alpha > 0.02, np.ones((3, 3), bool))
    if count < 2:
        return alpha
    area = ndimage.sum_labels(alpha, islands, np.arange(count + 1))
    keep = area >= max(8.0, 0.002 * alpha.sum())
    keep[0] = False
    keep[1 + int(np.argmax(area[1:]))] = True
    return alpha * keep[islands]


def border_labels(labels: np.ndarray) -> np.ndarray:
    """Labels (h, w) that touch the border of the picture, each once, with 0 for no component."""
    return np.unique(np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]]))


def reached_from_border(mask: Bool[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
    """Pieces of a mask that touch the border of the picture."""
    labels, count = ndimage.label(mask)
    reached = np.zeros(count + 1, bool)
    reached[border_labels(labels)] = True
    reached[0] = False
    return reached[labels]


def filled(mask: Bool[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
    """A mask with its holes, which are what cannot be reached from the border beside it."""
    if not mask.any():
        return mask
    box = around(mask, 1)
    result = mask.copy()
    result[box] = ~reached_from_border(~mask[box])
    return result


def smooth(picture: Float[np.ndarray, "h w 3"], sigma: float = 0.7) -> Float[np.ndarray, "h w 3"]:
    """Gaussian blur of each channel. sigma: pixels."""
    return np.stack([ndimage.gaussian_filter(picture[..., c], sigma) for c in range(3)], -1)
