"""The motion of a clip, found for splats at rest: a deformation graph that renders like the clip's frames.

Nodes among the splats have a rotation and a translation each and are kept as rigid as possible among their
neighbours (Sumner et al. 2007; Sorkine and Alexa 2007). Frame by frame, away from the one at which the splats
are at rest, their poses are found by gradients through the rasteriser: what trusted cameras saw tells where
the visible side goes, and rigidity takes the other side along.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from vid4d.cameras import Cameras
from vid4d.gaussians.model import Gaussians3D
from vid4d.gaussians.raster import rasterize
from vid4d.matrix.matrix import TrustedView
from vid4d.media.images import over, resized, straight
from vid4d.metrics.losses import mask_loss

MOMENTUM = 0.7
"""Share of the motion between two frames that the next one begins with."""


@dataclass(frozen=True)
class MotionConfig:
    """Settings of the search for a motion.

    nodes: of the graph. neighbours: nodes that stay rigid to each. nodes_per_splat: that move a splat.
    steps: of Adam a frame. size: pixels of the pictures. lr: learning rate of translations in world units and
    of rotations in radians, at the start; a tenth of it at the end.
    rigidity: weight of the mean squared strain of the graph. steadiness: of the mean squared change from the
    frame before, in world units. mask_weight: of the mask loss against that of colors.
    """

    nodes: int = 240
    neighbours: int = 8
    nodes_per_splat: int = 4
    steps: int = 60
    size: int = 128
    lr: float = 0.012
    rigidity: float = 0.5
    steadiness: float = 0.1
    nearness: float = 0.3
    rigid_steps: int = 20
    mask_weight: float = 2.0


class Pose(NamedTuple):
    """A pose of a graph: rotation of each node, and where it is."""

    turns: Float[Tensor, "n 3 3"]
    places: Float[Tensor, "n 3"]

    def changed(self, by: Float[Tensor, "m 6"]) -> Pose:
        """The pose after more motion, of each node or of all alike (m = 1), which turns them around their
        middle: a rotation vector (radians) and a translation."""
        turns = rotations(by[:, :3])
        if len(by) > 1:
            return Pose(turns @ self.turns, self.places + by[:, 3:])
        middle = self.places.mean(0)
        return Pose(turns @ self.turns, (self.places - middle) @ turns[0].T + middle + by[:, 3:])


@dataclass(frozen=True)
class MotionGraph:
    """Nodes among splats at rest. neighbours: of each node. splat_nodes, weights: that move a splat, and by
    how much.
    """

    rest: Gaussians3D
    nodes: Float[Tensor, "n 3"]
    neighbours: Int[Tensor, "n m"]
    splat_nodes: Int[Tensor, "s k"]
    weights: Float[Tensor, "s k"]

    @classmethod
    def of(cls, rest: Gaussians3D, config: MotionConfig) -> MotionGraph:
        """Nodes by farthest point sampling.

        Distances run from splat to near splat, so that parts that only come near each other stay independent.
        """
        from scipy.sparse import csr_array
        from scipy.sparse.csgraph import dijkstra
        from scipy.spatial import cKDTree

        places = rest.means.detach().cpu().double().numpy()
        near = min(8, len(places) - 1)
        apart, others = cKDTree(places).query(places, near + 1)
        rows = np.repeat(np.arange(len(places)), near)
        lengths = csr_array((apart[:, 1:].ravel() + 1e-9, (rows, others[:, 1:].ravel())), (len(places),) * 2)
        chosen, away = [0], np.linalg.norm(places - places[0], axis=1)
        while len(chosen) < min(config.nodes, len(places)):
            chosen.append(int(away.argmax()))
            away = np.minimum(away, np.linalg.norm(places - places[chosen[-1]], axis=1))
        limit = 4 * float(away.max())
        reach = dijkstra(lengths, directed=False, indices=chosen, limit=limit)
        straight = np.linalg.norm(places[chosen][:, None] - places[None], axis=2) + 2 * limit
        reach = torch.from_numpy(np.where(np.isfinite(reach), reach, straight)).float()
        nearest, splat_nodes = reach.topk(min(config.nodes_per_splat, len(chosen)), dim=0, largest=False)
        width = 0.5 * float(away.max()) + 0.5 * nearest[-1:]
        weights = torch.exp(-0.5 * (nearest / width) ** 2).T.contiguous()
        between = reach[:, chosen].clone().fill_diagonal_(float("inf"))
        neighbours = between.topk(min(config.neighbours, len(chosen) - 1), dim=1, largest=False)[1]
        device = rest.means.device
        return cls(
            rest,
            rest.means.detach()[chosen],
            neighbours.to(device),
            splat_nodes.T.contiguous().to(device),
            (weights / weights.sum(1, keepdim=True)).to(device),
        )

    def still(self) -> Pose:
        """The pose that moves nothing."""
        eye = torch.eye(3, device=self.nodes.device).repeat(len(self.nodes), 1, 1)
        return Pose(eye, self.nodes)

    def moved(self, pose: Pose) -> Gaussians3D:
        """The splats in a pose: each by the weighted mean of its nodes' motions."""
        shifts = pose.places - (pose.turns @ self.nodes[..., None])[..., 0]
        motions = torch.cat([pose.turns.flatten(1), shifts], 1)
        blended = torch.nn.functional.embedding_bag(
            self.splat_nodes, motions, per_sample_weights=self.weights, mode="sum"
        )
        turn = blended[:, :9].view(-1, 3, 3)
        means = (turn @ self.rest.means[..., None])[..., 0] + blended[:, 9:]
        covariances = turn @ self.rest.covariances @ turn.transpose(1, 2)
        return replace(self.rest, means=means, covariances=covariances)

    def strain(self, pose: Pose) -> Float[Tensor, ""]:
        """Mean squared distance of neighbours from where a node's rigid motion takes them, in mean squared
        distances of neighbours (Sorkine and Alexa 2007)."""
        edge = self.nodes[self.neighbours] - self.nodes[:, None]
        rotated = edge @ pose.turns.transpose(1, 2)
        off = (pose.places[:, None] + rotated - pose.places[self.neighbours]).square().sum(-1).mean()
        return off / edge.square().sum(-1).mean()


