"""Ray marching by kernels: samples, pictures and gradients of the plain way, which has tests of its own."""

from __future__ import annotations

import os

import pytest
import torch

from vid4d import kernels
from vid4d.cameras import Cameras
from vid4d.dynerf import CascadeField, FieldConfig, LevelConfig, OccupancyGrid
from vid4d.dynerf.march import MarchConfig, Marched, Rays, count_samples, march

needs_cuda = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
DEVICES = ["cpu", pytest.param("cuda", marks=needs_cuda)]


@pytest.fixture
def switch(monkeypatch):
    """Turns kernels on and off; on a processor they are run by Triton's interpreter."""
    pytest.importorskip("triton", reason="Triton is not installed (there is none for this system)")
    if os.environ.get("TRITON_INTERPRET") == "1":
        monkeypatch.setattr(kernels, "available", lambda x: kernels.enabled)
        monkeypatch.setattr("vid4d.dynerf.field_fused.BLOCK", 512)  # each program takes it long
        monkeypatch.setattr("vid4d.dynerf.march_fused.SAMPLES", 16)
    elif not torch.cuda.is_available():
        pytest.skip("TRITON_INTERPRET is not 1: kernels are compiled, and tested on the GPU")
    return lambda on: monkeypatch.setattr(kernels, "enabled", on)


def scene(device: str, size: int = 3) -> tuple[CascadeField, Rays, OccupancyGrid]:
    """Dense and clear places, cells that are empty, rays that miss."""
    torch.manual_seed(0)
    field = CascadeField(FieldConfig((LevelConfig(5, 3, 4, 6), LevelConfig(7, 4, 2, 3))))
    for name, parameter in field.named_parameters():
        scale = 1.0 if name.endswith((".space", ".time")) else 2.0
        parameter.data = torch.randn_like(parameter) * scale
    grid = OccupancyGrid(8)
    cells = torch.rand(8, 8, 8) < 0.5
    cells[:, :, :2] = False
    grid.occupy(cells)
    cameras = Cameras.orbit([20.0, 200.0], [10.0, -40.0], size=size, distance=1.2)
    origin, direction = cameras.rays()
    direction = torch.nn.functional.normalize(direction.reshape(-1, 3), dim=-1)
    rays = Rays(
        origin.repeat_interleave(size * size, 0) / 0.75,
        direction,
        torch.linspace(-1, 1, len(direction)),
        torch.rand(len(direction), generator=torch.Generator().manual_seed(3)),
    )
    return field.to(device), Rays(*(x.to(device) for x in rays)), grid.to(device)


