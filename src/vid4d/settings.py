"""Settings of a run. Nothing heavy is imported here: `vid4d --help` reads it."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from vid4d.errors import InputError

MethodName = Literal["efficient4d", "consistent4d"]


@dataclass(frozen=True)
class Settings:
    """Choices of a user. Written to the run folder; a resumed run must have the same."""

    clip: str = ""
    """The clip: a video, GIF or WebP, a folder or quoted glob of pictures, or one picture."""
    frames: int | None = None
    """Key frames, first and last of the clip included. The preset and the clip's length decide where not
    given."""
    key_frames_per_second: float | None = None
    """Key frames for each second of the clip, in place of a number of them: 8 follows quick motion."""
    method: MethodName = "efficient4d"
    """How the asset is made."""
    preset: Literal["draft", "standard", "high", "low-vram", "four-level"] = "standard"
    """How much time to spend. The last two are sizes of consistent4d's field; its 'high' is 'four-level'."""
    prior: str = "auto"
    """The network that imagines the other sides: a name of the table in `priors/base.py`, which
    `vid4d generate --help` shows, or 'auto' for the one that suits the method."""
    steps: int | None = None
    """Steps in which the prior draws the image matrix. The preset or the sampler decides where not given."""
    sampler: Literal["auto", "ddim", "dpm", "unipc"] = "auto"
    """How it draws: DDIM, DPM-Solver++ or UniPC, which need fewer steps. The preset decides for 'auto'."""
    interpolator: str = "small"
    """What finds frames between frames, and judges by them: 'small' comes with vid4d; 'rife-3' and 'rife-4'
    are the official RIFE, converted by `vid4d weights`; or a file, such as RIFE's flownet.pkl."""
    memory: float | None = None
    """GB of the graphics card that a large prior may use. Where not given: what is free."""
    device: str = "auto"
    """'auto', 'cpu', 'cuda', 'cuda:1' or 'mps'."""
    devices: int = 1
    """Graphics cards that a large prior uses at once, counted from that of --device on."""
    refine: bool = False
    """Go on from the fitted splats under the prior's score and the consistency of views in a row: efficient4d
    with a prior that gives a score. Changes little by the one that ships."""
    tune: tuple[str, ...] = ()
    """A number of the preset, NAME=VALUE, such as fit.iterations=300 (docs/methods.md#numbers-of-a-preset).
    May be given again."""
    seed: int = 0
    """The same seed gives the same bytes on the CPU."""
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
    elevation: Literal["auto"] | float = "auto"
    """Degrees that the clip's camera looks down on the object."""
    matting: str = "auto"
    """How the background is removed: 'auto' (alpha, else a plain background), or an ONNX file."""
    matting_kind: Literal["auto", "birefnet", "isnet", "u2net"] = "auto"
    """What that file is, where it does not say so itself: each kind wants its pictures in another way."""
    masks: str = ""
    """A folder, quoted glob or video of masks, one a frame, in either polarity. Not needed where they lie
    beside the pictures of a folder, or in a folder 'masks' in it."""
    follow: Literal["auto", "yes", "no"] = "auto"
    """Whether the window follows the object. 'auto': where it crosses the picture."""
    click: tuple[str, ...] = ()
    """Which of several things is the object: X,Y on it, in pixels of the source, in the first frame that is
    used. May be given again, for a thing in several pieces."""
    box: str = ""
    """The same by a box around it: X0,Y0,X1,Y1, left, top, right, bottom."""
    crop: str = ""
    """Look at this part of the picture alone, in pixels of the source: inside a window or a frame of a screen
    recording, beside another picture, where the background is plain."""
    sheet: str = ""
    """The picture is a sheet of frames in so many columns and rows of equal cells, such as 4x2; 1x1 if it is
    one picture that looks like a sheet."""
    held: bool = False
    """Cut off what comes in from the border and holds the object, a hand, an arm, a stick, where its color
    ends."""
    keep: bool = False
    """Keep all that the masks show: bars, captions, watermarks, specks, haze, shadows."""
    fps: float = 24.0
    """Frames a second of a folder of pictures, which says nothing of time itself."""
    also: tuple[str, ...] = ()
    """Another camera's picture or clip of the same object: FILE@AZIMUTH or FILE@AZIMUTH,ELEVATION, degrees.
    A clip has the timing of the main one; a picture shows its first moment. May be given again."""
    canonical: str = ""
    """A finished object that the clip shows at its first moment: an asset or run folder of ours, a PLY of 3D
    Gaussians, or a GLB of another tool. The clip gives it its motion."""
    canonical_azimuth: Literal["auto"] | float = "auto"
    """Degrees by which that object has to be turned to the left, seen from above. Found where 'auto'."""
    text: str = ""
    """A description instead of a clip, in English: makes a static object; the method is consistent4d."""
    text_model: str = "stable-diffusion-v1-5/stable-diffusion-v1-5"
    """Scores the renders of an object made from a text: a folder, or a name on the Hugging Face hub."""
    source: Literal["clip", "matrix"] = "clip"
    """What `clip` names: a clip, or the folder of an image matrix to reconstruct from."""
    layout: str = "auto"
    """How the folder of an image matrix is laid out; found out where it is 'auto'."""

    def check_ranges(self) -> None:
        """Raises InputError for numbers that no run can have."""
        check_part(self.start, self.end, self.every)
        if self.frames is not None and self.frames < 1:
            raise InputError(f"{self.frames} key frames show nothing: give 1 or more, or leave --frames out")
        rate = self.key_frames_per_second
        if rate is not None and not 0 < rate < math.inf:
            raise InputError(f"{rate:g} key frames a second cannot be taken: give a finite number above 0")
        if rate is not None and self.frames is not None:
            raise InputError("--frames and --key-frames-per-second are given: give one of them")
        if self.steps is not None and not 1 <= self.steps <= 1000:
            raise InputError(f"{self.steps} sampling steps cannot be made: choose 1 to 1000")
        if self.memory is not None and not 0 < self.memory < math.inf:
            raise InputError(f"{self.memory:g} GB of memory cannot be: give a finite number above 0")
        if not 1 <= self.devices <= 64:
            raise InputError(f"{self.devices} graphics cards cannot be used: choose 1 to 64")
        if self.elevation != "auto" and not -90 <= self.elevation <= 90:
            raise InputError(f"an elevation of {self.elevation:g} degrees does not exist: choose -90 to 90")
        check_also(self.also)
        if self.canonical_azimuth != "auto" and not -360 <= self.canonical_azimuth <= 360:
            raise InputError(
                f"--canonical-azimuth {self.canonical_azimuth}: give degrees, -360 to 360, or leave it out"
            )
        if not 0 < self.fps < math.inf:
            raise InputError(f"{self.fps:g} frames a second is no rate; give a finite number above 0")
        check_seed(self.seed)

    @property
    def label(self) -> str:
        """Name of the run: the clip, or the text's words."""
        return self.clip or re.sub(r"\W+", "_", self.text)[:48]


