"""Files that other tools open: which formats there are, and how an export is put in its place.

A writer is a function `write(asset, out, options) -> list[Path]`. It writes to `out`, a temporary place: an
empty folder where the format is a sequence of numbered files (and no single moment was asked for), else a
path with the format's ending, beside which further files may be put (textures). It returns what it wrote.
Writers know nothing of `--force`, of full disks or of half-written files: `export` does, and moves what was
written to where it belongs.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from vid4d.errors import InputError

if TYPE_CHECKING:
    from vid4d.api import Asset
    from vid4d.gaussians.model import Gaussians3D

FAINTEST = 1 / 255
"""Splats that are less opaque than this never leave a trace in 8 bits and are left out."""


class Format(NamedTuple):
    """module, function: the writer. ending: of its files. sequence: many numbered files in a folder.

    one_moment: with `options.time`, a sequence is a single file.
    """

    module: str
    function: str
    ending: str
    help: str
    sequence: bool = False
    one_moment: bool = True


FORMATS = {
    "ply": Format("vid4d.export.ply", "write", ".ply", "3D Gaussian PLY per moment", sequence=True),
    "usd": Format("vid4d.export.usd", "write", ".usd", "OpenUSD Gaussian splats with time samples"),
    "usdz": Format("vid4d.export.usd", "write", ".usdz", "the same, packed into one file"),
    "glb": Format(
        "vid4d.export.glb", "write", ".glb", "animated mesh with vertex colours or a texture (glTF 2.0)"
    ),
    "obj": Format("vid4d.export.obj", "write", ".obj", "mesh with vertex colours per moment", sequence=True),
    "html": Format("vid4d.export.html", "write", ".html", "a page that plays and turns, in any browser"),
    "mp4": Format("vid4d.export.video", "write_mp4", ".mp4", "video (H.264)"),
    "webm": Format("vid4d.export.video", "write_webm", ".webm", "video with transparency (VP9)"),
    "gif": Format("vid4d.export.video", "write_gif", ".gif", "animated GIF with one palette"),
    "png": Format(
        "vid4d.export.video", "write_png", ".png", "numbered pictures", sequence=True, one_moment=False
    ),
}
"""What `vid4d export --to` takes."""


@dataclass(frozen=True)
class ExportOptions:
    """What to export. Each format uses the options that mean something to it."""

    force: bool = False
    """Replace files that exist."""
    time: float | None = None
    """One moment between 0 (the clip's start) and 1 (its end) instead of all; videos stand still there."""
    frames: int | None = None
    """How many moments or pictures. Where not given: as many as the duration holds."""
    fps: float | None = None
    """Moments or pictures a second. Where not given: 24, for GIF and pages 12, for meshes 10."""
    size: int = 512
    """Width and height of pictures in pixels."""
    faces: int = 20_000
    """Triangles of a mesh, at most."""
    surface: Literal["splats", "dynerf"] = "splats"
    """What a mesh is made of: the splats, or the volume that a run of consistent4d was optimised as."""
    texture: int = 0
    """Width of a mesh's texture in pixels, for glb: sharper colours, all of one moment. 0: colours of
    vertices, which change over time."""
    background: str = "auto"
    """Of pictures: transparent, white, black or a colour like '#3080ff'. 'auto': transparent, mp4 white."""
    view: Literal["turntable", "fixed", "both"] = "turntable"
    """Once around the object, from a camera that stands still, or both side by side."""
    azimuth: float = 0.0
    """Degrees around the object, where the turntable begins; 0 is where the clip was filmed from."""
    elevation: float = 15.0
    """Degrees above the object's equator."""
    seconds: float | None = None
    """Duration of a video. Where not given: whole repetitions of the clip."""
    cameras: Path | None = None
    """A camera path as JSON (docs/formats.md) instead of a view."""
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
        if not -90 <= self.elevation <= 90:
            raise InputError(f"an elevation of {self.elevation:g} degrees does not exist: choose -90 to 90")
        if self.seconds is not None and not 0.05 <= self.seconds <= 600:
            raise InputError(f"a video of {self.seconds:g} seconds cannot be made: choose 0.05 to 600")
        background_colour(self.background, default=None)

    def told(self, done: int, total: int) -> None:
        if self.report is not None:
            self.report(done, total)


@dataclass(frozen=True)
class Moments:
    """Times of the clip that an animated file holds. times: in [0, 1]. fps: at which they play."""

    times: tuple[float, ...]
    fps: float

    @property
    def seconds(self) -> float:
        """Until the last moment has been shown."""
        return len(self.times) / self.fps


def moments(asset: Asset, options: ExportOptions, *, fps: float = 24.0) -> Moments:
    """The moments to write: `options.time` alone, or evenly over the clip, its end included but for loops.

    fps: the format's default. Together they last as long as the clip, unless `frames` and `fps` are given.
    """
    seconds = max(asset.seconds, 1e-3)
    if options.time is not None:
        return Moments((options.time,), options.fps or fps)
    count = options.frames or max(2, round(seconds * (options.fps or fps)))
    rate = options.fps if options.frames and options.fps else count / seconds
    last = count if asset.cyclic else max(count - 1, 1)
    return Moments(tuple(i / last for i in range(count)), rate)


def splats_at(asset: Asset, time: float) -> Gaussians3D:
    """The splats that can be seen at a time: on the CPU, float32, those fainter than 1 / 255 left out."""
    import torch

    from vid4d.gaussians.model import Gaussians3D

    with torch.no_grad():
        splats = asset.gaussians.at(time).to("cpu", torch.float32)
        there = splats.opacities >= FAINTEST
        return Gaussians3D(
            splats.means[there], splats.covariances[there], splats.opacities[there], splats.sh[there]
        )


def background_colour(text: str, *, default: str | None) -> tuple[float, float, float] | None:
    """RGB in [0, 1]; None is transparent. default: what "auto" stands for."""
    named = {"white": "#ffffff", "black": "#000000"}
    text = (default or "transparent") if text == "auto" else text
    text = named.get(text, text)
    if text == "transparent":
        return None
    if not re.fullmatch(r"#[0-9a-fA-F]{6}", text):
        raise InputError(
            f"{text!r} is no background: choose transparent, white, black or a colour like #3080ff"
        )
    r, g, b = (int(text[i : i + 2], 16) / 255 for i in (1, 3, 5))
    return r, g, b


def export(
    asset: Asset, to: str, out: str | Path | None = None, options: ExportOptions | None = None
) -> list[Path]:
    """Writes an asset in a format of `FORMATS`, whole or not at all.

    out: a file, or a folder for numbered files; in `export/` beside the asset where not given.
    Returns the files.
    Raises InputError for an unknown format, an existing place without `force`, and bad options.
    """
    options = options or ExportOptions()
    options.check()
    chosen = FORMATS.get(to)
    if chosen is None:
        raise InputError(f"there is no format {to!r}: choose one of {', '.join(FORMATS)}")
    folder = chosen.sequence and not (chosen.one_moment and options.time is not None)
    place = _place(asset, to, chosen, None if out is None else Path(out), folder)
    _refuse_existing(place, chosen, folder, options.force)
    writer = getattr(import_module(chosen.module), chosen.function)
    made = _make_parents(place.parent)
    try:
        with tempfile.TemporaryDirectory(prefix=f".{place.name}.", dir=place.parent) as scratch:
            target = Path(scratch) / place.name
            if folder:
                target.mkdir()
            writer(asset, target, options)
            return _into_place(Path(scratch), target if folder else None, place, chosen, options.force)
    except BaseException as error:
        for parent in made:
            if not any(parent.iterdir()):
                parent.rmdir()
        if isinstance(error, OSError) and error.errno:  # people know the place, not the temporary name
            raise OSError(error.errno, os.strerror(error.errno), str(place)) from error
        raise


def _place(asset: Asset, to: str, chosen: Format, out: Path | None, folder: bool) -> Path:
    if out is None:
        return asset.root / "export" / (to if folder else f"asset{chosen.ending}")
    if folder:
        if out.suffix.lower() == chosen.ending or out.is_file():
            one = ", or choose one moment with --time" if chosen.one_moment else ""
            raise InputError(f"{out} is one file, but {to} makes many: give a folder with --out{one}")
        return out
    if out.is_dir():
        return out / f"asset{chosen.ending}"
    if out.suffix.lower() != chosen.ending:
        raise InputError(f"{out} does not end in {chosen.ending}: name it so, or choose another --to")
    return out


def _refuse_existing(place: Path, chosen: Format, folder: bool, force: bool) -> None:
    if place.is_dir() != folder and place.exists():
        raise InputError(f"{place} is a {'file' if folder else 'folder'}: name another place with --out")
    if force or not place.exists():
        return
    if not folder:
        raise InputError(f"{place} exists: replace it with --force, or name another place with --out")
    if any(place.iterdir()):
        raise InputError(f"{place} is not empty: replace its files with --force, or name another with --out")


def _make_parents(folder: Path) -> list[Path]:
    """Makes a folder; returns those that did not exist, deepest first."""
    missing = []
    for parent in (folder, *folder.parents):
        if parent.exists():
            break
        missing.append(parent)
    folder.mkdir(parents=True, exist_ok=True)
    return missing


def _into_place(scratch: Path, folder: Path | None, place: Path, chosen: Format, force: bool) -> list[Path]:
    """Moves written files from `scratch` (on the same disk) to where they belong."""
    if folder is not None:
        _readable(folder)
        files = sorted(p.relative_to(folder) for p in folder.rglob("*") if p.is_file())
        if place.exists() and any(place.iterdir()):
            for stale in place.iterdir():
                if re.fullmatch(rf"[a-z]+_\d{{4,}}{re.escape(chosen.ending)}", stale.name):
                    stale.unlink()
            for file in files:
                (place / file).parent.mkdir(parents=True, exist_ok=True)
                (folder / file).replace(place / file)
        else:
            if place.exists():
                place.rmdir()
            folder.rename(place)
        return [place / file for file in files]
    written = sorted(scratch.iterdir())
    for file in written:
        if file.name != place.name and (place.parent / file.name).exists() and not force:
            raise InputError(f"{place.parent / file.name} exists: replace it with --force")
    for file in written:
        target = place.parent / file.name
        file.replace(target)
    return [place, *(place.parent / f.name for f in written if f.name != place.name)]


def _readable(folder: Path) -> None:
    """Rights as new files have them: temporary folders are private."""
    umask = os.umask(0)
    os.umask(umask)
    folder.chmod(0o777 & ~umask)


def frame_name(index: int, ending: str) -> str:
    """Names that sequence players find: frame_0000.ply, frame_0001.ply, ..."""
    return f"frame_{index:04}{ending}"


def missing_package(package: str, what: str) -> InputError:
    """The sentence for a package of the extra `export` that is not installed."""
    return InputError(f"{what} needs {package}, which is not installed: pip install 'vid4d[export]'")