def rotations(vectors: Float[Tensor, "n 3"]) -> Float[Tensor, "n 3 3"]:
    """Rotation matrices of rotation vectors (Rodrigues)."""
    angle = (vectors.square().sum(1) + 1e-12).sqrt()[:, None, None]
    zero = torch.zeros_like(vectors[:, 0])
    x, y, z = vectors.unbind(1)
    cross = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], 1).view(-1, 3, 3)
    eye = torch.eye(3, dtype=vectors.dtype, device=vectors.device)
    return eye + angle.sin() / angle * cross + (1 - angle.cos()) / angle**2 * (cross @ cross)


def follow_clip(
    rest: Gaussians3D,
    views: Sequence[TrustedView],
    times: Float[Tensor, " t"],
    config: MotionConfig | None = None,
    *,
    cyclic: bool = False,
    progress: Callable[[int, int], object] | None = None,
) -> list[Gaussians3D]:
    """The splats at all times, of which they are at rest at the first.

    views: the clip's frames at these times, and what other cameras saw, each where it has a picture of about
    that time. cyclic: the motion is followed from both ends, for time 1 is time 0. progress: called with
    frames done and frames in all.
    """
    config = config or MotionConfig()
    graph = MotionGraph.of(rest, config)
    views = [_small(view, config.size) for view in views]
    count = len(times)
    last = count // 2 if cyclic else count - 1
    orders = [list(range(1, last + 1)), list(range(count - 1, last, -1))]
    still = graph.still()
    poses, done = {0: still}, 1
    spacing = float(times.diff().min()) if count > 1 else 1.0
    for order in orders:
        before, earlier = still, still
        for i in order:
            seen = [(v, n) for v in views if (n := _at(v, float(times[i]), spacing)) is not None]
            start = before._replace(places=before.places + MOMENTUM * (before.places - earlier.places))
            pose = _pose(graph, seen, start, before, config)
            poses[i], before, earlier, done = pose, pose, before, done + 1
            if progress:
                progress(done, count)
    with torch.no_grad():
        return [graph.moved(poses[i]) for i in range(count)]


