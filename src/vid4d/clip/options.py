"""Options of reading a clip."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from vid4d.clip.matting_onnx import METHODS, MODELS, check_model, installed_model
from vid4d.clip.part import read_crop
from vid4d.clip.prompts import read_prompts
from vid4d.clip.sheet import read_grid
from vid4d.clip.sources import DEFAULT_FPS
from vid4d.errors import InputError
from vid4d.settings import check_part

OBJECT_SIZE = 200 / 256


@dataclass(frozen=True)
class ClipOptions:
    """Options of reading a clip.

    frames: number of key frames, first and last included (0 or None: all). dense: frames between the key
    frames are read, too, up to so many in all, evenly spread (0: none); they share the key frames' background
    and crop. rate, dense_rate: so many of both a second, where that makes more; of a clip that is longer than
    `rate_until` seconds no more than of one as long. start, end: seconds of the source. every: use every n-th
    frame of the source. size: pixels of the square frames. object_size: share of the frame's side that the
    object's longer side takes.
    cyclic: whether the clip is a loop; 'auto' looks. matting: 'auto', 'alpha', 'plain', or the name or file
    of an ONNX model; matting_kind: what that wants, where its file does not say. fps: frames a second of a
    folder of images. held: cut off what comes in from the border and holds the object. keep: leave all in
    the masks that they show, captions, specks and shadows, too. trim: 'auto' takes the
    longest part that shows one thing, uncut.
    masks: a folder, glob or video of masks for the clip's frames.
    follow: whether the window follows the object; 'auto' where it crosses the picture.
    crop: 'X0,Y0,X1,Y1', pixels of the source; all that is not in it is not looked at.
    sheet: 'CxR', columns and rows of a picture that holds the frames in equal cells; '1x1' for one that does
    not, though it looks so.
    click, box: which of several things is the object, 'X,Y' and 'X0,Y0,X1,Y1' as `prompts` reads them, pixels
    of the source in the first frame that is used.
    """

    frames: int | None = 8
    dense: int = 0
    rate: float = 0.0
    dense_rate: float = 0.0
    rate_until: float = math.inf
    start: float | None = None
    end: float | None = None
    every: int = 1
    size: int = 256
    object_size: float = OBJECT_SIZE
    cyclic: bool | Literal["auto"] = "auto"
    matting: str = "auto"
    matting_kind: str = "auto"
    fps: float = DEFAULT_FPS
    held: bool = False
    keep: bool = False
    trim: Literal["no", "auto"] = "no"
    masks: str | Path = ""
    follow: Literal["auto", "yes", "no"] = "auto"
    click: tuple[str, ...] = ()
    box: str = ""
    crop: str = ""
    sheet: str = ""


def check_options(o: ClipOptions) -> None:
    """Raises InputError for values that cannot be, whatever the clip, and for options that exclude each
    other; MachineError for a matting model that is not here."""
    if o.frames is not None and o.frames < 0:
        raise InputError(f"--frames {o.frames}: give the number of key frames, 0 for all")
    check_part(o.start, o.end, o.every)
    if not 16 <= o.size <= 4096:
        raise InputError(f"--size {o.size}: give 16 to 4096 pixels")
    if not 0.05 <= o.object_size <= 1:
        raise InputError(f"--object-size {o.object_size}: give a share of the picture between 0.05 and 1")
    if o.cyclic not in (True, False, "auto"):
        raise InputError(f"--cyclic {o.cyclic}: give auto, true or false")
    if o.follow not in ("auto", "yes", "no"):
        raise InputError(f"--follow {o.follow}: give auto, yes or no")
    if o.matting_kind != "auto" and o.matting in ("alpha", "plain"):
        raise InputError(f"--matting-kind has no effect beside --matting {o.matting}: leave one of them out")
    if o.matting_kind not in ("auto", *MODELS):
        raise InputError(f"--matting-kind {o.matting_kind}: give auto, {', '.join(MODELS)}")
    if o.matting_kind != "auto" and o.matting == "auto" and installed_model() is None:
        raise InputError(
            f"--matting-kind {o.matting_kind} has no effect, for no installed matting model can run: name "
            "one with --matting, or leave it out"
        )
    if o.matting not in METHODS:
        check_model(o.matting)
    if o.crop:
        read_crop(o.crop)
    if o.sheet:
        read_grid(o.sheet)
    if read_prompts(o.click, o.box) and o.keep:
        raise InputError("--click and --box have no effect beside --keep, which keeps all: leave one out")
    if o.held and o.keep:
        raise InputError("--held has no effect beside --keep, which keeps all: leave one of them out")
    if o.trim not in ("no", "auto"):
        raise InputError(f"--trim {o.trim}: give no or auto")
