"""Pictures of solids: balls from all sides, and the same as by marching every ray in full."""

from __future__ import annotations

import pytest
import torch

from vid4d.cameras import Cameras
from vid4d.metrics import mask_iou
from vid4d.priors.frustum.framing import Framing
from vid4d.priors.frustum.geometry import (
    REACH,
    frustum_points,
    march_points,
    sampled,
    to_frustum,
)
from vid4d.priors.frustum.matter import alpha_along
from vid4d.priors.frustum.network import FrustumConfig, Solid
from vid4d.priors.frustum.rendering import TOGETHER, render_solid

CONFIG = FrustumConfig(volume_size=56)
N = CONFIG.volume_size
CAMERA = Cameras.orbit([0.0], 20.0, size=128)


def ball(radius: float) -> Solid:
    """Around the origin: full inside, empty outside, red in front of the middle, blue behind."""
    points = frustum_points(CONFIG)
    distance = (points - torch.tensor([0.0, 0.0, 1.5])).norm(dim=1)
    logits = ((radius - distance) * 200).view(1, 1, N, N, N)
    front = (points[:, 2] < 1.5).float().view(N, N, N)
    color = torch.stack([front, 0 * front, 1 - front])[None] * 2 - 1
    return Solid(logits, color, torch.zeros(1))


@pytest.mark.parametrize("azimuth", [0.0, 70.0, 180.0])
def test_a_ball_is_a_disc_from_all_sides(azimuth: float) -> None:
    camera = Cameras.orbit([azimuth], 10.0, size=64)
    picture = render_solid(ball(0.3), CAMERA, camera, CONFIG, size=64, samples=96)[0, 0]
    y, x = torch.meshgrid(torch.arange(64) + 0.5 - 32, torch.arange(64) + 0.5 - 32, indexing="ij")
    radius = 70 * 0.3 / (1.5**2 - 0.3**2) ** 0.5  # pixels: focal 64 * 280 / 256, tangent cone of the ball
    disc = ((x**2 + y**2) < radius**2).float()
    assert float(mask_iou(picture[..., 3], disc)) > 0.92
    middle = picture[32, 32]
    assert float(middle[3]) > 0.99
    front_is_red = {0.0: (1.0, 0.0), 180.0: (0.0, 1.0)}
    if azimuth in front_is_red:
        assert middle[[0, 2]].tolist() == pytest.approx(front_is_red[azimuth], abs=0.1)


def test_bias_makes_solids_thicker() -> None:
    camera = Cameras.orbit([90.0], 0.0, size=48)
    soft = ball(0.25)
    soft = soft._replace(logits=soft.logits / 20)
    areas = [
        float((render_solid(soft, CAMERA, camera, CONFIG, size=48, bias=bias)[..., 3] > 0.5).sum())
        for bias in (-1.0, 0.0, 1.0)
    ]
    assert areas[0] < areas[1] < areas[2]


def test_the_pictures_are_those_of_marching_every_ray_in_full() -> None:
    torch.manual_seed(0)
    solid = Solid(torch.randn(1, 1, N, N, N) - 3, torch.rand(1, 3, N, N, N) * 2 - 1, torch.zeros(1))
    cameras, size, samples = Cameras.ring(3, size=32), 32, 40
    found = render_solid(solid, CAMERA, cameras, CONFIG, size=size, samples=samples)[0]
    at = to_frustum(march_points(cameras, size, samples).view(1, -1, 3), CAMERA, CONFIG)
    occupancy = sampled(torch.sigmoid(solid.logits * 3), at)[0, :, 0].view(3, samples, -1)
    alpha = alpha_along(occupancy, 2 * REACH / samples)
    through = torch.cumprod(1 - alpha, 1)
    weight = alpha * torch.cat([torch.ones_like(alpha[:, :1]), through[:, :-1]], 1)
    torch.testing.assert_close(found[..., 3].flatten(1), weight.sum(1), atol=2e-3, rtol=0)
    color = sampled(solid.color * 0.5 + 0.5, at)[0].view(3, samples, -1, 3)
    expected = (color * weight[..., None]).sum(1)
    premultiplied = (found[..., :3] * found[..., 3:]).flatten(1, 2)
    inside = weight.sum(1) > 0.9
    torch.testing.assert_close(premultiplied[inside], expected[inside], atol=0.03, rtol=0)


@pytest.mark.parametrize(("azimuth", "shift"), [(0.0, 0.2), (90.0, 0.0), (180.0, -0.2)])
def test_a_window_puts_the_ball_where_its_picture_was(azimuth: float, shift: float) -> None:
    """Half as wide, a fifth of the picture to the right of the clip's middle; seen from the side, in the
    middle; from behind, to the left."""
    level = Cameras.orbit([0.0], 0.0, size=128)
    camera = Cameras.orbit([azimuth], 0.0, size=64)
    framing = Framing(torch.tensor([[0.2, 0.0]]), 0.5)
    picture = render_solid(ball(0.3), level, camera, CONFIG, framing=framing, size=64, samples=96)[0, 0]
    y, x = (picture[..., 3] > 0.5).nonzero(as_tuple=True)
    assert float(y.float().mean()) == pytest.approx(31.5, abs=0.5)
    nearer = 1.0 if azimuth != 90 else 1.5 / (1.5 - 0.2 / 1.09375 * 1.5)
    assert float(x.float().mean()) == pytest.approx(31.5 + 64 * shift, abs=1.0)
    assert int((y.max() - y.min()) + 1) == pytest.approx(2 * 70 * 0.15 / 1.5 * nearer, abs=3)


def test_contrast_keeps_where_alpha_is_one_half_and_thins_the_edge() -> None:
    camera = Cameras.orbit([90.0], 0.0, size=48)
    soft = ball(0.25)
    soft = soft._replace(logits=soft.logits / 20)
    plain, crisp = (
        render_solid(soft, CAMERA, camera, CONFIG, size=48, contrast=c)[..., 3] for c in (1.0, 2.5)
    )
    torch.testing.assert_close(crisp, ((plain - 0.5) * 2.5 + 0.5).clamp(0, 1))
    assert int(((crisp > 0.1) & (crisp < 0.9)).sum()) < 0.6 * int(((plain > 0.1) & (plain < 0.9)).sum())


def test_views_together_are_those_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """A graphics card marches several views at once; five by three leave two."""
    cameras = Cameras.orbit([0.0, 50.0, 120.0, 200.0, 300.0], 10.0, size=32)
    one = render_solid(ball(0.3), CAMERA, cameras, CONFIG, size=32, samples=48)
    monkeypatch.setitem(TOGETHER, "cpu", 3)
    torch.testing.assert_close(render_solid(ball(0.3), CAMERA, cameras, CONFIG, size=32, samples=48), one)
    assert min(float(view[..., 3].mean()) for view in one[0]) > 0.1
