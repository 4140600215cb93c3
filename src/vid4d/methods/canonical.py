"""A finished object as the clip's shape (`--canonical`): read, and turned until it fits the first frame.

An asset of ours, a PLY of 3D Gaussians or a GLB, as other tools make them of one picture: in any size, at any
place, turned any way round. The clip's camera is known; azimuth, size and place are searched for.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from vid4d.cameras import RING_DISTANCE, Cameras
from vid4d.compute.randomness import seed_generator
from vid4d.conventions import AXES, axes
from vid4d.errors import InputError
from vid4d.gaussians.model import Gaussians3D, load_asset
from vid4d.gaussians.raster import rasterize
from vid4d.gaussians.sh import from_rgb, to_rgb
from vid4d.gaussians.splats_ply import read_splats
from vid4d.media.images import resized
from vid4d.meshing.glb_file import Glb, Surface
from vid4d.metrics import mask_iou

SPLATS = 15000
"""On the surface of a mesh; of more splats in a file, those that matter most are kept."""
FAINT = 0.1
"""Opacity below which a splat is left out."""
THICKNESS = 0.3
"""Of a splat on a surface, over its width."""
SIZE = 96
"""Pixels of the pictures by which objects are compared."""
STEP = 10.0
"""Degrees between the azimuths that are tried first."""
DIFFERENT = 0.6
"""Overlap with the first frame below which it is taken to be another object, or another pose."""


@dataclass(frozen=True)
class Fitted:
    """An object where the clip's first frame shows it.

    azimuth: by which it was turned, degrees. up: its axes, a name of `AXES`. overlap: of silhouettes (IoU).
    """

    splats: Gaussians3D
    azimuth: float
    up: str
    overlap: float


def read_canonical(path: str | Path) -> tuple[Gaussians3D, tuple[str, ...]]:
    """Splats of a file or run folder, and the axes (`AXES`) that they may have, around the origin and in a
    box of about one unit.

    Raises InputError for what is none of them, or empty.
    """
    which: tuple[str, ...] = ("z-up",)
    path = Path(path)
    kind = path.suffix.lower()
    if path.is_dir():
        path, kind = path / "asset.safetensors", ".safetensors"
        if not path.is_file():
            raise InputError(f"--canonical: {path.parent} is no run folder with an asset")
    if kind == ".safetensors":
        splats = load_asset(path)[0].at(0.0)
    elif kind == ".glb":
        splats = splats_on(Glb(path).at(0.0), path)
    elif kind == ".ply":
        splats, which = read_splats(path), tuple(AXES)
    else:
        raise InputError(f"--canonical {path}: give an asset of ours, a .glb, or a .ply of 3D Gaussians")
    shown = (splats.opacities > FAINT).nonzero()[:, 0]
    if len(shown) == 0:
        raise InputError(f"--canonical {path} shows nothing: give a file with something in it")
    if len(shown) > SPLATS:
        extent = torch.linalg.det(splats.covariances[shown]).clamp(min=0) ** (1 / 3)
        shown = shown[(extent * splats.opacities[shown]).topk(SPLATS).indices]
    return _centred(_at(splats, shown)), which


def splats_on(surfaces: list[Surface], path: Path, count: int | None = None) -> Gaussians3D:
    """Flat splats on surfaces, evenly spread, in their colors. Raises InputError where they have no area.

    path: of their file, for that sentence. count: of splats before hidden ones are left out; `SPLATS`.
    """
    count = SPLATS if count is None else count
    vertices = np.concatenate([s.vertices for s in surfaces])
    first = np.cumsum([0, *(len(s.vertices) for s in surfaces[:-1])])
    faces = np.concatenate([s.faces + n for s, n in zip(surfaces, first, strict=True)])
    owner = np.repeat(np.arange(len(surfaces)), [len(s.faces) for s in surfaces])
    corners = torch.from_numpy(vertices[faces]).double()
    normal = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    area = normal.norm(dim=1) / 2
    total = float(area.sum()) if len(area) else 0.0
    if not total > 0:
        raise InputError(f"--canonical {path} has no faces with an area: export it with its mesh")
    random = seed_generator(0)
    spots = torch.rand(count, generator=random, dtype=torch.float64) * total
    chosen = torch.searchsorted(area.cumsum(0), spots).clamp(max=len(area) - 1)
    share = -torch.rand(count, 3, generator=random, dtype=torch.float64).clamp(min=1e-9).log()
    share = share / share.sum(1, keepdim=True)
    points = (corners[chosen] * share[..., None]).sum(1).float()
    out = torch.nn.functional.normalize(normal[chosen], dim=1).float()
    colors = _colors(surfaces, faces, owner, first, chosen.numpy(), share.numpy())
    flat = torch.eye(3) - (1 - THICKNESS**2) * out[:, :, None] * out[:, None, :]
    splats = Gaussians3D(
        points,
        flat * (0.8 * (total / count) ** 0.5) ** 2,
        torch.full((count,), 0.95),
        from_rgb(torch.from_numpy(colors).float())[:, None],
    )
    return outermost(_centred(splats))


@torch.no_grad()
def outermost(splats: Gaussians3D, size: int = 192, margin: float = 0.015) -> Gaussians3D:
    """The splats that some camera around can see: what lies inside of a thing would shine through it.

    splats: within a box of one unit around the origin. size: pixels. margin: by which a splat may lie below
    the surface that a camera sees, world units.
    """
    seen = torch.zeros(len(splats), dtype=torch.bool)
    for elevation in (-60.0, -20.0, 20.0, 60.0):
        cameras = Cameras.orbit(torch.arange(0.0, 360.0, 45.0), elevation, size=size)
        depth = rasterize(splats, cameras).depth
        pixels, away = cameras.project(splats.means)
        column, row = pixels.long().clamp(0, size - 1).unbind(-1)
        surface = depth.flatten(1).gather(1, row * size + column)
        seen |= (away <= surface + margin).any(0)
    return _at(splats, seen.nonzero()[:, 0])


def _colors(
    surfaces: list[Surface],
    faces: np.ndarray,
    owner: np.ndarray,
    first: np.ndarray,
    chosen: np.ndarray,
    share: np.ndarray,
) -> Float[np.ndarray, "n 3"]:
    """Colors in [0, 1] at places of faces: those of vertices, times the texture's."""
    colors = np.zeros((len(chosen), 3))
    for i, surface in enumerate(surfaces):
        mine = np.flatnonzero(owner[chosen] == i)
        corner = faces[chosen[mine]] - first[i]
        colors[mine] = (surface.colors[corner] * share[mine][..., None]).sum(1)
        if surface.texture is not None and surface.uv is not None and len(mine):
            h, w = surface.texture.shape[:2]
            at = (surface.uv[corner] * share[mine][..., None]).sum(1) % 1.0
            pixel = surface.texture[(at[:, 1] * h).astype(int) % h, (at[:, 0] * w).astype(int) % w, :3]
            colors[mine] *= pixel / 255
    return colors.clip(0, 1)


