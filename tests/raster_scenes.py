"""What the tests of rasterisers share: backends, a camera, splats, the comparison with the reference."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib import util

import pytest
import torch

from vid4d.cameras import Cameras
from vid4d.gaussians import sh as harmonics
from vid4d.gaussians.model import Gaussians3D, Gaussians4D
from vid4d.gaussians.raster import SplatRender, available_backends, rasterize, rasterize_4d

needs_kernel = pytest.mark.skipif("cpu" not in available_backends(), reason="no C compiler here")
needs_interpreter = pytest.mark.skipif(
    util.find_spec("triton") is None or os.environ.get("TRITON_INTERPRET") != "1",
    reason="Triton is not installed, or kernels are compiled, and tested on the GPU",
)
on_gpu = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
DEVICES = [pytest.param("cpu", marks=needs_interpreter), pytest.param("cuda", marks=on_gpu)]
"""Where Triton's kernels run: interpreted on a CPU, compiled on a GPU."""
BACKENDS = [
    "reference",
    pytest.param("cpu", marks=needs_kernel),
    pytest.param("triton", marks=needs_interpreter),
    pytest.param("triton cuda", marks=on_gpu),
]


@contextmanager
def chosen(backend: str) -> Iterator[str]:
    """Name of one of BACKENDS, and its device as the one on which tensors are made."""
    name, _, device = backend.partition(" ")
    with torch.device(device or "cpu"):
        yield name


def camera(size: int = 9, focal: float = 10.0, height: int | None = None) -> Cameras:
    """At (2, 0, 0), looking at the origin: depth 2 there, and one world unit is focal / 2 pixels."""
    one = Cameras.orbit([0.0], [0.0], distance=2.0, size=size, focal=focal)
    return replace(one, height=height or size)


def random_splats(
    n: int, degree: int = 3, fourier: int = 1, seed: int = 0, scale: float = -2.8, spread: float = 0.6
) -> Gaussians4D:
    g = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=g, device="cpu")

    means = torch.cat([0.25 * normal(n, 3), torch.rand(n, 1, generator=g, device="cpu")], 1)
    scales = torch.cat([scale + spread * normal(n, 3), -0.7 + 0.4 * normal(n, 1)], 1)
    sh = 0.3 * normal(n, harmonics.terms(degree), fourier, 3)
    scene = Gaussians4D(means, scales, normal(n, 4), normal(n, 4), 1.5 * normal(n), sh)
    return scene.to(torch.get_default_device())


def draw(
    scene: Gaussians3D | Gaussians4D,
    cameras: Cameras,
    backend: str,
    antialias: bool = True,
    times: torch.Tensor | None = None,
) -> tuple[SplatRender, dict[str, torch.Tensor]]:
    """Pictures of a scene, and gradients of all its tensors and the 2D means for random gradients of those.

    times: of a 4D scene; spread evenly where not given.
    """
    dtype, device = scene.means.dtype, scene.means.device
    tensors = {k: v for k, v in vars(scene).items() if isinstance(v, torch.Tensor)}
    leaves = {k: v.detach().clone().requires_grad_() for k, v in tensors.items()}
    current = replace(scene, **leaves)
    background = torch.tensor([0.2, 0.5, 0.9], device=device)
    options = {"background": background, "backend": backend, "antialias": antialias}
    if isinstance(current, Gaussians4D):
        times = torch.linspace(0.1, 0.9, len(cameras)) if times is None else times
        render = rasterize_4d(current, times.to(device), cameras.to(device), **options)
    else:
        render = rasterize(current, cameras.to(device), **options)
    g = torch.Generator().manual_seed(1)
    loss = torch.zeros((), dtype=dtype, device=device)
    for picture in (render.color, render.alpha, render.depth):
        loss = loss + (picture * torch.randn(picture.shape, generator=g).to(picture)).sum()
    loss.backward()
    assert render.screen is not None
    gradients = {**{k: v.grad for k, v in leaves.items()}, "screen": render.screen.grad}
    return render, {k: torch.zeros(()) if v is None else v.cpu() for k, v in gradients.items()}


def compare(
    scene: Gaussians3D | Gaussians4D,
    cameras: Cameras,
    antialias: bool = True,
    limit: float = 5e-3,
    times: torch.Tensor | None = None,
    backend: str = "cpu",
    device: str = "cpu",
) -> None:
    """A backend in float32 against the reference in float64: pictures and gradients of every input.

    times: of a 4D scene; spread evenly where not given.
    """
    truth, expected = draw(scene.to(dtype=torch.float64), cameras, "reference", antialias, times)
    ours, gradients = draw(scene.to(device), cameras, backend, antialias, times)
    assert torch.equal(truth.visible, ours.visible.cpu())
    torch.testing.assert_close(ours.radii.cpu().double(), truth.radii, atol=1e-2, rtol=1e-3)
    visible = truth.visible[..., None]
    means2d = ours.means2d.cpu().double() * visible
    torch.testing.assert_close(means2d, truth.means2d * visible, atol=1e-2, rtol=1e-5)
    for name in ("color", "alpha", "depth"):
        a, b = getattr(truth, name), getattr(ours, name).cpu().double()
        # A pixel at the very edge of a splat may fall on either side of alpha = 1 / 255.
        off = (a - b).abs() > 1e-4
        assert off.float().mean() < 1e-3, name
        assert (a - b).abs().max() < (0.02 if name != "depth" else 0.1), name
    for name, a in expected.items():
        error = (a - gradients[name].double()).norm() / a.norm().clamp(min=1e-9)
        assert error < limit, (name, error)


def short_lived() -> Gaussians4D:
    """Short splats on both sides of the end of a loop."""
    scene = random_splats(120, 2, 2, seed=8, scale=-2.0)
    t = torch.cat([torch.linspace(-0.1, 0.1, 60), torch.linspace(0.9, 1.1, 60)])
    return replace(
        scene,
        means=torch.cat([scene.means[:, :3], t[:, None]], 1),
        log_scales=torch.cat([scene.log_scales[:, :3], torch.full((120, 1), -2.5)], 1),
        quats_right=scene.quats_left + 0.1 * scene.quats_right,
        cyclic=True,
    )


KINDS = ("needles", "huge", "flat", "points", "transparent", "opaque")


def degenerate(kind: str) -> Gaussians3D:
    """Splats of extreme shape or opacity, one of KINDS."""
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
    return scene


def wide(degree: int) -> Gaussians3D:
    """Splats that fill the picture: their means matter through the harmonics almost alone."""
    scene = random_splats(6, degree, seed=degree).at(0.5)
    wide = replace(scene, covariances=torch.eye(3).expand(6, 3, 3) * 100, sh=3 * scene.sh)
    wide.sh[:, 0] += 6
    return wide


def with_broken(scene: Gaussians3D) -> Gaussians3D:
    """A scene of one harmonic, and six splats more that have NaN or infinity somewhere."""
    bad = torch.tensor([math.nan, math.inf, -math.inf])
    broken = bad[:, None, None].expand(3, 3, 3)
    return Gaussians3D(
        torch.cat([scene.means, bad[:, None].expand(3, 3), torch.zeros(3, 3)]),
        torch.cat([scene.covariances, torch.eye(3).expand(3, 3, 3), broken]),
        torch.cat([scene.opacities, torch.ones(6)]),
        torch.cat([scene.sh, torch.zeros(6, 1, 3)]),
    )
