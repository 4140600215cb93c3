"""The cascade field: the authors' numbers, a plain version in float64, and laws."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from reference import arrays, fill, keys

from vid4d.dynerf import PRESETS, CascadeField, FieldConfig, LevelConfig, from_geometry_state
from vid4d.errors import InputError

TINY = FieldConfig((LevelConfig(5, 3, 4, 6), LevelConfig(7, 4, 2, 3)))


@pytest.fixture
def tiny() -> CascadeField:
    """Of two levels of different sizes, with random planes, in float64."""
    torch.manual_seed(0)
    field = CascadeField(TINY).double()
    for name, parameter in field.named_parameters():
        if name.endswith((".space", ".time")):
            parameter.data = 0.5 + torch.rand_like(parameter)
    return field


def places(n: int = 11) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    points = torch.rand(n, 3, generator=generator, dtype=torch.float64) * 2.2 - 1.1  # some beyond the border
    return points, torch.rand(n, generator=generator, dtype=torch.float64) * 2 - 1


def plain(field: CascadeField, point: torch.Tensor, time: torch.Tensor) -> list[tuple]:
    """Density and raw color of every level at one place, from the formulas, texel by texel."""
    at = [*point, time]
    raw = 10 * (1 - point.norm() / 0.5)
    color = torch.zeros(3, dtype=point.dtype)
    out = []
    for level in field.cascade:
        feature = torch.ones(level.space.shape[1], dtype=point.dtype)
        for plane, (a, b) in zip(
            [*level.space, *level.time], [(0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3)], strict=True
        ):
            rows, columns = plane.shape[1:]
            x = ((at[a] + 1) / 2 * (columns - 1)).clamp(0, columns - 1)
            y = ((at[b] + 1) / 2 * (rows - 1)).clamp(0, rows - 1)
            x0, y0 = min(int(x), max(columns - 2, 0)), min(int(y), max(rows - 2, 0))
            x1, y1 = min(x0 + 1, columns - 1), min(y0 + 1, rows - 1)
            u, v = x - x0, y - y0
            top = plane[:, y0, x0] * (1 - u) + plane[:, y0, x1] * u
            bottom = plane[:, y1, x0] * (1 - u) + plane[:, y1, x1] * u
            feature = feature * (top * (1 - v) + bottom * v)
        raw = raw + (level.density_out @ (level.density_in @ feature).relu())[0]
        color = color + level.colour_out @ (level.colour_in @ feature).relu()
        out.append((F.softplus(raw), color))
    return out


def plain_normal(field: CascadeField, point: torch.Tensor, time: torch.Tensor, level: int) -> torch.Tensor:
    step = 1e-3 * torch.eye(3, dtype=point.dtype)
    grown = [plain(field, point + d, time)[level][0] - plain(field, point - d, time)[level][0] for d in step]
    return -F.normalize(torch.stack(grown), dim=0)


def gradients(loss: torch.Tensor, field: CascadeField) -> list[torch.Tensor]:
    return list(torch.autograd.grad(loss, list(field.parameters())))


def test_equals_the_authors_field():
    reference = {k: torch.from_numpy(v) for k, v in arrays("kplanes").items()}
    published = keys("consistent4d_geometry")
    state = {k: reference[k] if k in reference else fill(k, shape) for k, shape in published.items()}

    config, converted = from_geometry_state(state)
    assert config == PRESETS["standard"]
    field = CascadeField(config)
    field.load_state_dict(converted)
    points, time = reference["points"], reference["time"][:, 0]
    with torch.no_grad():
        found = field.sample(points, time, normals=True)
        levels = field.levels(points, time)
    for got, expected in [
        (found.density, reference["density"]),
        (found.color, reference["features"]),
        (torch.stack([density for density, _ in levels]), reference["density_only"].view(2, -1)),
        (torch.stack([color for _, color in levels]), reference["features"]),
    ]:
        assert (got - expected).norm() / expected.norm() < 2e-6
    normals = reference["normal"].view(2, -1, 3)
    assert (found.normal - normals).norm() / normals.norm() < 5e-4  # differences of float32, theirs and ours
    with torch.no_grad():
        exact = field.double().normals(points, time)
    assert (exact - normals).norm() / normals.norm() < 1e-4


def test_equals_a_plain_version(tiny):
    points, time = places()
    expected = [plain(tiny, p, t) for p, t in zip(points, time, strict=True)]
    density = torch.stack([torch.stack([level[0] for level in e]) for e in expected], 1)
    color = torch.stack([torch.stack([level[1] for level in e]) for e in expected], 1)
    found = tiny.sample(points, time)
    torch.testing.assert_close(found.density, density, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(found.color, color, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(tiny.density(points, time), density, rtol=1e-12, atol=1e-12)

    def loss(density: torch.Tensor, color: torch.Tensor) -> torch.Tensor:
        return density.square().sum() + color.sin().sum()

    theirs = gradients(loss(density, color), tiny)
    for got, want in zip(gradients(loss(found.density, found.color), tiny), theirs, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-10, atol=1e-12)


def test_normals_equal_a_plain_version(tiny):
    points, time = places(5)
    expected = torch.stack(
        [
            torch.stack([plain_normal(tiny, p, t, level) for p, t in zip(points, time, strict=True)])
            for level in range(2)
        ]
    )
    found = tiny.sample(points, time, normals=True)
    torch.testing.assert_close(found.normal, expected, rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(tiny.normals(points, time), expected, rtol=1e-8, atol=1e-8)
    without = tiny.sample(points, time)
    torch.testing.assert_close(found.density, without.density)
    torch.testing.assert_close(found.color, without.color)

    mixture = torch.linspace(-1, 2, expected.numel(), dtype=torch.float64).view(expected.shape)
    ours = gradients((found.normal * mixture).sum() + found.density.sum() + found.color.sum(), tiny)
    plain_sum = sum(sum(d + c.sum() for d, c in plain(tiny, p, t)) for p, t in zip(points, time, strict=True))
    theirs = gradients((expected * mixture).sum() + plain_sum, tiny)
    for got, want in zip(ours, theirs, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-6, atol=1e-7)


def test_a_level_that_adds_nothing_leaves_the_one_before(tiny):
    tiny.cascade[1].density_out.data.zero_()
    tiny.cascade[1].colour_out.data.zero_()
    coarse, fine = tiny.levels(*places())
    torch.testing.assert_close(coarse[0], fine[0], rtol=1e-14, atol=0)
    assert torch.equal(coarse[1], fine[1])


def test_at_first_there_is_a_blob():
    field = CascadeField()
    for level in field.cascade:
        level.density_out.data.zero_()
        assert level.space.min() >= 0.1
        assert level.space.max() <= 0.5
        assert bool((level.time == 1).all())
    points = torch.tensor([[0.0, 0, 0], [0.3, 0.4, 0], [0, 0, -1.0]])
    softplus = [10 + math.log1p(math.exp(-10)), math.log(2), math.log1p(math.exp(-10))]
    for density in field.density(points, 0.0):
        assert density.tolist() == pytest.approx(softplus, rel=1e-5)
    direction = F.normalize(torch.randn(20, 3, dtype=torch.float64), dim=-1)
    outwards = field.double().normals(0.4 * direction, 0.3)
    torch.testing.assert_close(outwards, direction.expand(2, -1, -1), rtol=0, atol=1e-5)


def test_frames_and_their_times():
    assert CascadeField(FieldConfig().for_clip(5)).cascade[1].time.shape == (3, 16, 5, 100)
    field = CascadeField(TINY.for_clip(4))
    torch.testing.assert_close(
        field.time_coordinate(torch.arange(4) / 3), torch.tensor([-1.0, -0.5, 0.0, 0.5])
    )
    loop = CascadeField(TINY.for_clip(4, cyclic=True))
    torch.testing.assert_close(
        loop.time_coordinate(torch.arange(4) / 4), torch.tensor([-1.0, -0.5, 0.0, 0.5])
    )
    still = CascadeField(TINY.for_clip(1))
    assert still.cascade[0].time.shape[2] == 1
    points, time = places()
    torch.testing.assert_close(still.double().density(points, time), still.density(points, -1.0))


def test_autocast_changes_nothing(tiny):
    points, time = (x.float() for x in places())
    field = tiny.float()
    expected = field.sample(points, time, normals=True)
    with torch.autocast("cpu", torch.bfloat16):
        found = field.sample(points, time, normals=True)
    for a, b in zip(found, expected, strict=True):
        assert torch.equal(a, b)


def test_checkpoints_that_are_none():
    with pytest.raises(InputError, match="not a Consistent4D run"):
        from_geometry_state({"model.weight": torch.zeros(1)})
    state = {f"geometry.grids.0.{i}": torch.zeros(1, 4, 3 if i in (2, 4, 5) else 5, 5) for i in range(6)}
    with pytest.raises(InputError, match=r"density_network.0.layers.0"):
        from_geometry_state(state)
    for name, shape in {
        "density_network.0.layers.0": (6, 4),
        "density_network.0.layers.2": (1, 6),
        "feature_network.0.layers.0": (6, 4),
        "feature_network.0.layers.2": (3, 6),
    }.items():
        state[f"geometry.{name}.weight"] = torch.zeros(shape)
    config, converted = from_geometry_state(state, frames=9)
    CascadeField(config).load_state_dict(converted)
    with pytest.raises(InputError, match="more than the 2 frames"):
        from_geometry_state(state, frames=2)
    state["geometry.grids.0.1"] = torch.zeros(1, 4, 6, 5)
    with pytest.raises(InputError, match="as many points"):
        from_geometry_state(state)
