"""The hue of a clip's own shadow, measured, tells ground in shade from parts of the object.

A shadow's color is nearly the background's times a factor, yet not quite: light from the sky or the room
tints it, by the more the darker it is. Beside the object, where it lies open, it is measured. What is of that
very hue and lies between limbs is ground, too, unless the object has this hue elsewhere, where no shadow can
be: a white mug before white tells nothing. What was taken for the shadow beside the object and is of another
hue, from an edge on, is the object's: white paws on grey paper.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float
from scipy import ndimage

from vid4d.media.images import color_distance

SQUARE = np.ones((3, 3), bool)
TOLD = 0.93
"""Factor below which a shade is measured, and told from the bare background."""
LEAST = 1.5
"""Distance from the shadow's hue, 8-bit steps, within which all is of it."""
NEARLY = (4, 3, 2)
"""Times that distance within which all between limbs is ground, where the object has no such hue: edges of
compressed pictures have something of their neighbors'."""
USUAL = 2.2
"""The same over the median distance of the shadow's own pixels."""
DEEPER = 1.7
"""Darkness of ground between limbs over that of the darkest open shadow, at most: there it is deepest."""
ANOTHER = 1.8
"""Distance from the shadow's hue, over that limit, just beyond an edge between it and another."""
SMALLEST = 0.006
"""Area of such a part over the object's, at least."""
HIGHER = 0.25
"""Share of the object's height above the shadow from which a shade is none of it."""
OWN = 0.0005
"""Share of the object, at most, that is of the shadow's hue there, where it has not that hue."""
MUCH = 0.2
"""The same anywhere: shadows between limbs are smaller."""
SLIT = 0.01
"""Area of a gap over the object's from which it may be thinner than three pixels: noise is in specks."""
LIT = 0.05
"""Share of a gap from which it lies partly in light: then it shows where on the ground the shadow begins."""
SHADED = 0.955
"""Factor below which such a gap must not be above that."""
ODD = 0.1
"""Share of it that may be."""


@dataclass(frozen=True, eq=False)
class Look:
    """A small copy of a frame, and the shadow that lies open in it.

    picture: as it is. calm: smoothed, as its gradients are, over `wide` pixels. bare: the background without
    a shadow. factor: of the background's color, nearest to the picture's. free: bare and open to the border.
    dark: the shadow beside the object. edge: steps of color. same_hue: roughly a shade of the background.
    flat: distance of color that the bare background's own pixels come up to. brightest: factor of a shade.
    """

    picture: Float[np.ndarray, "h w 3"]
    calm: Float[np.ndarray, "h w 3"]
    bare: Float[np.ndarray, "h w 3"]
    factor: Float[np.ndarray, "h w"]
    free: Bool[np.ndarray, "h w"]
    dark: Bool[np.ndarray, "h w"]
    edge: Bool[np.ndarray, "h w"]
    same_hue: Bool[np.ndarray, "h w"]
    wide: float
    flat: float
    brightest: float

    @property
    def thing(self) -> Bool[np.ndarray, "h w"]:
        """What is neither bare nor open shadow."""
        return ~self.free & ~self.dark

    @property
    def top(self) -> int:
        """The first row of the shadow that is seen beside the object."""
        distance = color_distance(self.calm - self.bare)
        felt, _ = ndimage.label((self.dark | self.free) & (distance > self.flat))
        return int(np.argmax(np.isin(felt, np.unique(felt[self.dark])).any(1)))


