"""Endless batches of training views: models drawn, combined, bent, lit and rendered on the device.

The models are few and stylised, the clips that users bring are neither, so everything that a picture does not
determine is drawn afresh for every sample: pose, orientation, proportions, colors, light, framing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from vid4d.cameras import FOCAL_PER_WIDTH, RING_ELEVATION, RING_VIEWS, Cameras
from vid4d.media.images import premultiplied
from vid4d.priors.pictures import to_network
from vid4d.training.mesh_render import Lighting, fit_to_frame, render_meshes
from vid4d.training.meshes import MeshBank, MeshBatch, join
from vid4d.training.warps import Warps


@dataclass(frozen=True)
class ViewsConfig:
    """Distribution of a batch's views.

    size: pixels. elevation: range of the input camera, degrees. ring_views: how many views of the ring.
    free_views: extra views from anywhere (elevation free_elevation). combine: share of objects made of
    several models. fill: range of the picture's side that an object takes, as a share of a clip's crop.
    augment: how often objects are bent and recolored, at most 1. warp: share of the models that get other
    proportions.
    """

    size: int = 128
    elevation: tuple[float, float] = (-10.0, 40.0)
    ring_views: int = RING_VIEWS
    free_views: int = 1
    free_elevation: tuple[float, float] = (-10.0, 60.0)
    combine: float = 0.05
    fill: tuple[float, float] = (0.6, 1.0)
    supersample: int = 2
    augment: float = 1.0
    warp: float = 0.0


@dataclass
class TrainingViews:
    """Batch of training views: RGBA over white in [-1, 1], channels first; cameras flat, object by object.

    picture (b, 4, h, w): the input views. targets (b, v, 4, h, w): the ring's views, then the free ones.
    ring_index (b, r): which views of the ring. elevation (b,): of the input cameras, degrees.
    """

    picture: Float[Tensor, "b 4 h w"]
    elevation: Float[Tensor, " b"]
    targets: Float[Tensor, "b v 4 h w"]
    cameras: Cameras
    ring_index: Int[Tensor, "b r"]


@dataclass
class Motion:
    """Pictures at three times, premultiplied RGBA in [0, 1]; time (b,): the middle's between the others."""

    start: Float[Tensor, "b 4 h w"]
    middle: Float[Tensor, "b 4 h w"]
    end: Float[Tensor, "b 4 h w"]
    time: Float[Tensor, " b"]


def uniform(n: int, low: float, high: float, device: torch.device) -> Float[Tensor, " n"]:
    """n values drawn evenly between low and high."""
    return low + (high - low) * torch.rand(n, device=device)


def _rotation(axis_angle: Float[Tensor, "n 3"]) -> Float[Tensor, "n 3 3"]:
    """Rotation matrices of axis-angle vectors."""
    x, y, z = axis_angle.unbind(-1)
    zero = torch.zeros_like(x)
    skew = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).unflatten(-1, (3, 3))
    return torch.linalg.matrix_exp(skew)


def random_lighting(n: int, device: torch.device, augment: float = 1.0) -> Lighting:
    """Light and color changes for n objects; a quarter is unlit, as cartoons are.

    augment: share of the objects whose colors are changed at all.
    """
    unlit = (torch.rand(n, device=device) < 0.25).float()
    direction = torch.randn(n, 3, device=device)
    direction[:, 2] = direction[:, 2].abs() * 0.8 + 0.1
    direction = direction / direction.norm(dim=1, keepdim=True)
    grey = torch.ones(3, device=device) / 3**0.5
    wide = torch.rand(n, device=device) < 0.25
    hue = torch.randn(n, device=device) * torch.where(wide, 2.0, 0.25)
    turn = _rotation(hue[:, None] * grey)
    saturation = uniform(n, 0.6, 1.3, device)[:, None, None]
    mean = torch.full((3, 3), 1 / 3, device=device)
    matrix = (turn * saturation + mean * (1 - saturation)) * uniform(n, 0.85, 1.2, device)[:, None, None]
    offset = uniform(n, -0.05, 0.12, device)[:, None, None].expand(-1, 3, 1)
    pattern = torch.cat(
        [
            (torch.rand(n, 1, device=device) < 0.2) * uniform(n, 0.05, 0.3, device)[:, None],
            uniform(n, 0, 2 * math.pi, device)[:, None],
            torch.randn(n, 3, device=device) * 18,
        ],
        1,
    )
    kept = torch.rand(n, device=device) >= augment
    pattern[:, 0] = torch.where(kept, 0.0, pattern[:, 0])
    color = torch.where(kept[:, None, None], torch.eye(3, 4, device=device), torch.cat([matrix, offset], 2))
    return Lighting(
        ambient=torch.where(unlit > 0, 1.0, uniform(n, 0.5, 0.85, device)),
        sky=uniform(n, 0.0, 0.25, device) * (1 - unlit),
        lamp=uniform(n, 0.0, 0.5, device) * (1 - unlit),
        direction=direction,
        color=color,
        pattern=pattern,
    )


