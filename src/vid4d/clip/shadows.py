"""Contact shadows: a plain background is darker at the foot of an object, in its own hue, and softly.

A shadow is reached from the bare background without a step over an edge; what is dark but has an edge against
the bare background is a part of the object, however grey. Where the object is as dark as the shadow it
stands in there is no edge between them: random walkers (Grady, "Random walks for image segmentation", PAMI
2006) then tell which of the two a pixel belongs to. Shadows are soft, so they are looked for on copies of at
most SIDE pixels, as a factor that the background is multiplied by. A white object before white has hardly an
edge: a second, finer look goes by how much colors bend, which traces of compression and reflections do, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.sparse
import scipy.sparse.linalg
from jaxtyping import Bool, Float, UInt8
from PIL import Image
from scipy import ndimage
from scipy.spatial import ConvexHull

from vid4d.clip.shadow_hue import Look, ShadowHue
from vid4d.media.images import color_distance, shade_of
from vid4d.media.keying import REGION, Background, reached_from_border, smooth

SIDE = 320
DARKEST = 0.25
"""Factor below which nothing is taken for a shadow."""
BRIGHTEST = 1.05
"""Factor of one channel, at most: the light on a shadow has another color than that beside it."""
EDGE = 11.0
"""Change of color over the width of the derivative's filter, 8-bit steps, that is an edge."""
FAINT_EDGE = 1.6
"""The same where the background has no noise; steeper shadows are found with EDGE."""
BEND = 2.5
"""Second derivative of the color over the width of its filter squared, 8-bit steps, that is an edge, too: of
a thin line, or of 10 steps side by side. A soft shadow bends by a tenth of that, however steep it is."""
TINT = 0.05
"""Distance from the hue of the background, over its brightness, that a shadow may have."""
SMALLEST = 0.03
"""Area of a shadow over the object's, at least."""
CONTACT = 0.12
"""Share of the object's sharp outline, at most, that a shadow lies beside, far from where it ends."""
ENCLOSED = 0.75
"""Share of a shadow, at most, within the convex hull of the object: shadows lie beside what casts them (a
quarter of them inside, in clips that were drawn), shaded parts of an object within it (nine tenths)."""
BARE = 0.25
"""Share of a gap with a shadow in it, at least, that is bare."""
ODD = 0.1
"""Share of it, at most, that is darker than the shadow beside the object, or shaded above it."""
WALKS = (0.25, 0.5)
"""Least probabilities that a walker from a shadow's pixel comes to the bare background, mildest first."""
STEP = 5.0
"""Change of color, 8-bit steps, between two pixels over which a walker seldom goes."""


@dataclass(frozen=True)
class Shadows:
    """What a look at some frames of a clip says about shadows.

    there: whether most frames have one. doubtful: whether most have something dark at the foot of the object
    that cannot be told from it. fine: whether bends of the color are edges. hue: of the shadow, if measured.
    """

    background: Background
    there: bool
    doubtful: bool
    fine: bool = False
    hue: ShadowHue | None = None

    @staticmethod
    def look(
        frames: Sequence[UInt8[np.ndarray, "h w 3"]],
        background: Background,
        most: int = 9,
        *,
        fine: bool = False,
    ) -> Shadows:
        """Looks at up to so many frames, evenly spread."""
        few = np.unique(np.linspace(0, len(frames) - 1, min(len(frames), most)).round().astype(int))
        found = [_look(frames[i], background.surface + background.offsets[i], background, fine) for i in few]
        looks = [f for f in found if isinstance(f, Look)]
        doubtful = sum(f is True for f in found)
        there = 2 * len(looks) > len(few)
        hue = ShadowHue.measure(looks) if there else None
        return Shadows(background, there, not there and len(few) < 2 * (len(looks) + doubtful), fine, hue)

    def on(
        self, frame: UInt8[np.ndarray, "h w 3"], surface: Float[np.ndarray, "h w 3"]
    ) -> tuple[Float[np.ndarray, "h w 3"], Bool[np.ndarray, "h w"] | None]:
        """The background of a frame with the shadow that lies on it, and what is ground between limbs."""
        look = _look(frame, surface, self.background, self.fine, surely=True) if self.there else None
        if not isinstance(look, Look):
            return surface, None
        factor, ground = _factor(look, self.hue)
        if factor.shape != frame.shape:
            size = (frame.shape[1], frame.shape[0])
            channels = (Image.fromarray(np.ascontiguousarray(factor[..., c]), "F") for c in range(3))
            factor = np.stack([np.asarray(c.resize(size, Image.Resampling.BILINEAR)) for c in channels], -1)
            ground = np.array(Image.fromarray(ground).resize(size, Image.Resampling.NEAREST))
        return surface * factor, ground

    @property
    def notes(self) -> tuple[str, ...]:
        """What was done, in words."""
        if self.there:
            return ("a shadow at the foot of the object is left out; --keep keeps it",)
        if self.doubtful:
            return (
                "what is dark at the foot of the object may be its shadow, or a part of it: it is kept; "
                "give --masks or a matting model if it is a shadow",
            )
        return ()