def _small(view: TrustedView, size: int) -> TrustedView:
    if view.camera.width <= size:
        return view
    return TrustedView(resized(view.images, size), view.camera.resized(size), view.times)


def _at(view: TrustedView, time: float, spacing: float) -> int | None:
    """The picture of about a time; None where there is none."""
    away = (view.times - time).abs()
    nearest = int(away.argmin())
    return nearest if float(away[nearest]) <= 0.51 * spacing else None


@torch.no_grad()
def _aside(splats: Gaussians3D, view: TrustedView, i: int) -> Float[Tensor, " 3"]:
    """The shift across a camera's view that brings the middle of the splats' outline to that of a picture."""
    camera = view.camera
    size = torch.tensor([camera.width, camera.height], device=camera.focal.device)
    middles = []
    for alpha in (rasterize(splats, camera).alpha[0], view.images[i, ..., 3]):
        rows, columns = (alpha.sum(axis) for axis in (1, 0))
        mass = alpha.sum().clamp(min=1e-6)
        at = [(x * torch.arange(len(x), device=x.device)).sum() / mass for x in (columns, rows)]
        middles.append(torch.stack(at) if float(mass) > 1 else size / 2)
    depth = camera.project(splats.means.mean(0, keepdim=True))[1][0, 0]
    right, down = (middles[1] - middles[0]) * depth / camera.focal[0]
    return right * camera.rotation[0, 0] + down * camera.rotation[0, 1]


def _pose(
    graph: MotionGraph,
    seen: Sequence[tuple[TrustedView, int]],
    start: Pose,
    before: Pose,
    config: MotionConfig,
) -> Pose:
    """Pose of one frame, optimised from a start on: first all nodes alike, then each."""
    pose = start._replace(places=start.places + _aside(graph.moved(start), *seen[0])) if seen else start
    for count, steps in ((1, config.rigid_steps), (len(graph.nodes), config.steps)):
        change = torch.zeros(count, 6, device=graph.nodes.device, requires_grad=True)
        optimizer = torch.optim.Adam([change], lr=config.lr, betas=(0.9, 0.99))
        for step in range(steps):
            for group in optimizer.param_groups:
                group["lr"] = config.lr * 0.1 ** (step / steps)
            now = pose.changed(change)
            loss = config.steadiness * (now.places - before.places).square().sum(1).mean()
            if count > 1:
                loss = loss + config.rigidity * graph.strain(now)
            background = (0.0, 0.5, 1.0)[step % 3]
            splats = graph.moved(now)
            for view, i in seen:
                image = view.images[i]
                render = rasterize(splats, view.camera, background=background)
                color = (render.color[0] - over(image, background)).abs().mean()
                loss = loss + color + config.mask_weight * mask_loss(render.alpha[0], image[..., 3])
                away = view.camera.rotation[0, 2]
                loss = loss + config.nearness * ((now.places - graph.nodes) @ away).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        pose = Pose(*(x.detach() for x in pose.changed(change)))
    return pose


def rendered(moments: Sequence[Gaussians3D], cameras: Cameras) -> Float[Tensor, "v t h w 4"]:
    """Straight-alpha pictures of the splats at all moments."""
    columns = []
    with torch.no_grad():
        for splats in moments:
            render = rasterize(splats, cameras, background=0.0)
            columns.append(straight(torch.cat([render.color, render.alpha[..., None]], -1)).clamp(0, 1).cpu())
    return torch.stack(columns, 1)
