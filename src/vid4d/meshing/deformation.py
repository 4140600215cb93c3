"""A deformation graph: one mesh brought to the surfaces of others.

Nodes on the surface have a rotation and a translation each, are kept as rigid as possible among neighbours
(Sumner et al. 2007; Sorkine and Alexa 2007), and are fitted to closest points that agree in place, normal and
color.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import embedding_bag

from vid4d.meshing.marching_cubes import adjacency
from vid4d.meshing.tsdf import Mesh
from vid4d.randomness import seed_generator


@dataclass(frozen=True)
class TrackOptions:
    """nodes: of the deformation graph. nodes_per_vertex: that move it.
    steps: of Adam per moment. correspondences: how often closest points are searched anew in them.
    learning_rate: world units. rigidity: weight of the graph's term at the start and at the end.
    normals, colors: weight of a difference in unit normals and in color against one in place (world units).
    outlier_distance: from which on points hardly count, at the start and at the end, world units.
    points: of each surface that are compared in a step.
    threshold: the largest distance that passes, as a share of the object's diagonal, see `track`.
    """

    nodes: int = 500
    nodes_per_vertex: int = 5
    steps: int = 150
    correspondences: int = 30
    learning_rate: float = 0.012
    rigidity: tuple[float, float] = (5.0, 0.03)
    normals: float = 0.02
    colors: float = 0.05
    outlier_distance: tuple[float, float] = (0.3, 0.04)
    points: int = 3000
    threshold: float = 0.02


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
        k = min(options.nodes_per_vertex, count)
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
        """Weights of the nodes at some vertices, as a sparse matrix (p, n)."""
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
        rotated = edge @ turns.transpose(1, 2)
        moved = self.nodes + pose[:, 3:]
        return (moved[:, None] + rotated - moved[self.neighbours]).square().sum(-1).mean()

    def fit(self, start: Float[Tensor, "n 6"], target: Mesh, options: TrackOptions) -> Float[Tensor, "n 6"]:
        """The pose, from `start` on, that brings the mesh to another's surface."""
        from scipy.spatial import cKDTree

        draw = seed_generator(0)
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
        every = max(1, options.steps // options.correspondences)
        for step in range(options.steps):
            done = step / options.steps
            if step % every == 0:
                now = self.mesh.moved(self.deform(pose))
                features = np.concatenate([now.vertices, options.normals * now.normals, colors], 1)
                from_mesh = torch.randperm(len(features), generator=draw)[: options.points]
                to = torch.from_numpy(tree.query(features[from_mesh.numpy()])[1])
                from_target = torch.randperm(len(points), generator=draw)[: options.points]
                closest = torch.from_numpy(cKDTree(features).query(described[from_target.numpy()])[1])
                both = torch.cat([from_mesh, closest])
                influence, rest = self.influence(both), torch.from_numpy(self.mesh.vertices)[both]
                goal, across = points[torch.cat([to, from_target])], normals[torch.cat([to, from_target])]
            turns = rotations(pose[:, :3])
            off = moved_by(Product.apply(self.motions(pose, turns), influence), rest) - goal
            plane = (off * across).sum(1)
            error = plane.square() + 0.1 * off.square().sum(1)
            near, distant = options.outlier_distance[1], options.outlier_distance[0]
            outlier = distant * (near / distant) ** done
            error = (error / (1 + error / outlier**2)).mean()  # Geman and McClure's robust error
            first, last = options.rigidity
            rigidity = first * (last / first) ** done
            loss = error + rigidity * self.stiffness(pose, turns)
            (slope,) = torch.autograd.grad(loss, pose)
            adam.step(slope, options.learning_rate * (1 - 0.9 * done))
        return pose.detach()


def _centre(mesh: Mesh) -> Float[np.ndarray, " 3"]:
    """Centroid of the surface, weighted by area."""
    corners = mesh.vertices[mesh.faces]
    area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
    return (corners.mean(1) * area[:, None]).sum(0) / area.sum()


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


def snap_to_surface(
    mesh: Mesh, target: Mesh, rounds: int = 3, smoothing: int = 12
) -> Float[np.ndarray, "v 3"]:
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