def _look(
    frame: UInt8[np.ndarray, "h w 3"],
    surface: Float[np.ndarray, "h w 3"],
    background: Background,
    fine: bool,
    *,
    surely: bool = False,
) -> Look | bool:
    """A small copy of a frame with a shadow; else whether something may be one.

    fine: as of `Shadows`. surely: the clip has a shadow, so what may be one is one.
    """
    step = max(1, -(-max(frame.shape[:2]) // SIDE))
    picture, bare = blocks(frame, step), blocks(surface, step)
    wide = max(1.0, max(picture.shape[:2]) / 256)
    calm = smooth(picture, wide)
    factor = shade_of(calm, bare)
    distance = color_distance(calm - bare)
    bent = np.zeros_like(distance, bool)
    if fine:
        bends = [ndimage.gaussian_laplace(picture[..., c], wide) for c in range(3)]
        bent = wide**2 * np.sqrt(np.mean(np.square(bends), 0)) > max(BEND, 2.5 * background.noise)
    free = reached_from_border((distance < background.region) & ~bent)
    same_hue = color_distance(calm - factor[..., None] * bare) < hue_limit(bare, background)
    brightest = 1.02 + background.noise / 60
    same_hue &= (factor > DARKEST) & (factor < brightest) & ~free
    if same_hue.sum() < SMALLEST * (~free & ~same_hue).sum():
        return False
    slopes = [ndimage.gaussian_gradient_magnitude(picture[..., c], wide) for c in range(3)]
    steep = EDGE if background.limit == REGION else FAINT_EDGE
    edge = wide * np.sqrt(np.mean(np.square(slopes), 0)) > max(steep, 2.5 * background.noise)
    edge |= bent
    near = round(4 * wide)
    outline = edge & (distance > background.core) & ndimage.binary_dilation(free, iterations=near)
    dark, found = np.zeros_like(free), False
    for least in (0.0, *WALKS):
        if least == WALKS[0]:
            home = _walks(smooth(picture, 0.6 * wide), free, ~free & (~same_hue | outline))
        open_to = same_hue & ~edge & (least == 0 or home > least)
        dark = reached_from_border(open_to | free) & ~free
        rest = ~free & ~dark
        under = _under(dark, rest)
        if not at_foot(dark, rest & ~under):
            return found
        found = True
        # where the shadow ends it comes near the outline from without
        end = ndimage.binary_dilation(dark & ndimage.binary_dilation(free), iterations=3 * near)
        cast = outline & ~ndimage.binary_dilation(under, iterations=near) if under.any() else outline
        beside = cast & ndimage.binary_dilation(dark, iterations=near) & ~end
        apart = cast.any() and beside.sum() < CONTACT * cast.sum()
        if apart or (surely and least == WALKS[-1]):
            return Look(
                picture, calm, bare, factor, free, dark, edge, same_hue, wide, background.flat, brightest
            )
    return found


def _factor(look: Look, hue: ShadowHue | None) -> tuple[Float[np.ndarray, "h w 3"], Bool[np.ndarray, "h w"]]:
    """Of the background's channels at every pixel of a small copy, with what continues it under the object.

    And what is ground between limbs, by the shadow's hue.
    """
    dark, free = look.dark, look.free
    spots = color_distance(look.picture - look.bare) < look.flat
    spots &= ~reached_from_border(spots | free | dark)
    darkest = float(np.quantile(look.factor[dark], 0.02))
    shade = look.same_hue & ~look.edge & ~dark & ~free
    gaps = _gaps(spots, shade, look.factor, look.top, darkest)
    scale = np.where(spots & gaps, 1.0, np.clip(look.factor, DARKEST, 1))[..., None]
    factor = np.repeat(scale, 3, -1)
    between = np.zeros_like(dark)
    if hue is not None:
        factor = factor + (1 - scale) * hue.tint * color_distance(look.bare)[..., None] / np.maximum(
            look.bare, 1
        )
        between = hue.between_limbs(look)
        factor = np.where(between[..., None], look.calm / np.maximum(look.bare, 1), factor)
        gaps |= between
        dark = dark & ~hue.not_its_own(look)
    return _spread(factor, (dark | free | gaps).astype(np.float32), look.wide), between


def _gaps(
    spots: Bool[np.ndarray, "h w"],
    shade: Bool[np.ndarray, "h w"],
    factor: Float[np.ndarray, "h w"],
    top: int,
    darkest: float,
) -> Bool[np.ndarray, "h w"]:
    """Between limbs: bare spots of the background, with the shadow that lies on a part of them.

    spots: enclosed, in the background's color. shade: what may be in shadow. top: first row of the shadow
    that is seen beside the object. darkest: its least factor. What is darker in a gap lies no higher than
    that, and is no darker: an object's own pale parts are shaded all over. Whether it is a gap is for
    `media.keying` to say, as where there is no shadow.
    """
    pieces, count = ndimage.label(spots | shade)
    numbers = np.arange(1, count + 1)
    unexplained = shade & ~spots
    unexplained[top:] &= factor[top:] < darkest
    bare, odd, size = (ndimage.sum_labels(x, pieces, numbers) for x in (spots, unexplained, pieces > 0))
    return np.isin(pieces, numbers[(bare >= BARE * size) & (odd <= ODD * size)])


def hue_limit(bare: Float[np.ndarray, "h w 3"], background: Background) -> Float[np.ndarray, "h w"]:
    """Distance from a shade of the background, 8-bit steps, within which a color has its hue."""
    return np.maximum(TINT * color_distance(bare), 4 + 2 * background.noise)


def _under(dark: Bool[np.ndarray, "h w"], rest: Bool[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
    """Pieces of the rest below the middle of what is dark, as captions are, which cast no shadow up there."""
    if not dark.any():
        return np.zeros_like(rest)
    middle = np.average(np.arange(len(dark)), weights=dark.sum(1))
    pieces, _ = ndimage.label(rest, np.ones((3, 3)))
    above = np.unique(pieces[: int(middle) + 1])
    return rest & ~np.isin(pieces, above)


def at_foot(dark: Bool[np.ndarray, "h w"], rest: Bool[np.ndarray, "h w"]) -> bool:
    """Whether enough is dark, lower in the picture than the rest, which is something, and beside it."""
    rows = np.arange(len(dark))
    if not rest.any() or dark.sum() < SMALLEST * rest.sum():
        return False
    lower = np.average(rows, weights=dark.sum(1)) > np.average(rows, weights=rest.sum(1))
    return bool(lower) and _enclosed(dark, rest) < ENCLOSED


def _enclosed(dark: Bool[np.ndarray, "h w"], rest: Bool[np.ndarray, "h w"]) -> float:
    """Share of what is dark that lies within the convex hull of the rest."""
    outline = np.argwhere(rest & ~ndimage.binary_erosion(rest))
    if len(outline) < 3:
        return 0.0
    hull = ConvexHull(outline, qhull_options="QJ")  # joggled: all may lie on a line
    normal, offset = hull.equations[:, :2], hull.equations[:, 2]
    return float((np.argwhere(dark) @ normal.T + offset < 0.5).all(1).mean())


def _walks(
    picture: Float[np.ndarray, "h w 3"], free: Bool[np.ndarray, "h w"], thing: Bool[np.ndarray, "h w"]
) -> Float[np.ndarray, "h w"]:
    """Probability that a random walker comes to the free background before the object."""
    unknown = ~free & ~thing
    n = int(unknown.sum())
    number = np.full(free.shape, -1)
    number[unknown] = np.arange(n)
    leaving, home = np.full(n, 1e-9), np.zeros(n)
    links = scipy.sparse.csr_matrix((n, n))
    for axis in (0, 1):
        here, there = np.moveaxis(number, axis, 0)[:-1], np.moveaxis(number, axis, 0)[1:]
        known = np.moveaxis(free, axis, 0)
        weight = np.exp(-(np.diff(np.moveaxis(picture, axis, 0), axis=0) ** 2).mean(-1) / STEP**2) + 1e-4
        for a, b, goal in ((here, there, known[1:]), (there, here, known[:-1])):
            begins, both = a >= 0, (a >= 0) & (b >= 0)
            leaving += np.bincount(a[begins], weight[begins], n)
            home += np.bincount(a[begins & goal], weight[begins & goal], n)
            links += scipy.sparse.csr_matrix((weight[both], (a[both], b[both])), (n, n))
    matrix = scipy.sparse.diags(leaving) - links
    result = free.astype(np.float64)
    result[unknown] = scipy.sparse.linalg.spsolve(matrix.tocsc(), home)
    return result


def _spread(
    factor: Float[np.ndarray, "h w 3"], known: Float[np.ndarray, "h w"], wide: float
) -> Float[np.ndarray, "h w 3"]:
    """The factor where it is known, smoothed, and continued from there into the object."""
    result = np.ones_like(factor)
    factor = known[..., None] * np.clip(factor, DARKEST, BRIGHTEST)
    for sigma in (16 * wide, 4 * wide, wide):
        share = ndimage.gaussian_filter(known, sigma)[..., None]
        local = ndimage.gaussian_filter(factor, (sigma, sigma, 0)) / np.maximum(share, 1e-6)
        trust = np.clip(4 * share, 0, 1)
        result = (1 - trust) * result + trust * local
    return np.clip(result, DARKEST, BRIGHTEST).astype(np.float32)


def blocks(picture: np.ndarray, step: int) -> Float[np.ndarray, "h2 w2 3"]:
    """Means of square blocks of pixels."""
    if step == 1:
        return picture.astype(np.float32)
    h, w = picture.shape[:2]
    padded = np.pad(picture, ((0, -h % step), (0, -w % step), (0, 0)), mode="edge")
    parts = padded.reshape(padded.shape[0] // step, step, -1, step, 3)
    return parts.mean((1, 3), dtype=np.float32)