def gradients(field: CascadeField, marched: Marched) -> list[torch.Tensor]:
    """Of values, weights and normals together."""
    g = torch.Generator().manual_seed(1)
    parts = [marched.value, marched.weight, *(() if marched.normal is None else (marched.normal,))]
    loss = sum((x * torch.randn(x.shape, generator=g).to(x)).sum() for x in parts)
    return list(torch.autograd.grad(loss, list(field.parameters())))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(
    ("config", "gridded"),
    [
        (MarchConfig(samples=24), True),
        (MarchConfig(samples=12, early_stop=0.0, normals=True), False),
        (MarchConfig(samples=40), False),  # more samples of a ray than a program takes at a time
        (MarchConfig(samples=40, early_stop=0.6), True),
    ],
    ids=["few", "all, with normals", "many", "hidden soon"],
)
def test_equals_the_plain_way(switch, device, config, gridded):
    field, rays, grid = scene(device)
    found = []
    for on in (True, False):
        switch(on)
        marched = march(field, rays, grid if gridded else None, config)
        found.append((marched, gradients(field, marched)))
    (quick, by_quick), (plain, by_plain) = found
    assert min(quick.rays, plain.rays) > 10
    assert min(len(quick.time), len(plain.time)) > 60
    if len(quick.time) != len(plain.time):  # a card rounds sums of products once: borders of cells move
        assert device == "cuda"
        assert abs(len(quick.time) - len(plain.time)) < 5
        assert (quick.value - plain.value).abs().mean() < 1e-3
        return
    for name in ("points", "time", "direction", "weight", "value", "normal"):
        mine, true = getattr(quick, name), getattr(plain, name)
        if true is not None:
            near = 2e-2 if config.normals and name in ("value", "normal") else 1e-4
            torch.testing.assert_close(mine, true, rtol=near, atol=near)
    for mine, true in zip(by_quick, by_plain, strict=True):
        assert (mine - true).norm() <= (5e-2 if config.normals else 1e-3) * true.norm()


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("early_stop", [0.0, 0.6])
def test_room_for_more_samples_changes_nothing(switch, monkeypatch, device, early_stop):
    """What lies in the room that is left is never read: not a number, here."""
    switch(True)
    field, rays, grid = scene(device)
    config = MarchConfig(samples=24, early_stop=early_stop)
    exact = march(field, rays, grid, config)
    expected = gradients(field, exact)
    count = count_samples(rays, grid, config)
    assert count >= len(exact.time)
    assert (count == len(exact.time)) == (early_stop == 0)
    empty = torch.Tensor.new_empty

    def poisoned(x, *size, **options):
        out = empty(x, *size, **options)
        return out.fill_(float("nan")) if out.is_floating_point() else out

    monkeypatch.setattr(torch.Tensor, "new_empty", poisoned)
    for room in (2 * count + 5,):
        marched = march(field, rays, grid, config, room)
        used = int(marched.used)
        assert (used, int(marched.rays), len(marched.time)) == (len(exact.time), exact.rays, room)
        torch.testing.assert_close(marched.value, exact.value)
        for name in ("points", "time", "direction"):
            assert torch.equal(getattr(marched, name)[:used], getattr(exact, name))
        torch.testing.assert_close(marched.weight[:, :used], exact.weight)
        g = torch.Generator().manual_seed(1)
        value, weight = (torch.randn(x.shape, generator=g).to(x) for x in (exact.value, exact.weight))
        loss = (marched.value * value).sum() + (marched.weight[:, :used] * weight).sum()
        found = torch.autograd.grad(loss, list(field.parameters()))
        for mine, true in zip(found, expected, strict=True):
            torch.testing.assert_close(mine, true, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("device", DEVICES)
def test_too_little_room_leaves_the_last_samples_out(switch, device):
    switch(True)
    field, rays, grid = scene(device)
    config = MarchConfig(samples=24, early_stop=0.0)
    exact = march(field, rays, grid, config)
    room = len(exact.time) // 2
    marched = march(field, rays, grid, config, room)
    assert int(marched.used) == room
    assert torch.equal(marched.points, exact.points[:room])
    assert torch.isfinite(marched.value).all()


@pytest.mark.parametrize("device", DEVICES)
def test_light_is_shared_out_completely(switch, device):
    """Weights of a ray and what shines through are 1 together, however dense the place is."""
    switch(True)
    field, rays, _ = scene(device)
    for density in (1e-6, 30.0, 1e6):
        with torch.no_grad():
            for level in field.cascade:
                level.density_out.zero_()
        field.config = FieldConfig(field.config.levels, blob_density=density, blob_radius=1e9)
        marched = march(field, rays.at(slice(0, 6)), None, MarchConfig(samples=20, early_stop=0.0))
        assert torch.isfinite(marched.value).all()
        per_ray = torch.nn.functional.softplus(torch.tensor(density)) * 2 * 3**0.5 / 20
        counts = (marched.value[0, 4] > 0).sum()
        assert counts == marched.rays
        hit = marched.value[0, 3] > 0
        assert (marched.value[0, 3][hit] >= -torch.expm1(-per_ray) - 1e-5).all()
        assert (marched.value[:, 3] <= 1 + 1e-5).all()
        for gradient in gradients(field, marched):
            assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("device", DEVICES)
def test_nothing_to_see(switch, device):
    """No rays, rays that all miss, a grid without a cell."""
    switch(True)
    field, rays, grid = scene(device)
    grid.occupy(torch.zeros(8, 8, 8, dtype=torch.bool))
    away = rays._replace(direction=-rays.direction)
    for given, cells in ((rays, grid), (away, None), (rays.at(slice(0)), None)):
        marched = march(field, given, cells, MarchConfig(samples=16))
        assert marched.value.shape == (2, 5, len(given.time))
        assert len(marched.time) == marched.rays == 0
        assert not marched.value.any()
