"""From pictures to the object alone: background, shadows, what lies beside it, holes, what holds it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import UInt8

from vid4d.clip.alpha_shadows import without_shadows
from vid4d.clip.ground import kept_shadow
from vid4d.clip.holes import fill_brief_holes
from vid4d.clip.inner import Box, Inner, matte_inside
from vid4d.clip.letting_go import let_go
from vid4d.clip.matting import Matte, matte
from vid4d.clip.mirror import mirror_row, without_mirror
from vid4d.clip.options import ClipOptions
from vid4d.clip.prompts import Prompts, keep_chosen
from vid4d.clip.right_after import RightAfter
from vid4d.clip.selection import Pictures, working_side
from vid4d.clip.source import Source
from vid4d.clip.steady import steady_masks
from vid4d.clip.subject import keep_subject
from vid4d.clip.touched import Touched
from vid4d.media.keying import Background

Frames = Sequence[UInt8[np.ndarray, "h w 4"]]


@dataclass
class CutOut:
    """The object in every picture that is looked at, and what was found out on the way.

    pictures: those that it was cut out of. objects: the same without all else. matte: the background's
    removal. told: in words. left_out: whether something was that --keep would keep. shadow: share of the mask
    that is a shadow which --keep keeps. covered: what lies over the object, in words. touched: what touches
    what was chosen, if anything.
    """

    pictures: Pictures
    objects: Frames
    matte: Matte
    told: list[str]
    left_out: bool = False
    shadow: float = 0.0
    covered: str | None = None
    touched: Touched | None = None

    @property
    def keyed(self) -> bool:
        """Whether the masks were found, and not given."""
        return self.matte.method != "alpha"


def remove_background(pictures: Pictures, options: ClipOptions) -> CutOut:
    """The pictures without background; where that is plain in a part of them, of this part.

    Raises InputError where no background can be removed.
    """

    def remove(frames: Frames) -> Matte:
        return matte(frames, options.matting, kind=options.matting_kind, keep_shadows=options.keep)

    def source_box(box: Box) -> str:
        return ",".join(map(str, pictures.places.of_box(box)))

    frames, told = pictures.frames, list(pictures.told)
    inner = Inner(frames, remove(frames)) if options.keep else matte_inside(frames, remove, source_box)
    if inner.box is not None:
        told.append(
            f"only {source_box(inner.box)} is looked at, where the background is plain, as --crop would: "
            "around it lies a frame, a band or another picture; --keep takes all"
        )
        corner = pictures.corner[0] + inner.box[1].start, pictures.corner[1] + inner.box[0].start
        pictures = replace(pictures, frames=inner.frames, corner=corner)
    return CutOut(pictures, inner.cut.frames, inner.cut, told)


def cut_object(
    cut: CutOut, source: Source, chosen: Sequence[int], prompts: Prompts, options: ClipOptions
) -> None:
    """Leaves out of what is no background all that is not the object, too.

    chosen: indices of the pictures in the source. Raises InputError where a prompt hits nothing.
    """
    if cut.matte.plain is not None and not options.keep:
        _drop_mirror_image(cut, cut.matte.plain.background)
    cut.told += cut.matte.notes
    cut.left_out = cut.matte.plain is not None and cut.matte.plain.shadows.there
    if options.keep:
        if cut.matte.plain is not None:
            _tell_kept_shadow(cut, cut.matte.plain.background)
        return
    if not cut.keyed:
        cut.objects, shadow, cut.left_out = without_shadows(cut.objects)
        cut.told += [shadow] if shadow else []
    if cut.matte.method not in ("alpha", "plain"):
        cut.objects, mended = steady_masks(cut.objects, cut.pictures.frames, source.times[chosen])
        cut.told += [mended] if mended else []
        cut.left_out |= mended is not None
    if prompts:
        cut.objects, more, cut.touched = keep_chosen(cut.objects, prompts, cut.pictures.places)
        cut.told += more
    else:
        _drop_others(cut, source, chosen, working_side(options))
    if cut.keyed:
        shines = cut.matte.plain.shines_in(cut.pictures.frames) if cut.matte.plain else None
        times = source.times[chosen]
        cut.objects, holes = fill_brief_holes(cut.objects, cut.pictures.frames, times, shines)
        cut.told += [holes] if holes else []
    if options.held:
        cut.objects, parted = let_go(cut.objects)
        cut.told.append(parted)


def _drop_mirror_image(cut: CutOut, bare: Background) -> None:
    """On a glossy table; the background is removed once more without it."""
    if (row := mirror_row(cut.pictures.frames, cut.objects, bare)) is None:
        return
    cut.pictures = replace(cut.pictures, frames=without_mirror(cut.pictures.frames, row, bare))
    cut.matte = matte(cut.pictures.frames, cut.matte.method)
    cut.objects = cut.matte.frames
    cut.told.append("a mirror image below the object is left out; --keep keeps it")


def _tell_kept_shadow(cut: CutOut, bare: Background) -> None:
    cut.shadow = round(kept_shadow(cut.pictures.frames, cut.objects, bare), 2)
    if cut.shadow:
        cut.told.append(
            f"{cut.shadow:.0%} of the mask or more is a shadow that --keep keeps: it becomes part of the "
            "asset"
        )


def _drop_others(cut: CutOut, source: Source, chosen: Sequence[int], working: int) -> None:
    """What is not the object, by what it does. working: longer side of what was read, at most."""
    pictures, places = cut.pictures, cut.pictures.places
    right_after = RightAfter(source, chosen, pictures.frames, pictures.corner, working)
    subject = keep_subject(cut.objects, source.times[chosen], places, right_after.changes)
    cut.objects, cut.covered = subject.frames, subject.covered
    cut.left_out |= bool(subject.left_out)
    cut.told += [note for note in (subject.loose, subject.covered) if note]
    cut.told += subject.left_out