def _at(splats: Gaussians3D, index: Tensor) -> Gaussians3D:
    return Gaussians3D(
        splats.means[index], splats.covariances[index], splats.opacities[index], splats.sh[index, :1]
    )


def _centred(splats: Gaussians3D) -> Gaussians3D:
    """Around the origin, the longest side of the box that holds nearly all splats a unit long."""
    low, high = (splats.means.quantile(q, 0) for q in (0.005, 0.995))
    scale = 1 / float((high - low).max().clamp(min=1e-9))
    return _placed(
        replace(splats, means=splats.means - (low + high) / 2), torch.eye(3), scale, torch.zeros(3)
    )


def _placed(
    splats: Gaussians3D, turn: Float[Tensor, "3 3"], scale: float, shift: Float[Tensor, " 3"]
) -> Gaussians3D:
    """Turned, scaled, then moved. Colors are those of all sides, so they stay."""
    turn = turn * scale
    return replace(
        splats, means=splats.means @ turn.T + shift, covariances=turn @ splats.covariances @ turn.T
    )


def around(azimuth: float) -> Float[Tensor, "3 3"]:
    """The rotation about z by so many degrees."""
    a = torch.deg2rad(torch.tensor(azimuth))
    c, s, zero, one = a.cos(), a.sin(), torch.tensor(0.0), torch.tensor(1.0)
    return torch.stack([c, -s, zero, s, c, zero, zero, zero, one]).view(3, 3)


