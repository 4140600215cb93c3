"""The C kernel against the reference: values, gradients, odd splats, any number of threads."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from raster_scenes import camera, needs_kernel, random_splats

from vid4d.cameras import Cameras
from vid4d.gaussians.model import Gaussians3D, Gaussians4D
from vid4d.gaussians.raster import available_backends, build, rasterize, rasterize_4d


def compare(
    scene: Gaussians3D | Gaussians4D,
    cameras: Cameras,
    antialias: bool = True,
    limit: float = 5e-3,
    times: torch.Tensor | None = None,
) -> None:
    """C kernel in float32 against the reference in float64: pictures and gradients of every input.

    times: of a 4D scene; spread evenly where not given.
    """
    times = torch.linspace(0.1, 0.9, len(cameras)) if times is None else times
    renders, gradients = [], []
    for backend, dtype in (("reference", torch.float64), ("cpu", torch.float32)):
        tensors = {k: v for k, v in vars(scene).items() if isinstance(v, torch.Tensor)}
        leaves = {k: v.detach().to(dtype).clone().requires_grad_() for k, v in tensors.items()}
        current = replace(scene, **leaves)
        options = {"background": torch.tensor([0.2, 0.5, 0.9]), "backend": backend, "antialias": antialias}
        if isinstance(current, Gaussians4D):
            render = rasterize_4d(current, times, cameras, **options)
        else:
            render = rasterize(current, cameras, **options)
        g = torch.Generator().manual_seed(1)
        loss = torch.zeros((), dtype=dtype)
        for picture in (render.color, render.alpha, render.depth):
            loss = loss + (picture * torch.randn(picture.shape, generator=g).to(dtype)).sum()
        loss.backward()
        assert render.screen is not None
        renders.append(render)
        gradients.append({**{k: v.grad for k, v in leaves.items()}, "screen": render.screen.grad})
    truth, ours = renders
    assert torch.equal(truth.visible, ours.visible)
    torch.testing.assert_close(ours.radii.double(), truth.radii, atol=1e-2, rtol=1e-3)
    visible = truth.visible[..., None]
    torch.testing.assert_close(ours.means2d.double() * visible, truth.means2d * visible, atol=1e-2, rtol=1e-5)
    for name in ("color", "alpha", "depth"):
        a, b = getattr(truth, name), getattr(ours, name).double()
        # A pixel at the very edge of a splat may fall on either side of alpha = 1 / 255.
        off = (a - b).abs() > 1e-4
        assert off.float().mean() < 1e-3, name
        assert (a - b).abs().max() < (0.02 if name != "depth" else 0.1), name
    for name, a in gradients[0].items():
        error = (a - gradients[1][name].double()).norm() / a.norm().clamp(min=1e-9)
        assert error < limit, (name, error)


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
def test_kernel_around_the_end_of_a_loop() -> None:
    """Short splats on both sides of the end, at times on both sides: each sees some of the other side."""
    scene = random_splats(120, 2, 2, seed=8, scale=-2.0)
    times = torch.tensor([0.01, 0.98, 1.0])
    t = torch.cat([torch.linspace(-0.1, 0.1, 60), torch.linspace(0.9, 1.1, 60)])
    still = scene.quats_left + 0.1 * scene.quats_right
    scene = replace(
        scene,
        means=torch.cat([scene.means[:, :3], t[:, None]], 1),
        log_scales=torch.cat([scene.log_scales[:, :3], torch.full((120, 1), -2.5)], 1),
        quats_right=still,
        cyclic=True,
    )
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
@pytest.mark.parametrize("kind", ["needles", "huge", "flat", "points", "transparent", "opaque"])
def test_kernel_with_degenerate_splats(kind: str) -> None:
    g = torch.Generator().manual_seed(2)
    scene = random_splats(60, 1, seed=9).at(0.5)
    turn = torch.linalg.qr(torch.randn(60, 3, 3, generator=g))[0]
    sigma = {
        "needles": [1.0, 1e-3, 1e-3],
        "huge": [20.0, 5.0, 30.0],
        "flat": [0.1, 0.1, 1e-6],
        "points": [1e-6, 1e-6, 1e-6],
    }.get(kind, [0.1, 0.05, 0.1])
    factor = turn * torch.tensor(sigma)
    scene = replace(scene, covariances=factor @ factor.transpose(1, 2))
    if kind == "transparent":
        scene = replace(scene, opacities=torch.linspace(0, 0.02, 60))
    if kind in ("opaque", "points"):
        scene = replace(scene, opacities=torch.ones(60))
    compare(scene, Cameras.orbit([0.0, 90], [20.0, -30], size=37), antialias=kind != "opaque")


@needs_kernel
@pytest.mark.parametrize("degree", [1, 2, 3])
def test_kernel_gradients_of_the_viewing_direction(degree: int) -> None:
    """Splats that fill the picture: their means matter through the harmonics almost alone."""
    scene = random_splats(6, degree, seed=degree).at(0.5)
    wide = replace(scene, covariances=torch.eye(3).expand(6, 3, 3) * 100, sh=3 * scene.sh)
    wide.sh[:, 0] += 6
    compare(wide, Cameras.orbit([0.0, 60, 200], [80.0, -30, 5], size=9), limit=1e-4)


@needs_kernel
def test_kernel_survives_broken_values() -> None:
    """NaN and infinite splats are not drawn; the others are as if alone."""
    scene = random_splats(20, 0, seed=4).at(0.5)
    alone = rasterize(scene, camera(20), backend="cpu")
    bad = torch.tensor([math.nan, math.inf, -math.inf])
    means = torch.cat([scene.means, bad[:, None].expand(3, 3), torch.zeros(3, 3)])
    covariances = torch.cat(
        [scene.covariances, torch.eye(3).expand(3, 3, 3), bad[:, None, None].expand(3, 3, 3)]
    )
    more = Gaussians3D(
        means,
        covariances,
        torch.cat([scene.opacities, torch.ones(6)]),
        torch.cat([scene.sh, torch.zeros(6, 1, 3)]),
    )
    render = rasterize(more, camera(20), backend="cpu")
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
