"""A differentiation-free mesh renderer in plain torch: thousands of views a second on a GPU, any device.

Scan conversion without loops: triangle instances expand to scanlines, scanlines to pixels (exact spans, so
no pixel is tested in vain), and the nearest surface wins by one scatter of the maximum over 64-bit keys that
hold inverse depth above and the triangle below. Shading then runs once per covered pixel.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from jaxtyping import Float, Int
from torch import Tensor

from vid4d import kernels
from vid4d.cameras import Cameras
from vid4d.media.images import straight
from vid4d.training.meshes import MeshBatch, ragged_index

NEAR = 0.05


@dataclass
class Lighting:
    """Light per object: sky light from above, one distant lamp, and how a surface's color is altered.

    ambient, sky, lamp: strengths (n,). direction: unit vectors towards the lamp (n, 3), world space.
    color: affine map of sRGB color (n, 3, 4), identity to leave it.
    pattern: stripes in object space (n, 5): amplitude, phase and wave vector.
    """

    ambient: Float[Tensor, " n"]
    sky: Float[Tensor, " n"]
    lamp: Float[Tensor, " n"]
    direction: Float[Tensor, "n 3"]
    color: Float[Tensor, "n 3 4"]
    pattern: Float[Tensor, "n 5"]

    def repeat(self, times: int) -> Lighting:
        """Lighting repeated for `times` groups of objects, one after the other."""
        return Lighting(**{k: v.repeat(times, *[1] * (v.ndim - 1)) for k, v in vars(self).items()})

    @classmethod
    def studio(cls, n: int, device: torch.device | str) -> Lighting:
        """The neutral light of benchmarks: mostly ambient, a soft lamp from above the input camera's left."""

        def full(value: float) -> Tensor:
            return torch.full((n,), value, device=device)

        direction = torch.tensor([0.64, -0.38, 0.67], device=device).expand(n, 3)
        color = torch.eye(3, 4, device=device).expand(n, 3, 4)
        return cls(full(0.68), full(0.14), full(0.3), direction, color, torch.zeros(n, 5, device=device))


def corner_normals(batch: MeshBatch) -> Float[Tensor, "f 3 3"]:
    """Unit normals per face corner: area-weighted over the smooth faces of a vertex, or the face's own."""
    a, b, c = batch.vertices[batch.faces].unbind(1)
    face = torch.linalg.cross(b - a, c - a)
    vertex = torch.zeros_like(batch.vertices)
    weighted = face * batch.smooth[:, None]
    for corner in range(3):
        vertex.index_add_(0, batch.faces[:, corner], weighted)
    flat = face[:, None].expand(-1, 3, -1)
    normal = torch.where(batch.smooth[:, None, None], vertex[batch.faces], flat)
    return normal / normal.norm(dim=-1, keepdim=True).clamp(min=1e-20)


