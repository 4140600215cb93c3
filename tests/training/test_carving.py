"""Truth by space carving: what is solid, where its boundary lies, and the kernel against the plain way."""

from __future__ import annotations

import pytest
import torch
from mesh_shapes import box, scene, wall

from vid4d.cameras import Cameras
from vid4d.training.carving import carving_cameras, depth_behind, depth_maps, soft_occupancy

IDENTITY = torch.eye(3, 4)[None]
HALF = 0.25


@pytest.fixture(scope="module")
def cube() -> tuple[torch.Tensor, Cameras]:
    cameras = carving_cameras(96)
    return depth_maps(scene(box((0, 0, 0), HALF)), cameras), cameras


def test_a_cube_is_solid_inside_and_empty_outside(cube: tuple[torch.Tensor, Cameras]) -> None:
    torch.manual_seed(0)
    points = torch.rand(4000, 3) - 0.5
    behind = depth_behind(*cube, points, IDENTITY)[0]
    inside = (HALF - points.abs()).amin(1)  # distance to the surface, negative outside
    clear = inside.abs() > 0.03
    assert bool(((behind > 0) == (inside > 0))[clear].all())


def test_the_surface_is_at_one_half_and_half_a_voxel_below_is_solid(
    cube: tuple[torch.Tensor, Cameras],
) -> None:
    voxel = 0.05
    x = HALF + torch.tensor([0.5, 0.25, 0.0, -0.25, -0.5]) * voxel
    points = torch.stack([x, torch.zeros(5), torch.zeros(5)], 1)
    occupancy = soft_occupancy(depth_behind(*cube, points, IDENTITY), voxel)[0]
    torch.testing.assert_close(occupancy[2:], torch.tensor([0.5, 0.75, 1.0]), atol=0.03, rtol=0)
    assert bool((occupancy[:2] <= torch.tensor([0.03, 0.28])).all()), (
        "views that look past it see it is empty"
    )


def test_what_no_view_sees_into_is_solid(cube: tuple[torch.Tensor, Cameras]) -> None:
    """Closed boxes are solid though their meshes are shells; an open sheet holds nothing."""
    assert float(depth_behind(*cube, torch.zeros(1, 3), IDENTITY)) > 0.2
    cameras = carving_cameras(96)
    sheet = depth_maps(scene(wall(0.0, (-0.3, 0.3), (-0.3, 0.3))), cameras)
    beside = torch.tensor([[0.05, 0.0, 0.0], [-0.05, 0.0, 0.0]])
    assert bool((depth_behind(sheet, cameras, beside, IDENTITY) < 0).all())


def test_points_are_placed_by_each_objects_own_axes(cube: tuple[torch.Tensor, Cameras]) -> None:
    depth, cameras = cube
    place = torch.eye(3, 4).repeat(2, 1, 1)
    place[1, 0, 3] = 0.4
    behind = depth_behind(depth.expand(2, -1, -1, -1), cameras, torch.zeros(1, 3), place)
    assert behind[0, 0] > 0.2
    assert behind[1, 0] < -0.1


def test_the_kernel_is_the_plain_way(cube: tuple[torch.Tensor, Cameras]) -> None:
    kernels = pytest.importorskip("vid4d.training.carving_kernels")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(3)
    cameras = carving_cameras(32)
    shapes = scene(box((0, 0, 0), HALF)), scene(box((0.1, 0.1, 0), 0.2))
    depth = torch.cat([depth_maps(shape, cameras) for shape in shapes])
    points = torch.rand(300, 3) - 0.5
    place = torch.eye(3, 4).repeat(2, 1, 1)
    place[1, :, 3] = torch.tensor([0.1, -0.05, 0.02])
    expected = depth_behind(depth, cameras, points, place)
    result = kernels.depth_behind(
        depth.to(device), cameras.to(device), points.to(device), place.to(device), block=128
    ).cpu()
    assert bool((result.isfinite() == expected.isfinite()).all())
    torch.testing.assert_close(result, expected, atol=1e-5, rtol=0)
