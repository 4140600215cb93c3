"""What the alpha of pictures and the levels of masks mean: 0 and 1, upside down, colors multiplied by it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Num, UInt8
from PIL import Image
from scipy import ndimage

from vid4d.clip.source import Source
from vid4d.errors import InputError
from vid4d.media.images import row_blocks
from vid4d.media.picture_files import check_sums, in_blocks, open_picture, reading_picture

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

    def level(self, alpha: UInt8[np.ndarray, "*n"]) -> UInt8[np.ndarray, "*n"]:
        """The alpha that is meant."""
        if self.threshold is not None:
            alpha = (alpha > self.threshold) * np.uint8(255)
        return 255 - alpha if self.inverted else alpha

    def apply(self, rgba: UInt8[np.ndarray, "h w 4"]) -> UInt8[np.ndarray, "h w 4"]:
        """A picture with straight alpha as it is meant."""
        if self == AlphaRule():
            return rgba
        meant = rgba.copy()
        meant[..., 3] = self.level(rgba[..., 3])
        for rows in row_blocks(*rgba.shape[:2]) if self.premultiplied else ():
            divisor = np.maximum(meant[rows, :, 3:], 1).astype(np.float32)
            meant[rows, :, :3] = np.minimum(np.rint(rgba[rows, :, :3] * (255 / divisor)), 255)
        return meant

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


def alpha_rule(probes: Iterable[UInt8[np.ndarray, "h w 4"]]) -> AlphaRule:
    """The rule for the alpha of pictures, from a few of them, which are looked at one after the other."""
    seen = [_Seen.of(rgba) for rgba in probes]
    threshold = 0 if max(s.highest for s in seen) == 1 else None
    border = AlphaRule(threshold).level(np.concatenate([s.border for s in seen]))
    clear = np.mean([s.dark if threshold is None else s.nothing for s in seen])
    inverted = bool((border > 127).mean() > 0.98 and clear > 0.002)
    premultiplied = threshold is None and not inverted and _is_premultiplied(seen)
    return AlphaRule(threshold, inverted, premultiplied)


@dataclass(frozen=True)
class _Seen:
    """What one picture shows of its alpha.

    highest: alpha. border: alpha along the picture's. dark, nothing: share of pixels of less than half alpha,
    and of none. brighter: share of those with a color above their alpha. straight, divided: how far colors at
    soft edges are from the solid ones beside them, as they are and divided by their alpha.
    """

    highest: int
    border: UInt8[np.ndarray, " n"]
    dark: float
    nothing: float
    brighter: float
    straight: Float32[np.ndarray, " m"]
    divided: Float32[np.ndarray, " m"]

    @classmethod
    def of(cls, rgba: UInt8[np.ndarray, "h w 4"]) -> _Seen:
        alpha, height = rgba[..., 3], len(rgba)
        brighter, edges = 0, [(np.zeros(0, np.float32), np.zeros(0, np.float32))]
        for rows in row_blocks(*alpha.shape):
            some = alpha[rows].astype(np.int16)
            brighter += int(((rgba[rows, :, :3].max(-1) > some + 2) & (some < 250)).sum())
            around = slice(max(0, rows.start - REACH), min(height, rows.stop + REACH))
            edges += _soft_edges(rgba[around], slice(rows.start - around.start, rows.stop - around.start))
        return cls(
            int(alpha.max()),
            _border(alpha),
            float((alpha < 128).mean()),
            float((alpha == 0).mean()),
            brighter / alpha.size,
            np.concatenate([s for s, _ in edges]),
            np.concatenate([d for _, d in edges]),
        )


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


def _soft_edges(
    rgba: UInt8[np.ndarray, "h w 4"], rows: slice
) -> list[tuple[Float32[np.ndarray, " m"], Float32[np.ndarray, " m"]]]:
    """`straight` and `divided` of `_Seen`, of the soft edges in these rows; none where there are none."""
    alpha = rgba[..., 3]
    soft = np.zeros(alpha.shape, bool)
    soft[rows] = (alpha[rows] >= 24) & (alpha[rows] <= 224)
    if not soft.any() or not (alpha >= 250).any():
        return []
    distance, near = ndimage.distance_transform_edt(alpha < 250, return_indices=True)
    at = np.nonzero(soft & (distance <= REACH))
    color, beside = (rgba[i, k, :3].astype(np.float32) for i, k in (at, (near[0][at], near[1][at])))
    divided = color * (255 / alpha[at].astype(np.float32)[:, None])
    return [(np.abs(color - beside).mean(-1), np.abs(divided - beside).mean(-1))]


def _is_premultiplied(seen: Sequence[_Seen]) -> bool:
    """Whether no color exceeds its alpha and soft edges match the solid colors beside them only when divided.

    Straight colors at soft edges are like those beside them as they are.
    """
    straight, divided = (np.concatenate(e) for e in ([s.straight for s in seen], [s.divided for s in seen]))
    if any(s.brighter > 2e-4 for s in seen) or len(straight) < 32:
        return False
    before, after = np.median(straight), np.median(divided)
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
            return _eight_bits(np.asarray(picture))
        brightest, alpha = (np.empty((picture.height, picture.width), np.uint8) for _ in range(2))
        for rows, part in in_blocks(picture):
            values = np.asarray(part.convert("RGBA"))
            brightest[rows], alpha[rows] = values[..., :3].max(-1), values[..., 3]
        return brightest if alpha.min() == 255 or brightest.any() else alpha


def _eight_bits(deep: Num[np.ndarray, "h w"]) -> UInt8[np.ndarray, "h w"]:
    """Levels of a mask whose white is 1, 255 or 65535."""
    top = 1 if deep.max(initial=0) <= 1 else 65535 if deep.max() > 255 else 255
    levels = np.empty(deep.shape, np.uint8)
    for rows in row_blocks(*deep.shape):
        exact = deep[rows].astype(np.float64)
        levels[rows] = np.rint(exact * 255) if top == 1 else np.clip(exact / (top / 255), 0, 255)
    return levels


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
            return alpha_rule(self._source.read(probes))
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
