"""Triton's kernels against the reference: values, gradients, odd splats, the same bytes every time."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from raster_scenes import (
    DEVICES,
    KINDS,
    camera,
    compare,
    degenerate,
    draw,
    random_splats,
    short_lived,
    wide,
    with_broken,
)

from vid4d.cameras import Cameras
from vid4d.gaussians.model import Gaussians3D
from vid4d.gaussians.raster import rasterize, rasterize_4d

pytest.importorskip("triton", reason="Triton is not installed (there is none for this system)")
from vid4d.gaussians.raster import triton as backend
from vid4d.gaussians.raster.room import SPARE, EntryRoom

pytestmark = pytest.mark.parametrize("device", DEVICES)


@pytest.fixture(autouse=True)
def fewer_programs(monkeypatch, device):
    """Large tiles for the interpreter, which each program takes long."""
    if device == "cpu":
        monkeypatch.setattr(backend, "TILE", 16)
        monkeypatch.setattr(backend, "ENTRIES", 32)


@pytest.mark.parametrize(
    ("width", "height", "degree", "fourier", "antialias"),
    [
        (33, 17, 3, 1, True),
        (5, 3, 1, 2, True),
        (1, 1, 0, 1, True),
        (20, 20, 2, 3, False),
    ],
)
def test_equals_the_reference(device, width, height, degree, fourier, antialias):
    cameras = replace(Cameras.orbit([0.0, 100], [10.0, 30], size=48), width=width, height=height)
    scene = random_splats(60, degree, fourier, seed=width)
    compare(scene, cameras, antialias, backend="triton", device=device, limit=1e-3)


@pytest.mark.parametrize("tile", [8, 16])
def test_equals_the_reference_with_tiles_of_any_size(device, monkeypatch, tile):
    """Keys of 32 bits as well: of more tiles than 16 bits can tell apart."""
    monkeypatch.setattr(backend, "TILE", tile)
    monkeypatch.setattr(backend, "ENTRIES", 16)
    monkeypatch.setattr(backend, "KEYS_16", 4)
    cameras = replace(Cameras.orbit([0.0, 100], [10.0, 30], size=32), width=20, height=33)
    compare(random_splats(60, 0, 1, seed=tile), cameras, backend="triton", device=device, limit=1e-3)


def test_around_the_end_of_a_loop(device):
    cameras = Cameras.orbit([0.0, 100, 200], [10.0, 30, -20], size=24)
    times = torch.tensor([0.01, 0.98, 1.0])
    compare(short_lived(), cameras, times=times, backend="triton", device=device)


def test_half_a_loop_away_it_is_as_the_reference_has_it(device):
    """Ties between both ways round: from t = 0.5 to times 0 and 1, and from 0 to 0.5."""
    scene = random_splats(40, 1, 2, seed=2, scale=-2.0)
    means = scene.means.clone()
    means[:, 3] = torch.tensor([0.0, 0.5]).repeat(20)
    scene = replace(scene, means=means, cyclic=True, log_scales=scene.log_scales.clamp(min=-1.0))
    cameras = Cameras.orbit([0.0, 100, 200], [10.0, 30, -20], size=16)
    compare(scene, cameras, times=torch.tensor([0.0, 0.5, 1.0]), backend="triton", device=device)


def test_splats_off_screen_and_behind(device):
    """The camera sits among the splats: near plane, clamped Jacobians, boxes that begin outside."""
    cameras = Cameras.orbit([30.0, 220], [5.0, 60], distance=0.3, size=40, focal=30.0)
    scene = random_splats(150, 1, seed=5, scale=-2.5).at(0.5)
    compare(scene, cameras, backend="triton", device=device)


@pytest.mark.parametrize("kind", KINDS)
def test_degenerate_splats(device, kind):
    cameras = Cameras.orbit([0.0, 90], [20.0, -30], size=37)
    compare(degenerate(kind), cameras, antialias=kind != "opaque", backend="triton", device=device)


@pytest.mark.parametrize("degree", [1, 2, 3])
def test_gradients_of_the_viewing_direction(device, degree):
    cameras = Cameras.orbit([0.0, 60, 200], [80.0, -30, 5], size=9)
    compare(wide(degree), cameras, limit=1e-4, backend="triton", device=device)


def test_what_is_hidden_gets_no_gradient(device):
    """Forty opaque splats behind one another: light ends at the second, blocks behind it are left out."""
    depth = torch.linspace(0.5, -0.5, 40)
    means = torch.stack([depth, 0 * depth, 0 * depth], 1)
    flat = torch.eye(3).expand(40, 3, 3) * 4.0
    sh = torch.randn(40, 1, 3, generator=torch.Generator().manual_seed(0))
    scene = Gaussians3D(means, flat, torch.full((40,), 0.999), sh)
    render, gradients = draw(scene.to(device), camera(6), "triton", antialias=False)
    assert float(render.alpha.detach().min()) > 0.999
    assert gradients["sh"][:3].abs().amax((1, 2)).min() > 0
    for name in ("means", "covariances", "opacities", "sh"):
        assert (gradients[name][3:] == 0).all(), name
    compare(scene, camera(6), antialias=False, backend="triton", device=device)


def test_broken_values(device):
    """NaN and infinite splats are not drawn; the others are as if alone."""
    scene = random_splats(20, 0, seed=4).at(0.5).to(device)
    alone = rasterize(scene, camera(20), backend="triton")
    render = rasterize(with_broken(scene.to("cpu")).to(device), camera(20), backend="triton")
    assert not render.visible[0, 20:].any()
    assert torch.equal(render.color, alone.color)


def test_views_of_one_call_are_those_of_many(device):
    scene = random_splats(40, 1, 2, seed=7).to(device)
    cameras, times = Cameras.ring(3, size=16), torch.tensor([0.0, 0.5, 0.8])
    together = rasterize_4d(scene, times, cameras, backend="triton")
    for i in range(3):
        single = rasterize_4d(scene, times[i : i + 1], cameras[i], backend="triton")
        assert torch.equal(together.color[i], single.color[0])
        assert torch.equal(together.radii[i], single.radii[0])


def test_same_bytes_every_time(device):
    scene, cameras = random_splats(60, 1, 2, seed=8).to(device), Cameras.ring(2, size=24)
    found = []
    for _ in range(2):
        render, gradients = draw(scene, cameras, "triton")
        tensors = [render.color, render.alpha, render.depth, render.radii, *gradients.values()]
        found.append([t.detach().cpu().numpy().tobytes() for t in tensors])
    assert found[0] == found[1]


def test_covariances_are_those_of_the_model(device):
    scene = random_splats(70, 0, seed=3).to(device)
    leaves = scene.trainable()
    names = ("log_scales", "quats_left", "quats_right", "opacity_logits")
    covariances, opacities = backend._Shape.apply(*(getattr(leaves, name) for name in names))
    g = torch.Generator().manual_seed(0)
    upstream = torch.randn(70, 4, 4, generator=g).to(device)
    upstream, by_opacity = upstream + upstream.mT, torch.randn(70, generator=g).to(device)
    torch.autograd.backward((covariances, opacities), (upstream.flatten(1).T, by_opacity))
    plain = scene.to(dtype=torch.float64).trainable()
    torch.testing.assert_close(
        covariances.T.view(70, 4, 4).double(), plain.covariance4d(), atol=1e-5, rtol=1e-5
    )
    torch.testing.assert_close(opacities.double(), plain.opacities, atol=1e-6, rtol=0)
    loss = (plain.covariance4d() * upstream).sum() + (plain.opacities * by_opacity).sum()
    loss.backward()
    for name in names:
        mine, true = getattr(leaves, name).grad, getattr(plain, name).grad
        assert (mine.double() - true).norm() < 1e-5 * true.norm(), name


def test_a_picture_without_splats_is_background(device):
    scene = random_splats(5, 0, seed=1).at(0.5).to(device)
    away = replace(scene, means=scene.means + torch.tensor([0.0, 100.0, 0.0], device=device))
    render, gradients = draw(away, camera(9), "triton")
    assert not render.visible.any()
    assert render.color[0, 4, 4].tolist() == pytest.approx([0.2, 0.5, 0.9])
    for gradient in gradients.values():
        assert (gradient == 0).all()


def test_large_pictures_are_the_c_kernels(device):
    """As many tiles and splats as a fit has; interpreted, that would take minutes."""
    if device == "cpu":
        pytest.skip("a GPU's size")
    scene, cameras = random_splats(20000, 3, 1, seed=6, scale=-4.5), Cameras.ring(4, size=256)
    ours, by_ours = draw(scene.to(device), cameras, "triton")
    other, by_other = draw(scene, cameras, "cpu")
    assert torch.equal(ours.visible.cpu(), other.visible)
    for name in ("color", "alpha"):
        off = (getattr(ours, name).cpu() - getattr(other, name)).abs()
        assert (off > 1e-3).float().mean() < 5e-4  # splats at 1/255, which one of both leaves out
        assert float(off.max()) < 0.02
    for name, gradient in by_other.items():
        assert (by_ours[name] - gradient).norm() < 5e-3 * gradient.norm(), name


def taken(scene, room):
    """Pictures, tensors that a step would use, and whether they are right, of a call that does not wait."""
    leaves = scene.trainable()
    cameras, times = Cameras.ring(2, size=17).to(scene.means.device), [0.3, 0.6]
    render = rasterize_4d(leaves, times, cameras, background=0.25, backend="triton", room=room)
    (render.color.sum() + render.alpha.square().sum() + render.depth.sum()).backward()
    gradients = [v.grad for v in leaves.tensors().values()]
    return [render.color, render.alpha, render.depth, *gradients, render.screen_gradients()]


def test_with_room_for_its_entries_a_call_gives_the_same_bytes(device):
    scene, room = random_splats(30, 1, 2, seed=8).to(device), EntryRoom()
    plain = taken(scene, None)
    for _ in range(2):  # the first call sets it aside
        assert all(torch.equal(a, b) for a, b in zip(taken(scene, room), plain, strict=True))
        assert bool(room.complete())
    wanted = room.ask().read()
    assert room.size == int(SPARE * wanted)
    room.size = wanted  # and not one more
    assert all(torch.equal(a, b) for a, b in zip(taken(scene, room), plain, strict=True))
    assert bool(room.complete())


def test_too_little_room_is_told_and_nothing_is_drawn(device):
    """One entry too many: background, no gradients, and `complete` stays false until there is more room."""
    scene, room = random_splats(30, 1, 2, seed=8).to(device), EntryRoom()
    plain = taken(scene, room)
    room.size = wanted = room.ask().read()
    room.size -= 1
    color, alpha, *others = taken(scene, room)
    assert not bool(room.complete())
    assert (color == 0.25).all()
    assert all((x == 0).all() for x in (alpha, *others))
    few = scene.select(torch.arange(3, device=device))
    assert taken(few, room)[1].sum() > 0
    assert not bool(room.complete()), "a call that fits does not hide one that did not"
    assert room.ask().read() == wanted
    assert not room.enough_for(wanted)
    assert room.enough_for(wanted)
    assert room.size == 2 * (wanted - 1)
    assert all(torch.equal(a, b) for a, b in zip(taken(scene, room), plain, strict=True))
    assert bool(room.complete())
