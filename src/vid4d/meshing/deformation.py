"""A deformation graph: one mesh brought to the surfaces of others.

Nodes on the surface have a rotation and a translation each, are kept as rigid as possible among neighbours
(Sumner et al. 2007; Sorkine and Alexa 2007), and are fitted to closest points that agree in place, normal and
color.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int

from vid4d.compute.randomness import seed_generator
from vid4d.meshing.marching_cubes import adjacency
from vid4d.meshing.surface import Marks, centre_of
from vid4d.meshing.tsdf import Mesh

LEAF = 32
"""Points in the leaves of search trees: with normals and colors, larger ones are faster."""
ABOUT = 0.2
"""A point that is at most so much farther away than the closest, in shares, will do as well."""


@dataclass(frozen=True)
class TrackOptions:
    """Options of non-rigid registration by a deformation graph.

    nodes: of the graph. nodes_per_vertex: that move a vertex.
    steps: of Adam per moment. n_correspondence_updates: how often in them closest points are searched anew.
    lr: learning rate, world units, at the start; a tenth of it at the end.
    rigidity: weight of the as-rigid-as-possible term at the start and at the end.
    normal_weight, color_weight: of a difference in unit normals and in color, against one in place (world
        units), in the search for closest points.
    robust_scale: of Geman and McClure's error at the start and at the end, world units; pairs of points that
        are farther apart hardly count.
    points: of each surface that are compared in a step.
    threshold: largest distance that passes, as a share of the object's diagonal, see `mesh_sequence`.
    momentum: share of a step's motion that the next one begins with.
    """

    nodes: int = 500
    nodes_per_vertex: int = 5
    steps: int = 150
    n_correspondence_updates: int = 20
    lr: float = 0.012
    rigidity: tuple[float, float] = (5.0, 0.3)
    normal_weight: float = 0.05
    color_weight: float = 0.2
    robust_scale: tuple[float, float] = (0.3, 0.04)
    points: int = 3000
    threshold: float = 0.02
    momentum: float = 0.7


@dataclass(frozen=True)
class DeformationGraph:
    """Embedded deformation graph of a mesh at rest (Sumner et al. 2007).

    nodes: positions, world units. neighbours: nodes that stay rigid to each node. vertex_nodes, weights: the
    k nodes that move a vertex, and by how much.
    """

    mesh: Mesh
    nodes: Float[np.ndarray, "n 3"]
    neighbours: Int[np.ndarray, "n m"]
    vertex_nodes: Int[np.ndarray, "v k"]
    weights: Float[np.ndarray, "v k"]

    @classmethod
    def on(cls, mesh: Mesh, options: TrackOptions) -> DeformationGraph:
        """Graph with nodes by farthest point sampling.

        Distances run along the surface, so that parts that only come near each other stay independent.
        """
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
        nearest, vertex_nodes = reach.topk(k, dim=0, largest=False)
        width = 0.5 * float(away.max()) + 0.5 * nearest[-1:]
        weights = torch.exp(-0.5 * (nearest / width) ** 2).T.contiguous()
        apart = reach[:, chosen].clone().fill_diagonal_(float("inf"))
        neighbours = apart.topk(min(8, count - 1), dim=1, largest=False)[1]
        return cls(
            mesh,
            mesh.vertices[chosen].astype(np.float64),
            neighbours.numpy(),
            vertex_nodes.T.contiguous().numpy(),
            (weights / weights.sum(1, keepdim=True)).numpy(),
        )

    def rest(self) -> Float[np.ndarray, "n 6"]:
        """The pose that moves nothing: per node a rotation vector (radians) and a translation."""
        return np.zeros((len(self.nodes), 6))

    def motions(
        self, pose: Float[np.ndarray, "n 6"], turns: Float[np.ndarray, "n 3 3"]
    ) -> Float[np.ndarray, "n 12"]:
        """Affine form of each node's motion, x to R x + t: R row by row, then t."""
        shifts = self.nodes + pose[:, 3:] - (turns @ self.nodes[..., None])[..., 0]
        return np.concatenate([turns.reshape(-1, 9), shifts], 1).astype(np.float32)

    def influence(self, vertices: Int[np.ndarray, " p"] | slice):  # type: ignore[no-untyped-def]
        """Weights of the nodes at some vertices, as a sparse matrix (p, n)."""
        from scipy.sparse import csr_array

        vertex_nodes, weights = self.vertex_nodes[vertices], self.weights[vertices]
        begins = np.arange(len(vertex_nodes) + 1) * vertex_nodes.shape[1]
        return csr_array(
            (weights.ravel(), vertex_nodes.ravel(), begins), shape=(len(vertex_nodes), len(self.nodes))
        )

    @cached_property
    def everywhere(self):  # type: ignore[no-untyped-def]
        """Weights of the nodes at all vertices."""
        return self.influence(slice(None))

    def deform(self, pose: Float[np.ndarray, "n 6"]) -> Float[np.ndarray, "v 3"]:
        """The mesh's vertices in a pose."""
        blended = self.everywhere @ self.motions(pose, rotations(pose[:, :3]))
        return moved_by(blended, self.mesh.vertices)

    def rigidity(
        self, pose: Float[np.ndarray, "n 6"], turns: Float[np.ndarray, "n 3 3"]
    ) -> tuple[float, Float[np.ndarray, "n 3 3"], Float[np.ndarray, "n 3"]]:
        """As-rigid-as-possible term (Sorkine and Alexa 2007), and its gradient in turns and translations.

        Mean squared distance of neighbours from where a node's rigid motion takes them, world units.
        """
        edge = self.nodes[self.neighbours] - self.nodes[:, None]
        shift = pose[:, 3:]
        off = shift[:, None] - shift[self.neighbours] - edge + edge @ turns.transpose(0, 2, 1)
        each = 2 / (off.size // 3)
        by_shift = off.sum(1)
        near = self.neighbours.ravel()
        for k in range(3):
            by_shift[:, k] -= np.bincount(near, off[..., k].ravel(), len(shift))
        return float((off * off).sum() * each / 2), each * (off.transpose(0, 2, 1) @ edge), each * by_shift

    def fit(
        self, start: Float[np.ndarray, "n 6"], target: Marks, options: TrackOptions
    ) -> Float[np.ndarray, "n 6"]:
        """Pose that registers the mesh to another surface, optimised from `start` on."""
        from scipy.spatial import cKDTree

        generator = seed_generator(0)
        pose = start.copy()
        pose[:, 3:] += target.centre - centre_of(self.deform(start), self.mesh.faces)
        adam = Adam(pose)
        colors = options.color_weight * self.mesh.colors
        target_features = np.concatenate(
            [target.points, options.normal_weight * target.normals, options.color_weight * target.colors], 1
        )
        tree = cKDTree(target_features, LEAF)
        update_every = max(1, options.steps // options.n_correspondence_updates)
        for step in range(options.steps):
            progress = step / options.steps
            if step % update_every == 0:
                now = self.mesh.moved(self.deform(pose))
                features = np.concatenate([now.vertices, options.normal_weight * now.normals, colors], 1)
                source, sample = (
                    torch.randperm(len(some), generator=generator)[: options.points].numpy()
                    for some in (features, target_features)
                )
                target_match = tree.query(features[source], eps=ABOUT)[1]
                source_match = cKDTree(features, LEAF).query(target_features[sample], eps=ABOUT)[1]
                vertices = np.concatenate([source, source_match])
                matched = np.concatenate([target_match, sample])
                pairs = Pairs(
                    self.influence(vertices),
                    self.mesh.vertices[vertices].T,
                    target.points[matched].T,
                    target.normals[matched].T,
                )
            turns = rotations(pose[:, :3])
            scale = options.robust_scale[0] * (options.robust_scale[1] / options.robust_scale[0]) ** progress
            _, slope = pairs.error(self.motions(pose, turns), scale)
            first, last = options.rigidity
            rigidity = first * (last / first) ** progress
            _, by_turn, by_shift = self.rigidity(pose, turns)
            slope = slope.astype(np.float64)
            by_turn = rigidity * by_turn + slope[:, :9].reshape(-1, 3, 3)
            by_turn -= slope[:, 9:, None] * self.nodes[:, None]
            gradient = [rotation_gradient(pose[:, :3], by_turn), rigidity * by_shift + slope[:, 9:]]
            adam.step(np.concatenate(gradient, 1), options.lr * (1 - 0.9 * progress))
        return pose


def rotations(vectors: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3 3"]:
    """Rotation matrices of rotation vectors (Rodrigues)."""
    _, _, sine, cosine = _rodrigues(vectors)
    x, y, z = vectors.T
    zero = np.zeros_like(x)
    cross = np.stack([zero, -z, y, z, zero, -x, -y, x, zero], 1).reshape(-1, 3, 3)
    return np.eye(3) + sine[:, None, None] * cross + cosine[:, None, None] * (cross @ cross)


def rotation_gradient(
    vectors: Float[np.ndarray, "n 3"], gradient: Float[np.ndarray, "n 3 3"]
) -> Float[np.ndarray, "n 3"]:
    """Gradient in rotation vectors, of that in their `rotations`."""
    squared, cos, sine, cosine = _rodrigues(vectors)
    g = gradient.reshape(-1, 9)
    trace = g[:, 0] + g[:, 4] + g[:, 8]
    turning = np.stack([g[:, 7] - g[:, 5], g[:, 2] - g[:, 6], g[:, 3] - g[:, 1]], 1)
    both = ((gradient + gradient.transpose(0, 2, 1)) @ vectors[..., None])[..., 0]
    along = (cos - sine) / squared * (vectors * turning).sum(1)
    along += (sine - 2 * cosine) / squared * ((vectors * both).sum(1) / 2 - squared * trace)
    across = both - 2 * trace[:, None] * vectors
    return sine[:, None] * turning + cosine[:, None] * across + along[:, None] * vectors


def _rodrigues(vectors: Float[np.ndarray, "n 3"]) -> tuple[Float[np.ndarray, " n"], ...]:
    """Squared angle, cos(angle), sin(angle) / angle and (1 - cos(angle)) / angle^2."""
    squared = (vectors * vectors).sum(1) + 1e-12
    angle = np.sqrt(squared)
    half = np.sin(angle / 2)
    return squared, np.cos(angle), np.sin(angle) / angle, 2 * half * half / squared


def moved_by(
    motions: Float[np.ndarray, "p 12"], points: Float[np.ndarray, "p 3"]
) -> Float[np.ndarray, "p 3"]:
    """Points transformed, each by its own motion (`DeformationGraph.motions`)."""
    return np.einsum("pij,pj->pi", motions[:, :9].reshape(-1, 3, 3), points) + motions[:, 9:]


class Pairs:
    """Points of a mesh and those of another surface that belong to them.

    influence: weights of the nodes at the points, sparse (p, n). rest: the points at rest. points, normals:
    of the other surface. Coordinates come first, so that all products run along the points.
    """

    def __init__(
        self,
        influence: Any,
        rest: Float[np.ndarray, "3 p"],
        points: Float[np.ndarray, "3 p"],
        normals: Float[np.ndarray, "3 p"],
    ) -> None:
        self.influence, self.transposed = influence, influence.T.tocsr()
        self.rest, self.points, self.normals = map(np.ascontiguousarray, (rest, points, normals))

    def error(
        self, motions: Float[np.ndarray, "n 12"], scale: float
    ) -> tuple[float, Float[np.ndarray, "n 12"]]:
        """Geman and McClure's robust error of the nodes' motions (`DeformationGraph.motions`), and its
        gradient. scale: world units.

        Of each pair: the squared distance from the other surface's plane, and a tenth of that of the points.
        """
        blended = np.ascontiguousarray((self.influence @ motions).T)
        turns, shifts = blended[:9].reshape(3, 3, -1), blended[9:]
        offset = (turns * self.rest).sum(1) + shifts - self.points
        plane = (offset * self.normals).sum(0)
        error = plane * plane + 0.1 * (offset * offset).sum(0)
        damped = 1 / (1 + error / scale**2)
        slope = (2 / len(error)) * damped * damped * (plane * self.normals + 0.1 * offset)
        by_turn = (slope[:, None] * self.rest).reshape(9, -1)
        gradient = self.transposed @ np.ascontiguousarray(np.concatenate([by_turn, slope]).T)
        return float((error * damped).mean()), gradient


class Adam:
    """Kingma and Ba's Adam on one array."""

    def __init__(self, x: np.ndarray) -> None:
        self.x, self.count = x, 0
        self.mean, self.square = np.zeros_like(x), np.zeros_like(x)

    def step(self, grad: np.ndarray, lr: float) -> None:
        """One update of the array, in place."""
        self.count += 1
        self.mean += 0.1 * (grad - self.mean)
        self.square += 0.001 * (grad * grad - self.square)
        root = np.sqrt(self.square / (1 - 0.999**self.count)) + 1e-8
        self.x -= lr / (1 - 0.9**self.count) * self.mean / root


def displace_to_surface(
    mesh: Mesh, target: Marks, iterations: int = 3, smoothing: int = 12
) -> Float[np.ndarray, "v 3"]:
    """Vertices displaced along the target's normals onto its surface.

    Displacements are smooth along the mesh: detail that the graph is too coarse for. smoothing: Laplacian
    smoothing steps of them in each iteration.
    """
    from scipy.spatial import cKDTree

    matrix = adjacency(mesh.faces, len(mesh.vertices))
    inverse = 1 / matrix.sum(1)[:, None]
    spread = 0.03
    tree = cKDTree(np.concatenate([target.points, spread * target.normals], 1))
    for _ in range(iterations):
        distance, index = tree.query(np.concatenate([mesh.vertices, spread * mesh.normals], 1))
        offset = ((target.points[index] - mesh.vertices) * target.normals[index]).sum(1, keepdims=True)
        displacement = np.where(distance[:, None] < spread, offset * target.normals[index], 0)
        for _ in range(smoothing):
            displacement = 0.5 * displacement + 0.5 * (matrix @ displacement) * inverse
        mesh = mesh.moved((mesh.vertices + displacement).astype(np.float32))
    return mesh.vertices
