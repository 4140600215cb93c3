"""What is judged: our assets, splats and meshes of other tools, their pictures and videos."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal, Protocol, runtime_checkable

from msgspec import Meta, Struct

from vid4d import asset as assets
from vid4d.cameras import Cameras
from vid4d.compute.machine import resolve_device
from vid4d.errors import InputError
from vid4d.evaluation.meshes import MeshSequence
from vid4d.evaluation.pictures import VIDEOS, MatrixPictures, ViewFiles, view_files
from vid4d.evaluation.placement import AS_IT_IS, NAMES, Placement
from vid4d.evaluation.seen import Moments, Report, Seen, chosen_moments, splat_views
from vid4d.export.moments import TIMES
from vid4d.files.paths import natural_order, refuse_special
from vid4d.files.records import Time, read_record
from vid4d.gaussians.model import Gaussians3D
from vid4d.gaussians.raster import splat_device
from vid4d.gaussians.splats_ply import read_splats
from vid4d.matrix.io import load_matrix
from vid4d.matrix.layouts import detect


@runtime_checkable
class Judged(Protocol):
    """A thing that can be looked at. kind: what it is, in words. files: what it consists of."""

    @property
    def kind(self) -> str: ...

    @property
    def files(self) -> list[Path]: ...

    def seen(
        self, cameras: Cameras, moments: Moments, how: str = "area", report: Report | None = None
    ) -> Seen:
        """What the cameras see at the moments. how: pictures come to another size (`at_size`)."""
        ...


@dataclass(frozen=True)
class SplatSequence:
    """Splats that can be drawn at any moment, placed in the truth's world.

    at: which splats stand for the moments, as a function from a moment's number.
    """

    kind: str
    files: list[Path]
    at: Callable[[Moments], Callable[[int], Gaussians3D]]
    placement: Placement = AS_IT_IS

    def seen(
        self, cameras: Cameras, moments: Moments, how: str = "area", report: Report | None = None
    ) -> Seen:
        """Renders of the splats."""
        placed = self.placement.cameras(cameras) if self.placement.moved else cameras
        seen = splat_views(self.at(moments), moments.count, placed, report)
        assert seen.depth is not None
        return replace(seen, depth=seen.depth * self.placement.scale)


class FrameTime(Struct):
    """A file of a sequence, and its time in [0, 1]."""

    file: Annotated[str, Meta(min_length=1, max_length=255)]
    time: Time


class Times(Struct):
    """times.json beside a PLY sequence, as `vid4d export --to ply` writes it."""

    frames: Annotated[list[FrameTime], Meta(min_length=1, max_length=100_000)]
    axes: Literal["z-up", "y-up", "y-down"] = "z-up"


def open_judged(path: str | Path, placement: Placement | None = None, device: str = "auto") -> Judged:
    """Opens what is to be judged, by what lies there.

    A run folder or asset.safetensors; a PLY of 3D Gaussians, or a folder of one a moment; an animated GLB, or
    a folder of one a moment; an image matrix; a folder with a folder of pictures, or a video, per view.
    Raises InputError for anything else, and where the placement has no effect.
    """
    path, placement = Path(path), placement or Placement()
    if not path.exists():
        raise InputError(f"there is no {path}: give a run folder, splats, a GLB, or pictures of views")
    refuse_special(path)
    if path.suffix == ".safetensors" or (path / assets.ASSET).exists() or (path / "settings.json").exists():
        return _asset(path, placement, device)
    if path.is_file():
        if path.suffix.lower() == ".ply":
            return _splats([path], None, placement, device)
        if path.suffix.lower() in VIDEOS:
            return _unplaced(ViewFiles(((path,),), "videos"), placement, path)
        if path.suffix.lower() == ".glb":
            return _meshes([path], placement)
        raise InputError(f"{path} cannot be judged: give a run folder, splats, a GLB, or pictures of views")
    if plys := natural_order(path.glob("*.ply")):
        return _sequence(path, plys, placement, device)
    if not (path / "cameras.json").is_file() and (glbs := natural_order(path.glob("*.glb"))):
        return _meshes(glbs, placement)
    if (path / "cameras.json").is_file() or detect(path) is not None:
        files = natural_order(p for p in path.rglob("*") if p.is_file())
        return _unplaced(MatrixPictures(load_matrix(path), files), placement, path)
    found = view_files(path)
    if found is None:
        raise InputError(
            f"{path} holds nothing that can be judged: give a run folder, PLY files of splats, GLB files, "
            "an image matrix, or a folder or video per view"
        )
    return _unplaced(found, placement, path)


def _unplaced(found: Judged, placement: Placement, path: Path) -> Judged:
    if placement.moved:
        raise InputError(
            f"{path} are pictures, which cannot be moved: leave --up, --turn, --scale and --shift out"
        )
    return found


def _meshes(files: list[Path], placement: Placement) -> Judged:
    if placement.up != "z":
        raise InputError("--up has no effect on GLB files, whose upward axis is y: leave it out")
    return MeshSequence(files, placement)


def _asset(path: Path, placement: Placement, device: str) -> Judged:
    if placement.up != "z":
        raise InputError("--up has no effect on an asset of vid4d, whose axes are known: leave it out")
    asset = assets.load(path, device)

    def at(moments: Moments) -> Callable[[int], Gaussians3D]:
        times = moments.over(asset.cyclic)
        return lambda i: asset.gaussians.at(times[i])

    return SplatSequence("asset of vid4d", [asset.path], at, placement)


def _splats(files: list[Path], times: list[float] | None, placement: Placement, device: str) -> Judged:
    target = resolve_device(device)
    target = splat_device(target) if device == "auto" else target

    def at(moments: Moments) -> Callable[[int], Gaussians3D]:
        order = chosen_moments(len(files), times, moments, str(files[0].parent))
        return lambda i: read_splats(files[order[i]]).to(target)

    return SplatSequence(f"PLY of 3D Gaussians, {len(files)} moments", files, at, placement)


def _sequence(folder: Path, found: list[Path], placement: Placement, device: str) -> Judged:
    """The files of a folder in their order; in that of times.json, with its times and axes, where it is."""
    record = folder / TIMES
    if not record.is_file():
        return _splats(found, None, placement, device)
    told = read_record(record, Times, "correct it, or remove it to take the files in their order")
    up = next(up for up, name in NAMES.items() if name == told.axes)
    if placement.up not in ("z", up):
        raise InputError(f"{record} says that the axes are {told.axes}: leave --up out")
    listed, known = told.frames, {p.name: p for p in found}
    if missing := [f.file for f in listed if f.file not in known]:
        raise InputError(f"{record} names {missing[0]}, which is not there: export the sequence again")
    files, times = [known[f.file] for f in listed], [f.time for f in listed]
    return _splats(files, times, replace(placement, up=up), device)
