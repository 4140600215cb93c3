"""Meshes of many moments, with fixed topology where that is possible.

The mesh of one moment, the key, is deformed to the others with a deformation graph: nodes on the surface with
a rotation and a translation each, kept as rigid as possible among neighbours (Sumner et al. 2007; Sorkine and
Alexa 2007), fitted to closest points that agree in place, normal and colour. How far the deformed surface is
from the true one is measured at every moment; where it is too far anywhere, every moment keeps its own mesh.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import embedding_bag

from vid4d.cameras import Cameras
from vid4d.clip_files import key_times
from vid4d.export.formats import ExportOptions, Moments, moments
from vid4d.export.mesh import Mesh, mesh_at
from vid4d.export.surface import MeshOptions, adjacency

if TYPE_CHECKING:
    from vid4d.api import Asset

log = logging.getLogger("vid4d.export")

FPS = 10.0
"""Moments a second, where not given: between them the surface is interpolated."""
MOST = 48
"""Moments, where not given."""


@dataclass(frozen=True)
class TrackOptions:
    """nodes: of the deformation graph. links: of a vertex to nodes.
    steps: of Adam per moment. renewals: how often closest points are searched anew in them. rate: of
    learning, in world units. rigidity: weight of the graph's term at the start and at the end.
    normals, colors: weight of a difference in unit normals and in colour against one in place (world units).
    far: distance from which on points hardly count, at the start and at the end, world units.
    points: of each surface that are compared in a step.
    threshold: the largest distance that passes, as a share of the object's diagonal, see `surface_distance`.
    """

    nodes: int = 500
    links: int = 5
    steps: int = 150
    renewals: int = 30
    rate: float = 0.012
    rigidity: tuple[float, float] = (5.0, 0.03)
    normals: float = 0.02
    colors: float = 0.05
    far: tuple[float, float] = (0.3, 0.04)
    points: int = 3000
    threshold: float = 0.02


@dataclass(frozen=True)
class MeshSequence:
    """Meshes at clip times in [0, 1].

    tracked: they share their faces; vertex i is the same place of the object in all of them.
    distances: of the tracked surface from that of each moment (`surface_distance`), as shares of the object's
    diagonal; also where it was too far, and tracking was given up. Empty where it was not tried.
    """

    times: tuple[float, ...]
    meshes: tuple[Mesh, ...]
    tracked: bool
    distances: tuple[float, ...] = ()


def sequence_of(
    asset: Asset, options: ExportOptions, track: TrackOptions | None = None
) -> tuple[MeshSequence, Moments]:
    """The meshes that an export of an asset holds, and the moments they stand for."""
    filmed = clip_of(asset)
    plan = moments_of(asset, filmed, options)
    chosen = MeshOptions(faces=options.faces)
    total = 2 * len(plan.times) if len(plan.times) > 1 else 1
    sequence = mesh_sequence(
        lambda time: mesh_at(
            asset.gaussians, time, chosen, trusted=None if filmed is None else filmed.camera
        ),
        plan.times,
        track,
        report=lambda done: options.told(done, total),
    )
    return sequence, plan


class Filmed(NamedTuple):
    """The clip's camera, and the times of its key frames."""

    camera: Cameras
    times: tuple[float, ...]


def clip_of(asset: Asset) -> Filmed | None:
    """How the clip of an asset was filmed, where it lies in its run folder and that is known."""
    file = asset.root / "matrix" / "cameras.json"
    if not file.is_file():
        return None
    try:
        clip = json.loads(file.read_text(encoding="utf-8")).get("input")
        if clip is None:
            return None
        given = clip["camera"]
        pose = torch.tensor(given["world_to_camera"], dtype=torch.float32)[None]
        focal = torch.tensor([float(given["focal"])])
        camera = Cameras(pose, focal, int(given["width"]), int(given["height"]))
        keys = key_times(asset.root / "frames")
        return Filmed(camera, keys or tuple(float(time) for time in clip["times"]))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        log.warning("%s cannot be read (%s): meshes are coloured without the clip's camera", file, error)
        return None