def _spans(corner: Float[Tensor, "n 3 2"], size: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Scanlines of projected triangles, only non-empty ones: (triangle, row, first column, columns)."""
    low, high = corner[..., 1].amin(1), corner[..., 1].amax(1)
    first = (low - 0.5).ceil().clamp(0, size).long()
    last = (high - 0.5).ceil().clamp(0, size).long()  # exclusive
    row, tri = ragged_index(first, (last - first).clamp(min=0))
    y = row + 0.5
    left = torch.full_like(y, float("inf"))
    right = torch.full_like(y, float("-inf"))
    for i, j in ((0, 1), (1, 2), (2, 0)):
        p, q = corner[:, i][tri], corner[:, j][tri]
        crosses = (p[:, 1] <= y) != (q[:, 1] <= y)
        dy = q[:, 1] - p[:, 1]
        x = p[:, 0] + (y - p[:, 1]) / torch.where(crosses, dy, 1.0) * (q[:, 0] - p[:, 0])
        left = torch.where(crosses, torch.minimum(left, x), left)
        right = torch.where(crosses, torch.maximum(right, x), right)
    begin = (left - 0.5).ceil().clamp(0, size)
    end = (right - 0.5).ceil().clamp(0, size)
    count = (end - begin).clamp(min=0)
    keep = count > 0
    return tri[keep], row[keep], begin[keep].long(), count[keep].long()


def _screen_barycentric(corner: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Barycentric coordinates of points in projected triangles (n, 3, 2), not perspective corrected."""
    p, q, r = corner.unbind(1)
    area = (q[:, 0] - p[:, 0]) * (r[:, 1] - p[:, 1]) - (q[:, 1] - p[:, 1]) * (r[:, 0] - p[:, 0])
    area = torch.where(area.abs() < 1e-12, 1e-12, area)
    w1 = ((x - p[:, 0]) * (r[:, 1] - p[:, 1]) - (y - p[:, 1]) * (r[:, 0] - p[:, 0])) / area
    w2 = ((q[:, 0] - p[:, 0]) * (y - p[:, 1]) - (q[:, 1] - p[:, 1]) * (x - p[:, 0])) / area
    return torch.stack([1 - w1 - w2, w1, w2], 1).clamp(0, 1)


@dataclass
class Instances:
    """Triangles as seen by each view: face, view, projected corners and inverse depths of the corners."""

    face: Tensor
    view: Tensor
    corner: Tensor
    inverse_depth: Tensor


def project(batch: MeshBatch, cameras: Cameras, view_object: Tensor, size: int) -> Instances:
    """Triangles of the views' objects, `size` pixels wide; those wholly outside or too near are left out."""
    faces_of = torch.bincount(batch.face_object, minlength=batch.objects)
    first = torch.cumsum(faces_of, 0) - faces_of
    face, view = ragged_index(first[view_object], faces_of[view_object])
    points = batch.vertices[batch.faces[face]]
    rotation, translation = cameras.rotation[view], cameras.translation[view]
    local = torch.einsum("nij,nkj->nki", rotation, points) + translation[:, None]
    inverse = 1 / local[..., 2].clamp(min=NEAR)
    focal = (cameras.focal * (size / cameras.width))[view]
    corner = local[..., :2] * inverse[..., None] * focal[:, None, None] + size / 2
    inside = (local[..., 2] > NEAR).all(1)
    inside &= (corner.amax(1) > 0).all(1) & (corner.amin(1) < size).all(1)
    return Instances(face[inside], view[inside], corner[inside], inverse[inside])


def _sample_texture(batch: MeshBatch, face: Tensor, weights: Tensor) -> Float[Tensor, "n 4"]:
    """Nearest texel; the supersampling of the renderer does the filtering."""
    uv = (batch.uv[face] * weights[..., None]).sum(1)
    height, width = batch.texture_size[face].unbind(1)
    column = (uv[:, 0] * width).long().clamp(min=0).minimum(width - 1)
    row = (uv[:, 1] * height).long().clamp(min=0).minimum(height - 1)
    return batch.texels[batch.texture_start[face] + row * width + column].float() / 255


def _nearest(batch: MeshBatch, instances: Instances, size: int, views: int, chunk: int) -> Tensor:
    """Keys of the nearest surface per pixel, by a kernel where there can be one."""
    if kernels.available(instances.corner):
        from vid4d.training.mesh_render_kernels import nearest

        return nearest(batch, **vars(instances), size=size, views=views)
    return nearest_plain(batch, instances, size, views, chunk)


def nearest_plain(
    batch: MeshBatch, instances: Instances, size: int, views: int, chunk: int = 1 << 25
) -> Int[Tensor, " p"]:
    """Keys of the nearest surface per pixel: inverse depth (float bits) above, instance below; -1: empty.

    chunk: pixels expanded at a time.
    """
    keys = torch.full((views * size * size,), -1, dtype=torch.int64, device=instances.face.device)
    tri_all, row_all, begin_all, count_all = _spans(instances.corner, size)
    bounds = torch.cumsum(count_all, 0)
    total = int(bounds[-1]) if len(bounds) else 0
    cuts = [
        int(torch.searchsorted(bounds, torch.tensor(i, device=bounds.device))) for i in range(0, total, chunk)
    ]
    for low, high in pairwise([*cuts, len(count_all)]):
        part = slice(low, high)
        column, span = ragged_index(begin_all[part], count_all[part])
        tri, row = tri_all[part][span], row_all[part][span]
        weights = _screen_barycentric(instances.corner[tri], column + 0.5, row + 0.5)
        inverse = (weights * instances.inverse_depth[tri]).sum(1)
        transparent = batch.has_alpha[instances.face[tri]]
        visible = torch.ones_like(transparent)
        if bool(transparent.any()):
            some = transparent.nonzero()[:, 0]
            true = weights[some] * instances.inverse_depth[tri[some]]
            true = true / true.sum(1, keepdim=True)
            visible[some] = _sample_texture(batch, instances.face[tri[some]], true)[:, 3] > 0.5
        depth_bits = inverse.float().contiguous().view(torch.int32).long()
        key = torch.where(visible, (depth_bits << 32) | tri, -1)
        pixel = (instances.view[tri] * size + row) * size + column
        keys.scatter_reduce_(0, pixel, key, "amax")
    return keys


def _depth_of(keys: Tensor) -> Tensor:
    """Depth along the optical axis from keys of `_nearest`, infinite where they are empty."""
    return torch.where(keys >= 0, 1 / (keys >> 32).int().view(torch.float32), torch.inf)


def _shade(
    batch: MeshBatch, lighting: Lighting, face: Tensor, weights: Tensor, normals: Tensor, camera: Tensor
) -> Float[Tensor, "n 3"]:
    texel = _sample_texture(batch, face, weights)[:, :3]
    color = texel * (batch.corner_color[face] * weights[..., None]).sum(1)
    owner = batch.face_object[face]
    point = (batch.vertices[batch.faces[face]] * weights[..., None]).sum(1)
    affine = lighting.color[owner]
    color = torch.einsum("nij,nj->ni", affine[..., :3], color) + affine[..., 3]
    amplitude, phase, wave = lighting.pattern[owner].split([1, 1, 3], 1)
    stripes = torch.sin((point * wave).sum(1, keepdim=True) + phase)
    color = color * (1 + amplitude * stripes)
    normal = (normals[face] * weights[..., None]).sum(1)
    normal = normal / normal.norm(dim=1, keepdim=True).clamp(min=1e-12)
    towards = camera - point
    normal = torch.where((normal * towards).sum(1, keepdim=True) < 0, -normal, normal)
    lamp = (normal * lighting.direction[owner]).sum(1).clamp(min=0) * lighting.lamp[owner]
    light = lighting.ambient[owner] + lighting.sky[owner] * normal[:, 2] + lamp
    return (color.clamp(0, 1) * light[:, None]).clamp(0, 1)


@torch.no_grad()
def render_meshes(
    batch: MeshBatch,
    cameras: Cameras,
    view_object: Int[Tensor, " n"],
    lighting: Lighting | None = None,
    *,
    supersample: int = 2,
    chunk: int = 1 << 25,
) -> Float[Tensor, "n h w 4"]:
    """Pictures of the objects of a batch, camera i looking at object view_object[i].

    Returns straight-alpha RGBA in [0, 1]. Every surface is double-sided. Square pictures only.
    chunk: pixels expanded at a time, which bounds memory.
    """
    return render_with_depth(batch, cameras, view_object, lighting, supersample=supersample, chunk=chunk)[0]


@torch.no_grad()
def render_with_depth(
    batch: MeshBatch,
    cameras: Cameras,
    view_object: Int[Tensor, " n"],
    lighting: Lighting | None = None,
    *,
    supersample: int = 2,
    chunk: int = 1 << 25,
) -> tuple[Float[Tensor, "n h w 4"], Float[Tensor, "n hs ws"]]:
    """RGBA renders, and depth of every sample along the optical axis (infinite where there is nothing)."""
    if cameras.width != cameras.height:
        raise ValueError(f"square pictures only, not {cameras.width}x{cameras.height}")
    n, size = len(cameras), cameras.width * supersample
    device = batch.vertices.device
    lighting = lighting or Lighting.studio(batch.objects, device)
    instances = project(batch, cameras, view_object, size)
    keys = _nearest(batch, instances, size, n, chunk)
    covered = (keys >= 0).nonzero()[:, 0]
    instance = keys[covered] & 0xFFFFFFFF
    column, row = covered % size, (covered // size) % size
    weights = _screen_barycentric(instances.corner[instance], column + 0.5, row + 0.5)
    weights = weights * instances.inverse_depth[instance]
    weights = weights / weights.sum(1, keepdim=True)
    camera = cameras.position[instances.view[instance]]
    rgb = _shade(batch, lighting, instances.face[instance], weights, corner_normals(batch), camera)
    flat = torch.zeros(n * size * size, 4, device=device)
    flat[covered] = torch.cat([rgb, torch.ones_like(rgb[:, :1])], 1)
    picture = flat.view(n, size // supersample, supersample, size // supersample, supersample, 4).mean((2, 4))
    return straight(picture), _depth_of(keys).view(n, size, size)


@torch.no_grad()
def render_depth(
    batch: MeshBatch, cameras: Cameras, view_object: Int[Tensor, " n"], *, chunk: int = 1 << 26
) -> Float[Tensor, "n h w"]:
    """Depths at the pixel centers along the optical axes, infinite where there is nothing."""
    size = cameras.width
    keys = _nearest(batch, project(batch, cameras, view_object, size), size, len(cameras), chunk)
    return _depth_of(keys).view(len(cameras), size, size)


def fit_to_frame(
    batch: MeshBatch,
    camera: Cameras,
    *,
    fill: float | Tensor = 200 / 256,
    radius: float = 0.6,
    group: Tensor | None = None,
    rounds: int = 5,
) -> MeshBatch:
    """Moves and scales objects so that their pictures are framed as clips are: centred, `fill` of the side.

    camera: one per group. group (objects,): objects that share one transform (the poses of a clip); each its
    own by default. radius: bound of the distance from the centre of the bounding box, whatever the picture,
    so that the ring sees all of it. That centre comes to lie at the origin's depth.
    """
    device = batch.vertices.device
    group = torch.arange(batch.objects, device=device) if group is None else group.to(device)
    n = len(camera)
    owner = group[batch.vertex_object]
    index = owner[:, None]

    def extreme(values: Tensor, how: str) -> Tensor:
        start = torch.full(
            (n, values.shape[1]), float("-inf") if how == "amax" else float("inf"), device=device
        )
        return start.scatter_reduce(0, index.expand_as(values), values, how)

    centre = (extreme(batch.vertices, "amax") + extreme(batch.vertices, "amin")) / 2
    local = torch.einsum("vij,vj->vi", camera.rotation[owner], batch.vertices - centre[owner])
    reach = extreme(local.norm(dim=1, keepdim=True), "amax").clamp(min=1e-6)
    depth = camera.translation[:, 2:]
    scale = 0.5 / reach
    shift = torch.zeros(n, 2, device=device)
    target = torch.as_tensor(fill, device=device, dtype=torch.float32).expand(n)[:, None] * camera.width
    focal = camera.focal[:, None]
    for _ in range(rounds):
        z = (local[:, 2:] * scale[owner] + depth[owner]).clamp(min=NEAR)
        xy = (local[:, :2] * scale[owner] + shift[owner]) / z * focal[owner]
        high, low = extreme(xy, "amax"), extreme(xy, "amin")
        widest = (high - low).amax(1, keepdim=True).clamp(min=1e-6)
        scale = torch.minimum(scale * target / widest, radius / reach)
        shift = shift - (high + low) / 2 / focal * depth
    moved = local * scale[owner]
    moved[:, :2] += shift[owner]
    world = torch.einsum("vji,vj->vi", camera.rotation[owner], moved)
    return MeshBatch(**{**batch.__dict__, "vertices": world})
