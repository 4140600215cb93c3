"""Points looked up in pictures of depths: the C kernel against torch, and numbers worked by hand."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch
from solids import ball_of_splats
from torch import Tensor
from torch.nn.functional import normalize

from vid4d.cameras import Cameras
from vid4d.gaussians.raster import cpu, views
from vid4d.meshing import depth_views
from vid4d.meshing.depth_views import SEEN, DepthViews, colors_of, signed_distances
from vid4d.meshing.marching_cubes import MeshOptions
from vid4d.meshing.tsdf import UNSEEN, fibonacci_cameras

OPTIONS = MeshOptions(resolution=32, views=24, size=64)
in_c = pytest.mark.skipif(bool(cpu.obstacle()), reason=cpu.obstacle() or "there is one")


@pytest.fixture(scope="module")
def ball() -> DepthViews:
    """Views of a ball of soft splats, not all of which have all of it in sight."""
    bound = torch.full((3,), 0.25)
    return DepthViews.of(ball_of_splats(count=1500).at(0.5), fibonacci_cameras(-bound, bound, 24, 64))


def by_both(monkeypatch: pytest.MonkeyPatch, ask) -> Iterator[object]:  # type: ignore[no-untyped-def]
    """What is found by torch, and by the kernel."""
    for kernel in (False, True):
        monkeypatch.setattr(depth_views.cpu, "serves", lambda _, yes=kernel: yes)
        yield ask()


def around(count: int, spread: float) -> Tensor:
    """Points within, on, around and far from the ball, some behind cameras."""
    generator = torch.Generator().manual_seed(0)
    return spread * torch.randn(count, 3, generator=generator)


@in_c
@pytest.mark.parametrize("spread", [0.2, 1.5])
def test_distances_of_the_kernel_are_those_of_torch(ball, monkeypatch, spread):
    blunt = replace(ball, alpha=ball.alpha.sqrt())
    for passing in (None, blunt):
        plain, fast = by_both(
            monkeypatch,
            lambda p=passing: signed_distances(ball, around(4000, spread), 0.02, OPTIONS, passing=p),
        )
        near = (plain - fast).abs() < 1e-3
        assert near.float().mean() > 0.998, "a ray may pass by or not, to rounding"
        if spread < 1:
            assert (plain.abs() < 1).float().mean() > 0.05, "points near the surface are among them"


@in_c
def test_colors_of_the_kernel_are_those_of_torch(ball, monkeypatch):
    normals = normalize(around(4000, 1.0), dim=1)
    points = (0.3 * normals).numpy()
    weights = torch.ones(24)
    weights[20:] = 20.0
    ask = lambda: colors_of(  # noqa: E731
        ball, points, normals.numpy(), tolerance=0.03, sharpness=16.0, weights=weights
    )
    (plain, counted), (fast, other) = by_both(monkeypatch, ask)
    alike = np.abs(plain - fast).max(1) < 1e-4
    assert alike.mean() > 0.998, "a point may be hidden or not, to rounding"
    np.testing.assert_allclose(other[alike], counted[alike], rtol=1e-3, atol=1e-5)
    assert (counted > UNSEEN).mean() > 0.8


@in_c
def test_bytes_do_not_depend_on_the_threads(ball, monkeypatch):
    found = []
    for threads in (1, 5):
        monkeypatch.setattr(views, "free_threads", lambda count=threads: count)
        found.append(signed_distances(ball, around(3000, 0.2), 0.02, OPTIONS))
    assert torch.equal(*found)


@pytest.mark.parametrize("kernel", [False, pytest.param(True, marks=in_c)])
def test_a_picture_of_four_pixels(kernel, monkeypatch):
    """One camera, a wall two units away with a hole of one pixel: depths and alpha between its pixels."""
    monkeypatch.setattr(depth_views.cpu, "serves", lambda _: kernel)
    camera = Cameras.orbit([0.0], 0.0, distance=3.0, size=2, focal=2.0)
    alpha = torch.tensor([[[1.0, 1.0], [1.0, 0.0]]])
    wall = DepthViews(camera, alpha[..., None].expand(-1, -1, -1, 3) * 0.5, alpha, 2 * alpha)
    options = replace(OPTIONS, truncation=4.0, hidden=1.0, empty=0.0, min_alpha=0.5)
    voxel = 0.5
    middle = torch.tensor([[3 - z, 0.0, 0.0] for z in (0.5, 1.5, 1.9, 2.1, 9.0)])
    # Three of four pixels: alpha 3/4, depth 2. In front truncated; far behind, it counts 0.4.
    found = signed_distances(wall, middle, voxel, options)
    np.testing.assert_allclose(found, [3.0, 1.0, 0.2, -0.2, 0.4 * -4.0], atol=1e-5)
    hole = torch.tensor([[1.0, 0.5, -0.5]])  # seen at the middle of the lower right pixel
    assert signed_distances(wall, hole, voxel, options).tolist() == [4.0]
    facing = np.array([[1.0, 0.0, 0.0]], np.float32)
    color, seen = colors_of(wall, middle[3:4].numpy(), facing, tolerance=0.2)
    np.testing.assert_allclose(color, 0.5, atol=1e-6)
    assert seen.item() == pytest.approx(0.75)
    assert colors_of(wall, middle[3:4].numpy(), facing, tolerance=0.05)[1].item() == 0
    assert colors_of(wall, middle[3:4].numpy(), -facing, tolerance=0.2)[1].item() == 0
    assert SEEN < 0.75
