"""Root motion: the way of the window that followed the clip's object, as the asset's translation.

The way lies in the plane of the picture through the object: what comes nearer or goes away is not known.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float

from vid4d.cameras import Cameras
from vid4d.clip.files import path_of
from vid4d.errors import InputError
from vid4d.export.filmed import clip_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vid4d.asset import Asset
    from vid4d.meshing.mesh_sequence import MeshSequence


def root_motion(asset: Asset, times: Sequence[float] | np.ndarray) -> Float[np.ndarray, "n 3"]:
    """Translations in world units at times in [0, 1], straight between the clip's frames; zero at time 0.

    Raises InputError where the asset lies beside no clip whose window followed its object.
    """
    found = path_of(asset.root / "frames")
    if found is None:
        raise InputError(
            f"{asset.root}: no path is known here, for the clip's window stood still, or the run's "
            "frames/ is missing; leave --root-motion out, or make the run again with --follow yes"
        )
    at, path = found
    if asset.cyclic:
        at, path = np.append(at, 1.0), np.vstack([path, path[:1]])
    filmed = clip_of(asset)
    camera = Cameras.orbit(0.0, asset.elevation) if filmed is None else filmed.camera
    pose = camera.world_to_camera[0].double().cpu().numpy()
    window = float(pose[2, 3]) * camera.width / float(camera.focal[0])  # seen at the distance of the origin
    moved = np.stack([np.interp(times, at, path[:, i]) for i in (0, 1)], -1)
    return moved @ (window * pose[:2, :3])


def walking(sequence: MeshSequence, asset: Asset) -> MeshSequence:
    """Meshes of an asset, each where the object is at its time. Raises InputError as `root_motion`."""
    places = root_motion(asset, sequence.times).astype(np.float32)
    meshes = [replace(m, vertices=m.vertices + p) for m, p in zip(sequence.meshes, places, strict=True)]
    return replace(sequence, meshes=tuple(meshes))


def beside(cameras: Cameras, places: Float[np.ndarray, "n 3"]) -> Cameras:
    """Cameras that see the standing asset as `cameras` would see it at n places, one for each."""
    pose = cameras.world_to_camera.clone()
    moved = torch.from_numpy(places).to(pose).expand(len(pose), 3)
    pose[:, :3, 3] += torch.einsum("nij,nj->ni", pose[:, :3, :3], moved)
    return replace(cameras, world_to_camera=pose)


def overview(asset: Asset) -> tuple[Float[np.ndarray, " 3"], float]:
    """The middle of the whole way, and how much farther away than usual a camera sees all of it."""
    way = root_motion(asset, np.linspace(0, 1, 257))
    low, high = way.min(0), way.max(0)
    return (low + high) / 2, 1 + float(np.linalg.norm(high - low))