def _random_deformation(n: int, device: torch.device, augment: float) -> Float[Tensor, "n 6"]:
    """Stretch along three axes (factors), taper, twist and bend of n objects."""

    def some(share: float) -> Tensor:
        return (torch.rand(n, 1, device=device) < share * augment).float()

    stretch = torch.exp(torch.randn(n, 3, device=device) * 0.16 * some(0.7))
    taper = torch.randn(n, 1, device=device) * 0.35 * some(0.25)
    twist = torch.randn(n, 1, device=device) * 0.8 * some(0.2)
    bend = torch.randn(n, 1, device=device) * 0.5 * some(0.25)
    return torch.cat([stretch, taper, twist, bend], 1)


def _deform(points: Float[Tensor, "v 3"], owner: Tensor, deformation: Tensor) -> Float[Tensor, "v 3"]:
    """Points within a ball of radius 1/2, deformed as their objects are."""
    stretch, taper, twist, bend = deformation[owner].split([3, 1, 1, 1], 1)
    x, y, z = (points * stretch).unbind(1)
    grow = (1 + taper[:, 0] * z).clamp(0.3, 2)
    angle = twist[:, 0] * z
    x, y = grow * (angle.cos() * x - angle.sin() * y), grow * (angle.sin() * x + angle.cos() * y)
    angle = bend[:, 0] * x
    x, z = x * angle.cos() - z * angle.sin(), x * angle.sin() + z * angle.cos()
    return torch.stack([x, y, z], 1)


