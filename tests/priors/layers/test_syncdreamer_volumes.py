"""Volume networks: where voxels and frustum samples lie, checked against the cameras, and shapes."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from vid4d.cameras import Cameras
from vid4d.priors.layers.syncdreamer_volumes import (
    SpatialVolumes,
    VolumeConfig,
    frustum_grid,
    unprojection_grid,
)

SMALL = VolumeConfig(
    views=4,
    latent_size=16,
    view_channels=4,
    channels=(4, 8, 8, 8),
    size=16,
    depths=8,
    time_dim=6,
    norm_groups=2,
)


@pytest.fixture(scope="module")
def net() -> SpatialVolumes:
    torch.manual_seed(0)
    return SpatialVolumes(SMALL, Cameras.ring(4)).eval()


def test_voxels_lie_where_the_input_camera_sees_them():
    """On +x and on the equator, the camera has +y to its right and +z above."""
    grid = unprojection_grid(Cameras.orbit([0], 0.0, size=9), 3, 0.5).reshape(3, 3, 3, 2)  # z y x
    centre = 4.5 / 4 - 1
    torch.testing.assert_close(grid[1, 1, 1], torch.full((2,), centre))
    focal = 280 / 256 * 9
    right = (focal * 0.5 / 1.5 + 4.5) / 4 - 1
    torch.testing.assert_close(grid[1, 2, 1], torch.tensor([right, centre]))
    torch.testing.assert_close(grid[0, 1, 1], torch.tensor([centre, right]))
    near = (focal * 0.5 / 1.0 + 4.5) / 4 - 1
    torch.testing.assert_close(grid[1, 2, 2], torch.tensor([near, centre]))


def test_frustum_samples_project_back_to_their_pixels():
    cameras = Cameras.orbit([0, 100], [30.0, -20.0], size=6)
    points = frustum_grid(cameras, 5, 1.0, 2.0, 0.5) * 0.5
    for i in range(2):
        pixels, depth = cameras[i].project(points[i].reshape(-1, 3))
        pixels, depth = pixels.reshape(5, 6, 6, 2), depth.reshape(5, 6, 6)
        y, x = torch.meshgrid(torch.arange(6.0), torch.arange(6.0), indexing="ij")
        torch.testing.assert_close(
            pixels, torch.stack([x, y], -1).expand(5, -1, -1, -1), atol=1e-4, rtol=1e-4
        )
        expected = torch.linspace(1, 2, 5)[:, None, None].expand(-1, 6, 6)
        torch.testing.assert_close(depth, expected, atol=1e-5, rtol=1e-5)


def test_what_is_lifted_from_a_view_is_found_in_its_frustum():
    cameras = Cameras.ring(4, size=16)[1]
    picture = torch.zeros(1, 1, 16, 16)
    picture[..., 7, 9] = 1
    lifted = F.grid_sample(picture, unprojection_grid(cameras, 32, 0.5), align_corners=True)
    volume = lifted.reshape(1, 1, 32, 32, 32)
    seen = F.grid_sample(volume, frustum_grid(cameras, 9, 1.2, 1.8, 0.5), align_corners=True)[0, 0]
    for depth in seen:
        assert divmod(depth.argmax().item(), 16) == (7, 9)


def test_shapes(net):
    x, time, view = torch.randn(2, 4, 4, 16, 16), torch.randn(2, 6), torch.randn(2, 4, 4)
    volume = net.spatial(x, time, view)
    assert volume.shape == (2, 4, 16, 16, 16)
    pyramid = net.frustum(volume, torch.arange(2), time, view[:, 3], torch.tensor([3, 3]))
    assert {k: tuple(v.shape) for k, v in pyramid.items()} == {
        16: (2, 4, 8, 16, 16),
        8: (2, 8, 4, 8, 8),
        4: (2, 8, 2, 4, 4),
        2: (2, 8, 1, 2, 2),
    }


def test_time_and_view_matter(net):
    x, time, view = torch.randn(1, 4, 4, 16, 16), torch.randn(1, 6), torch.randn(1, 4, 4)
    volume = net.spatial(x, time, view)
    assert (volume - net.spatial(x, time + 1, view)).abs().max() > 1e-3
    assert (volume - net.spatial(x, time, view + 1)).abs().max() > 1e-3
    frame = target = torch.tensor([0])
    coarse = net.frustum(volume, frame, time, view[:, 0], target)[2]
    assert (coarse - net.frustum(volume, frame, time, view[:, 0] + 1, target)[2]).abs().max() > 1e-3
    assert (coarse - net.frustum(volume, frame, time, view[:, 0], target + 1)[2]).abs().max() > 1e-3


def test_geometry_is_not_part_of_the_state(net):
    assert not {"voxels", "frustums"} & set(net.state_dict())


def test_geometry_stays_in_float32():
    net = SpatialVolumes(SMALL, Cameras.ring(4))
    voxels = net.voxels.clone()
    net.to(torch.bfloat16)
    assert net.frustum_volume_feats.conv0.weight.dtype == torch.bfloat16
    assert torch.equal(net.voxels, voxels)
    assert net.frustums.dtype == torch.float32


def test_misuse_is_refused():
    with pytest.raises(ValueError, match="cameras"):
        SpatialVolumes(SMALL, Cameras.ring(5))
    with pytest.raises(ValueError, match="divisible"):
        VolumeConfig(depths=20)
