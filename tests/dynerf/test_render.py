"""The renderer against a plain one in float64, and scenes whose pictures are known."""

from __future__ import annotations

import math

import pytest
import torch
from toy_fields import ToyField, ball

from vid4d.cameras import Cameras
from vid4d.dynerf import (
    CascadeField,
    FieldConfig,
    LevelConfig,
    OccupancyGrid,
    paint_normals,
    render_field,
    shade,
)
from vid4d.dynerf.march import intersect

WHOLE = {"early_stop": 0.0}


@pytest.fixture
def field() -> CascadeField:
    """A cascade of two small levels with random planes, in float64."""
    torch.manual_seed(0)
    field = CascadeField(FieldConfig((LevelConfig(5, 3, 4, 6), LevelConfig(7, 4, 2, 3)))).double()
    for name, parameter in field.named_parameters():
        scale = 1.0 if name.endswith((".space", ".time")) else 2.0
        parameter.data = torch.randn_like(parameter) * scale
    return field


def plain_render(
    field: CascadeField, cameras: Cameras, times: list[float], samples: int, background: float
) -> list[torch.Tensor]:
    """Color, alpha and mean normal (7 channels) of every level, ray by ray and sample by sample."""
    origins, directions = cameras.rays()
    radius, step = field.config.radius, 2 * math.sqrt(3) / samples
    pictures = []
    for origin, rows, clip_time in zip(origins.double(), directions.double(), times, strict=True):
        time = field.time_coordinate(torch.tensor([clip_time], dtype=torch.float64))
        for direction in rows.reshape(-1, 3):
            unit = direction / direction.norm()
            sides = torch.stack([(-1 - origin / radius) / unit, (1 - origin / radius) / unit])
            enter, leave = sides.amin(0).max().item(), sides.amax(0).min().item()
            light = [torch.ones((), dtype=torch.float64) for _ in range(len(field))]
            seen = [torch.zeros(7, dtype=torch.float64) for _ in range(len(field))]
            length = enter + 0.5 * step
            while length < leave:
                point = (origin / radius + length * unit)[None]
                found = field.sample(point, time, normals=True)
                assert found.normal is not None
                for k in range(len(field)):
                    alpha = 1 - torch.exp(-found.density[k, 0] * step)
                    one = torch.ones(1, dtype=torch.float64)
                    value = torch.cat([found.color[k, 0].sigmoid(), one, found.normal[k, 0]])
                    seen[k] = seen[k] + light[k] * alpha * value
                    light[k] = light[k] * (1 - alpha)
                length += step
            for k in range(len(field)):
                color = seen[k][:3] + light[k] * background
                pictures.append(torch.cat([color, seen[k][3:]]))
    shape = (len(times), cameras.height, cameras.width, len(field), 7)
    return list(torch.stack(pictures).view(shape).unbind(3))


def test_equals_a_plain_renderer(field):
    cameras = Cameras.orbit([20.0, 130.0], [10.0, 40.0], size=4)
    times, samples, background = [0.2, 0.9], 12, 0.7
    expected = plain_render(field, cameras, times, samples, background)
    found = render_field(field, cameras, times, samples=samples, background=background, normals=True, **WHOLE)
    assert len(found) == 2
    mixture = torch.linspace(-1, 1, expected[0].numel(), dtype=torch.float64).view(expected[0].shape)
    ours = theirs = torch.zeros((), dtype=torch.float64)
    for level, want in zip(found, expected, strict=True):
        assert level.normal is not None
        got = torch.cat([level.color, level.alpha[..., None], level.normal], -1)
        torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-9)
        ours, theirs = ours + (got * mixture).sum(), theirs + (want * mixture).sum()
    parameters = list(field.parameters())
    for a, b in zip(
        torch.autograd.grad(ours, parameters), torch.autograd.grad(theirs, parameters), strict=True
    ):
        torch.testing.assert_close(a, b, rtol=1e-7, atol=1e-9)


def test_single_precision_and_autocast(field):
    cameras = Cameras.orbit([20.0], 10.0, size=8)
    expected = render_field(field, cameras, 0.2, samples=32)[1].color
    with torch.autocast("cpu", torch.bfloat16):
        found = render_field(field.float(), cameras, 0.2, samples=32)[1].color
    torch.testing.assert_close(found, expected.float(), rtol=0, atol=1e-5)


def test_chunks_change_nothing(field):
    cameras = Cameras.orbit([20.0, 200.0], 10.0, size=8)
    results = []
    for chunk in (1 << 18, 100):
        generator = torch.Generator().manual_seed(3)
        found = render_field(field, cameras, 0.3, samples=24, chunk=chunk, generator=generator, normals=True)
        loss = sum((r.color.square().mean() + r.normal[..., 0].mean()) for r in found)
        results.append((loss, torch.autograd.grad(loss, list(field.parameters()))))
    torch.testing.assert_close(results[0][0], results[1][0], rtol=1e-12, atol=0)
    for a, b in zip(results[0][1], results[1][1], strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)