class ViewSource:
    """Draws batches of views from a bank of models.

    weight (models,): how often a model is drawn, relative to the others.
    """

    def __init__(self, bank: MeshBank, config: ViewsConfig, weight: Tensor | None = None) -> None:
        self.bank, self.config = bank, config
        self.weight = torch.ones(len(bank)) if weight is None else weight.float()
        self.weight = self.weight.to(bank.device)
        self.ring = Cameras.ring(elevation=RING_ELEVATION, size=config.size).to(bank.device)

    def _objects(self, n: int, step: Tensor | None = None, frames: int = 1) -> list[MeshBatch]:
        """n objects, some of several models, deformed and turned, near the origin; one batch per frame.

        step (n,): poses between frames (frame f is `f * step` poses on, within one clip of 16 poses).
        """
        device, c = self.bank.device, self.config
        several = (torch.rand(n, device=device) < c.combine).long()
        parts = 1 + several * torch.randint(1, 3, (n,), device=device)
        owner = torch.repeat_interleave(torch.arange(n, device=device), parts)
        total = len(owner)
        models = torch.multinomial(self.weight, total, replacement=True)
        first = torch.cat([owner.new_ones(1), owner[1:] != owner[:-1]]).bool()
        angle = torch.zeros(total, 3, device=device)
        angle[:, 2] = uniform(total, 0, 2 * math.pi, device)
        tilt = torch.randn(total, 3, device=device) * 0.12
        anyhow = torch.rand(total, device=device) < torch.where(first, 0.06, 0.3)
        tilt = torch.where(anyhow[:, None], torch.randn(total, 3, device=device) * 1.5, tilt)
        tilt[:, 2] = 0
        scale = torch.where(first, 1.0, uniform(total, 0.3, 0.9, device))
        mirror = torch.ones(total, 3, device=device)
        mirror[:, 1] = torch.where(torch.rand(total, device=device) < 0.5, -1.0, 1.0)
        shift = torch.randn(total, 3, device=device) * 0.3 * (~first)[:, None]
        turn = _rotation(tilt) @ _rotation(angle) * (scale[:, None] * mirror)[:, None]
        deform = _random_deformation(n, device, self.config.augment)
        warps = Warps.random(total, c.warp, device) if c.warp else None
        count = self.bank.n_poses[models]
        stride = torch.zeros_like(count) if step is None else torch.where(count > 1, step[owner], 0)
        clip = count.clamp(max=16)
        start = (torch.rand(total, device=device) * (clip - (frames - 1) * stride).clamp(min=1)).long()
        start = start + 16 * (torch.rand(total, device=device) * (count // 16).clamp(min=1)).long()
        batches = []
        for frame in range(frames):
            poses = torch.minimum(start + frame * stride, count - 1)
            batch = self.bank.batch(models, poses)
            part = batch.vertex_object
            points = batch.vertices if warps is None else warps.move(batch.vertices, part)
            points = torch.einsum("vij,vj->vi", turn[part], points) + shift[part]
            batches.append(
                replace(
                    batch,
                    vertices=_deform(points, owner[part], deform),
                    vertex_object=owner[part],
                    face_object=owner[batch.face_object],
                    objects=n,
                )
            )
        return batches

    @torch.no_grad()
    def draw_motion(self, n: int) -> Motion:
        """Triples of pictures of n moving objects: the model's own motion, the camera's, or both."""
        device, c = self.bank.device, self.config
        kind = torch.rand(n, device=device)
        step = torch.where(kind < 0.6, torch.randint(1, 4, (n,), device=device), 0)
        batch = join(self._objects(n, step, 3))
        low, high = c.free_elevation
        elevation = uniform(n, low, high, device)
        sweep = torch.where(kind > 0.4, torch.randn(n, device=device) * 12, 0.0)
        rise = torch.where(kind > 0.4, torch.randn(n, device=device) * 3, 0.0)
        time = torch.where(step > 0, 0.5, uniform(n, 0.1, 0.9, device))
        at = torch.cat([torch.zeros_like(time), time, torch.ones_like(time)])
        azimuth = sweep.repeat(3) * at
        focal = FOCAL_PER_WIDTH * c.size
        cameras = Cameras.orbit(
            azimuth, elevation.repeat(3) + rise.repeat(3) * at, size=c.size, focal=focal, device=device
        )
        group = torch.arange(n, device=device).repeat(3)
        fill = uniform(n, *c.fill, device) * (200 / 256)
        batch = fit_to_frame(batch, cameras[:n], fill=fill, group=group)
        light = random_lighting(n, device, c.augment).repeat(3)
        rgba = render_meshes(
            batch, cameras, torch.arange(3 * n, device=device), light, supersample=c.supersample
        )
        start, middle, end = premultiplied(rgba).permute(0, 3, 1, 2).chunk(3)
        return Motion(start, middle, end, time)

    def framed(self, n: int) -> tuple[MeshBatch, Cameras]:
        """n objects and their input cameras, which see them framed as clips are, a little off the middle."""
        device, c = self.bank.device, self.config
        elevation = uniform(n, *c.elevation, device)
        focal = FOCAL_PER_WIDTH * c.size
        inputs = Cameras.orbit(
            torch.zeros(n, device=device), elevation, size=c.size, focal=focal, device=device
        )
        full = (torch.rand(n, device=device) < 0.4).float()
        fill = torch.maximum(uniform(n, *c.fill, device), full) * (200 / 256)
        batch = fit_to_frame(self._objects(n)[0], inputs, fill=fill)
        off = (
            torch.randn(n, 3, device=device).clamp(-2, 2)
            * (0.05 * (200 / 256 - fill) / 0.2).clamp(max=0.05)[:, None]
        )
        return replace(batch, vertices=batch.vertices + off[batch.vertex_object]), inputs

    @torch.no_grad()
    def draw(self, n: int) -> TrainingViews:
        """One batch of n objects."""
        device, c = self.bank.device, self.config
        focal = FOCAL_PER_WIDTH * c.size
        batch, inputs = self.framed(n)
        elevation = inputs.elevation
        ring_index = torch.rand(n, RING_VIEWS, device=device).argsort(1)[:, : c.ring_views]
        if c.ring_views == RING_VIEWS:
            ring_index = ring_index.sort(1).values
        ring_azimuth = ring_index * (360.0 / RING_VIEWS)
        free_azimuth = uniform(n * c.free_views, 0, 360, device).view(n, -1)
        free_elevation = uniform(n * c.free_views, *c.free_elevation, device).view(n, -1)
        azimuth = torch.cat([ring_azimuth, free_azimuth], 1)
        heights = torch.cat([torch.full_like(ring_azimuth, RING_ELEVATION), free_elevation], 1)
        targets = Cameras.orbit(azimuth.flatten(), heights.flatten(), size=c.size, focal=focal, device=device)
        views = azimuth.shape[1]
        objects = torch.arange(n, device=device)
        rgba = render_meshes(
            batch,
            Cameras.cat([inputs, targets]),
            torch.cat([objects, objects.repeat_interleave(views)]),
            random_lighting(n, device, c.augment),
            supersample=c.supersample,
        )
        pictures = to_network(rgba)
        return TrainingViews(
            pictures[:n],
            elevation,
            pictures[n:].unflatten(0, (n, views)),
            targets,
            ring_index,
        )


def degrade(picture: Float[Tensor, "b 4 h w"]) -> Float[Tensor, "b 4 h w"]:
    """Camera and codec artifacts on input pictures: a little blur and noise, on some."""
    n = len(picture)
    blur = torch.nn.functional.avg_pool2d(picture, 3, 1, 1, count_include_pad=False)
    mix = (torch.rand(n, 1, 1, 1, device=picture.device) - 0.5).clamp(min=0) * 1.6
    noise = (torch.rand(n, 1, 1, 1, device=picture.device) - 0.6).clamp(min=0) * 0.08
    return (picture * (1 - mix) + blur * mix + noise * torch.randn_like(picture)).clamp(-1, 1)