def fitted(
    splats: Gaussians3D,
    which: tuple[str, ...],
    picture: Float[Tensor, "h w 4"],
    elevation: float,
    azimuth: float | None = None,
) -> Fitted:
    """The object where a picture shows it, by silhouettes and colors.

    which: axes that it may have. picture: of the clip's first moment. elevation: of its camera, degrees.
    azimuth: by which the object is turned, where it is known, degrees.
    """
    target = resized(picture[None], SIZE)[0]
    camera = Cameras.orbit([0.0], elevation, size=SIZE)
    turns = torch.arange(0, 360, STEP).tolist() if azimuth is None else [azimuth]
    tried = [_match(splats, axes(up).T, turn, target, camera) for up in which for turn in turns]
    best = max(tried, key=lambda m: m.score)
    step = STEP / 2
    while azimuth is None and step > 0.5:
        near = [_match(splats, best.base, best.turn + d, target, camera) for d in (-step, step)]
        best, step = max([best, *near], key=lambda m: m.score), step / 2
    best = _match(splats, best.base, best.turn, target, camera, rounds=8)
    up = next(name for name in which if torch.equal(axes(name).T, best.base))
    return Fitted(best.splats, best.turn % 360, up, best.overlap)


@dataclass(frozen=True)
class _Match:
    base: Float[Tensor, "3 3"]
    turn: float
    splats: Gaussians3D
    overlap: float
    score: float


@torch.no_grad()
def _match(
    splats: Gaussians3D,
    base: Float[Tensor, "3 3"],
    turn: float,
    target: Float[Tensor, "h w 4"],
    camera: Cameras,
    rounds: int = 3,
) -> _Match:
    """An object turned this way, its outline brought to the target's: as large, in the same place."""
    rotation = around(turn) @ base
    right, down = camera.rotation[0, 0], camera.rotation[0, 1]
    scale, shift = 0.6, torch.zeros(3)
    wanted = _box(target[..., 3])
    for _ in range(rounds):
        placed = _placed(splats, rotation, scale, shift)
        found = _box(rasterize(placed, camera).alpha[0])
        ratio = ((wanted[2] * wanted[3]) / (found[2] * found[3])) ** 0.5
        unit = RING_DISTANCE / float(camera.focal[0])  # of a pixel, where the object is
        shift = shift + (wanted[0] - found[0]) * unit * right + (wanted[1] - found[1]) * unit * down
        scale = scale * min(max(ratio, 0.5), 2.0)
    placed = _placed(splats, rotation, scale, shift)
    render = rasterize(placed, camera, background=0.0)
    overlap = float(mask_iou(render.alpha[:1], target[None, ..., 3])[0])
    both = (render.alpha[0] > 0.5) & (target[..., 3] > 0.5)
    color = render.color[0] / render.alpha[0].clamp(min=1e-3)[..., None]
    difference = float((color - target[..., :3]).abs().mean(-1)[both].mean()) if bool(both.any()) else 1.0
    return _Match(base, turn, placed, overlap, overlap - difference)


def _box(alpha: Float[Tensor, "h w"]) -> tuple[float, float, float, float]:
    """Middle, width and height of what a mask shows, pixels."""
    shown = alpha > 0.5
    if not bool(shown.any()):
        return alpha.shape[1] / 2, alpha.shape[0] / 2, 1.0, 1.0
    rows, columns = shown.any(1).nonzero()[:, 0], shown.any(0).nonzero()[:, 0]
    left, right, top, bottom = (int(x) for x in (columns[0], columns[-1], rows[0], rows[-1]))
    return (left + right + 1) / 2, (top + bottom + 1) / 2, right - left + 1.0, bottom - top + 1.0


@torch.no_grad()
def in_colors_of(
    splats: Gaussians3D, picture: Float[Tensor, "h w 4"], elevation: float, strength: float = 0.05
) -> Gaussians3D:
    """The splats with brightness and tint of a picture: a gain and an offset for each channel, by least
    squares over what both show. strength: of the pull towards leaving colors as they are.
    """
    target = resized(picture[None], SIZE)[0]
    camera = Cameras.orbit([0.0], elevation, size=SIZE)
    render = rasterize(splats, camera, background=0.0)
    both = (render.alpha[0] > 0.9) & (target[..., 3] > 0.9)
    if int(both.sum()) < 50:
        return splats
    shown = (render.color[0] / render.alpha[0].clamp(min=1e-3)[..., None])[both].double()
    wanted = target[..., :3][both].double()
    colors = to_rgb(splats.sh[:, 0]).double()
    for channel in range(3):
        columns = torch.stack([shown[:, channel], torch.ones_like(shown[:, channel])], 1)
        pull = strength * len(shown) * torch.eye(2, dtype=torch.float64)
        normal = columns.T @ columns + pull
        gain, offset = torch.linalg.solve(
            normal, columns.T @ wanted[:, channel] + pull @ torch.tensor([1.0, 0.0], dtype=torch.float64)
        ).tolist()
        colors[:, channel] = colors[:, channel] * gain + offset
    return replace(splats, sh=from_rgb(colors.clamp(0, 1).float())[:, None])