def moments_of(asset: Asset, filmed: Filmed | None, options: ExportOptions) -> Moments:
    """The moments that have a mesh.

    Where the options leave it open: about FPS a second, MOST at most, and the clip's key frames among them,
    for an asset is sharpest there.
    """
    plan = moments(asset, options, fps=FPS)
    if options.time is not None or options.frames is not None or options.fps is not None:
        return plan
    count, end = min(len(plan.times), MOST), 0 if asset.cyclic else 1
    spans = 0 if filmed is None else len(filmed.times) - end
    if 0 < spans <= MOST - end:
        count = spans * max(1, (count - end) // spans) + end
    return moments(asset, replace(options, frames=count), fps=FPS)


def mesh_sequence(
    source: Callable[[float], Mesh],
    times: Sequence[float],
    options: TrackOptions | None = None,
    *,
    report: Callable[[int], object] = lambda done: None,
) -> MeshSequence:
    """Meshes of a source (the mesh of a clip time) at times, tracked where that succeeds.

    Warns in the log where it does not. report: called with the number of meshes made, and then of those
    tracked on top of them.
    """
    options = options or TrackOptions()
    meshes = []
    for i, time in enumerate(times):
        meshes.append(source(time))
        report(i + 1)
    if len(meshes) == 1:
        return MeshSequence(tuple(times), tuple(meshes), tracked=True)
    tracked, distances = track(meshes, options, report=lambda done: report(len(meshes) + done))
    worst = int(np.argmax(distances))
    if distances[worst] > options.threshold:
        log.warning(
            "every moment has a mesh of its own: one that is deformed to all would be %.1f%% of the object's "
            "size away at time %.2f, more than %.1f%%",
            *(100 * distances[worst], times[worst], 100 * options.threshold),
        )
        return MeshSequence(tuple(times), tuple(meshes), False, distances)
    return MeshSequence(tuple(times), tracked, True, distances)


def track(
    meshes: Sequence[Mesh], options: TrackOptions, *, report: Callable[[int], object] = lambda done: None
) -> tuple[tuple[Mesh, ...], tuple[float, ...]]:
    """One mesh deformed to all moments, and its `surface_distance` at each over the object's diagonal."""
    size = max(float(np.linalg.norm(np.ptp(mesh.vertices, axis=0))) for mesh in meshes)
    key = key_moment(meshes)
    graph = Graph.on(meshes[key], options)
    moved: dict[int, np.ndarray] = {key: meshes[key].vertices}
    for way in (range(key + 1, len(meshes)), range(key - 1, -1, -1)):
        pose = graph.rest()
        for i in way:
            pose = graph.fit(pose, meshes[i], options)
            moved[i] = settle(meshes[key].moved(graph.deform(pose)), meshes[i])
            report(len(moved))
    tracked = [meshes[key].moved(moved[i]) for i in range(len(meshes))]
    distances = tuple(surface_distance(a, b) / size for a, b in zip(tracked, meshes, strict=True))
    painted = [replace(a, colors=colors_from(a, b)) for a, b in zip(tracked, meshes, strict=True)]
    return tuple(painted), distances


def key_moment(meshes: Sequence[Mesh]) -> int:
    """The moment whose mesh is deformed to the others: parts that touch cannot be parted, so the one with the
    most surface, but near the middle where that makes little difference."""
    area = np.array([_area(mesh) for mesh in meshes])
    middle = 1 - np.abs(np.linspace(-1, 1, len(meshes)))
    return int(np.argmax(area / area.max() + 0.1 * middle))


def _area(mesh: Mesh) -> float:
    a, b, c = (mesh.vertices[mesh.faces[:, k]] for k in range(3))
    return float(np.linalg.norm(np.cross(b - a, c - a), axis=1).sum() / 2)


def _centre(mesh: Mesh) -> Float[np.ndarray, " 3"]:
    """Of the surface."""
    corners = mesh.vertices[mesh.faces]
    area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
    return (corners.mean(1) * area[:, None]).sum(0) / area.sum()


def surface_distance(a: Mesh, b: Mesh) -> float:
    """The 95th percentile of the distance from a point on one surface to the other surface, world units.

    Of both directions the larger, between points spread evenly over the surfaces.
    """
    from scipy.spatial import cKDTree

    one, other = _spread(a), _spread(b)
    there = cKDTree(other).query(one[::10])[0]
    back = cKDTree(one).query(other[::10])[0]
    return float(max(np.quantile(there, 0.95), np.quantile(back, 0.95)))


def _spread(mesh: Mesh, count: int = 40_000) -> Float[np.ndarray, "p 3"]:
    """Points on a surface, evenly by area and in random order."""
    draw = np.random.default_rng(0)
    corners = mesh.vertices[mesh.faces].astype(np.float64)
    area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
    faces = draw.choice(len(area), count, p=area / area.sum())
    root, along = np.sqrt(draw.random((count, 1))), draw.random((count, 1))
    p, q, r = corners[faces].transpose(1, 0, 2)
    return (1 - root) * p + root * (1 - along) * q + root * along * r


def colors_from(mesh: Mesh, true: Mesh, spread: float = 0.02) -> Float[np.ndarray, "v 3"]:
    """Colours of a mesh's vertices from the closest ones of another that face the same way.

    spread: what a difference in unit normals counts, in world units.
    """
    from scipy.spatial import cKDTree

    tree = cKDTree(np.concatenate([true.vertices, spread * true.normals], 1))
    return true.colors[tree.query(np.concatenate([mesh.vertices, spread * mesh.normals], 1))[1]]


@dataclass(frozen=True)
class Graph:
    """A deformation graph on a mesh at rest.

    nodes: (n, 3). neighbours (n, m): nodes that stay rigid to each node. links (v, k), weights (v, k): the
    nodes that move a vertex.
    """

    mesh: Mesh
    nodes: Float[Tensor, "n 3"]
    neighbours: Int[Tensor, "n m"]
    links: Int[Tensor, "v k"]
    weights: Float[Tensor, "v k"]

    @classmethod
    def on(cls, mesh: Mesh, options: TrackOptions) -> Graph:
        """Nodes by farthest point sampling; distances run along the surface, so that parts that only come
        near each other stay independent."""
        from scipy.sparse.csgraph import dijkstra

        edges = adjacency(mesh.faces, len(mesh.vertices)).tocoo()
        i, j = edges.coords
        edges.data = np.linalg.norm(mesh.vertices[i] - mesh.vertices[j], axis=1).astype(np.float64) + 1e-9
        lengths = edges.tocsr()
        count = min(options.nodes, len(mesh.vertices))
        chosen = [0]
        away = np.linalg.norm(mesh.vertices - mesh.vertices[0], axis=1)
        for _ in range(count - 1):
            chosen.append(int(away.argmax()))
            away = np.minimum(away, np.linalg.norm(mesh.vertices - mesh.vertices[chosen[-1]], axis=1))
        limit = 4 * float(away.max())
        reach = dijkstra(lengths, directed=False, indices=chosen, limit=limit)
        far = np.linalg.norm(mesh.vertices[chosen][:, None] - mesh.vertices[None], axis=2) + 2 * limit
        reach = torch.from_numpy(np.where(np.isfinite(reach), reach, far)).float()
        k = min(options.links, count)
        nearest, links = reach.topk(k, dim=0, largest=False)
        width = 0.5 * float(away.max()) + 0.5 * nearest[-1:]
        weights = torch.exp(-0.5 * (nearest / width) ** 2).T.contiguous()
        apart = reach[:, chosen].clone().fill_diagonal_(float("inf"))
        neighbours = apart.topk(min(8, count - 1), dim=1, largest=False)[1]
        nodes = torch.from_numpy(mesh.vertices[chosen]).float()
        return cls(mesh, nodes, neighbours, links.T.contiguous(), weights / weights.sum(1, keepdim=True))

    def rest(self) -> Float[Tensor, "n 6"]:
        """The pose that moves nothing: per node a rotation vector (radians) and a translation."""
        return torch.zeros(len(self.nodes), 6)

    def motions(self, pose: Float[Tensor, "n 6"], turns: Float[Tensor, "n 3 3"]) -> Float[Tensor, "n 12"]:
        """Of every node: x goes to R x + t; R row by row, then t."""
        shifts = self.nodes + pose[:, 3:] - (turns @ self.nodes[..., None])[..., 0]
        return torch.cat([turns.flatten(1), shifts], 1)

    def influence(self, vertices: Int[Tensor, " p"]):  # type: ignore[no-untyped-def]
        """How much each node moves some vertices: a sparse matrix (p, n)."""
        from scipy.sparse import csr_array

        links, weights = self.links[vertices].numpy(), self.weights[vertices].numpy()
        begins = np.arange(len(links) + 1) * links.shape[1]
        return csr_array((weights.ravel(), links.ravel(), begins), shape=(len(links), len(self.nodes)))

    @torch.no_grad()
    def deform(self, pose: Float[Tensor, "n 6"]) -> Float[np.ndarray, "v 3"]:
        """The mesh's vertices in a pose."""
        motions = self.motions(pose, rotations(pose[:, :3]))
        blended = embedding_bag(self.links, motions, per_sample_weights=self.weights, mode="sum")
        return moved_by(blended, torch.from_numpy(self.mesh.vertices)).numpy()

    def stiffness(self, pose: Float[Tensor, "n 6"], turns: Float[Tensor, "n 3 3"]) -> Float[Tensor, ""]:
        """Mean squared distance between where neighbours are and where a node's rigid motion takes them."""
        edge = self.nodes[self.neighbours] - self.nodes[:, None]
        there = edge @ turns.transpose(1, 2)
        moved = self.nodes + pose[:, 3:]
        return (moved[:, None] + there - moved[self.neighbours]).square().sum(-1).mean()

    def fit(self, start: Float[Tensor, "n 6"], target: Mesh, options: TrackOptions) -> Float[Tensor, "n 6"]:
        """The pose, from `start` on, that brings the mesh to another's surface."""
        from scipy.spatial import cKDTree

        draw = torch.Generator().manual_seed(0)
        pose = start.clone()
        pose[:, 3:] += torch.from_numpy(_centre(target) - _centre(self.mesh.moved(self.deform(start))))
        pose.requires_grad_()
        adam = Adam(pose)
        colors = options.colors * self.mesh.colors
        described = np.concatenate(
            [target.vertices, options.normals * target.normals, options.colors * target.colors], 1
        )
        tree = cKDTree(described)
        points, normals = torch.from_numpy(target.vertices), torch.from_numpy(target.normals)
        every = max(1, options.steps // options.renewals)
        for step in range(options.steps):
            done = step / options.steps
            if step % every == 0:
                now = self.mesh.moved(self.deform(pose))
                looks = np.concatenate([now.vertices, options.normals * now.normals, colors], 1)
                some = torch.randperm(len(looks), generator=draw)[: options.points]
                to = torch.from_numpy(tree.query(looks[some.numpy()])[1])
                asked = torch.randperm(len(points), generator=draw)[: options.points]
                met = torch.from_numpy(cKDTree(looks).query(described[asked.numpy()])[1])
                both = torch.cat([some, met])
                influence, rest = self.influence(both), torch.from_numpy(self.mesh.vertices)[both]
                goal, across = points[torch.cat([to, asked])], normals[torch.cat([to, asked])]
            turns = rotations(pose[:, :3])
            off = moved_by(Product.apply(self.motions(pose, turns), influence), rest) - goal
            plane = (off * across).sum(1)
            error = plane.square() + 0.1 * off.square().sum(1)
            far = options.far[0] * (options.far[1] / options.far[0]) ** done
            error = (error / (1 + error / far**2)).mean()  # Geman and McClure's robust error
            first, last = options.rigidity
            rigidity = first * (last / first) ** done
            loss = error + rigidity * self.stiffness(pose, turns)
            (slope,) = torch.autograd.grad(loss, pose)
            adam.step(slope, options.rate * (1 - 0.9 * done))
        return pose.detach()


def moved_by(motions: Float[Tensor, "p 12"], points: Float[Tensor, "p 3"]) -> Float[Tensor, "p 3"]:
    """Each point by its own motion (`Graph.motions`)."""
    return (motions[:, :9].view(-1, 3, 3) * points[:, None]).sum(2) + motions[:, 9:]


class Product(torch.autograd.Function):
    """A sparse matrix (scipy) times a full one; torch's own gradients of such products are slow."""

    @staticmethod
    def forward(ctx, full, matrix):  # type: ignore[no-untyped-def]
        ctx.transposed = matrix.T
        return torch.from_numpy(matrix @ full.numpy())

    @staticmethod
    def backward(ctx, slope):  # type: ignore[no-untyped-def]
        return torch.from_numpy(ctx.transposed @ slope.numpy()), None


class Adam:
    """Kingma and Ba's Adam on one tensor. torch.optim's needs seconds to load what it never uses here."""

    def __init__(self, x: Tensor) -> None:
        self.x, self.count = x, 0
        self.mean, self.square = torch.zeros_like(x), torch.zeros_like(x)

    @torch.no_grad()
    def step(self, slope: Tensor, rate: float) -> None:
        self.count += 1
        self.mean.lerp_(slope, 0.1)
        self.square.lerp_(slope.square(), 0.001)
        root = (self.square / (1 - 0.999**self.count)).sqrt_().add_(1e-8)
        self.x -= rate / (1 - 0.9**self.count) * self.mean / root


def rotations(vectors: Float[Tensor, "n 3"]) -> Float[Tensor, "n 3 3"]:
    """Rotation matrices of rotation vectors (Rodrigues)."""
    angle = (vectors.square().sum(1) + 1e-12).sqrt()[:, None, None]
    zero = torch.zeros_like(vectors[:, 0])
    x, y, z = vectors.unbind(1)
    cross = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], 1).view(-1, 3, 3)
    eye = torch.eye(3, dtype=vectors.dtype, device=vectors.device)
    return eye + angle.sin() / angle * cross + (1 - angle.cos()) / angle**2 * (cross @ cross)


def settle(mesh: Mesh, target: Mesh, rounds: int = 3, smoothing: int = 12) -> Float[np.ndarray, "v 3"]:
    """Vertices moved along their normals onto the target's surface, by displacements that are smooth along
    the mesh: detail that the graph is too coarse for."""
    from scipy.spatial import cKDTree

    matrix = adjacency(mesh.faces, len(mesh.vertices))
    inverse = 1 / matrix.sum(1)[:, None]
    spread = 0.03
    tree = cKDTree(np.concatenate([target.vertices, spread * target.normals], 1))
    for _ in range(rounds):
        distance, index = tree.query(np.concatenate([mesh.vertices, spread * mesh.normals], 1))
        off = ((target.vertices[index] - mesh.vertices) * target.normals[index]).sum(1, keepdims=True)
        by = np.where(distance[:, None] < spread, off * target.normals[index], 0)
        for _ in range(smoothing):
            by = 0.5 * by + 0.5 * (matrix @ by) * inverse
        mesh = mesh.moved((mesh.vertices + by).astype(np.float32))
    return mesh.vertices
