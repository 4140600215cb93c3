"""Held-out clips with known truth: what priors are evaluated on."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from vid4d.cameras import Cameras
from vid4d.training.mesh_render import fit_to_frame, render_with_depth
from vid4d.training.meshes import MeshBank, MeshBatch

GOLDEN_ANGLE = 137.508

HELD_OUT = {
    "081134827596": "bulldog",
    "e9158775ac65": "Renault Scenic",
    "bc12832ae693": "teapot",
    "202234f2161c": "motorcycle",
    "d75a8b52b034": "rabbit",
    "030562f88e4f": "fire hydrant",
    "f636c36c9642": "siamese cat",
    "a1af18047c2f": "Mars rover",
}
"""Models that lie among those for training and are never trained on: the realistic set that priors are
evaluated on, beside the 13 in a folder of their own. By name, with what they are; any first few of them
differ."""


@dataclass(frozen=True)
class TrueClip:
    """A rendered clip: the input frames and the true image matrix of the ring. Straight-alpha RGBA in [0, 1].

    elevation: of the input camera, degrees. depth: of what the matrix shows, along the optical axis, of the
    nearest surface in each pixel; infinite where there is none.
    """

    name: str
    elevation: float
    frames: Float[Tensor, "t h w 4"]
    matrix: Float[Tensor, "v t h w 4"]
    depth: Float[Tensor, "v t h w"]


def clip_setting(index: int) -> tuple[float, float]:
    """Azimuth by which model `index` is turned and elevation of its input camera (degrees), fixed in advance.

    Azimuths go round by the golden angle; elevations walk through -5..35 in steps that do not repeat soon.
    """
    return (30.0 + index * GOLDEN_ANGLE) % 360, -5.0 + (index * 17.0) % 40


def true_clips(
    bank: MeshBank,
    *,
    frames: int = 8,
    size: int = 128,
    extra: Cameras | None = None,
    only: int | None = None,
) -> Iterator[TrueClip]:
    """The first motion of every model of the bank, framed as a clip is, with `frames` evenly spaced poses.

    extra: cameras rendered after the ring's views (matrix then holds more rows). only: the one model's clip.
    """
    ring = Cameras.ring(size=size, device=bank.device)
    targets = ring if extra is None else Cameras.cat([ring, extra.to(bank.device)])
    for index, name in enumerate(bank.names):
        if only not in (None, index):
            continue
        batch, camera, elevation = posed(bank, index, frames=frames, size=size)
        count, views = batch.objects, 1 + len(targets)
        every = Cameras.cat([camera, targets])[
            torch.arange(views, device=bank.device).repeat_interleave(count)
        ]
        owner = torch.arange(count, device=bank.device).repeat(views)
        pictures, depth = (x.unflatten(0, (views, count)) for x in render_with_depth(batch, every, owner))
        nearest = depth.unflatten(-1, (size, -1)).unflatten(-3, (size, -1)).amin((-3, -1))
        yield TrueClip(name, elevation, pictures[0], pictures[1:], nearest[1:])


def posed(bank: MeshBank, index: int, *, frames: int, size: int) -> tuple[MeshBatch, Cameras, float]:
    """The first motion of a model as `true_clips` shows it: `frames` evenly spaced poses (fewer where it has
    fewer), turned and framed, as the objects of a batch; the input camera, and its elevation in degrees.

    All poses have the same vertices and faces, one pose after the other.
    """
    azimuth, elevation = clip_setting(index)
    cycle = min(16, int(bank.n_poses[index]))
    count = min(frames, cycle)
    poses = torch.arange(count, device=bank.device) * cycle // count
    batch = bank.batch(torch.full((count,), index, device=bank.device), poses)
    a = math.radians(azimuth)
    turn = torch.tensor(
        [[math.cos(a), -math.sin(a), 0], [math.sin(a), math.cos(a), 0], [0, 0, 1]], device=bank.device
    )
    camera = Cameras.orbit([0.0], elevation, size=size, device=bank.device)
    group = torch.zeros(count, dtype=torch.long, device=bank.device)
    framed = fit_to_frame(replace(batch, vertices=batch.vertices @ turn.T), camera, group=group)
    return framed, camera, elevation
