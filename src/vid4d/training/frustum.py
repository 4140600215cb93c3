"""Training of the frustum volume: random objects with their true occupancy, and the losses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from vid4d.cameras import FOCAL_PER_WIDTH, Cameras
from vid4d.metrics import mask_iou
from vid4d.priors.frustum.geometry import (
    REACH,
    frustum_points,
    march_points,
    sampled,
    to_frustum,
)
from vid4d.priors.frustum.matter import alpha_along, stopped
from vid4d.priors.frustum.network import FrustumConfig, FrustumVolume, Solid
from vid4d.priors.pictures import to_network
from vid4d.training import carving
from vid4d.training.mesh_render import render_with_depth
from vid4d.training.trainer import LossFunction, SideStream
from vid4d.training.views import ViewSource, degrade, random_lighting, uniform

DepthBehind = Callable[[Tensor, Cameras, Tensor, Tensor], Tensor]
"""`carving.depth_behind`, or the same by a kernel."""


@dataclass(frozen=True)
class FrustumBatch:
    """Input pictures and the truth about the objects in them.

    picture: over white, in [-1, 1]. inputs: their cameras. occupancy: of the frustum's voxels. points: pixels
    of the target views unprojected, in frustum coordinates, with colors in [-1, 1]; hit: whether there is a
    surface. mask: of the first target views, in [0, 1]; rays: these views' samples, in frustum coordinates.
    """

    picture: Float[Tensor, "b 4 h w"]
    inputs: Cameras
    occupancy: Float[Tensor, "b d d d"]
    points: Float[Tensor, "b p 3"]
    color: Float[Tensor, "b p 3"]
    hit: Bool[Tensor, "b p"]
    mask: Float[Tensor, "b v q q"]
    rays: Float[Tensor, "b r 3"]

    def mirrored(self) -> FrustumBatch:
        """Mirror images of the objects, left and right swapped, with their truth."""
        flip = torch.tensor([-1.0, 1.0, 1.0], device=self.picture.device)
        return replace(
            self,
            picture=self.picture.flip(3),
            occupancy=self.occupancy.flip(3),
            points=self.points * flip,
            rays=self.rays * flip,
        )


@dataclass(frozen=True)
class FrustumLossConfig:
    """Weights of the losses, and how finely targets are looked at.

    overlap: of the volumes (1 - Dice), where matter in thin parts counts up to 1 + thin times; entropy: cross
    entropy of the voxels inside the silhouette cone; silhouette: overlap of composited masks in target views;
    own_silhouette: the same in the input picture, where every ray that shows the object has to meet it;
    color: mean absolute error at surface points; elevation: absolute error of the guess (radians). views:
    target views an object, of which the first mask_views have their masks compared at mask_size pixels with
    `samples` a ray. color_points: pixels per target view. depth_size: pixels of the depth maps that truth is
    carved with. elevation_noise: degrees by which the given elevation is off.
    """

    overlap: float = 1.0
    thin: float = 1.0
    entropy: float = 0.15
    silhouette: float = 1.0
    own_silhouette: float = 0.5
    color: float = 0.7
    elevation: float = 2.0
    views: int = 4
    mask_views: int = 3
    mask_size: int = 48
    samples: int = 56
    color_points: int = 2048
    depth_size: int = 112
    elevation_noise: float = 4.0


class FrustumSource:
    """Draws batches for the frustum volume; each is handed out twice, the second time mirrored."""

    def __init__(self, source: ViewSource, config: FrustumConfig, loss: FrustumLossConfig) -> None:
        self.source, self.config, self.loss = source, config, loss
        device = source.bank.device
        self.carving = carving.carving_cameras(loss.depth_size, device)
        self.voxels = frustum_points(config, device)
        if device.type == "cuda":
            from vid4d.training.carving_kernels import depth_behind

            self.depth_behind: DepthBehind = depth_behind
        else:
            self.depth_behind = carving.depth_behind
        self.last: FrustumBatch | None = None

    @torch.no_grad()
    def draw(self, n: int) -> FrustumBatch:
        """n objects; half of the calls give the last call's mirror images."""
        if self.last is not None:
            mirrored, self.last = self.last.mirrored(), None
            return mirrored
        c, device, size = self.loss, self.source.bank.device, self.config.image_size
        batch, inputs = self.source.framed(n)
        objects = torch.arange(n, device=device)
        light = random_lighting(n, device, self.source.config.augment)
        picture = render_with_depth(batch, inputs, objects, light, supersample=2)[0]
        azimuth = uniform(n * c.views, 0, 360, device)
        elevation = uniform(n * c.views, *self.source.config.free_elevation, device)
        focal = FOCAL_PER_WIDTH * size
        targets = Cameras.orbit(azimuth, elevation, size=size, focal=focal, device=device)
        rgba, depth = render_with_depth(
            batch, targets, objects.repeat_interleave(c.views), light, supersample=1
        )
        to_world = torch.cat([inputs.rotation.mT, inputs.position[..., None]], 2)
        behind = self.depth_behind(
            carving.depth_maps(batch, self.carving), self.carving, self.voxels, to_world
        )
        shape = (n, *[self.config.volume_size] * 3)
        occupancy = carving.soft_occupancy(behind, self.config.voxel).view(shape).to(torch.float16)
        pixel = torch.randint(0, size * size, (n * c.views, c.color_points), device=device)
        origin, direction = targets.rays()
        reach = depth.flatten(1).gather(1, pixel)
        hit = reach.isfinite()
        along = direction.flatten(1, 2).gather(1, pixel[..., None].expand(-1, -1, 3))
        points = origin[:, None] + torch.where(hit, reach, 1.5)[..., None] * along
        color = rgba[..., :3].flatten(1, 2).gather(1, pixel[..., None].expand(-1, -1, 3)) * 2 - 1
        few = torch.arange(n * c.views, device=device).view(n, -1)[:, : c.mask_views].flatten()
        rays = march_points(targets[few], c.mask_size, c.samples).view(n, -1, 3)
        mask = F.interpolate(rgba[few][None, ..., 3], (c.mask_size, c.mask_size), mode="area")[0]
        self.last = FrustumBatch(
            to_network(picture),
            inputs,
            occupancy,
            to_frustum(points.view(n, -1, 3), inputs, self.config),
            color.reshape(n, -1, 3),
            hit.view(n, -1),
            mask.view(n, c.mask_views, c.mask_size, c.mask_size),
            to_frustum(rays, inputs, self.config),
        )
        return self.last


