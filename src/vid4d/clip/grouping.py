"""What a folder or a glob of pictures holds: a sequence, pictures with masks, or more than could be meant."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from vid4d.clip.naming import Series, picking_glob, series_of
from vid4d.errors import InputError
from vid4d.files.paths import natural_order
from vid4d.media.picture_files import in_blocks, open_picture, reading_picture

RGBA = {"rgba"}
PICTURES = {"rgb", "color", "colour", "colors", "image", "images", "img", "imgs", "frame", "frames", "input"}
MASKS = {"mask", "masks", "matte", "mattes", "alpha", "alphas", "seg", "segmentation", "segmentations"}
MASKS |= {"silhouette", "silhouettes", "annotation", "annotations"}
OTHERS = {"normal", "normals", "depth", "depths", "disparity", "albedo", "diffuse", "specular", "roughness"}
OTHERS |= {
    "metallic",
    "ao",
    "flow",
    "uv",
    "position",
    "thumb",
    "thumbs",
    "thumbnail",
    "thumbnails",
    "preview",
}
OTHERS |= {"previews"}
"""Words of file and folder names that say what pictures are."""

FEW = 0.25
"""Pictures beside a sequence are left out where they are fewer than this share of it."""


@dataclass(frozen=True)
class Found:
    """Pictures in order, a mask for each where there are masks, and what was decided, in words."""

    files: tuple[Path, ...]
    masks: tuple[Path, ...] | None = None
    notes: tuple[str, ...] = ()


def understand(root: Path, files: Sequence[Path], name: str) -> Found:
    """Decides what is the clip among picture files that lie below `root`.

    name: what the user gave, for messages. Raises InputError where two sequences could be meant, and where
    masks do not fit the pictures.
    """
    every = series_of(root, files)
    if len(every) == 1:
        return Found(every[0].files, None, every[0].notes)
    scattered = len(every) > max(2, len(files) / 2) or all(len(s.files) == 1 for s in every)
    if scattered and not any(s.words & (MASKS | OTHERS) for s in every):
        return _without_pattern(files)
    pictures, masks, aside = _roles(every)
    most = max((len(s.files) for s in pictures), default=0)
    for series in list(pictures):
        if len(pictures) > 1 and (len(series.files) == 1 < most or len(series.files) < FEW * most):
            pictures.remove(series)
            aside.append(series)
    if len(pictures) > 1:
        raise InputError(_several(root, pictures, files, name))
    notes = [*pictures[0].notes]
    if aside:
        labels = ", ".join(_label(root, s) for s in aside[:3]) + (" and more" if len(aside) > 3 else "")
        notes.append(f"{labels}: not of the sequence {_label(root, pictures[0])}, left out")
    if not masks:
        return Found(pictures[0].files, None, tuple(notes))
    if len(masks) > 1:
        labels = " and ".join(_label(root, s) for s in masks[:2])
        raise InputError(f"{name}: holds masks twice, {labels}; name those to use with --masks")
    paired = pair(pictures[0], masks[0], name)
    notes.append(f"{_label(root, masks[0])}: taken for the masks of {_label(root, pictures[0])}")
    return Found(pictures[0].files, paired, tuple(notes))


def pair(pictures: Series, masks: Series, name: str) -> tuple[Path, ...]:
    """A mask for each picture: by their numbers, or in their order where no number fits and counts are equal.

    Raises InputError where a picture has none.
    """
    by_counter = dict(zip(masks.counters, masks.files, strict=True))
    found = [by_counter.get(c) for c in pictures.counters]
    if all(f is None for f in found) and len(masks.files) == len(pictures.files):
        return masks.files
    paired = tuple(f for f in found if f is not None)
    if len(paired) < len(found):
        lacking = pictures.files[found.index(None)].name
        raise InputError(
            f"{name}: {len(pictures.files)} pictures but masks for {len(paired)} of them, none for "
            f"{lacking}; give a mask with the same number for every picture"
        )
    return paired


def _roles(every: list[Series]) -> tuple[list[Series], list[Series], list[Series]]:
    """Series that are pictures, masks, and neither."""
    rgba = [s for s in every if s.words & RGBA]
    if rgba:
        return rgba, [], [s for s in every if s not in rgba]
    masks = [s for s in every if s.words & MASKS]
    aside = [s for s in every if s.words & OTHERS and s not in masks]
    pictures = [s for s in every if s not in masks and s not in aside]
    if not pictures:
        pictures, aside = (aside, []) if aside else (masks, [])
        masks = [m for m in masks if m not in pictures]
    if not masks and len(pictures) > 1:
        masks = [m for m in pictures if _fits_another(m, pictures) and _shows_masks(m)]
        if len(masks) < len(pictures):
            pictures = [s for s in pictures if s not in masks]
        else:
            masks = []
    named = [s for s in pictures if s.words & PICTURES]
    if len(named) == 1 and len(pictures) > 1 and masks:
        aside, pictures = aside + [s for s in pictures if s not in named], named
    return pictures, masks, aside


def _fits_another(masks: Series, every: Sequence[Series]) -> bool:
    return any(s is not masks and set(s.counters) <= set(masks.counters) for s in every)


def _shows_masks(series: Series) -> bool:
    """Whether the pictures are grey and nearly all black and white; looks at three."""
    for file in {series.files[0], series.files[len(series.files) // 2], series.files[-1]}:
        with open_picture(file) as picture, reading_picture(file):
            if picture.mode in ("1", "P"):
                continue
            if picture.has_transparency_data:
                return False
            counts = np.zeros(256, np.int64)
            for _, part in in_blocks(picture):
                values = np.asarray(part.convert("RGB")).astype(np.int16)
                if np.abs(values - values[..., 1:2]).max() > 8:
                    return False
                counts += np.bincount(values[..., 1].ravel(), minlength=256)
        levels = np.flatnonzero(counts)
        low, high = int(levels[0]), int(levels[-1])
        near = (levels - low <= 0.05 * (high - low)) | (high - levels <= 0.05 * (high - low))
        if counts[levels[near]].sum() < 0.97 * counts.sum() or low > 8:
            return False
    return True


def _without_pattern(files: Sequence[Path]) -> Found:
    ordered = tuple(natural_order(files))
    shown = ", ".join(f.name for f in ordered[:3])
    note = f"the names follow no pattern: the order of the pictures is that of their names, {shown}, ..."
    return Found(ordered, None, (note,) if len(ordered) > 1 else ())


def _label(root: Path, series: Series) -> str:
    """What a series is called in messages: its glob without the folder."""
    if len(series.files) == 1:
        return series.files[0].relative_to(root).as_posix()
    pattern = picking_glob(
        Path(), replace(series, files=tuple(f.relative_to(root) for f in series.files)), ()
    )
    return (pattern or series.files[0].name).removeprefix("./")


def _several(root: Path, pictures: Sequence[Series], files: Sequence[Path], name: str) -> str:
    told = [f"{_label(root, s)} ({len(s.files)} pictures)" for s in pictures[:2]]
    count = {2: "two"}.get(len(pictures), str(len(pictures)))
    more = f" and {len(pictures) - 2} more" if len(pictures) > 2 else ""
    globs = [g for s in pictures[:2] if (g := picking_glob(root, s, files)) is not None]
    way = " or ".join(f"'{g}'" for g in globs) if globs else "move all others elsewhere"
    return (
        f"{name}: holds {count} sequences that could be meant, {told[0]}, {told[1]}{more}; "
        f"{'name one: ' if globs else ''}{way}"
    )
