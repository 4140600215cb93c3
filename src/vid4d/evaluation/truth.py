"""What things are held against: views of an object whose cameras are known."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from vid4d.cameras import DEFAULT_ELEVATION, Cameras
from vid4d.errors import InputError
from vid4d.evaluation.judged import Judged
from vid4d.evaluation.meshes import MeshSequence, check_square
from vid4d.evaluation.pictures import MatrixPictures, numbered_views
from vid4d.evaluation.seen import Moments, Report, Seen
from vid4d.files.paths import natural_order
from vid4d.matrix.files import picture_size
from vid4d.matrix.io import load_matrix
from vid4d.matrix.layouts import even_times

MESH = "mesh.glb"
"""Of the object, beside cameras.json: where its surface really is."""

MESH_VIEWS, MESH_MOMENTS, MESH_SIZE = 8, 8, 256
"""From how many sides of one elevation, at how many moments and at how many pixels a mesh alone is seen."""

CONSISTENT4D_AZIMUTHS = (-75.0, 15.0, 105.0, 195.0)
"""Of eval_0 to eval_3, from the clip's camera (the readme of the test set of Consistent4D)."""


@dataclass(frozen=True)
class Truth:
    """Views of one object at some moments.

    pictures: what the cameras saw. cameras: at the size at which things are judged. mesh: the object itself.
    """

    pictures: Judged
    cameras: Cameras
    moments: Moments
    mesh: MeshSequence | None = None

    def seen(self, how: str, report: Report | None = None) -> Seen:
        """The pictures, with the mesh's depth where there is a mesh."""
        seen = self.pictures.seen(self.cameras, self.moments, how, report)
        if self.mesh is None or seen.depth is not None:
            return seen
        check_square(self.cameras)
        return replace(seen, depth=self.mesh.depths(self.cameras, self.moments))

    def first(self, count: int | None) -> Truth:
        """The first moments only. Raises InputError for a number that there cannot be."""
        if count is None:
            return self
        if not 1 <= count <= self.moments.count:
            raise InputError(
                f"the first {count} of {self.moments.count} moments: choose 1 to {self.moments.count}"
            )
        return replace(self, moments=self.moments.first(count))


def truths(path: Path, *, size: int | None = None, elevation: float | None = None) -> dict[str, Truth]:
    """The objects of a truth by name; of a single object the folder's name.

    path: a folder with cameras.json (docs/cameras_json.md) and perhaps mesh.glb, the object itself; a GLB; a
        folder in the layout of Consistent4D's test set,
        with folders eval_0 to eval_3 of numbered pictures; or a folder of such.
    size: width at which things are judged; the pictures' own where not given.
    elevation: degrees that the cameras of eval_N look down, 0 where not given.
    Raises InputError.
    """
    if path.is_file() and path.suffix.lower() == ".glb":
        return {path.stem: _mesh_alone(path, size, elevation)}
    if not path.is_dir():
        raise InputError(
            f"there is no folder {path}: give one with cameras.json, or with eval_0, eval_1, ..."
        )
    if (path / "settings.json").is_file():
        raise InputError(
            f"{path} is a run, which is no truth: give {path / 'matrix'} to hold something against what its "
            "prior drew, or a folder with cameras.json"
        )
    alone = _truth(path, size, elevation)
    if alone is not None:
        return {path.resolve().name: alone}
    found = {}
    for inside in natural_order(p for p in path.iterdir() if p.is_dir()):
        one = _truth(inside, size, elevation)
        if one is not None:
            found[inside.name] = one
    if not found:
        raise InputError(
            f"{path} holds no truth: give a folder with cameras.json (docs/cameras_json.md), one with "
            "eval_0, eval_1, ..., or a folder of such"
        )
    return found


def _truth(path: Path, size: int | None, elevation: float | None) -> Truth | None:
    if (path / "cameras.json").is_file():
        if elevation is not None:
            raise InputError(
                f"--elevation has no effect: {path / 'cameras.json'} says the cameras; leave it out"
            )
        matrix = load_matrix(path)
        files = natural_order(p for p in path.rglob("*") if p.is_file())
        cameras = matrix.cameras.resized(size or matrix.cameras.width)
        moments = Moments(matrix.frames, tuple(matrix.times.tolist()))
        mesh = MeshSequence([path / MESH]) if (path / MESH).is_file() else None
        return Truth(MatrixPictures(matrix, files), cameras, moments, mesh)
    views = natural_order(p for p in path.iterdir() if p.is_dir() and re.fullmatch(r"eval_\d+", p.name))
    return _numbered(path, views, size, elevation) if views else None


def _numbered(path: Path, views: Sequence[Path], size: int | None, elevation: float | None) -> Truth:
    if [p.name for p in views] != [f"eval_{i}" for i in range(len(CONSISTENT4D_AZIMUTHS))]:
        raise InputError(f"{path} has {', '.join(p.name for p in views)}: the test set has eval_0 to eval_3")
    files = numbered_views(path, views)
    width, height = picture_size(files.views[0][0])
    if width != height:
        raise InputError(
            f"{files.views[0][0]} has {width} x {height} pixels: the test set's pictures are square"
        )
    cameras = Cameras.orbit(CONSISTENT4D_AZIMUTHS, elevation or 0.0, size=size or width)
    return Truth(files, cameras, Moments(len(files.views[0])))


def _mesh_alone(path: Path, size: int | None, elevation: float | None) -> Truth:
    """A mesh that is looked at from all around, as often as `MESH_VIEWS` and `MESH_MOMENTS` say."""
    mesh = MeshSequence([path])
    azimuths = [360.0 * i / MESH_VIEWS for i in range(MESH_VIEWS)]
    around = DEFAULT_ELEVATION if elevation is None else elevation
    times = tuple(even_times(MESH_MOMENTS))
    return Truth(
        mesh, Cameras.orbit(azimuths, around, size=size or MESH_SIZE), Moments(len(times), times), mesh
    )