def overlap_loss(
    predicted: Float[Tensor, "b n"], truth: Float[Tensor, "b n"], weight: Float[Tensor, "b n"] | None = None
) -> Float[Tensor, " b"]:
    """1 - Dice, with squares below (1606.04797, section 3), so that soft truth is met exactly at 0.

    weight: how much each place counts; 1 everywhere by default.
    """
    w = torch.ones_like(truth) if weight is None else weight
    both = (w * predicted * truth).sum(1)
    return 1 - (2 * both + 1) / ((w * (predicted.square() + truth.square())).sum(1) + 1)


def thinness_weight(truth: Float[Tensor, "b 1 d h w"], strength: float) -> Float[Tensor, "b 1 d h w"]:
    """1 + strength where matter is alone within nine voxels, 1 deep inside and outside of it."""
    share = F.avg_pool3d(F.avg_pool3d(truth, 3), 3, 1, 1)
    share = F.interpolate(share, truth.shape[2:], mode="nearest")
    return 1 + strength * truth * (1 - share)


def silhouettes(
    occupancy: Float[Tensor, "b 1 d h w"], rays: Float[Tensor, "b p 3"], views: int, config: FrustumLossConfig
) -> Float[Tensor, "b v q"]:
    """Composited alpha of the rays of all pixels of the target views."""
    values = sampled(occupancy, rays)[..., 0].view(len(rays), views, config.samples, -1).transpose(1, 2)
    alpha = alpha_along(values, 2 * REACH / config.samples)
    return stopped(alpha, 1)


def frustum_batches(model: FrustumVolume, source: ViewSource, n: int, device: torch.device) -> SideStream:
    """Batches of n objects with their true occupancy."""
    objects = FrustumSource(source, model.config, FrustumLossConfig())
    return SideStream(lambda: objects.draw(n), device)


def frustum_loss(
    model: FrustumVolume,
    source: SideStream,
    device: torch.device,
    config: FrustumLossConfig = FrustumLossConfig(),
) -> LossFunction:
    """Weighted losses of volume, silhouettes, colors and elevation. source: of `FrustumBatch`."""

    def loss(step: int) -> tuple[Tensor, dict[str, Tensor]]:
        views: FrustumBatch = source.next()
        true_elevation = torch.deg2rad(views.inputs.elevation)
        off = torch.deg2rad(torch.randn_like(true_elevation) * config.elevation_noise)
        given = true_elevation + off * (torch.rand_like(off) < 0.7)
        picture = degrade(views.picture)
        with torch.autocast(device.type, torch.bfloat16):
            solid: Solid = model(picture, given)
        logits, truth = solid.logits.float(), views.occupancy.float()[:, None]
        occupancy = torch.sigmoid(logits)
        weight = thinness_weight(truth, config.thin)
        overlap = overlap_loss(occupancy.flatten(1), truth.flatten(1), weight.flatten(1)).mean()
        shown = model.columns(views.picture)[:, 3:] / 2 + 0.5
        cone = (F.max_pool2d(shown, 3, 1, 1) > 0.02)[:, :, None].float()
        entropy = F.binary_cross_entropy_with_logits(logits, truth, reduction="none") * cone
        entropy = entropy.sum() / (cone.sum() * logits.shape[2])
        alpha = silhouettes(occupancy, views.rays, config.mask_views, config)
        mask = views.mask.flatten(2)
        silhouette = overlap_loss(alpha.flatten(0, 1), mask.flatten(0, 1)).mean()
        own = stopped(alpha_along(occupancy[:, 0].flatten(2), model.config.voxel), 1)
        own_silhouette = overlap_loss(own, shown.flatten(1)).mean()
        predicted = sampled(solid.color.float(), views.points)
        color = ((predicted - views.color).abs().mean(-1) * views.hit).sum() / views.hit.sum().clamp(min=1)
        elevation = (solid.elevation.float() - true_elevation).abs().mean()
        total = (
            config.overlap * overlap
            + config.entropy * entropy
            + config.silhouette * silhouette
            + config.own_silhouette * own_silhouette
            + config.color * color
            + config.elevation * elevation
        )
        with torch.no_grad():
            numbers = {
                "overlap": overlap,
                "entropy": entropy,
                "silhouette": silhouette,
                "own_silhouette": own_silhouette,
                "color": color,
                "iou3": mask_iou(occupancy.flatten(2), truth.flatten(2)).mean(),
                "iou2": mask_iou(alpha, mask).mean(),
                "elevation_error": torch.rad2deg(elevation),
            }
        return total, {k: v.detach() for k, v in numbers.items()}

    return loss
