"""Size and place of one camera's pictures, found from what silhouettes of two cameras allow.

Each clip is framed by itself, so that a thing fills the picture of every camera, however far away it stood.
Whatever one silhouette shows must lie on a ray that meets the other's cone, and the other way round: that
fixes how large the second camera's pictures are beside the first one's, and how high. What no silhouette
tells, how far away the thing is from the first camera, is the ring's distance in the mean.
"""

from __future__ import annotations

import itertools
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from vid4d.cameras import Cameras
from vid4d.media.images import premultiplied, straight

CELLS = 64
"""Of both pictures, an edge."""
POINTS, HALF_EXTENT = 100, 0.62
"""Points along an edge of the cube that is carved, and half that edge, world units."""
STEPS = (0.12, 0.06, 0.03, 0.015, 0.0075)
"""Of the search, from coarse to fine: of the logarithm of the scale, half of that of shifts."""
STAY = 0.2
"""Agreement that a unit of distance has to be worth by which the thing lies off the ring's middle."""
MOST_MOMENTS = 4


class Placement(NamedTuple):
    """scale: of the pictures, as the ring's camera would see them. x, y: of their middle from its middle, in
    picture widths, to the right and down. agreement: share of both silhouettes that they allow each other.
    away: how much farther from the first camera than the origin the thing then lies, world units.
    """

    scale: float
    x: float
    y: float
    agreement: float = 1.0
    away: float = 0.0


def place(
    masks: Float[Tensor, "m h w"],
    camera: Cameras,
    other: Float[Tensor, "m h2 w2"],
    other_camera: Cameras,
) -> Placement:
    """Placement of a second camera's masks beside the first one's, of the same m moments.

    The cameras' poses and lenses are as they are; the second one's masks may have any size and place.
    """
    if len(masks) > MOST_MOMENTS:
        some = torch.linspace(0, len(masks) - 1, MOST_MOMENTS).round().long()
        masks, other = masks[some], other[some]
    moments = [_moment(mask, camera, other_camera) for mask in masks]
    rows = torch.tensor([[*_rows(a), *_rows(b)] for a, b in zip(masks, other, strict=True)])
    top, bottom, other_top, other_bottom = rows.median(0).values.tolist()
    scale = (bottom - top) / (other_bottom - other_top)
    best = _score(moments, other, scale, 0.0, (top + bottom - scale * (other_top + other_bottom)) / 2)
    for step in STEPS:
        while True:
            near = itertools.product((-step, 0.0, step), (-step / 2, 0.0, step / 2), (-step / 2, 0, step / 2))
            found = [
                _score(moments, other, best.scale * (1 + ds), best.x + dx, best.y + dy) for ds, dx, dy in near
            ]
            top = max(found, key=_worth)
            if _worth(top) <= _worth(best) + 1e-6:
                break
            best = top
    return best


def as_seen(images: Float[Tensor, "s h w 4"], at: Placement, size: int) -> Float[Tensor, "s n n 4"]:
    """Pictures in their placement, as wide and high as `size`."""
    double = (torch.arange(2 * size) + 0.5) / (2 * size) - 0.5
    y, x = torch.meshgrid((double - at.y) / at.scale, (double - at.x) / at.scale, indexing="ij")
    grid = 2 * torch.stack([x, y], -1).expand(len(images), -1, -1, -1)
    moved = F.grid_sample(premultiplied(images).movedim(-1, 1), grid, align_corners=False)
    return straight(F.avg_pool2d(moved, 2).movedim(1, -1).clamp(0, 1))


class _Moment(NamedTuple):
    """What the first camera's silhouette allows at one moment.

    seen: cell of the first picture of each allowed point. away: how much farther away than the origin it is.
    other: its place in the second picture, for `grid_sample`. hit: cells of it that such points lie in.
    """

    seen: Int[Tensor, " p"]
    cells: int
    away: Float[Tensor, " p"]
    other: Float[Tensor, "p 2"]
    hit: Float[Tensor, "c c"]


def _moment(mask: Float[Tensor, "h w"], camera: Cameras, other_camera: Cameras) -> _Moment:
    axis = (2 * (torch.arange(POINTS) + 0.5) / POINTS - 1) * HALF_EXTENT
    points = torch.cartesian_prod(axis, axis, axis)
    first = _coordinates(camera, points)
    away = camera.project(points)[1][0] - camera.project(torch.zeros(1, 3))[1][0]
    inside = F.grid_sample(mask[None, None], first[None, None], align_corners=False)[0, 0, 0] > 0.5
    first, second = first[inside], _coordinates(other_camera, points[inside])
    hit = torch.zeros(CELLS * CELLS)
    hit[_cell(second)] = 1.0
    numbers, seen = _cell(first).unique(return_inverse=True)
    return _Moment(seen, len(numbers), away[inside], second, hit.view(CELLS, CELLS))


def _coordinates(camera: Cameras, points: Float[Tensor, "p 3"]) -> Float[Tensor, "p 2"]:
    """Places in the picture, in [-1, 1]."""
    size = torch.tensor([camera.width, camera.height])
    return camera.project(points)[0][0] / size * 2 - 1


def _cell(at: Float[Tensor, "p 2"]) -> Int[Tensor, " p"]:
    column, row = ((at + 1) / 2 * CELLS).long().clamp(0, CELLS - 1).unbind(-1)
    return row * CELLS + column


def _rows(mask: Float[Tensor, "h w"]) -> tuple[float, float]:
    """Upper and lower end of what a mask shows, from the picture's middle, in heights of it."""
    rows = (mask > 0.5).any(1).nonzero()[:, 0]
    if len(rows) == 0:
        return -0.5, 0.5
    return int(rows[0]) / len(mask) - 0.5, (int(rows[-1]) + 1) / len(mask) - 0.5


def _score(
    moments: list[_Moment], masks: Float[Tensor, "m h w"], scale: float, x: float, y: float
) -> Placement:
    shift = torch.tensor([2 * x, 2 * y])
    axis = 2 * (torch.arange(CELLS) + 0.5) / CELLS - 1
    rows, columns = torch.meshgrid(axis, axis, indexing="ij")
    picture = (torch.stack([columns, rows], -1) - shift) / scale
    total = away = 0.0
    for moment, mask in zip(moments, masks, strict=True):
        at = torch.cat([picture.view(-1, 2), (moment.other - shift) / scale])
        alpha = F.grid_sample(mask[None, None], at[None, None], align_corners=False)[0, 0, 0]
        own, allowed = alpha[: CELLS * CELLS].view(CELLS, CELLS), alpha[CELLS * CELLS :]
        covered = torch.zeros(max(1, moment.cells)).scatter_reduce(0, moment.seen, allowed, "amax")
        total += float(covered.mean()) * float((own * moment.hit).sum() / own.sum().clamp(min=1e-6))
        away += float((allowed * moment.away).sum() / allowed.sum().clamp(min=1e-6))
    return Placement(scale, x, y, total / len(moments), away / len(moments))


def _worth(at: Placement) -> float:
    return at.agreement - STAY * abs(at.away)
