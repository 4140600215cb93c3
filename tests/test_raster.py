"""Rasterising: pixels worked by hand, the reference's gradients, the C kernel against the reference."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from dataclasses import replace

import pytest
import torch

from vid4d.cameras import Cameras
from vid4d.errors import InputError
from vid4d.gaussians import raster
from vid4d.gaussians import sh as harmonics
from vid4d.gaussians.model import Gaussians3D, Gaussians4D
from vid4d.gaussians.raster import available_backends, build, rasterize, rasterize_4d

BACKENDS = [
    "reference",
    pytest.param(
        "cpu", marks=pytest.mark.skipif("cpu" not in available_backends(), reason="no C compiler here")
    ),
]
needs_kernel = pytest.mark.skipif("cpu" not in available_backends(), reason="no C compiler here")


def camera(size: int = 9, focal: float = 10.0, height: int | None = None) -> Cameras:
    """At (2, 0, 0), looking at the origin: depth 2 there, and one world unit is focal / 2 pixels."""
    one = Cameras.orbit([0.0], [0.0], distance=2.0, size=size, focal=focal)
    return replace(one, height=height or size)


def splats(
    means: list[list[float]], sigma: float, opacities: list[float], rgb: list[list[float]]
) -> Gaussians3D:
    n = len(means)
    covariances = torch.eye(3).expand(n, 3, 3) * sigma**2
    colors = harmonics.from_rgb(torch.tensor(rgb).reshape(n, 3))[:, None]
    return Gaussians3D(torch.tensor(means).reshape(n, 3), covariances, torch.tensor(opacities), colors)


@pytest.mark.parametrize("backend", BACKENDS)
def test_one_splat_by_hand(backend: str) -> None:
    """sigma 0.2 is 1 pixel: the 2D variance is 1 + 0.1, the centre that of pixel (4, 4)."""
    one = splats([[0.0, 0, 0]], 0.2, [0.5], [[1.0, 0.5, 0]])
    plain = rasterize(one, camera(), background=0.0, backend=backend, antialias=False)
    for x, y in ((4, 4), (5, 4), (4, 2), (6, 6)):
        d = ((x - 4) ** 2 + (y - 4) ** 2) / 1.1
        alpha = 0.5 * math.exp(-d / 2)
        assert plain.alpha[0, y, x].item() == pytest.approx(alpha, abs=1e-5)
        assert plain.color[0, y, x].tolist() == pytest.approx([alpha, alpha / 2, 0], abs=1e-5)
        assert plain.depth[0, y, x].item() == pytest.approx(2.0, abs=1e-5)
    assert plain.alpha[0, 7, 6] == 0  # exp(-13 / 2.2) / 2 = 0.0014 is below 1 / 255
    assert plain.means2d[0, 0].tolist() == pytest.approx([4.5, 4.5], abs=1e-5)
    # It ends where 0.5 exp(-d / 2) = 1 / 255.
    assert plain.radii[0, 0].item() == pytest.approx(math.sqrt(2 * math.log(127.5) * 1.1), abs=1e-4)
    corner = rasterize(one, camera(), background=1.0, backend=backend, antialias=False)
    assert corner.color[0, 4, 4].tolist() == pytest.approx([1, 0.75, 0.5], abs=1e-5)
    assert corner.color[0, 0, 0].tolist() == [1, 1, 1]
    smooth = rasterize(one, camera(), background=0.0, backend=backend, antialias=True)
    assert smooth.alpha[0, 4, 4].item() == pytest.approx(0.5 * 1 / 1.1, abs=1e-5)


@pytest.mark.parametrize("backend", BACKENDS)
def test_axes_and_depth(backend: str) -> None:
    """From +x one sees +y to the right and +z above; half as far away, things are twice as far off-centre."""
    one = splats([[0.0, 0.4, 0.6]], 0.02, [0.9], [[1.0, 1, 1]])
    near = splats([[1.0, 0.2, 0.3]], 0.02, [0.9], [[1.0, 1, 1]])
    for scene, depth in ((one, 2.0), (near, 1.0)):
        render = rasterize(scene, camera(), backend=backend)
        assert render.means2d[0, 0].tolist() == pytest.approx([4.5 + 2, 4.5 - 3], abs=1e-5)
        assert render.alpha[0].argmax().item() == 1 * 9 + 6
        assert render.depth[0, 1, 6].item() == pytest.approx(depth, abs=1e-5)
        assert render.depth[0, 8, 0].item() == 0


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_the_nearer_splat_covers_the_farther(backend: str, order: tuple[int, int]) -> None:
    means, opacities, rgb = [[0.5, 0, 0], [-0.5, 0, 0]], [0.6, 0.8], [[1.0, 0, 0], [0, 1.0, 0]]
    scene = splats([means[i] for i in order], 0.2, [opacities[i] for i in order], [rgb[i] for i in order])
    render = rasterize(
        scene, camera(), background=torch.tensor([0.0, 0, 1]), backend=backend, antialias=False
    )
    assert render.color[0, 4, 4].tolist() == pytest.approx([0.6, 0.4 * 0.8, 0.4 * 0.2], abs=1e-5)
    assert render.alpha[0, 4, 4].item() == pytest.approx(0.92, abs=1e-5)
    depth = (0.6 * 1.5 + 0.32 * 2.5) / 0.92
    assert render.depth[0, 4, 4].item() == pytest.approx(depth, abs=1e-5)


@pytest.mark.parametrize("backend", BACKENDS)
def test_alpha_is_capped_and_blending_stops(backend: str) -> None:
    """0.9, 0.95 and 0.99 leave 5e-5 of the light: less than 1e-4, so the fourth splat is not drawn."""
    means = [[0.6, 0, 0], [0.4, 0, 0], [0.2, 0, 0], [0, 0, 0]]
    scene = splats(means, 5.0, [0.9, 0.95, 0.99, 0.5], [[1.0, 1, 1]] * 4)
    render = rasterize(scene, camera(), background=0.0, backend=backend, antialias=False)
    assert 1 - render.alpha[0, 4, 4].item() == pytest.approx(5e-5, abs=1e-6)
    first = rasterize(splats([[0.0, 0, 0]], 5.0, [1.0], [[1.0, 1, 1]]), camera(), backend=backend)
    assert first.alpha[0, 4, 4].item() == pytest.approx(0.99, abs=1e-6)


@pytest.mark.parametrize("backend", BACKENDS)
def test_what_cannot_be_seen(backend: str) -> None:
    """Behind the camera, in its plane, outside of the picture, without opacity: nothing, and no gradients."""
    means = [[3.0, 0, 0], [1.99, 0, 0], [0, 30.0, 0], [0, 0, 0]]
    scene = splats(means, 0.2, [0.9, 0.9, 0.9, 0.0], [[0.0, 0, 0]] * 4)
    inputs = {name: value.requires_grad_() for name, value in vars(scene).items()}
    render = rasterize(scene, camera(), backend=backend)
    assert not render.visible.any()
    assert (render.color == 1).all()
    assert (render.alpha == 0).all()
    assert (render.depth == 0).all()
    (render.color.sum() + render.alpha.sum() + render.depth.sum()).backward()
    for value in inputs.values():
        assert value.grad is None or (value.grad == 0).all()


@pytest.mark.parametrize("backend", BACKENDS)
def test_no_splats_at_all(backend: str) -> None:
    empty = splats([], 0.1, [], [])
    empty.means.requires_grad_()
    render = rasterize(empty, camera(), background=0.25, backend=backend)
    assert (render.color == 0.25).all()
    assert render.visible.shape == (1, 0)
    render.color.sum().backward()


@pytest.mark.parametrize("backend", BACKENDS)
def test_screen_gradients_are_those_of_a_shift_in_pixels(backend: str) -> None:
    """One unit along the picture is 500 pixels, and the covariance hardly feels the shift."""
    weights = torch.rand(1, 9, 9, generator=torch.Generator().manual_seed(0))
    scene = splats([[0.0, 0.0, 0.0], [9.0, 0, 0]], 0.006, [0.7, 0.7], [[1.0, 1, 1]] * 2)
    scene.means.requires_grad_()
    render = rasterize(scene, camera(focal=1000.0), backend=backend)
    with pytest.raises(RuntimeError, match="backward"):
        render.screen_gradients()
    (render.alpha * weights).sum().backward()
    gradients = render.screen_gradients()
    assert gradients.shape == (1, 2)
    assert gradients[0, 1] == 0
    assert scene.means.grad is not None
    by_mean = scene.means.grad[0, 1:].norm().item() / (1000.0 / 2)
    assert gradients[0, 0].item() == pytest.approx(by_mean, rel=1e-3)
    assert gradients[0, 0].item() > 0.01


@pytest.mark.parametrize(("cyclic", "times"), [(False, [0.4, 0.6]), (True, [0.05, 0.9])])
def test_gradients_of_the_reference(cyclic: bool, times: list[float]) -> None:
    """float64, against finite differences, through slicing, projection, harmonics and blending."""
    scene = random_splats(4, degree=2, fourier=2, seed=3, scale=-1.6).to(dtype=torch.float64)
    names = list(scene.tensors())
    cameras = Cameras.orbit([10.0, 140.0], [20.0, -10.0], size=6, focal=4.0)

    def pictures(*values: torch.Tensor) -> tuple[torch.Tensor, ...]:
        current = Gaussians4D(**dict(zip(names, values, strict=True)), cyclic=cyclic)
        render = rasterize_4d(current, torch.tensor(times), cameras, backend="reference")
        return render.color, render.alpha, render.depth

    values = [v.clone().requires_grad_() for v in scene.tensors().values()]
    scene = replace(scene, cyclic=cyclic)
    assert rasterize_4d(scene, times, cameras, backend="reference").visible.sum() >= 6
    assert torch.autograd.gradcheck(pictures, values, eps=1e-6, atol=1e-5)


def random_splats(
    n: int, degree: int = 3, fourier: int = 1, seed: int = 0, scale: float = -2.8, spread: float = 0.6
) -> Gaussians4D:
    g = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=g)

    means = torch.cat([0.25 * normal(n, 3), torch.rand(n, 1, generator=g)], 1)
    scales = torch.cat([scale + spread * normal(n, 3), -0.7 + 0.4 * normal(n, 1)], 1)
    sh = 0.3 * normal(n, harmonics.terms(degree), fourier, 3)
    return Gaussians4D(means, scales, normal(n, 4), normal(n, 4), 1.5 * normal(n), sh)


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
    seen = truth.visible[..., None]
    torch.testing.assert_close(ours.means2d.double() * seen, truth.means2d * seen, atol=1e-2, rtol=1e-5)
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
    seen = rasterize_4d(scene, times, cameras, backend="cpu").visible
    alone = rasterize_4d(replace(scene, cyclic=False), times, cameras, backend="cpu").visible
    assert (seen & ~alone)[:, :60].sum(1)[1:].min() > 5
    assert (seen & ~alone)[0, 60:].sum() > 5


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


@pytest.mark.parametrize("backend", BACKENDS)
def test_4d_is_the_slices_one_by_one(backend: str) -> None:
    scene, cameras = random_splats(50, 2, 2, seed=7), Cameras.ring(3, size=24)
    times = torch.tensor([0.0, 0.5, 0.8])
    together = rasterize_4d(scene, times, cameras, backend=backend)
    for i, time in enumerate(times):
        single = rasterize(scene.at(time), cameras[i], backend=backend)
        torch.testing.assert_close(together.color[i], single.color[0], atol=1e-4, rtol=0)
        assert torch.equal(together.visible[i], single.visible[0])


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


def test_the_resolver_says_no(monkeypatch: pytest.MonkeyPatch) -> None:
    one = splats([[0.0, 0, 0]], 0.2, [0.5], [[1.0, 1, 1]])
    with pytest.raises(InputError, match="no rasteriser named 'fast'"):
        rasterize(one, camera(), backend="fast")
    with pytest.raises(InputError, match="float64"):
        rasterize(one.to(dtype=torch.float64), camera(), backend="cpu")
    with pytest.raises(InputError, match="cuda"):
        rasterize(one, camera(), backend="gsplat")
    with pytest.raises(ValueError, match="times"):
        rasterize_4d(random_splats(2), [0.1, 0.2], camera())


def test_the_environment_overrules_auto(monkeypatch: pytest.MonkeyPatch) -> None:
    like = torch.zeros(1)
    monkeypatch.setenv("VID4D_RASTER", "reference")
    assert raster.resolve("auto", like).__name__.endswith("reference")  # type: ignore[attr-defined]
    monkeypatch.setenv("VID4D_RASTER", "gsplat")
    with pytest.raises(InputError, match="VID4D_RASTER"):
        raster.resolve("auto", like)
    monkeypatch.delenv("VID4D_RASTER")
    assert raster.resolve("auto", like.double()).__name__.endswith("reference")  # type: ignore[attr-defined]


@needs_kernel
def test_auto_takes_the_kernel_and_says_so_once(caplog: pytest.LogCaptureFixture) -> None:
    raster._say.cache_clear()
    with caplog.at_level("INFO", logger="vid4d.raster"):
        for _ in range(2):
            module = raster.resolve("auto", torch.zeros(1))
    assert module.__name__.endswith("raster.cpu")  # type: ignore[attr-defined]
    assert len([r for r in caplog.records if "cpu" in r.getMessage()]) == 1


def test_without_a_compiler_the_reason_is_given(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    monkeypatch.setenv("CC", "")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(build.BuildError, match="no C compiler"):
        build.build(tmp_path / "library.so")
    broken = tmp_path / "broken"
    broken.write_text("#!/bin/sh\necho 'error: no such option' >&2\nexit 3\n")
    broken.chmod(0o755)
    monkeypatch.setenv("CC", str(broken))
    if os.name == "posix":
        monkeypatch.setenv("PATH", f"{tmp_path}:/bin")
        with pytest.raises(build.BuildError, match="no such option"):
            build.build(tmp_path / "library.so")
    assert not (tmp_path / "library.so").exists()


def test_splats_stay_where_a_fast_rasteriser_is(monkeypatch):
    from vid4d.gaussians import raster

    assert raster.splat_device("cpu") == "cpu"
    monkeypatch.setattr(raster, "_cpu_obstacle", lambda: "")
    monkeypatch.setattr(raster, "_gsplat_obstacle", lambda: "not installed")
    assert raster.splat_device("cuda:1") == "cpu"
    monkeypatch.setattr(raster, "_gsplat_obstacle", lambda: "")
    assert raster.splat_device("cuda:1") == "cuda:1"
    monkeypatch.setattr(raster, "_gsplat_obstacle", lambda: "not installed")
    monkeypatch.setattr(raster, "_cpu_obstacle", lambda: "no compiler")
    assert raster.splat_device("cuda") == "cuda"
