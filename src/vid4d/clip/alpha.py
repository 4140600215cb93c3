"""What the alpha of pictures and the levels of masks mean: 0 and 1, upside down, colors multiplied by it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image
from scipy import ndimage

from vid4d.clip.source import Source
from vid4d.errors import InputError
from vid4d.media.picture_files import check_sums, open_picture, reading_picture

MOST_LABELS = 8
"""Masks with no level above this number objects; each of them belongs to the object."""
REACH = 4
"""Pixels from a soft edge to the solid color it is compared with."""


@dataclass(frozen=True)
class AlphaRule:
    """What is done to alpha, then to the colors. threshold: levels above it become 255, others 0."""

    threshold: int | None = None
    inverted: bool = False
    premultiplied: bool = False

    def level(self, alpha: UInt8[np.ndarray, "h w"]) -> UInt8[np.ndarray, "h w"]:
        """The alpha that is meant."""
        if self.threshold is not None:
            alpha = np.where(alpha > self.threshold, 255, 0).astype(np.uint8)
        return 255 - alpha if self.inverted else alpha

    def apply(self, rgba: UInt8[np.ndarray, "h w 4"]) -> UInt8[np.ndarray, "h w 4"]:
        """A picture with straight alpha as it is meant."""
        if self == AlphaRule():
            return rgba
        alpha = self.level(rgba[..., 3])
        color = rgba[..., :3]
        if self.premultiplied:
            divisor = np.maximum(alpha, 1)[..., None].astype(np.float32)
            color = np.minimum(np.rint(color * (255 / divisor)), 255).astype(np.uint8)
        return np.dstack([color, alpha])

    def note(self, what: str) -> str | None:
        """What was found out, in words; None where nothing had to be done."""
        said = []
        if self.threshold is not None:
            said.append("has two levels below white, taken for 0 and 255")
        if self.inverted:
            said.append("is white around the object and black in it, turned round")
        if self.premultiplied:
            said.append("was multiplied into the colors, which are divided by it")
        return f"the {what} {' and '.join(said)}" if said else None


def alpha_rule(probes: Sequence[UInt8[np.ndarray, "h w 4"]]) -> AlphaRule:
    """The rule for the alpha of pictures, from a few of them."""
    alphas = [p[..., 3] for p in probes]
    threshold = 0 if max(int(a.max()) for a in alphas) == 1 else None
    levels = [AlphaRule(threshold).level(a) for a in alphas]
    border = np.concatenate([_border(a) for a in levels])
    clear = np.mean([(a < 128).mean() for a in levels])
    inverted = bool((border > 127).mean() > 0.98 and clear > 0.002)
    premultiplied = threshold is None and not inverted and _is_premultiplied(probes)
    return AlphaRule(threshold, inverted, premultiplied)


def mask_rule(probes: Sequence[UInt8[np.ndarray, "h w"]]) -> AlphaRule:
    """The rule for masks, from a few of them: white, or any number but 0, is the object.

    It is turned round where most of the border is white.
    """
    found = np.unique(np.concatenate([np.unique(p) for p in probes]))
    threshold = None
    if found[-1] <= MOST_LABELS:
        threshold = 0
    elif len(found) == 2 and tuple(found) != (0, 255):
        threshold = int(found[0])
    levels = [AlphaRule(threshold).level(p) for p in probes]
    border = np.concatenate([_border(a) for a in levels])
    dark = np.mean([(a < 128).mean() for a in levels])
    return AlphaRule(threshold, bool((border > 127).mean() > 0.6 and dark > 0.002))


def _border(alpha: UInt8[np.ndarray, "h w"]) -> UInt8[np.ndarray, " n"]:
    return np.concatenate([alpha[0], alpha[-1], alpha[1:-1, 0], alpha[1:-1, -1]])


def _is_premultiplied(probes: Sequence[UInt8[np.ndarray, "h w 4"]]) -> bool:
    """Whether no color exceeds its alpha and soft edges match the solid colors beside them only when divided.

    Straight colors at soft edges are like those beside them as they are.
    """
    straight, divided = [], []
    for rgba in probes:
        alpha, color = rgba[..., 3].astype(np.float32), rgba[..., :3].astype(np.float32)
        if ((color.max(-1) > alpha + 2) & (alpha < 250)).mean() > 2e-4:
            return False
        soft = (alpha >= 24) & (alpha <= 224)
        if not soft.any() or not (alpha >= 250).any():
            continue
        distance, near = ndimage.distance_transform_edt(alpha < 250, return_indices=True)
        at = np.nonzero(soft & (distance <= REACH))
        beside = color[near[0][at], near[1][at]]
        straight.append(np.abs(color[at] - beside).mean(-1))
        divided.append(np.abs(color[at] * (255 / alpha[at][:, None]) - beside).mean(-1))
    if sum(len(s) for s in straight) < 32:
        return False
    before, after = np.median(np.concatenate(straight)), np.median(np.concatenate(divided))
    return bool(after < 0.7 * before and before > 4)


def read_levels(file: Path) -> UInt8[np.ndarray, "h w"]:
    """Levels of a mask file: numbers of a palette as they are, 16 bits as 8, colors by their brightest.

    Raises InputError for files that are no pictures.
    """
    with open_picture(file) as picture, reading_picture(file):
        check_sums(picture, file)
        picture.load()
        if picture.mode == "P":
            return np.array(picture)
        if picture.mode == "1":
            return np.array(picture.convert("L"))
        if picture.mode.startswith("I") or picture.mode == "F":
            deep = np.asarray(picture, np.float64)
            if deep.max(initial=0) <= 1:
                return np.rint(deep * 255).astype(np.uint8)
            return np.clip(deep / 257 if deep.max() > 255 else deep, 0, 255).astype(np.uint8)
        values = np.array(picture.convert("RGBA"))
        opaque = values[..., 3].min() == 255
        return values[..., :3].max(-1) if opaque or values[..., :3].any() else values[..., 3]


class WithAlpha:
    """A source whose alpha is read as it is meant; masks of another source or of files become alpha.

    masks: a file a frame, or a source whose frames are masks. Raises InputError where they do not fit.
    """

    def __init__(self, source: Source, masks: Sequence[Path] | Source | None = None) -> None:
        self._source, self._masks = source, masks
        self.times, self.duration = source.times, source.duration
        self.has_alpha = True
        self.cyclic = getattr(source, "cyclic", None)
        self._rule: AlphaRule | None = None

    @property
    def notes(self) -> tuple[str, ...]:
        """Warnings in words."""
        said = self._rule.note("alpha" if self._masks is None else "mask") if self._rule else None
        return (*self._source.notes, *([said] if said else []))

    def read(
        self, indices: Sequence[int], max_side: int | None = None
    ) -> Iterator[UInt8[np.ndarray, "h w 4"]]:
        """Frames for increasing `indices`, with straight alpha."""
        rule = self._rule = self._rule or self._find_rule()
        if self._masks is None:
            for rgba in self._source.read(indices, max_side):
                yield rule.apply(rgba)
            return
        levels = self._levels(indices)
        for i, (rgba, mask) in zip(
            indices, zip(self._source.read(indices, max_side), levels, strict=True), strict=True
        ):
            yield np.dstack([rgba[..., :3], self._fitted(rule.level(mask), rgba.shape[:2], i)])

    def _find_rule(self) -> AlphaRule:
        last = len(self.times) - 1
        probes = sorted({0, last // 2, last})
        if self._masks is None:
            return alpha_rule(list(self._source.read(probes)))
        return mask_rule(list(self._levels(probes)))

    def _levels(self, indices: Sequence[int]) -> Iterator[UInt8[np.ndarray, "h w"]]:
        if isinstance(self._masks, Sequence):
            yield from (read_levels(self._masks[i]) for i in indices)
        elif self._masks is not None:
            yield from (frame[..., :3].max(-1) for frame in self._masks.read(indices))

    def _fitted(self, mask: np.ndarray, shape: tuple[int, int], index: int) -> UInt8[np.ndarray, "h w"]:
        if mask.shape == shape:
            return mask
        (h, w), (a, b) = shape, mask.shape
        if abs(w / h - b / a) > 0.02 * w / h:
            where = self._masks[index].name if isinstance(self._masks, Sequence) else f"mask {index}"
            raise InputError(
                f"{where}: {b}x{a} pixels do not fit a picture of {w}x{h}; give masks of the pictures' shape"
            )
        return np.asarray(Image.fromarray(mask).resize((w, h), Image.Resampling.BOX))
