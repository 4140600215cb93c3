"""Rasterising: pixels worked by hand on every backend, the reference's gradients, the resolver."""

from __future__ import annotations

import math
import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from raster_scenes import BACKENDS, camera, chosen, needs_kernel, random_splats

from vid4d.cameras import Cameras
from vid4d.errors import InputError
from vid4d.gaussians import raster
from vid4d.gaussians import sh as harmonics
from vid4d.gaussians.model import Gaussians3D, Gaussians4D
from vid4d.gaussians.raster import build, rasterize, rasterize_4d


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> Iterator[str]:
    """Every backend that can run here, each with tensors on its own device."""
    with chosen(request.param) as name:
        yield name


def splats(
    means: list[list[float]], sigma: float, opacities: list[float], rgb: list[list[float]]
) -> Gaussians3D:
    n = len(means)
    covariances = torch.eye(3).expand(n, 3, 3) * sigma**2
    colors = harmonics.from_rgb(torch.tensor(rgb).reshape(n, 3))[:, None]
    return Gaussians3D(torch.tensor(means).reshape(n, 3), covariances, torch.tensor(opacities), colors)


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


def test_alpha_is_capped_and_blending_stops(backend: str) -> None:
    """0.9, 0.95 and 0.99 leave 5e-5 of the light: less than 1e-4, so the fourth splat is not drawn."""
    means = [[0.6, 0, 0], [0.4, 0, 0], [0.2, 0, 0], [0, 0, 0]]
    scene = splats(means, 5.0, [0.9, 0.95, 0.99, 0.5], [[1.0, 1, 1]] * 4)
    render = rasterize(scene, camera(), background=0.0, backend=backend, antialias=False)
    assert 1 - render.alpha[0, 4, 4].item() == pytest.approx(5e-5, abs=1e-6)
    first = rasterize(splats([[0.0, 0, 0]], 5.0, [1.0], [[1.0, 1, 1]]), camera(), backend=backend)
    assert first.alpha[0, 4, 4].item() == pytest.approx(0.99, abs=1e-6)


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


def test_no_splats_at_all(backend: str) -> None:
    empty = splats([], 0.1, [], [])
    empty.means.requires_grad_()
    render = rasterize(empty, camera(), background=0.25, backend=backend)
    assert (render.color == 0.25).all()
    assert render.visible.shape == (1, 0)
    render.color.sum().backward()


def test_screen_gradients_are_those_of_a_shift_in_pixels(backend: str) -> None:
    """One unit along the picture is 500 pixels, and the covariance hardly feels the shift."""
    weights = torch.rand(1, 9, 9, generator=torch.Generator().manual_seed(0), device="cpu")
    scene = splats([[0.0, 0.0, 0.0], [9.0, 0, 0]], 0.006, [0.7, 0.7], [[1.0, 1, 1]] * 2)
    scene.means.requires_grad_()
    weights = weights.to(scene.means.device)
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


def test_4d_is_the_slices_one_by_one(backend: str) -> None:
    scene, cameras = random_splats(50, 2, 2, seed=7), Cameras.ring(3, size=24)
    times = torch.tensor([0.0, 0.5, 0.8])
    together = rasterize_4d(scene, times, cameras, backend=backend)
    for i, time in enumerate(times):
        single = rasterize(scene.at(time), cameras[i], backend=backend)
        torch.testing.assert_close(together.color[i], single.color[0], atol=1e-4, rtol=0)
        assert torch.equal(together.visible[i], single.visible[0])


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


@pytest.mark.skipif(not shutil.which("x86_64-w64-mingw32-gcc"), reason="needs MinGW")
def test_a_library_for_windows_needs_nothing_beside_it(monkeypatch, tmp_path):
    monkeypatch.setenv("CC", "x86_64-w64-mingw32-gcc")
    monkeypatch.setattr(build, "PLATFORM", "win32")
    build.build(tmp_path / "library.dll")
    names = set(re.findall(rb"[\w.-]+\.dll", (tmp_path / "library.dll").read_bytes()))
    assert b"KERNEL32.dll" in names
    assert not [name for name in names if name.startswith(b"lib") and name != b"library.dll"]


def test_splats_stay_where_a_fast_rasteriser_is(monkeypatch):
    from vid4d.gaussians import raster

    assert raster.splat_device("cpu") == "cpu"
    assert raster.splat_device("mps") == "cpu"
    monkeypatch.setattr(raster, "_cpu_obstacle", lambda: "")
    monkeypatch.setattr(raster, "_gsplat_obstacle", lambda: "not installed")
    monkeypatch.setattr(raster, "_triton_obstacle", lambda device: f"too old: {device}")
    assert raster.splat_device("cuda:1") == "cpu"
    monkeypatch.setattr(raster, "_gsplat_obstacle", lambda: "")
    assert raster.splat_device("cuda:1") == "cuda:1"
    monkeypatch.setattr(raster, "_gsplat_obstacle", lambda: "not installed")
    monkeypatch.setattr(raster, "_cpu_obstacle", lambda: "no compiler")
    assert raster.splat_device("cuda") == "cuda"
    monkeypatch.setattr(raster, "_cpu_obstacle", lambda: "")
    monkeypatch.setattr(raster, "_triton_obstacle", lambda device: "")
    assert raster.splat_device("cuda") == "cuda"
    monkeypatch.setenv("VID4D_RASTER", "cpu")
    assert raster.splat_device("cuda") == "cpu", "asked for"
    monkeypatch.setenv("VID4D_RASTER", "gsplat")
    assert raster.splat_device("cuda") == "cuda", "where it says what is missing"


@pytest.mark.parametrize(
    ("gsplat", "triton", "name"),
    [("", "", "triton"), ("none", "", "triton"), ("none", "none", "reference"), ("", "none", "gsplat")],
)
def test_on_a_gpu_auto_takes_what_is_there(unchecked, monkeypatch, gsplat, triton, name):
    monkeypatch.setattr(raster, "_gsplat_obstacle", lambda: gsplat)
    monkeypatch.setattr(raster, "_triton_obstacle", lambda device: triton)
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    like = SimpleNamespace(device=torch.device("cuda"), dtype=torch.float32)
    assert raster.resolve("auto", like).__name__.endswith(name)
    if not triton:
        monkeypatch.setenv("VID4D_RASTER", "triton")
        assert raster.resolve("auto", like).__name__.endswith("triton")
        monkeypatch.delenv("VID4D_RASTER")
    assert raster.resolve("auto", torch.zeros(1)).__name__.endswith(("cpu", "reference"))


def test_a_render_in_parts(backend: str) -> None:
    """Each part is the whole's, with the screen gradients of its own views; both add up."""
    scene = random_splats(30, 1, seed=4)
    scene = replace(scene, means=scene.means.requires_grad_())
    cameras, times = Cameras.ring(3, size=9), torch.tensor([0.2, 0.5, 0.9])
    whole = rasterize_4d(scene, times, cameras, backend=backend)
    two, one = whole.split([2, 1])
    assert torch.equal(torch.cat([two.color, one.color]), whole.color)
    assert torch.equal(torch.cat([two.visible, one.visible]), whole.visible)
    (two.color.square().sum() + 3 * one.alpha.sum()).backward()
    parts = torch.cat([two.screen_gradients(), one.screen_gradients()])
    assert torch.equal(parts, whole.screen_gradients())
    assert parts[0].sum() > 0
    assert parts[2].sum() > 0
    assert torch.equal(two.split([1, 1])[1].screen_gradients(), whole.screen_gradients()[1:2])