class Also(NamedTuple):
    """What `--also` names. azimuth, elevation: of its camera, degrees; None where it is the clip's."""

    file: str
    azimuth: float
    elevation: float | None


def read_also(text: str) -> Also:
    """Reads FILE@AZIMUTH or FILE@AZIMUTH,ELEVATION. Raises InputError for anything else."""
    file, _, direction = text.rpartition("@")
    try:
        azimuth, *more = (float(part) for part in direction.split(","))
        elevation = more[0] if more else None
    except ValueError:
        raise _no_direction(text) from None
    if not file or len(more) > 1 or not math.isfinite(azimuth):
        raise _no_direction(text)
    if elevation is not None and not -90 <= elevation <= 90:
        raise InputError(
            f"--also {text}: an elevation of {elevation:g} degrees does not exist: choose -90 to 90"
        )
    return Also(file, azimuth % 360, elevation)


def _no_direction(text: str) -> InputError:
    return InputError(
        f"--also {text}: give the file and degrees from the clip's camera, as in back.png@180 or "
        "left.mp4@270,15 (azimuth, elevation)"
    )


APART = 5.0
"""Degrees of azimuth by which cameras at one elevation have to differ: nearer ones see the same."""


def check_also(texts: Sequence[str]) -> None:
    """Raises InputError for directions that cannot be read, or are those of the clip or of each other."""
    seen: list[tuple[str, float, float | None]] = [("the clip", 0.0, None)]
    for text in texts:
        also = read_also(text)
        for name, azimuth, elevation in seen:
            away = abs((also.azimuth - azimuth + 180) % 360 - 180)
            same_height = also.elevation is None or elevation is None or also.elevation == elevation
            if away < APART and same_height:
                raise InputError(
                    f"--also {text}: {name} is seen from there already (azimuth {azimuth:g}): give another "
                    "direction, or leave one out"
                )
        seen.append((also.file, also.azimuth, also.elevation))


def as_options(settings: Mapping[str, Any], defaults: Mapping[str, Any]) -> list[str]:
    """Options of a command line for the settings that are not at their defaults; both by name.

    The clip, and what kind of source it is, are no options.
    """
    words: list[str] = []
    for name, value in settings.items():
        if name in ("clip", "source") or value == defaults.get(name):
            continue
        option = f"--{name.replace('_', '-')}"
        if isinstance(value, (tuple, list)):
            words += [word for each in value for word in (option, str(each))]
        else:
            words += [option] if value is True else [option, str(value)]
    return words


def check_seed(seed: int) -> None:
    """Raises InputError for a seed that random generators do not take."""
    if not 0 <= seed < 1 << 32:
        raise InputError(f"the seed {seed} cannot be used: choose 0 to {(1 << 32) - 1}")


def check_part(start: float | None, end: float | None, every: int) -> None:
    """Checks which part of a clip is used: seconds, and every which frame of it. Raises InputError."""
    if start is not None and not 0 <= start < math.inf:
        raise InputError(f"--start {start}: give seconds from the clip's beginning, 0 or more")
    if end is not None and not math.isfinite(end):
        raise InputError(f"--end {end}: give seconds from the clip's beginning, or leave it out")
    if end is not None and not end > (start or 0):
        raise InputError(f"--end {end}: lies before the start at {start or 0} s; give a later second")
    if every < 1:
        raise InputError(f"--every {every}: give 1 for every frame, 2 for every second one")
