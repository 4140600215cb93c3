"""Outlines where an object fades into the background: highlights of a white one before white.

Where an object ends, the picture changes at once, however little it changes. Where it fades, the color goes
on from the background's over many pixels, so what lies beyond that outline is the object's, too. Distances
of color are Euclidean, in 8-bit steps.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float
from PIL import Image, ImageDraw
from scipy import ndimage
from scipy.spatial import ConvexHull, QhullError

NEAR = 2.5
"""Pixels within which an outline has reached the object's color, in compressed video too."""
REACH = 0.05
"""How far into the object an outline is looked at, over the object's longer side."""
RISE = 1.4
"""Distance of color so far within, over that near the outline, where the object fades."""
STEP = 0.4
"""Share of that rise, at most, that lies within one pixel."""
FADING = 0.12
"""Share of a hole's outline that fades, if the hole is no gap."""
LEAK = 0.03
"""Half the width of breaks in a thin outline that still encloses a hole, over the object's longer side."""
FEW = 12
"""Pixels of a hole, at least: corners and thin mouths are smaller."""
MOUTH = 0.1
"""Length of a fading stretch of the outline over the object's longer side, at least."""
EIGHT = np.ones((3, 3), bool)


def fading_outline(
    distance: Float[np.ndarray, "h w"], inside: Bool[np.ndarray, "h w"], core: float, side: float
) -> Bool[np.ndarray, "h w"]:
    """Pixels of the outline of a mask from where the object goes on to differ from the background.

    distance: from the background's color. inside: the mask. core: distance of what is certainly no
    background. side: longer side of the object, pixels.
    """
    result = np.zeros(inside.shape, bool)
    y, x = np.nonzero(inside & ~ndimage.binary_erosion(inside, border_value=1))
    if len(y) == 0:
        return result
    soft = ndimage.gaussian_filter(inside.astype(np.float32), 2.0)
    inward = np.stack([ndimage.sobel(soft, 0)[y, x], ndimage.sobel(soft, 1)[y, x]])
    inward /= np.maximum(np.linalg.norm(inward, axis=0), 1e-6)
    count = max(8, round(REACH * side))
    steps = np.arange(-2, count + 1)
    at = np.stack([y, x])[:, None] + inward[:, None] * steps[None, :, None]
    profile = ndimage.map_coordinates(distance, at, order=1, mode="nearest")
    near = profile[(steps >= 0) & (steps <= NEAR)].max(0)
    far = np.maximum(near, profile.max(0))
    sharpest = np.diff(profile, axis=0).max(0)
    fades = (near < 1.2 * core) & (far > RISE * near) & (sharpest < STEP * far)
    result[y[fades], x[fades]] = True
    return result


def fading_holes(
    inside: Bool[np.ndarray, "h w"], fading: Bool[np.ndarray, "h w"], side: float
) -> Bool[np.ndarray, "h w"]:
    """Holes of a mask into which it fades, with thin breaks in the outline around them."""
    leak = max(2, round(LEAK * side))
    sealed = ndimage.distance_transform_edt(~np.pad(inside, 2 * leak)) <= leak
    closed = ndimage.binary_fill_holes(sealed)
    within = (slice(2 * leak, -2 * leak),) * 2
    enclosed = (closed & ~sealed)[within] | (ndimage.binary_fill_holes(inside) & ~inside)  # corners are not
    filled = ndimage.distance_transform_edt(closed) > leak
    holes, _ = ndimage.label(filled[within] & ~inside)
    outline = inside & ndimage.binary_dilation(~inside, EIGHT)
    result = np.zeros(inside.shape, bool)
    for i, box in enumerate(ndimage.find_objects(holes), start=1):
        more = tuple(slice(max(0, b.start - 1), b.stop + 1) for b in box)
        spot = holes[more] == i
        if spot.sum() < FEW or not enclosed[more][spot].any():
            continue
        around = ndimage.binary_dilation(spot, EIGHT) & outline[more]
        if (around & fading[more]).sum() >= FADING * around.sum():
            result[more] |= spot
    return result


def fading_bays(
    inside: Bool[np.ndarray, "h w"], fading: Bool[np.ndarray, "h w"], side: float
) -> Bool[np.ndarray, "h w"]:
    """What lies between each fading stretch of an outline and the straight line from its end to its end."""
    stretches, _ = ndimage.label(ndimage.binary_dilation(fading, EIGHT, 2), EIGHT)
    result = np.zeros(inside.shape, bool)
    for i, box in enumerate(ndimage.find_objects(stretches), start=1):
        stretch = (stretches[box] == i) & fading[box]
        if max(stretch.shape) - 4 >= max(MOUTH * side, 8):
            result[box] |= _convex(stretch) & ~inside[box]
    return result


def _convex(points: Bool[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
    """The convex hull of a mask's pixels, of which there are three at least, not in one line."""
    at = np.argwhere(points)
    try:
        corners = at[ConvexHull(at).vertices]
    except QhullError:
        return points
    drawn = Image.new("1", (points.shape[1], points.shape[0]))
    ImageDraw.Draw(drawn).polygon([(int(x), int(y)) for y, x in corners], fill=1, outline=1)
    return np.array(drawn)
