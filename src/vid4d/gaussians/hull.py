"""The visual hull of an image matrix, and 4D Gaussians on its surface to start a fit from.

At each of some key times the masks of all views are carved out of a voxel grid (shape from silhouette).
Generated views do not agree perfectly, so a voxel stays when nearly all views vote for it, not only when all.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from vid4d.cameras import Cameras
from vid4d.compute.randomness import seed_generator
from vid4d.errors import InputError
from vid4d.gaussians import sh
from vid4d.gaussians.model import Gaussians4D
from vid4d.gaussians.silhouettes import silhouettes, without_phantoms
from vid4d.matrix.matrix import ImageMatrix

SEEN = 0.05
"""Cosine to the best view from which on a point of the hull counts as seen, not as grazed."""
LEVELS = (4, 2, 1)
"""Sizes of voxels, in finest voxels, that `carve` passes through."""


@dataclass(frozen=True)
class HullConfig:
    """Visual hull and the splats that a fit starts from.

    resolution: voxels along an edge of the carved cube.
    half_extent: half that edge, world units.
    max_outlier_views: views that may disagree with a voxel (taken as 0 where there are fewer than 4 views).
    splats: per key time; a few key times get more, up to `min_splats` in all.
    key_times: times that are carved at most, evenly chosen.
    overlap: standard deviation in time over the spacing of key times; 0.4 keeps neighbors out of a key time.
    flatness: extent along the surface's normal over that along the surface.
    opacity: of a new splat.
    """

    resolution: int = 112
    half_extent: float = 0.62
    max_outlier_views: float = 1.0
    splats: int = 1250
    min_splats: int = 4000
    key_times: int = 16
    overlap: float = 0.4
    flatness: float = 0.4
    opacity: float = 0.7

    def __post_init__(self) -> None:
        if self.resolution < LEVELS[0] or min(self.splats, self.key_times) < 1:
            raise ValueError(
                f"a hull has {LEVELS[0]} voxels along an edge or more, 1 splat and 1 key time or more"
            )
        if (
            min(self.half_extent, self.overlap, self.flatness) <= 0
            or min(self.max_outlier_views, self.min_splats) < 0
        ):
            raise ValueError(
                "sizes of a hull and its splats are more than 0, max_outlier_views and min_splats 0 or more"
            )
        if not 0 < self.opacity < 1:
            raise ValueError("the opacity of a new splat is more than 0 and below 1")


@dataclass(frozen=True)
class Surface:
    """Points on the surface of one hull: positions and outward normals (n, 3), colors in [0, 1], spacing."""

    points: Float[Tensor, "n 3"]
    normals: Float[Tensor, "n 3"]
    colors: Float[Tensor, "n 3"]
    spacing: float


def sample_bilinear(
    images: Float[Tensor, "v h w c"], pixels: Float[Tensor, "v p 2"]
) -> Float[Tensor, "v p c"]:
    """Bilinear values at pixel coordinates (centres at half-integers), 0 outside."""
    h, w = images.shape[1:3]
    grid = pixels / torch.tensor([w / 2, h / 2], device=pixels.device) - 1
    values = F.grid_sample(
        images.movedim(-1, 1), grid[:, None], mode="bilinear", padding_mode="zeros", align_corners=False
    )
    return values[:, :, 0].transpose(1, 2)


def inside_hull(
    masks: Float[Tensor, "v h w"],
    cameras: Cameras,
    points: Float[Tensor, "p 3"],
    *,
    max_outlier_views: float = 0.0,
    threshold: float = 0.5,
) -> Bool[Tensor, " p"]:
    """Points inside all masks but those of `max_outlier_views`, in view of at least half of the cameras.

    A view speaks against the points in its picture that lie outside of its mask.
    """
    n_outside = torch.zeros(len(points), device=points.device)
    n_views = torch.zeros(len(points), device=points.device)
    alive = torch.arange(len(points), device=points.device)
    for i in range(len(cameras)):
        some = points[alive]
        pixels, depth = cameras[i].project(some)
        x, y = pixels[0].unbind(-1)
        pictured = (depth[0] > 0) & (x > 0) & (x < cameras.width) & (y > 0) & (y < cameras.height)
        value = sample_bilinear(masks[i : i + 1, :, :, None], pixels)[0, :, 0]
        n_outside[alive] += pictured & (value < threshold)
        n_views[alive] += pictured
        alive = alive[n_outside[alive] <= max_outlier_views]
    inside = torch.zeros(len(points), dtype=torch.bool, device=points.device)
    inside[alive] = n_views[alive] >= len(cameras) / 2
    return inside


def carve(masks: Float[Tensor, "v h w"], cameras: Cameras, config: HullConfig) -> Bool[Tensor, "r r r"]:
    """Occupied voxels of [-half_extent, half_extent]^3 (index order x, y, z).

    From coarse to fine in LEVELS: coarser voxels are carved with masks grown by their own footprint.
    """
    max_outlier_views = config.max_outlier_views if len(cameras) >= 4 else 0.0
    device = masks.device
    r = config.resolution // LEVELS[0]
    pixels_per_unit = float(cameras.focal.max()) / float(cameras.position.norm(dim=-1).min())
    corner = torch.cartesian_prod(*[torch.arange(2, device=device)] * 3)
    index = torch.cartesian_prod(*[torch.arange(r, device=device)] * 3)
    for level in LEVELS:
        size = 2 * config.half_extent / (config.resolution // LEVELS[0] * LEVELS[0]) * level
        grow = 2 * min(int(pixels_per_unit * size), max(masks.shape[1:])) + 1 if level > 1 else 1
        grown = F.max_pool2d(masks[:, None], grow, 1, grow // 2)[:, 0]
        inside = inside_hull(
            grown, cameras, (index + 0.5) * size - config.half_extent, max_outlier_views=max_outlier_views
        )
        index = index[inside]
        if level > 1:
            index = (2 * index[:, None] + corner).reshape(-1, 3)
    r = config.resolution // LEVELS[0] * LEVELS[0]
    occupied = torch.zeros(r, r, r, dtype=torch.bool, device=device)
    occupied[tuple(index.T)] = True
    return occupied


def silhouette_agreement(matrix: ImageMatrix, times: int = 3, size: int = 64) -> float:
    """Share of the masks that the hull which they all allow still covers, 0 to 1, over some moments.

    It falls where the cameras are not those that the pictures were taken from, or the pictures do not show
    one thing. size: pixels of the comparison.
    """
    cameras = matrix.cameras.resized(min(size, matrix.cameras.width))
    config = HullConfig(max_outlier_views=0)  # two voxels a pixel: no need to grow
    step = 2 * config.half_extent / config.resolution
    covered = total = 0.0
    for t in key_indices(matrix.frames, min(times, matrix.frames), cyclic=True):
        alpha = matrix.images[:, t, :, :, 3][:, None]
        masks = F.interpolate(alpha, (cameras.height, cameras.width), mode="area")[:, 0]
        points = (carve(masks, cameras, config).nonzero() + 0.5) * step - config.half_extent
        solid = masks > 0.5
        covered += float((silhouettes(points, cameras, grown=0) & solid).sum())
        total += float(solid.sum())
    return covered / max(total, 1.0)


def surface(
    images: Float[Tensor, "v h w 4"],
    cameras: Cameras,
    config: HullConfig,
    count: int,
    generator: torch.Generator,
    confidence: Float[Tensor, "v h w"] | None = None,
) -> Surface:
    """At most count points on the surface of the visual hull, colored by the views that see them."""
    occupied = without_phantoms(carve(images[..., 3], cameras, config), cameras, config.half_extent)
    size = 2 * config.half_extent / occupied.shape[0]
    index, normals = shell(occupied)
    points = (index + 0.5) * size - config.half_extent
    colors, frontal = _colors(images, cameras, points, normals, size, confidence)
    trimmed = cut_unseen(occupied, index, normals, frontal)
    if not torch.equal(trimmed, occupied):
        index, normals = shell(trimmed)
        points = (index + 0.5) * size - config.half_extent
        colors, _ = _colors(images, cameras, points, normals, size, confidence)
    area = len(points) * size**2
    if len(points) > count:
        chosen = torch.randperm(len(points), generator=generator)[:count].to(points.device)
        points, normals, colors = points[chosen], normals[chosen], colors[chosen]
    return Surface(points, normals, colors, spacing=(area / max(1, len(points))) ** 0.5)


def shell(occupied: Bool[Tensor, "r r r"]) -> tuple[Int[Tensor, "n 3"], Float[Tensor, "n 3"]]:
    """Occupied voxels with a free neighbour, and outward normals from the smoothed occupancy."""
    solid = F.pad(occupied.float()[None, None], [1] * 6)
    padded = solid[0, 0] > 0
    open_side = torch.zeros_like(occupied)
    for axis in range(3):
        for step in (0, 2):
            window = [slice(1, -1)] * 3
            window[axis] = slice(step, step + occupied.shape[axis])
            open_side |= ~padded[tuple(window)]
    index = (occupied & open_side).nonzero()
    field = F.avg_pool3d(F.avg_pool3d(solid, 3, 1, 1), 3, 1, 1)[0, 0]
    x, y, z = (index + 1).unbind(-1)
    gradient = [field[x + 1, y, z] - field[x - 1, y, z], field[x, y + 1, z] - field[x, y - 1, z]]
    gradient.append(field[x, y, z + 1] - field[x, y, z - 1])
    return index, -F.normalize(torch.stack(gradient, -1), dim=-1)


def cut_unseen(
    occupied: Bool[Tensor, "r r r"],
    index: Int[Tensor, "n 3"],
    normals: Float[Tensor, "n 3"],
    frontal: Float[Tensor, " n"],
) -> Bool[Tensor, "r r r"]:
    """Cuts off what hangs below an object that is seen from above only.

    Under every overhang the visual hull ends in a cone that no view can carve, since none looks up at it.
    Each column of voxels is cut at the height where walls were last seen, spread smoothly over the columns
    between them.

    index, normals: of the shell. frontal: how frontally the best view sees each of its voxels, 0 to 1.
    """
    r, device = occupied.shape[0], occupied.device
    frontal_enough = frontal > SEEN

    def lowest(which: Tensor) -> Float[Tensor, "r r"]:
        height = torch.full((r * r,), torch.inf, device=device)
        place = index[which, 0] * r + index[which, 1]
        return height.scatter_reduce(0, place, index[which, 2].float(), "amin").view(r, r)

    wall = lowest(frontal_enough & (normals[:, 2] < 0.3))
    has_wall = wall.isfinite()
    if not has_wall.any():
        return occupied
    level = torch.where(has_wall, wall, wall[has_wall].mean())
    for window in (31, 15, 7, 3):
        for _ in range(20):
            spread = F.avg_pool2d(level[None], window, 1, window // 2, count_include_pad=False)[0]
            level = torch.where(has_wall, wall, spread)
    level = torch.minimum(level, lowest(frontal_enough))
    return occupied & (torch.arange(r, device=device) >= level[:, :, None] - 2)


def _colors(
    images: Float[Tensor, "v h w 4"],
    cameras: Cameras,
    points: Float[Tensor, "n 3"],
    normals: Float[Tensor, "n 3"],
    size: float,
    confidence: Float[Tensor, "v h w"] | None,
) -> tuple[Float[Tensor, "n 3"], Float[Tensor, " n"]]:
    """Mean color over the views that see a point, the more frontal the more; how frontal the best one is.

    Seen: inside the mask, not behind other points of a coarse depth buffer. Seen by none: all count a little.
    """
    total = torch.zeros(len(points), 4, device=points.device)
    best = torch.zeros(len(points), device=points.device)
    position = cameras.position
    for i in range(len(cameras)):
        pixels, depth = cameras[i].project(points)
        depth = depth[0]
        rgba = sample_bilinear(images[i : i + 1], pixels)[0]
        columns = cameras.width // 2 + 1
        cell = (pixels[0] / 2).long()
        cell = cell[:, 0].clamp(0, columns - 1) + columns * cell[:, 1].clamp(0, cameras.height // 2)
        nearest = torch.full((columns * (cameras.height // 2 + 1),), torch.inf, device=points.device)
        nearest.scatter_reduce_(0, cell, depth, "amin")
        visible = depth < nearest[cell] + 2.5 * size
        facing = (normals * F.normalize(position[i] - points, dim=-1)).sum(-1).clamp(min=0.02)
        weight = rgba[:, 3] * torch.where(visible, facing**3, 1e-6)
        if confidence is not None:
            weight = weight * sample_bilinear(confidence[i : i + 1, :, :, None], pixels)[0, :, 0]
        total[:, :3] += weight[:, None] * rgba[:, :3]
        total[:, 3] += weight
        best = torch.maximum(best, torch.where(visible & (rgba[:, 3] > 0.5), facing, 0))
    weights = total[:, 3:].clamp(min=1e-12)
    return torch.where(total[:, 3:] > 0, total[:, :3] / weights, 0.5), best


def facing_rotation(normals: Float[Tensor, "n 3"]) -> Float[Tensor, "n 4"]:
    """Quaternions (w, i, j, k) that, as left and right rotation of a splat, turn its z axis into the normal.

    In the order of `Gaussians4D` i, j, k belong to the axes z, y, x.
    """
    m = normals.flip(-1)
    cosine = m[:, 0]
    half = torch.stack([1 + cosine, torch.zeros_like(cosine), -m[:, 2], m[:, 1]], -1)
    turned = torch.tensor([0.0, 0.0, 1.0, 0.0], device=normals.device)  # half a turn for the opposite normal
    return F.normalize(torch.where(cosine[:, None] > -0.9999, half, turned), dim=-1)


def key_indices(frames: int, most: int, *, cyclic: bool = False) -> list[int]:
    """At most so many of the frames, the first and the last included; of a loop, evenly round it.

    The middle one where it is a single one.
    """
    if frames <= most:
        return list(range(frames))
    if most == 1:
        return [frames // 2]
    if cyclic:
        return [round(i * frames / most) for i in range(most)]
    return sorted({round(i * (frames - 1) / (most - 1)) for i in range(most)})


def key_spacing(times: Float[Tensor, " t"], keys: int, *, cyclic: bool) -> float:
    """Clip time between neighbours of evenly chosen key times; 0 for a single one.

    times: of all frames. The widest step counts; in a loop the one from the last frame to the first too.
    """
    if keys < 2:
        return 0.0
    if cyclic:
        return float(torch.cat([times, times[:1] + 1]).diff().max()) * len(times) / keys
    return float(times.diff().max()) * (len(times) - 1) / (keys - 1)


def gaussians_from_hull(
    matrix: ImageMatrix, config: HullConfig | None = None, *, sh_degree: int = 0, seed: int = 0
) -> Gaussians4D:
    """4D Gaussians on the visual hulls of an image matrix: the start of a fit.

    Each key time gets its share of splats, flat along the surface, whose temporal extent reaches to about the
    next key time, in a loop from the last to the first too; with a single time they last for ever. Raises
    InputError where no hull is left at any time.
    """
    config = config or HullConfig()
    generator = seed_generator(seed)
    keys = key_indices(matrix.frames, config.key_times, cyclic=matrix.cyclic)
    spacing = key_spacing(matrix.times, len(keys), cyclic=matrix.cyclic)
    count = max(1, config.splats, config.min_splats // len(keys))
    parts = []
    for key in keys:
        trust = None if matrix.confidence is None else matrix.confidence[:, key]
        shape = surface(matrix.images[:, key], matrix.cameras, config, count, generator, trust)
        if len(shape.points):
            parts.append(_splats(shape, float(matrix.times[key]), spacing, config, sh_degree))
    if not parts:
        raise InputError(
            "The masks of the views do not overlap in any point of space, so there is no object to fit: "
            "check the cameras and the masks of the image matrix."
        )
    return replace(Gaussians4D.cat(parts), cyclic=matrix.cyclic)


def _splats(shape: Surface, time: float, spacing: float, config: HullConfig, sh_degree: int) -> Gaussians4D:
    n, device = len(shape.points), shape.points.device
    along = shape.spacing * 0.6
    last = config.overlap * spacing if spacing > 0 else 10.0
    scales = torch.tensor([along, along, along * config.flatness, last], device=device)
    coefficients = torch.zeros(n, sh.terms(sh_degree), 1, 3, device=device)
    coefficients[:, 0, 0] = sh.from_rgb(shape.colors)
    quats = facing_rotation(shape.normals)
    return Gaussians4D(
        means=torch.cat([shape.points, torch.full((n, 1), time, device=device)], -1),
        log_scales=scales.log().expand(n, 4).contiguous(),
        quats_left=quats,
        quats_right=quats.clone(),
        opacity_logits=torch.full((n,), config.opacity, device=device).logit(),
        sh=coefficients,
    )