@dataclass(frozen=True, eq=False)
class ShadowHue:
    """What the shadow of a clip looks like.

    tint: change of color over the length that it takes from the background's color. limit: distance of color
    within which all is of its hue, 8-bit steps. darkest: its least factor.
    reach: the same within which nothing of the object is of nearly that hue; 0 where something is.
    """

    tint: Float[np.ndarray, "3"]
    limit: float
    darkest: float
    reach: float = 0.0

    @staticmethod
    def measure(looks: Sequence[Look]) -> ShadowHue | None:
        """From some frames; None where too little of the shadow lies open."""
        away, taken = [], []
        for look in looks:
            inner = ndimage.binary_erosion(look.dark, iterations=2) & (look.factor < TOLD)
            away.append((look.calm - look.factor[..., None] * look.bare)[inner])
            taken.append(((1 - look.factor) * color_distance(look.bare))[inner])
        residual, length = np.concatenate(away), np.concatenate(taken)[:, None]
        if len(length) < 30:
            return None
        tint = np.median(residual / length, 0)
        for _ in range(5):  # least absolute deviations: some of it may be the object's
            weight = length / np.maximum(color_distance(residual - length * tint), 1)[:, None]
            tint = (weight * residual).sum(0) / (weight * length).sum()
        spread = float(np.median(color_distance(residual - length * tint)))
        darkest = float(np.median([np.quantile(look.factor[look.dark], 0.02) for look in looks]))
        hue = ShadowHue(tint, max(LEAST, USUAL * spread), darkest)
        for times in NEARLY:
            reach = times * hue.limit
            shares = np.mean([hue._of_the_thing(look, reach) for look in looks], 0)
            if shares[0] < OWN and shares[1] < MUCH:
                return replace(hue, reach=reach)
        return hue

    def distance(self, look: Look) -> Float[np.ndarray, "h w"]:
        """Of each pixel from the shadow's hue, 8-bit steps."""
        tinted = look.factor[..., None] * look.bare
        tinted = tinted + ((1 - look.factor) * color_distance(look.bare))[..., None] * self.tint
        return color_distance(look.calm - tinted)

    def _inner(self, look: Look, reach: float) -> Bool[np.ndarray, "h w"]:
        """What is nearly of the shadow's hue, and hardly darker, and no open shadow."""
        like = (self.distance(look) < reach) & (look.factor > 1 - DEEPER * (1 - self.darkest))
        like &= (look.factor < look.brightest) & ~look.edge & look.thing
        return like

    def _of_the_thing(self, look: Look, reach: float) -> tuple[float, float]:
        """Share of the object that is of this hue where no shadow can be, and anywhere."""
        inner, thing = ndimage.binary_opening(self._inner(look, reach), SQUARE), look.thing
        rows = np.repeat(np.arange(len(thing)), thing.sum(1))
        if not len(rows):
            return 0.0, 0.0
        height = np.ptp(np.quantile(rows, (0.02, 0.98)))
        weight = np.cumsum(np.where(look.dark & (look.factor < 0.95), 1 - look.factor, 0).sum(1))
        begins = int(np.searchsorted(weight, 0.03 * weight[-1])) - round(HIGHER * height)
        high = inner[: max(0, begins)] & (look.factor < TOLD)[: max(0, begins)]
        return float(high.sum() / len(rows)), float(inner.sum() / len(rows))

    def between_limbs(self, look: Look) -> Bool[np.ndarray, "h w"]:
        """Ground within the object's outline."""
        if not self.reach:
            return np.zeros_like(look.dark)
        like = self._inner(look, self.reach)
        pieces, count = ndimage.label(like, SQUARE)
        numbers = np.arange(1, count + 1)
        wide = ndimage.sum_labels(like, pieces, numbers) >= SLIT * look.thing.sum()
        like &= np.isin(pieces, numbers[wide]) | ndimage.binary_opening(like, SQUARE)
        pieces, count = ndimage.label(like, SQUARE)
        numbers = np.arange(1, count + 1)
        odd = look.factor < SHADED
        odd[look.top :] = False
        lit = color_distance(look.calm - look.bare) < look.flat
        size, strange, light = (ndimage.sum_labels(x, pieces, numbers) for x in (pieces > 0, odd, lit))
        return np.isin(pieces, numbers[(light < LIT * size) | (strange <= ODD * size)])

    def not_its_own(self, look: Look) -> Bool[np.ndarray, "h w"]:
        """What was taken for the open shadow and is of another hue, from an edge on."""
        distance = self.distance(look)
        other = ndimage.binary_opening(look.dark & (distance > self.limit), SQUARE)
        pieces, _ = ndimage.label(other, SQUARE)
        least = SMALLEST * look.thing.sum()
        result = np.zeros_like(other)
        for i, box in enumerate(ndimage.find_objects(pieces), start=1):
            wide = tuple(slice(max(0, b.start - 3), b.stop + 3) for b in box)
            piece = pieces[wide] == i
            if piece.sum() < least or not ndimage.binary_erosion(piece, np.ones((5, 5))).any():
                continue
            rim = piece & ndimage.binary_dilation((look.dark & ~other)[wide], iterations=3)
            if rim.any() and np.median(distance[wide][rim]) > ANOTHER * self.limit:
                result[wide] |= piece
        return result
