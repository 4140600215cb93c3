"""`vid4d prepare CLIP`: cut the object out and look at it, before anything is made of it."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from tyro.conf import UseAppendAction, arg

from vid4d.commands.generate import Clip
from vid4d.errors import printable
from vid4d.runs.names import free_default
from vid4d.settings import Settings

KEYS, DENSE = 8, 64
"""Key frames, and frames in all, as efficient4d reads them of a few seconds."""


@dataclass(frozen=True)
class Prepare:
    """Cut the object out of a clip and look at it: writes the frames, a strip, and warnings."""

    clip: Clip
    """The clip: a video, GIF or WebP, a folder or quoted glob of pictures, or one picture."""
    out: Path | None = None
    """Where frames and strip go. Where not given: runs/ and the clip's name, numbered when that is taken."""
    frames: int | None = None
    """Key frames, first and last of the clip included; 0 for all frames. Where not given: 8, and 2 for each
    second of a clip of more than 4. Those between them are written, too, 64 in all at most, or 4 for each
    second, as `vid4d generate` uses them."""
    key_frames_per_second: float | None = None
    """Key frames for each second of the clip, in place of a number of them: 8 follows quick motion."""
    size: int = 256
    """Width and height of the frames in pixels."""
    start: float | None = None
    """Seconds where the part to use begins."""
    end: float | None = None
    """Seconds where it ends."""
    trim: Literal["no", "auto"] = "no"
    """Take the longest part that shows one thing, uncut. Where not asked for, that part is named."""
    every: int = 1
    """Take every n-th frame of that part before the key frames are chosen."""
    cyclic: Literal["auto", "yes", "no"] = "auto"
    """Whether the clip is a loop. 'auto' compares its ends."""
    matting: str = "auto"
    """How the background is removed: 'auto' (alpha, else a plain background), or an ONNX file."""
    matting_kind: Literal["auto", "birefnet", "isnet", "u2net"] = "auto"
    """What that file is, where it does not say so itself: each kind wants its pictures in another way."""
    masks: str = ""
    """A folder, quoted glob or video of masks, one a frame, in either polarity. Not needed where they lie
    beside the pictures of a folder, or in a folder 'masks' in it."""
    follow: Literal["auto", "yes", "no"] = "auto"
    """Whether the window follows the object. 'auto': where it crosses the picture."""
    click: Annotated[tuple[str, ...], UseAppendAction, arg(metavar="X,Y")] = ()
    """Which of several things is the object: X,Y on it, in pixels of the source, in the first frame that is
    used. May be given again, for a thing in several pieces."""
    box: Annotated[str, arg(metavar="X0,Y0,X1,Y1")] = ""
    """The same by a box around it: X0,Y0,X1,Y1, left, top, right, bottom."""
    crop: Annotated[str, arg(metavar="X0,Y0,X1,Y1")] = ""
    """Look at this part of the picture alone, in pixels of the source: inside a window or a frame of a screen
    recording, beside another picture, where the background is plain."""
    sheet: Annotated[str, arg(metavar="CxR")] = ""
    """The picture is a sheet of frames in so many columns and rows of equal cells, such as 4x2; 1x1 if it is
    one picture that looks like a sheet."""
    held: bool = False
    """Cut off what comes in from the border and holds the object, a hand, an arm, a stick, where its color
    ends."""
    keep: bool = False
    """Keep all that the masks show: bars, captions, watermarks, specks, haze, shadows."""
    fps: float = 24.0
    """Frames a second of a folder of pictures, which says nothing of time itself."""

    def run(self) -> None:
        """Writes the prepared clip and prints its warnings."""
        root = prepare(**{f.name: getattr(self, f.name) for f in dataclasses.fields(self)})
        print(f"look at {printable(str(root / 'strip.png'))}")


def prepare(
    clip: str | Path,
    *,
    out: str | Path | None = None,
    frames: int | None = None,
    key_frames_per_second: float | None = None,
    size: int = 256,
    **settings: Any,
) -> Path:
    """Writes the frames of a clip, cut out, and a strip to look at; prints warnings. Returns the folder."""
    from vid4d.clip.files import prepare_clip
    from vid4d.clip.options import ClipOptions
    from vid4d.methods.stages import CYCLIC, counts

    options = dict(settings)
    Settings(frames=frames or None, key_frames_per_second=key_frames_per_second).check_ranges()
    options |= counts(frames, key_frames_per_second, KEYS, DENSE, by_length=True)
    options["cyclic"] = CYCLIC[options.get("cyclic", "auto")]
    root = Path(out) if out is not None else free_default(str(clip), suffix="frames")
    prepared = prepare_clip(clip, root, ClipOptions(size=size, **options))
    loop = ", a loop" if prepared.cyclic else ""
    keys = "" if prepared.keys is None else f" ({len(prepared.keys)} key frames)"
    print(f"{len(prepared.times)} frames{keys} of {prepared.seconds:.2f} s{loop}; ", end="")
    print(f"mask from {prepared.matting!r} with confidence {prepared.matting_confidence:.2f}", end="")
    print(f"; the object is {prepared.object_pixels:.0f} pixels large in the source")
    for warning in prepared.warnings:
        print(f"warning: {printable(warning)}")
    return root