def test_without_gradients_in_blocks(field, monkeypatch):
    from vid4d.dynerf import march

    cameras = Cameras.orbit([20.0, 200.0], 10.0, size=8)
    expected = render_field(field, cameras, [0.1, 0.8], samples=24)
    small = march.MarchConfig(samples=24, table=300)
    assert small.block == 12
    monkeypatch.setattr(march.MarchConfig, "block", small.block)
    with torch.no_grad():
        (last,) = render_field(field, cameras, [0.1, 0.8], samples=24, levels="last")
    torch.testing.assert_close(last.color, expected[1].color, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(last.depth, expected[1].depth, rtol=1e-12, atol=1e-12)
    with_gradients = render_field(field, cameras, [0.1, 0.8], samples=24)[1]
    torch.testing.assert_close(with_gradients.color, expected[1].color, rtol=1e-12, atol=1e-12)
    assert last.samples is None


def test_fog_has_the_alpha_of_its_depth():
    fog = ToyField(lambda p, t: torch.full_like(t, 0.8))
    cameras = Cameras.orbit([0.0, 33.0], [0.0, 25.0], size=6)
    (seen,) = render_field(fog, cameras, 0.5, samples=2048, background=1.0, **WHOLE)
    origin, direction = cameras.rays()
    unit = torch.nn.functional.normalize(direction.double(), dim=-1).view(-1, 3)
    start = origin.double().repeat_interleave(36, 0) / 0.75
    enter, leave = intersect(start, unit, torch.tensor([[-1.0] * 3, [1.0] * 3], dtype=torch.float64))
    alpha = 1 - torch.exp(-0.8 * (leave - enter).clamp(min=0))
    torch.testing.assert_close(seen.alpha.flatten(), alpha, rtol=0, atol=2e-3)
    color = 0.25 * alpha + (1 - alpha)
    torch.testing.assert_close(seen.color[..., 0].flatten(), color, rtol=0, atol=2e-3)


def test_a_wall_is_where_it_is():
    wall = ToyField(lambda p, t: 5000.0 * (p[:, 0] < 0.2).to(p))
    (seen,) = render_field(wall, Cameras.orbit([0.0], 0.0, size=8), 0.0, samples=1024)
    middle = seen.depth[0, 2:6, 2:6]  # distance 1.5, the wall stands at 0.2 * 0.75 before the origin
    torch.testing.assert_close(middle, torch.full_like(middle, 1.5 - 0.15), rtol=0, atol=3e-3)


def test_a_ball_is_seen_where_cameras_project_it():
    place = [0.2, 0.35, -0.25]
    toy = ToyField(ball(place, 0.12, 300.0))
    cameras = Cameras.orbit([0.0, 70.0, 200.0], [0.0, 30.0, -20.0], size=48)
    with torch.no_grad():
        (seen,) = render_field(toy, cameras, 0.0)
    pixels, depth = cameras.project(0.75 * torch.tensor([place]))
    rows, columns = torch.meshgrid(torch.arange(48) + 0.5, torch.arange(48) + 0.5, indexing="ij")
    for k in range(3):
        weight = seen.alpha[k] / seen.alpha[k].sum()
        assert (weight * columns).sum().item() == pytest.approx(pixels[k, 0, 0].item(), abs=0.3)
        assert (weight * rows).sum().item() == pytest.approx(pixels[k, 0, 1].item(), abs=0.3)
        nearest = seen.depth[k][seen.alpha[k] > 0.9].min().item()
        assert nearest == pytest.approx(depth[k, 0].item() - 0.12 * 0.75, abs=0.015)


def test_every_camera_has_its_time():
    there = ToyField(ball([0.0, 0.0, 0.0], 0.3, 50.0), lambda p, t: ((t + 1) / 2)[:, None].expand(-1, 3))
    (seen,) = render_field(there, Cameras.orbit([0.0, 0.0], 0.0, size=8), [0.25, 0.75])
    assert seen.color[0, 4, 4, 0].item() == pytest.approx(0.25, abs=0.01)
    assert seen.color[1, 4, 4, 0].item() == pytest.approx(0.75, abs=0.01)
    with pytest.raises(ValueError, match="3 times for 2 cameras"):
        render_field(there, Cameras.orbit([0.0, 0.0], 0.0, size=8), [0.1, 0.2, 0.3])


def test_occupied_cells_are_all_that_is_looked_at():
    toy = ToyField(ball([0.3, 0.0, 0.0], 0.2, 100.0))
    grid = OccupancyGrid(16)
    axis = (torch.arange(16) + 0.5) / 8 - 1
    x, y, z = torch.meshgrid(axis, axis, axis, indexing="ij")
    grid.occupy((x - 0.3).square() + y.square() + z.square() < 0.45**2)
    cameras = Cameras.orbit([0.0, 100.0], 20.0, size=16)
    generator = [torch.Generator().manual_seed(5) for _ in range(2)]
    (everywhere,) = render_field(toy, cameras, 0.0, generator=generator[0], **WHOLE)
    asked, toy.asked = toy.asked, 0
    (seen,) = render_field(toy, cameras, 0.0, generator=generator[1], grid=grid, **WHOLE)
    torch.testing.assert_close(seen.color, everywhere.color, rtol=0, atol=1e-3)
    assert toy.asked < 0.1 * asked
    assert bool(grid.at(seen.samples.points.float()).all())

    grid.occupy(torch.zeros(16, 16, 16, dtype=torch.bool))
    (nothing,) = render_field(toy, cameras, 0.0, grid=grid, normals=True)
    assert bool((nothing.color == 1).all())
    assert nothing.normal is not None
    nothing.color.sum().backward()  # a step at which nothing is seen is one without effect


def test_what_is_hidden_is_left_out():
    toy = ToyField(ball([0.0, 0.0, 0.0], 0.95, 200.0))
    cameras = Cameras.orbit([0.0], 0.0, size=16)
    (whole,) = render_field(toy, cameras, 0.0, normals=True, **WHOLE)
    (seen,) = render_field(toy, cameras, 0.0, normals=True)
    torch.testing.assert_close(seen.color, whole.color, rtol=0, atol=1e-4)
    torch.testing.assert_close(seen.normal, whole.normal, rtol=0, atol=1e-4)
    assert len(seen.samples.points) / len(whole.samples.points) < 0.5
    for samples, kept in ((whole.samples, whole.alpha.sum()), (seen.samples, seen.alpha.sum())):
        torch.testing.assert_close(samples.weight.sum(), kept)
    assert whole.samples.rays >= int((whole.alpha > 1e-3).sum())


def test_shifted_samples_have_the_right_mean():
    toy = ToyField(ball([0.0, 0.0, 0.0], 0.4, 3.0))
    camera = Cameras.orbit([0.0], 0.0, size=8)
    (fine,) = render_field(toy, camera, 0.0, samples=1024)
    generator = torch.Generator().manual_seed(0)
    coarse = [render_field(toy, camera, 0.0, samples=16, generator=generator)[0].alpha for _ in range(200)]
    assert torch.stack(coarse).std(0).max() > 0.01
    torch.testing.assert_close(torch.stack(coarse).mean(0), fine.alpha, rtol=0, atol=0.02)


def test_normals_and_shape_of_a_ball():
    toy = ToyField(ball([0.0, 0.0, 0.0], 0.5, 500.0))
    cameras = Cameras.orbit([0.0, 90.0], [0.0, 0.0], size=33)
    (seen,) = render_field(toy, cameras, 0.0, normals=True)
    front = torch.tensor([[1.0, 0, 0], [0, 1.0, 0]], dtype=torch.float64)
    torch.testing.assert_close(seen.normal[:, 16, 16], front, rtol=0, atol=2e-2)
    assert seen.normal[0, 10, 16, 2] > 0.3  # above the middle it faces up
    lit = shade(seen, light=(1.0, 0.0, 0.0), ambient=0.2)
    assert lit[0, 16, 16, 0].item() == pytest.approx(1.0, abs=0.02)
    assert lit[1, 16, 16, 0].item() == pytest.approx(0.2, abs=0.03)
    assert lit[0, 0, 0].tolist() == pytest.approx([1.0, 1.0, 1.0])
    assert paint_normals(seen)[0, 16, 16].tolist() == pytest.approx([1.0, 0.5, 0.5], abs=0.02)
    (flat,) = render_field(toy, cameras, 0.0)
    for paint in (shade, paint_normals):
        with pytest.raises(ValueError, match="no normals"):
            paint(flat)


def test_a_field_learns_a_picture():
    torch.manual_seed(0)
    field = CascadeField(FieldConfig((LevelConfig(12, 1), LevelConfig(24, 1))))
    grid = OccupancyGrid(16, samples=64)
    target = ToyField(ball([0.0, 0.2, 0.0], 0.3, 40.0), lambda p, t: (p * 0.4 + 0.5).clamp(0.01, 0.99))
    cameras = Cameras.orbit([0.0, 90.0, 180.0, 270.0], 20.0, size=16)
    with torch.no_grad():
        (wanted,) = render_field(target, cameras, 0.0, samples=64)
    optimizer = torch.optim.Adam(field.parameters(), lr=0.02, betas=(0.9, 0.99))
    generator = torch.Generator().manual_seed(0)
    errors = []
    for step in range(60):
        if step % 8 == 0:
            grid.update(field, generator)
        seen = render_field(field, cameras, 0.0, grid=grid, generator=generator, samples=64)
        loss = sum((level.color - wanted.color).square().mean() for level in seen)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        errors.append(loss.item())
    assert errors[-1] < 0.1 * errors[0]
