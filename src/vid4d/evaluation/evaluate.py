"""One evaluation: everything opened, looked at and measured."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from vid4d import __version__
from vid4d.cameras import Cameras
from vid4d.errors import InputError
from vid4d.evaluation.distances import mesh_distances
from vid4d.evaluation.judged import Judged, open_judged
from vid4d.evaluation.measure import Numbers, mean_of, view_numbers
from vid4d.evaluation.meshes import MeshSequence
from vid4d.evaluation.networks import Networks
from vid4d.evaluation.placement import Placement
from vid4d.evaluation.protocol import Protocol
from vid4d.evaluation.result import FORMAT, VERSION, Object, Result, Source, View, digest, values
from vid4d.evaluation.seen import Seen
from vid4d.evaluation.textureless import normal_pictures
from vid4d.evaluation.truth import Truth, truths
from vid4d.files.write import written_whole
from vid4d.media.images import to_uint8
from vid4d.metrics.frechet import frechet_distance, one_video_distance
from vid4d.report.contact import draw_sheet

MOST_IN_SHEET = 12
"""Views of an object that a sheet shows, the first ones."""


@dataclass(frozen=True)
class Looked:
    """What was seen of an object and of its truth."""

    name: str
    cameras: Cameras
    judged: Seen
    truth: Seen


def evaluate(
    judged: Path,
    truth: Path,
    protocol: Protocol,
    *,
    placement: Placement | None = None,
    networks: Networks | None = None,
    device: str = "auto",
    stage: Callable[[str], Any],
    look: Callable[[Looked], object] | None = None,
) -> Result:
    """Judges a thing, or all things of a folder, against a truth.

    judged: what `open_judged` opens; where the truth has several objects, a folder with one of each name.
    truth: see `truths`. stage: gives a context manager whose value has `update(done, total)`. look: is shown
    what was seen of each object. networks: of LPIPS, CLIP and FVD, where there are any. Raises InputError.
    """
    placement, networks = placement or Placement(), networks or Networks()
    several = truths(truth, size=protocol.size or None, elevation=protocol.elevation)
    alone = _alone(truth, several)
    if not alone and (missing := [n for n in several if not _of_object(judged, n)]):
        raise InputError(
            f"{judged} has nothing called {missing[0]}, which {truth} has: give one of each name"
        )
    objects: dict[str, Object] = {}
    means: dict[str, Numbers] = {}
    absent = networks.absent
    for name, one in several.items():
        one = one.first(protocol.first)
        path = judged if alone else _of_object(judged, name)[0]
        thing = open_judged(path, placement, device)
        with stage(f"look at {name}") as bar:
            seen = thing.seen(one.cameras, one.moments, protocol.resize, bar.update)
            true = one.seen(protocol.resize)
        _check(seen, true, path)
        with stage("measure"):
            numbers = view_numbers(seen, true, one.cameras, protocol.data_range)
            for view, more in zip(numbers, _by_networks(seen, true, networks, protocol), strict=True):
                view |= more
            means[name] = (
                mean_of(numbers) | _of_meshes(thing, one) | _of_videos(seen, true, networks, protocol)
            )
        if "cd_3d" not in means[name]:
            absent["CD-3D, CD-4D, motion"] = "which need a mesh on both sides (a GLB; mesh.glb of a truth)"
        elif "cd_motion" not in means[name]:
            absent["motion"] = "which needs meshes that keep their faces over time"
        objects[name] = Object(
            _source(thing, path, {"alpha": seen.alpha, "placement": asdict(placement)}),
            _source(one.pictures, truth if alone else truth / name, _about(one, true)),
            _views(one, numbers),
            values(means[name]),
        )
        if look is not None:
            look(Looked(name, one.cameras, seen, true))
    mean = mean_of(means.values())
    return Result(
        FORMAT, VERSION, __version__, protocol.record(), objects, values(mean), absent, dict(networks.hashes)
    )


def _by_networks(seen: Seen, true: Seen, networks: Networks, protocol: Protocol) -> list[Numbers]:
    """What networks measure of each view."""
    every = []
    for view in range(seen.shape[0]):
        ours, theirs = (to_uint8(s.on_white(view)) for s in (seen, true))
        numbers: Numbers = networks.picture_measures(ours, theirs)
        if protocol.fvd == "one by one" and networks.i3d is not None:
            first, second = networks.video_features(ours), networks.video_features(theirs)
            numbers["fvd"] = one_video_distance(first, second)
        every.append(numbers)
    return every


def _of_videos(seen: Seen, true: Seen, networks: Networks, protocol: Protocol) -> Numbers:
    """FVD of all views together, where the protocol has it so."""
    views = range(seen.shape[0])
    if protocol.fvd != "views" or networks.i3d is None or len(views) < 2:
        return {}
    sets = [np.stack([networks.video_features(to_uint8(s.on_white(v))) for v in views]) for s in (seen, true)]
    return {"fvd": frechet_distance(*sets)}


def _of_meshes(thing: Judged, truth: Truth) -> Numbers:
    """Distances of the meshes, where both are meshes."""
    if not isinstance(thing, MeshSequence) or truth.mesh is None:
        return {}
    return mesh_distances(thing.surfaces(truth.moments), truth.mesh.surfaces(truth.moments))


def _alone(truth: Path, several: dict[str, Truth]) -> bool:
    """Whether it is the truth of one object, not a folder of such."""
    return truth.is_file() or (
        list(several) == [truth.resolve().name] and not (truth / truth.resolve().name).is_dir()
    )


def _of_object(judged: Path, name: str) -> list[Path]:
    """The thing of that name in a folder: a folder, or a file of any ending."""
    if not judged.is_dir():
        return []
    return sorted(p for p in judged.iterdir() if p.name == name or (p.is_file() and p.stem == name))


def _about(truth: Truth, seen: Seen) -> dict[str, Any]:
    """What decides what is seen of a truth."""
    cameras = truth.cameras
    return {
        "alpha": seen.alpha,
        "size": [cameras.width, cameras.height],
        "moments": truth.moments.count,
        "focal": [round(float(f), 4) for f in cameras.focal],
        "distance": [round(float(p.norm()), 5) for p in cameras.position],
    }


def _source(thing: Judged, path: Path, more: dict[str, Any]) -> Source:
    root = path if path.is_dir() else path.parent
    return Source(thing.kind, digest(thing.files, root), len(thing.files), more)


def _views(truth: Truth, numbers: list[Numbers]) -> list[View]:
    cameras = truth.cameras
    angles = zip(cameras.azimuth.tolist(), cameras.elevation.tolist(), numbers, strict=True)
    return [View(round(a, 3) % 360, round(e, 3) + 0.0, values(n)) for a, e, n in angles]


def _check(seen: Seen, true: Seen, path: Path) -> None:
    if seen.shape != true.shape:
        sizes = [f"{w} x {h}" for _, _, h, w in (seen.shape, true.shape)]
        raise InputError(
            f"{path} has pictures of {sizes[0]} pixels and the truth of {sizes[1]}: make them alike"
        )


def save_sheet(path: Path, every: list[Looked], *, textureless: bool = False) -> None:
    """A picture to look at: of each object the judged above the truth, views from left to right, at the first
    moment and in the middle.

    textureless: normals as colors (`normal_pictures`). Raises InputError where nothing has depth for that.
    """
    if textureless and not any(s.depth is not None for one in every for s in (one.judged, one.truth)):
        raise InputError("--textureless shows surfaces, and these are pictures alone: leave it out")
    lines: list[tuple[str, str, list[np.ndarray | None]]] = []
    for one in every:
        moments = one.judged.shape[1]
        for t in sorted({0, moments // 2}):
            for title, seen in (("judged", one.judged), ("truth", one.truth)):
                if textureless and seen.depth is None:
                    continue
                shown = _normals(seen, one.cameras, t) if textureless else _colors(seen, t)
                lines.append((title, f"{one.name[:12]}, {t}", list(shown[:MOST_IN_SHEET])))
    azimuths = [f"{a % 360:.4g}°" for a in every[0].cameras.azimuth.tolist()]
    with written_whole(path) as temporary:
        draw_sheet(lines, azimuths[:MOST_IN_SHEET], 128).save(temporary)


def _colors(seen: Seen, moment: int) -> Float[np.ndarray, "v h w 3"]:
    return np.stack([seen.on_white(v)[moment].numpy() for v in range(seen.shape[0])])


def _normals(seen: Seen, cameras: Cameras, moment: int) -> Float[np.ndarray, "v h w 3"]:
    assert seen.depth is not None
    alpha = torch.from_numpy(seen.rgba[:, moment, ..., 3]).float() / 255
    return normal_pictures(torch.from_numpy(seen.depth[:, moment]), alpha, cameras).numpy()
