"""A clip as it comes to be: reading, background removal, one window for all frames, sampling in time.

All is decided before the first frame of the clip is made; these come one after the other then, so that memory
does not grow with their number.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8

from vid4d.clip import keyframes
from vid4d.clip.alpha_shadows import without_shadows
from vid4d.clip.at_once import changes_at_once, same_where_masks_differ
from vid4d.clip.bars import cut_bars
from vid4d.clip.checker import without_checkerboard
from vid4d.clip.checks import FEW_PIXELS, warn
from vid4d.clip.crop import check_masks, crop
from vid4d.clip.cut_off import whole_ones
from vid4d.clip.dissolves import without_dissolves
from vid4d.clip.fades import without_fades
from vid4d.clip.fullsize import Shrunk, crops
from vid4d.clip.ground import kept_shadow
from vid4d.clip.held import UNSURE, grip
from vid4d.clip.holes import fill_brief_holes
from vid4d.clip.inner import Inner, matte_inside
from vid4d.clip.jitter import unsteady
from vid4d.clip.letting_go import SURE, let_go
from vid4d.clip.matte_beside import with_matte
from vid4d.clip.matting import Matte, matte
from vid4d.clip.mirror import mirror_row, without_mirror
from vid4d.clip.options import ClipOptions, check_options
from vid4d.clip.outline import sure_share
from vid4d.clip.part import Part
from vid4d.clip.places import Places
from vid4d.clip.prompts import keep_chosen, read_prompts
from vid4d.clip.right_after import RightAfter
from vid4d.clip.sheet import Sheet, grid_of, read_grid
from vid4d.clip.shots import parted_by_colors
from vid4d.clip.smear import smear_note, smeared
from vid4d.clip.source import Source
from vid4d.clip.sources import open_source
from vid4d.clip.spool import Mapped, Picked, Spool
from vid4d.clip.steady import steady_masks
from vid4d.clip.subject import keep_subject
from vid4d.clip.takes import Takes, of_objects, of_pictures, usable, way_out
from vid4d.clip.touched import Touched, noticed
from vid4d.clip.window import Windows, fit_windows
from vid4d.errors import InputError
from vid4d.files.records import LONGEST, SHORTEST

MAX_BYTES = 6 << 30
USUAL = 8
"""Key frames of a clip of a few seconds."""


@dataclass(frozen=True, eq=False)
class Draft:
    """What `vid4d.clip.clip.Clip` says of a clip, and its frames, which are made when they are asked for.

    pictures: the frames, straight alpha in [0, 1], once. told: what was found out, in words.
    """

    pictures: Iterator[Float[np.ndarray, "s s 4"]]
    times: Float[np.ndarray, " t"]
    seconds: float
    cyclic: bool
    source: str
    matting: str
    matting_confidence: float
    keys: tuple[int, ...] | None
    object_pixels: float
    path: Float[np.ndarray, "t 2"] | None
    window: tuple[float, float, float]
    frames_of: Source
    told: tuple[str, ...]

    @property
    def warnings(self) -> tuple[str, ...]:
        """Sentences for the user; all of them once the frames are made."""
        return (*self.frames_of.notes, *self.told)


def draft_clip(path_or_glob: str | Path, options: ClipOptions) -> Draft:
    """Reads a clip as `vid4d.clip.clip.read_clip` does. Raises InputError; so may `Draft.pictures`."""
    check_options(options)
    source = open_source(path_or_glob, fps=options.fps, masks=options.masks)
    if options.crop:
        source = Part(source, options.crop)
    if options.matting in ("auto", "alpha") and not options.masks:
        source = with_matte(source)
    if options.matting in ("auto", "plain") and not options.masks:
        source = without_checkerboard(source)
    if options.sheet and read_grid(options.sheet) != (1, 1):
        source = Sheet(source, options.sheet, options.fps)
    told: list[str] = []
    while True:
        result = _draft_part(source, str(path_or_glob), options)
        if isinstance(result, Draft):
            return replace(result, told=(*told, *result.told))
        told += result.reasons
        options = result.options


@dataclass(frozen=True)
class _Instead:
    """How a source is better read. reasons: why, in words."""

    options: ClipOptions
    reasons: list[str]


def _draft_part(source: Source, name: str, options: ClipOptions) -> Draft | _Instead:
    """Drafts a clip, or says how it is better read: a part of it where the options ask for that, or open."""
    size, keep = options.size, options.keep
    prompts = read_prompts(options.click, options.box)
    candidates = keyframes.in_range(source, name, options.start, options.end, options.every)
    period = keyframes.period(source, candidates, options.cyclic)
    count, dense = _counts(source, candidates, period, options)
    key = keyframes.choose_frames(source.times, candidates, count, period)
    chosen = keyframes.densify_keyframes(candidates, key, dense, period)
    seconds = keyframes.seconds(source, candidates, chosen, period)
    if not SHORTEST <= seconds <= LONGEST:
        raise InputError(
            f"{name}: what is used of it lasts {seconds:g} s, where {SHORTEST:g} to {LONGEST:g} can be: give "
            "another part, or pictures another --fps"
        )
    working = max(1024, 4 * size)
    originals = _read_frames(source, chosen, size, working)
    height, width = originals[0].shape[:2]
    seen, shrunk = max(height, width), 1.0
    if seen == working:
        height, width = next(iter(source.read(chosen[:1]))).shape[:2]
        shrunk = max(height, width) / working
    told: list[str] = []
    corner = (0, 0)
    (x0, y0), whole = getattr(source, "corner", (0, 0)), getattr(source, "whole", (width, height))
    if not keep:
        originals, bars, corner = cut_bars(originals, shrunk)
        told += [bars] if bars else []

    takes = of_pictures(originals, source.times[chosen])
    if (part := _better_part(takes, source, chosen, options)) is not None:
        return part

    def remove(pictures: Sequence[UInt8[np.ndarray, "h w 4"]]) -> Matte:
        return matte(pictures, options.matting, kind=options.matting_kind, keep_shadows=keep)

    def source_box(box: tuple[slice, slice]) -> str:
        places = Places(whole, shrunk, (corner[0] + x0 / shrunk, corner[1] + y0 / shrunk))
        return ",".join(map(str, places.of_box(box)))

    try:
        inner = Inner(originals, remove(originals)) if keep else matte_inside(originals, remove, source_box)
    except InputError as e:
        if way := way_out(takes, source.times, chosen):
            raise InputError(f"{e}; but {', '.join(takes.reasons)}: {way}") from e
        raise
    cut = inner.cut
    if inner.box is not None:
        told.append(
            f"only {source_box(inner.box)} is looked at, where the background is plain, as --crop would: "
            "around it lies a frame, a band or another picture; --keep takes all"
        )
        originals = inner.frames
        corner = (corner[0] + inner.box[1].start, corner[1] + inner.box[0].start)
    if len(source.times) == 1 and corner == (0, 0) and not (options.sheet or prompts):
        _refuse_sheet(name, cut.frames[0], (width, height))
    if cut.plain is not None and not keep:
        bare = cut.plain.background
        if (row := mirror_row(originals, cut.frames, bare)) is not None:
            originals = without_mirror(originals, row, bare)
            cut = matte(originals, cut.method)
            told.append("a mirror image below the object is left out; --keep keeps it")
    objects = cut.frames
    told += cut.notes
    covered: str | None = None
    left_out = cut.plain is not None and cut.plain.shadows.there
    if not keep and cut.method == "alpha":
        objects, shadow, left_out = without_shadows(objects)
        told += [shadow] if shadow else []
    shadow_share = 0.0
    if keep and cut.plain is not None:
        shadow_share = round(kept_shadow(originals, cut.frames, cut.plain.background), 2)
        if shadow_share:
            told.append(
                f"{shadow_share:.0%} of the mask or more is a shadow that --keep keeps: it becomes part of "
                "the asset"
            )
    touched: Touched | None = None
    if not keep:
        places = Places(whole, shrunk, (corner[0] + x0 / shrunk, corner[1] + y0 / shrunk))
        if cut.method not in ("alpha", "plain"):
            objects, mended = steady_masks(objects, originals, source.times[chosen])
            told += [mended] if mended else []
            left_out |= mended is not None
        if prompts:
            objects, more, touched = keep_chosen(objects, prompts, places)
        else:
            right_after = RightAfter(source, chosen, originals, corner, working)
            subject = keep_subject(objects, source.times[chosen], places, right_after.changes)
            objects, more, covered = subject.frames, subject.left_out, subject.covered
            left_out |= bool(more)
            told += [note for note in (subject.loose, covered) if note]
            touched = noticed(objects, places)
        told += more
        if cut.method != "alpha":
            shines = cut.plain.shines_in(originals) if cut.plain else None
            objects, holes = fill_brief_holes(objects, originals, source.times[chosen], shines)
            told += [holes] if holes else []
        if options.held:
            objects, parted = let_go(objects)
            told.append(parted)
    looked = options.cyclic == "auto" and getattr(source, "cyclic", None) is None
    if period is not None and looked and not keyframes.meets(Mapped(objects, lambda f: f[..., 3] > 127)):
        return _Instead(replace(options, cyclic=False), [])
    takes = of_objects(
        objects,
        source.times[chosen],
        takes,
        lambda i, brief: changes_at_once(source, chosen[i], chosen[i + 1], brief),
        lambda i, j: same_where_masks_differ(originals, objects, i, j),
    )
    if cut.method != "alpha":
        takes = without_fades(takes, originals, objects, source.times[chosen])
        takes = without_dissolves(takes, originals, objects, source.times[chosen])
    takes = parted_by_colors(takes, objects, source.times[chosen])
    uncut = whole_ones(objects, source.times[chosen], takes)
    if options.trim == "auto":
        takes = uncut
    elif uncut is not takes:
        told.append("enough frames show all of the object: --trim auto leaves out those that cut it off")
    if touched is not None:
        told += touched.notes(takes, source.times, chosen)
        takes = touched.good(takes, source.times[chosen]) if options.trim == "auto" else takes
    if (part := _better_part(takes, source, chosen, options, touched)) is not None:
        return part
    way = (touched.way_out if touched else way_out)(takes, source.times, chosen)
    kept, key = usable(takes, chosen, key)
    check_masks(
        Picked(objects, [i for i in kept if chosen[i] in key]), source.times[key], name, cut.method, way
    )
    unused = len(chosen) - len(kept) - len(takes.brief)
    objects, originals = Picked(objects, kept), Picked(originals, kept)
    chosen = [chosen[i] for i in kept]
    times = source.times[chosen]
    windows = fit_windows(
        objects, times, options.object_size, cyclic=period is not None, follow=options.follow
    )
    pixels = windows.extent * shrunk
    if windows.follows:
        told.append(
            f"the object crosses the picture: the window of {windows.side * shrunk:.0f} pixels follows it, "
            "and its path is kept (clip.json)"
        )
    told += takes.reasons
    if way and not any(way in said for said in told):
        told.append(f"the clip is not one take of one thing: {way}")
    told += unsteady(objects, chosen, times)
    confidence = cut.confidence
    if shadow_share:
        confidence = min(confidence, 1 - shadow_share)
    if smear := smeared(objects, lambda i: cut.contrast(kept[i], originals[i], objects[i])):
        told.append(smear_note(smear, times))
        if cut.method != "alpha":
            confidence = min(confidence, round(float(np.median([s.kept for s in smear.values()])), 3))
    if pixels < FEW_PIXELS and cut.method != "alpha":
        confidence = min(confidence, sure_share(objects, shrunk))
    if options.held:
        confidence = min(confidence, SURE)
    if covered:
        confidence = min(confidence, UNSURE)
    holding = grip(objects)
    told += [holding.note()] if holding else []
    told += warn(
        objects,
        originals,
        times,
        confidence=confidence,
        has_background=cut.method != "alpha",
        object_pixels=pixels,
        keys=[chosen.index(i) for i in key],
        rate=len(key) / seconds if options.frames and len(key) > options.frames else None,
        moved=windows.centers,
        left_out=left_out,
        prompted=bool(prompts),
        held=holding is not None,
    )
    if touched is not None:
        confidence = min(confidence, touched.confidence(kept))
    if holding and cut.method != "alpha":
        confidence = min(confidence, UNSURE)
    if unused:
        told.append(
            f"{unused} frames between the key frames show no object or nothing else: they are left out"
        )
    if shrunk > 1 and windows.side < size:
        pictures = crops(source, chosen, windows, Shrunk(objects, originals, kept, corner, seen), cut, size)
    else:
        pictures = (crop(f, windows.corner(i), size) for i, f in enumerate(objects))
    left, top, _ = windows.corner(0)
    if options.frames and len(key) > max(USUAL, options.frames):
        told.append(
            f"{seconds:.0f} s of clip get {len(key)} key frames, {len(key) / seconds:.2g} a second, which "
            f"take about {len(key) / USUAL:.2g} times as long as {USUAL}: --frames {USUAL} is quick, "
            "--key-frames-per-second has other numbers"
        )
    relative = (times - times[0]) / seconds if len(times) > 1 else np.zeros(1)
    if period is None and len(times) > 1:
        relative[-1] = 1.0
    return Draft(
        pictures,
        relative.astype(np.float64),
        float(seconds),
        period is not None,
        name,
        cut.method,
        confidence,
        None if chosen == key else tuple(chosen.index(i) for i in key),
        pixels,
        _path(windows, source, chosen, shrunk),
        (shrunk * (left + corner[0]) + x0, shrunk * (top + corner[1]) + y0, shrunk * windows.side),
        source,
        tuple(told),
    )


def _refuse_sheet(name: str, cut: UInt8[np.ndarray, "h w 4"], size: tuple[int, int]) -> None:
    """Raises InputError for a picture, without its background, that holds many."""
    if grid := grid_of(cut, size):
        columns, rows = grid
        raise InputError(
            f"{name}: looks like a sheet of {columns} x {rows} pictures of {size[0] // columns} x "
            f"{size[1] // rows}: give --sheet {columns}x{rows} if they are frames of a clip, --sheet 1x1 if "
            "all is one picture, and views of one moment to vid4d reconstruct"
        )


def _counts(
    source: Source, candidates: Sequence[int], period: int | None, options: ClipOptions
) -> tuple[int | None, int]:
    """Key frames, and frames in all, for as long as the clip is."""
    whole = keyframes.choose_frames(source.times, candidates, None, period)
    if not options.frames or len(whole) < 2:
        return options.frames, options.dense
    lasts = min(keyframes.seconds(source, candidates, whole, period), options.rate_until)
    return (
        keyframes.count_for(options.frames, options.rate, lasts),
        keyframes.count_for(options.dense, options.dense_rate, lasts),
    )


def _path(
    windows: Windows, source: Source, chosen: Sequence[int], shrunk: float
) -> Float[np.ndarray, "t 2"] | None:
    """Path of the windows, as of `Clip`; with that of the source, where its frames come from such windows."""
    moved = (windows.centers - windows.centers[0]) / windows.side
    before: Float[np.ndarray, "n 2"] | None = getattr(source, "window_path", None)
    if before is None:
        return moved if windows.follows else None
    widths = source.window_width / (windows.side * shrunk)  # type: ignore[attr-defined]
    return moved + (before[chosen] - before[chosen[0]]) * widths


def _better_part(
    takes: Takes,
    source: Source,
    chosen: Sequence[int],
    options: ClipOptions,
    touched: Touched | None = None,
) -> _Instead | None:
    """The longest take where the options ask for it and it is not the whole.

    touched: what was chosen, if others touch it; it is looked up in the new first frame then.
    """
    best = takes.best()
    if options.trim != "auto" or takes.whole() or best is None or best[1] - best[0] < 2:
        return None
    start, end = (float(source.times[chosen[i]]) for i in best)
    reasons = [*takes.reasons, f"trimmed: {start:.2f} to {end:.2f} s are used"]
    options = replace(options, start=start, end=end)
    if touched is not None and touched.parted:
        options = replace(options, click=touched.clicks(best[0]), box="")
    return _Instead(options, reasons)


def _read_frames(
    source: Source, chosen: Sequence[int], size: int, working: int
) -> Sequence[UInt8[np.ndarray, "h w 4"]]:
    frames = Spool()
    first: tuple[int, ...] = ()
    for i, frame in zip(chosen, source.read(chosen, working), strict=True):
        first = first or frame.shape
        if frame.shape != first:
            raise InputError(
                f"frames of different sizes: {first[1]}x{first[0]} pixels at first, "
                f"{frame.shape[1]}x{frame.shape[0]} at {source.times[i]:.2f} s; give frames of one size"
            )
        need = len(chosen) * (2 * frame.nbytes + 16 * size * size)
        if need > MAX_BYTES:
            raise InputError(
                f"{len(chosen)} frames would need {need / 2**30:.0f} GiB of memory and disk; ask for fewer "
                "with --frames, --key-frames-per-second or --every, or give a smaller video"
            )
        frames.append(frame)
    return frames
