"""Splats at rest follow a clip: what a camera sees moves, what it does not see comes along."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from vid4d.cameras import Cameras
from vid4d.gaussians.model import Gaussians3D
from vid4d.gaussians.motion import MotionConfig, MotionGraph, follow_clip, rendered
from vid4d.gaussians.raster import rasterize
from vid4d.gaussians.sh import from_rgb
from vid4d.matrix.matrix import TrustedView
from vid4d.media.images import straight

QUICK = MotionConfig(nodes=24, steps=25, rigid_steps=15, size=48)
CAMERA = Cameras.orbit([0.0], 10.0, size=48)


def body(count: int = 500) -> Gaussians3D:
    """An ellipsoid in changing colors, longer in y than high."""
    i = torch.arange(count) + 0.5
    polar, turn = torch.acos(1 - 2 * i / count), math.pi * (1 + 5**0.5) * i
    unit = torch.stack([turn.cos() * polar.sin(), turn.sin() * polar.sin(), polar.cos()], -1)
    means = unit * torch.tensor([0.2, 0.3, 0.15])
    colors = 0.5 + 0.4 * torch.sin(9 * unit + torch.tensor([0.0, 1.0, 2.0]))
    eye = torch.eye(3).repeat(count, 1, 1) * 0.025**2
    return Gaussians3D(means, eye, torch.full((count,), 0.95), from_rgb(colors)[:, None])


def turned(splats: Gaussians3D, degrees: float, shift: tuple[float, float, float]) -> Gaussians3D:
    """About the camera's axis, nearly: about x."""
    a = math.radians(degrees)
    turn = torch.tensor([[1, 0, 0], [0, math.cos(a), -math.sin(a)], [0, math.sin(a), math.cos(a)]])
    return replace(
        splats,
        means=splats.means @ turn.T + torch.tensor(shift),
        covariances=turn @ splats.covariances @ turn.T,
    )


def seen(moments: list[Gaussians3D], times: torch.Tensor, camera: Cameras = CAMERA) -> TrustedView:
    renders = [rasterize(m, camera, background=0.0) for m in moments]
    pictures = [straight(torch.cat([r.color, r.alpha[..., None]], -1)) for r in renders]
    return TrustedView(torch.cat(pictures), camera, times)


def test_a_rigid_motion_moves_all_splats_and_strains_nothing():
    graph = MotionGraph.of(body(), QUICK)
    assert graph.nodes.shape == (24, 3)
    torch.testing.assert_close(graph.weights.sum(1), torch.ones(500))
    still = graph.moved(graph.still())
    torch.testing.assert_close(still.means, graph.rest.means, atol=1e-6, rtol=0)
    change = torch.tensor([[math.pi / 2, 0, 0, 0.1, 0.2, 0.3]])
    pose = graph.still().changed(change)
    assert float(graph.strain(pose)) < 1e-10
    moved, middle = graph.moved(pose), graph.nodes.mean(0)
    x, y, z = (graph.rest.means - middle).unbind(1)
    expected = torch.stack([x, -z, y], 1) + middle + torch.tensor([0.1, 0.2, 0.3])
    torch.testing.assert_close(moved.means, expected, atol=1e-5, rtol=0)


def test_a_graph_that_grows_by_a_tenth_is_strained_by_a_hundredth():
    graph = MotionGraph.of(body(), QUICK)
    grown = graph.still()._replace(places=graph.nodes * 1.1)
    assert float(graph.strain(grown)) == pytest.approx(0.01, rel=1e-4)


def test_the_side_that_no_camera_sees_comes_along():
    rest, times = body(), torch.tensor([0.0, 0.5, 1.0])
    truth = [rest, turned(rest, 8, (0, 0.04, 0.03)), turned(rest, 16, (0, 0.08, 0.06))]
    found = follow_clip(rest, [seen(truth, times)], times, QUICK)
    for ours, true, n in zip(found, truth, (0, 1, 2), strict=True):
        far = (ours.means - true.means)[rest.means[:, 0] < -0.05].norm(dim=1).mean()
        unmoved = (rest.means - true.means)[rest.means[:, 0] < -0.05].norm(dim=1).mean()
        assert float(far) <= 0.35 * float(unmoved) + 1e-6, f"moment {n}"


def test_a_loop_is_followed_from_both_ends():
    """The last moment is near the first, not near the one before it."""
    rest, times = body(), torch.arange(4) / 4
    heights = (0.0, 0.05, 0.1, 0.05)
    truth = [turned(rest, 0, (0, 0, h)) for h in heights]
    order: list[int] = []
    found = follow_clip(
        rest, [seen(truth, times)], times, QUICK, cyclic=True, progress=lambda done, total: order.append(done)
    )
    assert order == [2, 3, 4]
    for ours, height in zip(found, heights, strict=True):
        assert float((ours.means - rest.means)[:, 2].mean()) == pytest.approx(height, abs=0.015)


def test_another_camera_shows_what_the_first_hardly_sees():
    """A motion along the first camera's view; the other one stands aside and has a picture of one moment."""
    rest, times = body(), torch.tensor([0.0, 1.0])
    truth = [rest, turned(rest, 0, (0.1, 0, 0))]
    side = seen(truth[1:], times[1:], Cameras.orbit([90.0], 10.0, size=48))
    both = follow_clip(rest, [seen(truth, times), side], times, QUICK)[1]
    assert float((both.means - rest.means)[:, 0].mean()) == pytest.approx(0.1, abs=0.025)


def test_pictures_of_the_moments():
    rest = body()
    pictures = rendered([rest, turned(rest, 0, (0, 0.2, 0))], Cameras.ring(4, size=32))
    assert pictures.shape == (4, 2, 32, 32, 4)
    assert 0 <= float(pictures.min()) <= float(pictures.max()) <= 1
    middle = (pictures[0, :, ..., 3] * torch.arange(32)).sum((1, 2)) / pictures[0, :, ..., 3].sum((1, 2))
    assert float(middle[1] - middle[0]) > 3, "a camera on +x has +y on its right"
