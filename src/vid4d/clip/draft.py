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
from vid4d.clip.at_once import changes_at_once, same_where_masks_differ
from vid4d.clip.checker import without_checkerboard
from vid4d.clip.crop import check_masks, crop
from vid4d.clip.cut_off import whole_ones
from vid4d.clip.cutting import CutOut, cut_object, remove_background
from vid4d.clip.dissolves import without_dissolves
from vid4d.clip.fades import without_fades
from vid4d.clip.fullsize import Shrunk, crops
from vid4d.clip.judging import Used, judged
from vid4d.clip.matte_beside import with_matte
from vid4d.clip.options import ClipOptions, check_options
from vid4d.clip.part import Part
from vid4d.clip.prompts import read_prompts
from vid4d.clip.selection import Selection, read_pictures, select
from vid4d.clip.sheet import Sheet, grid_of, read_grid
from vid4d.clip.shots import parted_by_colors
from vid4d.clip.source import Source
from vid4d.clip.sources import open_source
from vid4d.clip.spool import Mapped, Picked
from vid4d.clip.takes import Takes, of_objects, of_pictures, usable, way_out
from vid4d.clip.touched import Touched, noticed
from vid4d.clip.window import Windows, fit_windows
from vid4d.errors import InputError

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
    prompts = read_prompts(options.click, options.box)
    selection = select(source, name, options)
    chosen, times = selection.chosen, source.times[selection.chosen]
    pictures = read_pictures(source, chosen, options)
    takes = of_pictures(pictures.frames, times)
    if (part := _better_part(takes, source, chosen, options)) is not None:
        return part
    try:
        cut = remove_background(pictures, options)
    except InputError as e:
        if way := way_out(takes, source.times, chosen):
            raise InputError(f"{e}; but {', '.join(takes.reasons)}: {way}") from e
        raise
    if len(source.times) == 1 and cut.pictures.corner == (0, 0) and not (options.sheet or prompts):
        _refuse_sheet(name, cut.objects[0], pictures.read_size)
    cut_object(cut, source, chosen, prompts, options)
    found_loop = options.cyclic == "auto" and getattr(source, "cyclic", None) is None
    found_loop &= selection.period is not None
    if found_loop and not keyframes.meets(Mapped(cut.objects, lambda f: f[..., 3] > 127)):
        return _Instead(replace(options, cyclic=False), [])
    takes = _takes(cut, source, chosen, takes)
    uncut = whole_ones(cut.objects, times, takes)
    if options.trim == "auto":
        takes = uncut
    elif uncut is not takes:
        cut.told.append("enough frames show all of the object: --trim auto leaves out those that cut it off")
    touched = cut.touched
    if not prompts and not options.keep and takes.whole():  # else the takes come first
        touched = cut.touched = noticed(cut.objects, cut.pictures.places)
    if touched is not None:
        cut.told += touched.notes(takes, source.times, chosen)
        takes = touched.good(takes, times) if options.trim == "auto" else takes
    if (part := _better_part(takes, source, chosen, options, touched)) is not None:
        return part
    way = (touched.way_out if touched else way_out)(takes, source.times, chosen)
    return _finished(cut, source, name, options, selection, takes, way)


def _takes(cut: CutOut, source: Source, chosen: Sequence[int], takes: Takes) -> Takes:
    """What the object tells of takes, added to what the pictures tell."""
    pictures, objects, times = cut.pictures.frames, cut.objects, source.times[chosen]
    takes = of_objects(
        objects,
        times,
        takes,
        lambda i, brief: changes_at_once(source, chosen[i], chosen[i + 1], brief),
        lambda i, j: same_where_masks_differ(pictures, objects, i, j),
    )
    if cut.keyed:
        takes = without_fades(takes, pictures, objects, times)
        takes = without_dissolves(takes, pictures, objects, times)
    return parted_by_colors(takes, objects, times)


def _finished(
    cut: CutOut,
    source: Source,
    name: str,
    options: ClipOptions,
    selection: Selection,
    takes: Takes,
    way: str,
) -> Draft:
    """The draft of the frames that can be used. way: out, where they are not one take of one thing."""
    chosen, size, shrunk = selection.chosen, options.size, cut.pictures.shrunk
    kept, key = usable(takes, chosen, selection.key)
    check_masks(
        Picked(cut.objects, [i for i in kept if chosen[i] in key]),
        source.times[key],
        name,
        cut.matte.method,
        way,
    )
    unused = len(chosen) - len(kept) - len(takes.brief)
    objects, originals = Picked(cut.objects, kept), Picked(cut.pictures.frames, kept)
    chosen = [chosen[i] for i in kept]
    times, cyclic = source.times[chosen], selection.period is not None
    windows = fit_windows(objects, times, options.object_size, cyclic=cyclic, follow=options.follow)
    pixels, told = windows.extent * shrunk, cut.told
    if windows.follows:
        told.append(
            f"the object crosses the picture: the window of {windows.side * shrunk:.0f} pixels follows it, "
            "and its path is kept (clip.json)"
        )
    told += takes.reasons
    if way and not any(way in said for said in told):
        told.append(f"the clip is not one take of one thing: {way}")
    seconds = selection.seconds
    used = Used(
        objects,
        originals,
        kept,
        chosen,
        times,
        keys=[chosen.index(i) for i in key],
        rate=len(key) / seconds if options.frames and len(key) > options.frames else None,
        windows=windows,
    )
    confidence, notes = judged(cut, used, options)
    told += notes
    if unused:
        told.append(
            f"{unused} frames between the key frames show no object or nothing else: they are left out"
        )
    if shrunk > 1 and windows.side < size:
        seen = Shrunk(objects, originals, kept, cut.pictures.corner, cut.pictures.longer)
        pictures = crops(source, chosen, windows, seen, cut.matte, size)
    else:
        pictures = (crop(f, windows.corner(i), size) for i, f in enumerate(objects))
    if options.frames and len(key) > max(USUAL, options.frames):
        told.append(
            f"{seconds:.0f} s of clip get {len(key)} key frames, {len(key) / seconds:.2g} a second, which "
            f"take about {len(key) / USUAL:.2g} times as long as {USUAL}: --frames {USUAL} is quick, "
            "--key-frames-per-second has other numbers"
        )
    relative = (times - times[0]) / seconds if len(times) > 1 else np.zeros(1)
    if not cyclic and len(times) > 1:
        relative[-1] = 1.0
    (left, top, side), (x, y) = windows.corner(0), cut.pictures.corner_in_source()
    return Draft(
        pictures,
        relative.astype(np.float64),
        float(seconds),
        cyclic,
        name,
        cut.matte.method,
        confidence,
        None if chosen == key else tuple(chosen.index(i) for i in key),
        pixels,
        _path(windows, source, chosen, shrunk),
        (shrunk * left + x, shrunk * top + y, shrunk * side),
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
