"""The C kernel against the reference: values, gradients, odd splats, any number of threads."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from raster_scenes import (
    KINDS,
    camera,
    compare,
    degenerate,
    needs_kernel,
    random_splats,
    short_lived,
    wide,
    with_broken,
)

from vid4d.cameras import Cameras
from vid4d.gaussians.model import rotation4d
from vid4d.gaussians.raster import available_backends, build, rasterize, rasterize_4d
from vid4d.gaussians.raster.cpu import _Shape


@needs_kernel
@pytest.mark.parametrize(
    ("width", "height", "degree", "fourier", "antialias"),
    [
        (33, 17, 3, 1, True),
        (16, 48, 0, 1, True),
        (70, 45, 3, 3, True),
        (5, 3, 1, 2, True),
        (1, 1, 2, 1, True),
        (40, 40, 2, 2, False),
    ],
)
def test_kernel_equals_the_reference(
    width: int, height: int, degree: int, fourier: int, antialias: bool
) -> None:
    cameras = Cameras.orbit([0.0, 100, 200], [10.0, 30, -20], size=48)
    cameras = replace(cameras, width=width, height=height)
    compare(random_splats(80, degree, fourier, seed=width), cameras, antialias)


@needs_kernel
@pytest.mark.parametrize("count", [1, 16, 53])
def test_covariances_and_their_gradients_are_the_models(count: int) -> None:
    """The truth is in double, from quaternions of any length; blocks of 16 that are full and that are not."""
    generator = torch.Generator().manual_seed(count)
    given = [torch.randn(count, 4, dtype=torch.float64, generator=generator) for _ in range(3)]
    given[1] *= 7
    exact = [x.clone().requires_grad_() for x in given]
    ours = [x.float().requires_grad_() for x in given]
    factor = rotation4d(exact[1], exact[2]) * exact[0].exp()[:, None]
    truth, found = factor @ factor.mT, _Shape.apply(*ours)
    assert torch.equal(found, found.mT)
    torch.testing.assert_close(
        found.double(), truth, rtol=1e-5, atol=1e-5 * float(truth.detach().abs().max())
    )
    gradient = torch.randn(count, 4, 4, generator=generator)
    truth.backward(gradient.double())
    found.backward(gradient)
    for one, other in zip(ours, exact, strict=True):
        most = float(other.grad.abs().max())  # type: ignore[union-attr]
        torch.testing.assert_close(one.grad.double(), other.grad, rtol=1e-5, atol=1e-6 * most)  # type: ignore[union-attr]


@needs_kernel
def test_a_quaternion_of_nothing_turns_nothing_into_nan() -> None:
    zero = torch.zeros(1, 4, requires_grad=True)
    covariances = _Shape.apply(torch.zeros(1, 4), zero, torch.eye(4)[:1])
    covariances.sum().backward()
    assert torch.equal(covariances, torch.zeros(1, 4, 4))
    assert torch.isfinite(zero.grad).all()


@needs_kernel
def test_kernel_around_the_end_of_a_loop() -> None:
    """Short splats on both sides of the end, at times on both sides: each sees some of the other side."""
    scene, times = short_lived(), torch.tensor([0.01, 0.98, 1.0])
    cameras = Cameras.orbit([0.0, 100, 200], [10.0, 30, -20], size=48)
    compare(scene, cameras, times=times)
    visible = rasterize_4d(scene, times, cameras, backend="cpu").visible
    alone = rasterize_4d(replace(scene, cyclic=False), times, cameras, backend="cpu").visible
    assert (visible & ~alone)[:, :60].sum(1)[1:].min() > 5
    assert (visible & ~alone)[0, 60:].sum() > 5


@needs_kernel
def test_kernel_with_splats_off_screen_and_behind() -> None:
    """The camera sits among the splats: near plane, clamped Jacobians, boxes that begin outside."""
    scene = random_splats(150, 1, seed=5, scale=-2.5)
    cameras = Cameras.orbit([30.0, 220], [5.0, 60], distance=0.3, size=40, focal=30.0)
    compare(scene.at(0.5), cameras)


@needs_kernel
@pytest.mark.parametrize("kind", KINDS)
def test_kernel_with_degenerate_splats(kind: str) -> None:
    cameras = Cameras.orbit([0.0, 90], [20.0, -30], size=37)
    compare(degenerate(kind), cameras, antialias=kind != "opaque")


@needs_kernel
@pytest.mark.parametrize("degree", [1, 2, 3])
def test_kernel_gradients_of_the_viewing_direction(degree: int) -> None:
    compare(wide(degree), Cameras.orbit([0.0, 60, 200], [80.0, -30, 5], size=9), limit=1e-4)


@needs_kernel
def test_kernel_survives_broken_values() -> None:
    """NaN and infinite splats are not drawn; the others are as if alone."""
    scene = random_splats(20, 0, seed=4).at(0.5)
    alone = rasterize(scene, camera(20), backend="cpu")
    render = rasterize(with_broken(scene), camera(20), backend="cpu")
    assert not render.visible[0, 20:].any()
    assert torch.equal(render.color, alone.color)


@needs_kernel
def test_bytes_do_not_depend_on_the_threads() -> None:
    scene, cameras = random_splats(300, 3, 2, seed=8), Cameras.ring(3, size=50)
    threads, found = torch.get_num_threads(), []
    try:
        for count in (1, 2, 5):
            torch.set_num_threads(count)
            leaves = scene.trainable()
            render = rasterize_4d(leaves, [0.1, 0.5, 0.9], cameras, backend="cpu")
            # Sums of torch itself may depend on the threads: fixed gradients go straight into the kernel.
            g = torch.Generator().manual_seed(0)
            pictures = (render.color, render.alpha, render.depth)
            torch.autograd.backward(pictures, [torch.randn(p.shape, generator=g) for p in pictures])
            assert render.screen is not None
            tensors = [
                *pictures,
                render.radii,
                render.screen.grad,
                *[v.grad for v in leaves.tensors().values()],
            ]
            found.append([t.detach().numpy().tobytes() for t in tensors])
    finally:
        torch.set_num_threads(threads)
    assert found[0] == found[1] == found[2]


PROBE = """
import torch
from vid4d.cameras import Cameras
from vid4d.gaussians.raster import available_backends, rasterize
from vid4d.gaussians.model import Gaussians3D
g = torch.Generator().manual_seed(0)
scene = Gaussians3D(0.2 * torch.randn(40, 3, generator=g), 0.01 * torch.eye(3).expand(40, 3, 3),
                    torch.rand(40, generator=g), torch.randn(40, 4, 3, generator=g))
scene.means.requires_grad_()
render = rasterize(scene, Cameras.ring(2, size=30), backend="cpu")
render.color.square().sum().backward()
print(available_backends()["cpu"].split(", ")[1], render.color.sum().item(), scene.means.grad.norm().item())
"""


@needs_kernel
def test_every_instruction_set_gives_the_same_picture() -> None:
    names = available_backends()["cpu"].split(", ")[1]
    able = build.variants()[: build.variants().index(names) + 1]
    if len(able) == 1:
        pytest.skip("this machine has one variant")
    values = []
    for name in able:
        environment = {**os.environ, "VID4D_RASTER_ISA": name, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(
            [sys.executable, "-c", PROBE], env=environment, capture_output=True, text=True, check=True
        )
        used, *numbers = done.stdout.split()
        assert used == name
        values.append([float(x) for x in numbers])
    for other in values[1:]:
        assert other == pytest.approx(values[0], rel=1e-4)
