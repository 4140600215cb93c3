"""Options of exports, and the moments of the clip that an animated file holds."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from vid4d.errors import InputError

if TYPE_CHECKING:
    from vid4d.asset import Asset

Axes = Literal["y-down", "y-up", "z-up"]
"""Names in `vid4d.conventions.AXES`."""


@dataclass(frozen=True)
class ExportOptions:
    """Options of an export. One that has no effect on the format is refused."""

    force: bool = False
    """Replace files that exist."""
    time: float | None = None
    """One moment between 0 (the clip's start) and 1 (its end) instead of all; videos stand still there."""
    frames: int | None = None
    """How many moments or pictures. Where not given: as many as the duration holds."""
    fps: float | None = None
    """Moments or pictures a second. Where not given: 24, for GIF 12, for meshes 10."""
    size: int = 512
    """Width and height of pictures in pixels."""
    faces: int = 20_000
    """Triangles of a mesh, at most."""
    surface: Literal["splats", "dynerf"] = "splats"
    """What a mesh is made of: the splats, or the volume that a run of consistent4d was optimised as."""
    texture: int = 1024
    """Width of a mesh's texture in pixels, for glb and usd. 0: colors of vertices, which change over time."""
    content: Literal["both", "splats", "mesh"] = "both"
    """Of usd: the splats, a mesh, or both as variants: programs show the mesh until told otherwise."""
    axes: Axes | None = None
    """Of splats: y-down, front -z, which viewers expect; y-up, front +z; or z-up, front +x, as inside vid4d.
    Where not given: y-down, for spz y-up."""
    sh_degree: int | None = None
    """Degree of the splats' harmonics in the file, 0 to 3: filled up with zeros, or cut off. Where not given:
    their own; in PLY 0 or 3, whichever holds them."""
    background: str = "auto"
    """Of pictures: transparent, white, black or a color like '#3080ff'. 'auto': transparent, mp4 white."""
    view: Literal["turntable", "fixed", "both"] = "turntable"
    """Once around the object, from a camera that stands still, or both side by side."""
    azimuth: float = 0.0
    """Degrees around the object, where the turntable begins; 0 is where the clip was filmed from."""
    elevation: float | None = None
    """Degrees above the object's equator. Where not given: those of the clip's camera."""
    seconds: float | None = None
    """Duration of a video. Where not given: whole repetitions of the clip."""
    cameras: Path | None = None
    """A camera path as JSON (docs/formats.md) instead of a view."""
    root_motion: bool = False
    """Let the object go along the path on which the clip's window followed it, instead of staying in place.
    Videos are then seen from far enough to show all of it."""
    transforms: bool = False
    """Write the cameras of the pictures, too, as NeRF's transforms_train.json (docs/formats.md)."""
    report: Callable[[int, int], object] | None = None
    """Called with work done and of how much."""

    def check(self) -> None:
        """Raises InputError for what no format can do."""
        if self.time is not None and not 0 <= self.time <= 1:
            raise InputError(f"time {self.time:g} lies outside of the clip: 0 is its start and 1 its end")
        if self.fps is not None and not 0.1 <= self.fps <= 240:
            raise InputError(f"{self.fps:g} frames a second cannot be written: choose 0.1 to 240")
        if self.frames is not None and not 1 <= self.frames <= 10_000:
            raise InputError(f"{self.frames} frames cannot be written: choose 1 to 10000")
        if not 16 <= self.size <= 8192:
            raise InputError(f"a size of {self.size} pixels cannot be rendered: choose 16 to 8192")
        if not 4 <= self.faces <= 5_000_000:
            raise InputError(f"a mesh of {self.faces} faces cannot be made: choose 4 to 5000000")
        if self.texture and not 16 <= self.texture <= 8192:
            raise InputError(f"a texture of {self.texture} pixels cannot be made: choose 16 to 8192")
        if self.surface not in ("splats", "dynerf"):
            raise InputError(f"a mesh cannot be made of {self.surface!r}: choose splats or dynerf")
        if self.content not in ("both", "splats", "mesh"):
            raise InputError(f"a stage cannot hold {self.content!r}: choose both, splats or mesh")
        if self.axes is not None and self.axes not in get_args(Axes):
            raise InputError(f"there are no axes {self.axes!r}: choose one of {', '.join(get_args(Axes))}")
        if self.sh_degree is not None and not 0 <= self.sh_degree <= 3:
            raise InputError(f"harmonics of degree {self.sh_degree} are not written: choose 0 to 3")
        if not -36000 <= self.azimuth <= 36000:
            raise InputError(f"an azimuth of {self.azimuth:g} degrees does not exist: choose 0 to 360")
        if self.elevation is not None and not -90 <= self.elevation <= 90:
            raise InputError(f"an elevation of {self.elevation:g} degrees does not exist: choose -90 to 90")
        if self.seconds is not None and not 0.05 <= self.seconds <= 600:
            raise InputError(f"a video of {self.seconds:g} seconds cannot be made: choose 0.05 to 600")
        background_color(self.background, default=None)

    @property
    def given(self) -> frozenset[str]:
        """Names of the options about what is written that are not at their defaults."""
        about = (f for f in fields(self) if f.name not in ("force", "report"))
        return frozenset(f.name for f in about if getattr(self, f.name) != f.default)

    def elevation_for(self, asset: Asset) -> float:
        """Degrees: `elevation`, else that of the clip's camera."""
        return asset.elevation if self.elevation is None else self.elevation

    def axes_in_file(self, usual: Axes = "y-down") -> Axes:
        """`axes`, else those that programs take for granted."""
        return usual if self.axes is None else self.axes

    def report_progress(self, done: int, total: int) -> None:
        """Calls `report`, where there is one."""
        if self.report is not None:
            self.report(done, total)


@dataclass(frozen=True)
class FrameTimes:
    """Times of the clip that an animated file holds. times: in [0, 1]. fps: at which they play."""

    times: tuple[float, ...]
    fps: float

    @property
    def seconds(self) -> float:
        """Duration until the last moment has been shown."""
        return len(self.times) / self.fps


def frame_times(asset: Asset, options: ExportOptions, *, fps: float = 24.0) -> FrameTimes:
    """The moments to write: `options.time` alone, or evenly over the clip, its end included but for loops.

    fps: the format's default. Together they last as long as the clip, unless `frames` and `fps` are given.
    """
    seconds = max(asset.seconds, 1e-3)
    if options.time is not None:
        return FrameTimes((options.time,), options.fps or fps)
    count = options.frames or max(2, round(seconds * (options.fps or fps)))
    frame_rate = options.fps if options.frames and options.fps else count / seconds
    last = count if asset.cyclic else max(count - 1, 1)
    return FrameTimes(tuple(i / last for i in range(count)), frame_rate)


def background_color(text: str, *, default: str | None) -> tuple[float, float, float] | None:
    """RGB in [0, 1]; None is transparent. default: what "auto" stands for."""
    named = {"white": "#ffffff", "black": "#000000"}
    text = (default or "transparent") if text == "auto" else text
    text = named.get(text, text)
    if text == "transparent":
        return None
    if not re.fullmatch(r"#[0-9a-fA-F]{6}", text):
        raise InputError(
            f"{text!r} is no background: choose transparent, white, black or a color like #3080ff"
        )
    r, g, b = (int(text[i : i + 2], 16) / 255 for i in (1, 3, 5))
    return r, g, b


def frame_name(index: int, ending: str) -> str:
    """Names that sequence players find: frame_0000.ply, frame_0001.ply, ..."""
    return f"frame_{index:04}{ending}"
