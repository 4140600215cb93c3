"""One solid of what several cameras see at one moment: each picture's solid lies in its own frustum.

Occupancies are averaged, since each network reading is sure of the outline and guesses the depth, which
another camera's outline shows. What lies outside of any silhouette is empty. A voxel has the colors of the
pictures whose light reaches it through the joint solid.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from vid4d.cameras import Cameras
from vid4d.priors.frustum.framing import Framing
from vid4d.priors.frustum.geometry import frustum_places, to_frustum
from vid4d.priors.frustum.matter import solid_occupancy, visibility, with_thin_parts
from vid4d.priors.frustum.network import FrustumConfig, Solid

SURE = 6.0
"""Logits count up to here: no reading outvotes all others."""

EMPTY = -20.0
"""Logit of what no silhouette allows."""

OUTSIDE = 0.25
"""Alpha below which a picture says that nothing is there; its neighbors' count, too (`MARGIN`)."""

POOL = 3
"""Voxels to one, where depths are tried out."""

SHIFTS = tuple(i / 20 for i in range(-8, 9))
STRETCHES = (0.7, 0.8, 0.9, 1.0, 1.12, 1.25, 1.4)
"""Depths that are tried; the volume is 2 deep."""

PREFER = 0.05
"""Overlap that a shift by half a volume has to be worth."""

MARGIN = 3
"""Columns, an odd number: silhouettes are grown to the maximum over so many, for cameras are never known
exactly."""


@dataclass(frozen=True)
class Reading:
    """The solid of one picture, and from where it was taken.

    alpha: of the picture at the volume's columns, in [0, 1].
    """

    solid: Solid
    alpha: Float[Tensor, "1 h w"]
    camera: Cameras
    framing: Framing


def registered(sides: Sequence[Sequence[Reading]], config: FrustumConfig) -> list[list[Reading]]:
    """Readings of several cameras (each a list over time) with depths that the others' outlines allow.

    How deep a thing lies, and how long it is along the view, is the network's guess, which another camera's
    silhouette judges: each camera's solids are moved and stretched along its own view, as the median of all
    moments wants it, so that the other silhouettes are filled best.
    """
    moved = []
    for own, readings in enumerate(sides):
        found = torch.tensor(
            [_best_depth([side[t] for side in sides], own, config) for t in range(len(readings))]
        )
        shift, stretch = found.median(0).values.tolist()
        moved.append([replace(r, solid=_redrawn(r.solid, shift, stretch)) for r in readings])
    return moved


