"""`vid4d render RUN`: stills and orbits of an asset."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import Positional, arg

from vid4d.errors import InputError, printable
from vid4d.files import manifest
from vid4d.files.paths import is_taken
from vid4d.files.write import note_written, written_whole

if TYPE_CHECKING:
    from vid4d.asset import Asset
    from vid4d.cameras import Cameras
    from vid4d.export.options import ExportOptions


@dataclass(frozen=True)
class Render:
    """Render stills or an orbit of an asset."""

    asset: Positional[Annotated[str, arg(metavar="RUN")]]
    """A run folder or an asset.safetensors."""
    out: Path | None = None
    """A .png for one still, a folder for several, an .mp4 for an orbit. Where not given: beside the asset."""
    azimuth: tuple[float, ...] = (0.0,)
    """Degrees around the object; 0 is where the clip was filmed from. Several give several stills."""
    elevation: tuple[float, ...] | None = None
    """Degrees above the object's equator. Several give several stills. Where not given: those of the clip's
    camera."""
    time: tuple[float, ...] = (0.0,)
    """Moments between 0 (the clip's start) and 1 (its end). Several give several stills."""
    size: int = 512
    """Width and height in pixels."""
    orbit: bool = False
    """One turn around the object while time plays, as a video, at the first elevation given."""
    seconds: float | None = None
    """Duration of the orbit. Where not given: whole repetitions of the clip, 4 seconds at least."""
    transparent: bool = False
    """Stills with an alpha channel instead of on white."""
    root_motion: bool = False
    """Let the object go along the path on which the clip's window followed it, instead of staying in place;
    all of that path is in the picture."""
    transforms: bool = False
    """Write the cameras, too, as NeRF's transforms_train.json (docs/formats.md)."""
    force: bool = False
    """Replace files that exist."""
    device: str = "auto"
    """'auto', 'cpu', 'cuda' or 'cuda:1'."""

    def run(self) -> None:
        """Renders, and prints the files."""
        for path in render_files(**{f.name: getattr(self, f.name) for f in dataclasses.fields(self)}):
            print(printable(str(path)))


def render_files(
    asset: str | Path,
    *,
    out: Path | None = None,
    azimuth: Sequence[float] = (0.0,),
    elevation: Sequence[float] | None = None,
    time: Sequence[float] = (0.0,),
    size: int = 512,
    orbit: bool = False,
    seconds: float | None = None,
    transparent: bool = False,
    root_motion: bool = False,
    transforms: bool = False,
    force: bool = False,
    device: str = "auto",
) -> list[Path]:
    """Stills at all combinations of the angles (degrees) and times ([0, 1]), or an orbit as a video.

    out: a .png for one still, a folder for several, an .mp4 for an orbit (which it then is); beside the asset
        where not given. root_motion: the object goes along its path, all of which is in the picture.
    force: replace files that exist; those that vid4d wrote into a folder and nobody changed need no force.
    Returns the files written. Raises InputError for bad values.
    """
    for name, values in (("azimuth", azimuth), ("elevation", elevation), ("time", time)):
        if values is not None and not values:
            raise InputError(f"--{name} needs at least one number")
    if turned := [a for a in azimuth if not -36000 <= a <= 36000]:
        raise InputError(f"an azimuth of {turned[0]:g} degrees does not exist: choose 0 to 360")
    if not 8 <= size <= 8192:
        raise InputError(f"a size of {size} pixels cannot be rendered: choose 8 to 8192")
    if outside := [t for t in time if not 0 <= t <= 1]:
        raise InputError(f"time {outside[0]:g} lies outside of the clip: 0 is its start and 1 its end")
    if steep := [e for e in elevation or () if not -90 <= e <= 90]:
        raise InputError(f"an elevation of {steep[0]:g} degrees does not exist: choose -90 to 90")
    is_orbit = orbit or (out is not None and out.suffix.lower() == ".mp4")
    _refuse_unused(is_orbit, azimuth, elevation or (), time, transparent, seconds)
    from vid4d.asset import load
    from vid4d.cameras import Cameras
    from vid4d.export.options import ExportOptions
    from vid4d.export.transforms import write_transforms

    opened = load(asset, device)
    if root_motion:
        from vid4d.export.root_motion import root_motion as way_of

        way_of(opened, [0.0])  # refuses before anything is made where there is none
    elevation = [opened.elevation] if elevation is None else elevation
    ending = out.suffix.lower() if out is not None else ""
    if is_orbit:
        options = ExportOptions(
            azimuth=azimuth[0],
            elevation=elevation[0],
            size=size,
            seconds=seconds,
            root_motion=root_motion,
            transforms=transforms,
        )
        return _render_orbit(opened, out, ending, options, force)
    if ending not in ("", ".png"):
        raise InputError(f"{out} has an unknown ending: use .png for a still or .mp4 for an orbit")
    views = list(product(azimuth, elevation, time))
    if ending == ".png" and len(views) > 1:
        raise InputError(f"{len(views)} stills do not fit into {out}: give a folder with --out")
    folder = _folder(opened, out)
    files = [folder / f"azimuth{a:g}_elevation{e:g}_time{t:g}.png" for a, e, t in views]
    if out is not None and ending == ".png":
        files = [out]
    beside = [_cameras_file(folder, files[0] if ending == ".png" else None)] if transforms else []
    _refuse_existing([*files, *beside], force)
    cameras = []
    for file, (a, e, t) in zip(files, views, strict=True):
        cameras.append(_write_still(file, opened, a, e, t, size, transparent, root_motion))
        if ending != ".png":
            note_written(folder, file.name, manifest.RENDER)
    for path in beside:
        write_transforms(path, Cameras.cat(cameras), [t for *_, t in views], [f"./{f.stem}" for f in files])
        if ending != ".png":
            note_written(folder, path.name, manifest.RENDER)
    return [*files, *beside]


def _refuse_unused(
    is_orbit: bool,
    azimuth: Sequence[float],
    elevation: Sequence[float],
    time: Sequence[float],
    transparent: bool,
    seconds: float | None,
) -> None:
    """Raises InputError for an option that has no effect on what is rendered."""
    if not is_orbit and seconds is not None:
        raise InputError("--seconds has no effect on stills: leave it out, or ask for an --orbit")
    if is_orbit and tuple(time) != (0.0,):
        raise InputError("--time has no effect on an orbit, in which time plays: leave it out")
    if is_orbit and transparent:
        raise InputError("--transparent has no effect on an orbit: vid4d export --to webm has it")
    for name, values in (("azimuth", azimuth), ("elevation", elevation)):
        if is_orbit and len(values) > 1:
            raise InputError(f"an orbit begins at one {name}, and {len(values)} are given: give one")


def _folder(asset: Asset, out: Path | None) -> Path:
    return asset.root / "renders" if out is None else out


def _refuse_existing(files: Sequence[Path], force: bool) -> None:
    """Raises InputError for files that exist, unless renders of before that nobody changed since."""
    for file in files:
        if file.is_dir():
            raise InputError(f"{file} is a folder: name another place with --out")
        ours = manifest.wrote(file.parent, file.name, manifest.read(file.parent, manifest.RENDER))
        if is_taken(file) and not force and not ours:
            raise InputError(f"{file} exists: replace it with --force, or name another place with --out")


def _cameras_file(folder: Path, still: Path | None) -> Path:
    """Where the cameras of stills go: in their folder, or beside the only one."""
    from vid4d.export.transforms import FILE

    return folder / FILE if still is None else still.with_name(f"{still.stem}_transforms.json")


def _render_orbit(
    asset: Asset, out: Path | None, ending: str, options: ExportOptions, force: bool
) -> list[Path]:
    from vid4d.export.camera_path import plan
    from vid4d.export.transforms import beside_video
    from vid4d.export.video import write_mp4, write_turntable

    seconds, elevation = options.seconds, options.elevation_for(asset)
    if seconds is not None and not 0.1 <= seconds <= 600:
        raise InputError(f"an orbit of {seconds:g} seconds cannot be made: choose 0.1 to 600")
    if out is not None and ending not in ("", ".mp4"):
        raise InputError(f"{out} has an unknown ending for an orbit: use .mp4")
    name = f"orbit_elevation{elevation:g}.mp4"
    file = out if out is not None and ending == ".mp4" else _folder(asset, out) / name
    beside = [file.with_name(f"{file.stem}_transforms.json")] if options.transforms else []
    _refuse_existing([file, *beside], force)
    file.parent.mkdir(parents=True, exist_ok=True)
    if options.root_motion:
        write_mp4(asset, file, replace(options, transforms=False))
    else:
        write_turntable(
            file,
            asset.gaussians,
            seconds=asset.seconds,
            duration=seconds,
            azimuth=options.azimuth,
            elevation=elevation,
            size=options.size,
        )
    if beside:
        beside_video(file, plan(asset, options))
    if ending != ".mp4":
        for path in (file, *beside):
            note_written(path.parent, path.name, manifest.RENDER)
    return [file, *beside]


def _write_still(
    file: Path,
    asset: Asset,
    azimuth: float,
    elevation: float,
    time: float,
    size: int,
    transparent: bool,
    walking: bool,
) -> Cameras:
    """Writes it; returns its camera."""
    from PIL import Image

    from vid4d.cameras import RING_DISTANCE, Cameras
    from vid4d.export.root_motion import beside, overview, root_motion
    from vid4d.media.images import to_uint8

    camera = Cameras.orbit([azimuth], elevation, size=size)
    if walking:
        middle, farther = overview(asset)
        camera = Cameras.orbit([azimuth], elevation, distance=RING_DISTANCE * farther, size=size)
        camera = beside(camera, root_motion(asset, [time]) - middle)
    picture = asset.render(camera, time, background=None if transparent else 1.0)[0]
    with written_whole(file) as temporary:
        Image.fromarray(to_uint8(picture)).save(temporary)
    return camera