def _best_depth(readings: Sequence[Reading], own: int, config: FrustumConfig) -> tuple[float, float]:
    """Shift and stretch of one reading's depths (the volume is 2 deep): those that fill the others best."""
    reading = readings[own]
    coarse = replace(config, volume_size=config.volume_size // POOL)
    solid = F.avg_pool3d(solid_occupancy(reading.solid.logits), POOL)
    places = frustum_places(reading.camera, coarse, reading.framing)
    targets = []
    for i, other in enumerate(readings):
        if i != own:
            at = to_frustum(places, other.camera, config, other.framing)[0, ..., :2]
            cell = ((at + 1) / 2 * coarse.volume_size).long()
            inside = ((cell >= 0) & (cell < coarse.volume_size)).all(-1)
            index = (cell[..., 1] * coarse.volume_size + cell[..., 0])[inside]
            mask = F.interpolate(other.alpha[:, None], (coarse.volume_size,) * 2, mode="area").flatten()
            targets.append((inside, index, mask))
    best, chosen = -1.0, (0.0, 1.0)
    for stretch in STRETCHES:
        for shift in SHIFTS:
            drawn = _at_depth(solid, shift, stretch)[0, 0]
            score = 0.0
            for inside, index, mask in targets:
                shown = torch.zeros_like(mask).scatter_reduce(0, index, drawn[inside], "amax")
                score += float(torch.minimum(shown, mask).sum() / torch.maximum(shown, mask).sum())
            score -= PREFER * (abs(shift) + abs(math.log(stretch)))
            if score > best:
                best, chosen = score, (shift, stretch)
    return chosen


def _at_depth(volume: Float[Tensor, "1 c d h w"], shift: float, stretch: float) -> Tensor:
    """A volume moved and stretched along its depth; empty where nothing is known."""
    depth = volume.shape[2]
    z = (2 * (torch.arange(depth, device=volume.device) + 0.5) / depth - 1 - shift) / stretch
    place = ((z + 1) * depth - 1) / 2
    low = place.floor()
    share = (place - low).view(1, 1, -1, 1, 1).to(volume.dtype)
    below, above = (i.long().clamp(0, depth - 1) for i in (low, low + 1))
    return volume[:, :, below] * (1 - share) + volume[:, :, above] * share


def _redrawn(solid: Solid, shift: float, stretch: float) -> Solid:
    return solid._replace(
        logits=_at_depth(solid.logits, shift, stretch), color=_at_depth(solid.color, shift, stretch)
    )


def fuse(readings: Sequence[Reading], config: FrustumConfig) -> Solid:
    """The joint solid in the frustum of the first reading, whose elevation it keeps."""
    places = [frustum_places(r.camera, config, r.framing) for r in readings]
    joint = [_joint_logits(readings, i, places[i], config) for i in range(len(readings))]
    first = readings[0]
    at = [to_frustum(places[0], r.camera, config, r.framing) for r in readings]
    logits, total, weights = joint[0][0], torch.zeros(()), torch.zeros(())
    for i, (reading, (own, thin)) in enumerate(zip(readings, joint, strict=True)):
        if i and bool(thin.any()):
            logits = torch.where(_sampled(thin.float(), at[i]) > 0.5, logits.clamp(min=0), logits)
        reached = _sampled(visibility(own, config.voxel).float(), at[i]) + 1e-3
        reached = reached * (_sampled(torch.ones_like(own), at[i]) > 0.5)
        color = _sampled(reading.solid.color.float(), at[i], "border")
        total, weights = total + reached * color, weights + reached
    for i, reading in enumerate(readings):
        logits = torch.where(_silhouette(reading, at[i]) > OUTSIDE, logits, EMPTY)
    return Solid(logits, total / weights.clamp(min=1e-6), first.solid.elevation)


def _joint_logits(
    readings: Sequence[Reading], own: int, places: Float[Tensor, "1 d h w 3"], config: FrustumConfig
) -> tuple[Tensor, Tensor]:
    """Averaged logits in the frustum of one reading, and where its thin parts were added."""
    total = torch.zeros(())
    inside = torch.ones(places.shape[1:4], dtype=torch.bool, device=places.device)
    for reading in readings:
        at = to_frustum(places, reading.camera, config, reading.framing)
        logits = reading.solid.logits.float().clamp(-SURE, SURE)
        total = total + _sampled(logits + SURE, at) - SURE
        inside = inside & (_silhouette(reading, at)[0, 0] > OUTSIDE)
    mean = torch.where(inside, total / len(readings), EMPTY)
    whole = with_thin_parts(mean, readings[own].alpha, config.voxel)
    return whole, whole != mean


def _sampled(
    volume: Float[Tensor, "1 c d h w"], at: Float[Tensor, "1 d2 h2 w2 3"], padding: str = "zeros"
) -> Float[Tensor, "1 c d2 h2 w2"]:
    return F.grid_sample(volume, at, padding_mode=padding, align_corners=False)


def _silhouette(reading: Reading, at: Float[Tensor, "1 d h w 3"]) -> Float[Tensor, "1 1 d h w"]:
    """Alpha of a reading's picture, grown by MARGIN, at frustum coordinates; 0 outside of it."""
    grown = F.max_pool2d(reading.alpha[:, None], MARGIN, 1, MARGIN // 2)
    flat = F.grid_sample(grown, at[..., :2].flatten(1, 2), align_corners=False)
    return flat.view(1, 1, *at.shape[1:4])
