"""Meshes of one moment: closed, of the right size, place and color; and what cannot be meshed."""

from __future__ import annotations

import logging
import math

import numpy as np
import pytest
import torch
import trimesh
from solids import ball_of_splats, box, color_of_place, ellipsoid, mesh_of, torus
from torch.nn.functional import max_pool3d

from vid4d.cameras import Cameras
from vid4d.errors import InputError
from vid4d.gaussians.hull import sample_bilinear
from vid4d.meshing.depth_views import DepthViews, colors_of, signed_distances
from vid4d.meshing.marching_cubes import Field, MeshOptions, surface_from_field, vertex_normals
from vid4d.meshing.tsdf import (
    fibonacci_cameras,
    filled,
    highest_around,
    mesh_at,
    surface_of_splats,
    tsdf_fuse,
    visible_bounds,
)

SMALL = MeshOptions(faces=4000, resolution=56, views=32, size=128)


def read(mesh) -> trimesh.Trimesh:
    return trimesh.Trimesh(mesh.vertices, mesh.faces, process=False)


def test_a_box_has_its_volume_and_area():
    half = torch.tensor([0.3, 0.2, 0.1])
    mesh = mesh_of(lambda p: box(p, half), resolution=72)
    solid = read(mesh)
    assert solid.is_watertight
    assert solid.is_winding_consistent
    assert len(mesh.faces) <= 3000
    assert solid.volume == pytest.approx(0.048, rel=0.06)
    assert solid.area == pytest.approx(0.88, rel=0.08)  # its edges come out a little round
    assert np.abs(solid.bounds - np.array([[-0.3, -0.2, -0.1], [0.3, 0.2, 0.1]])).max() < 0.012
    assert np.abs(mesh.colors - color_of_place(torch.from_numpy(mesh.vertices)).numpy()).max() < 1e-6


def test_a_torus_keeps_its_hole():
    solid = read(mesh_of(lambda p: torus(p, 0.3, 0.1)))
    assert solid.euler_number == 0
    assert solid.volume == pytest.approx(2 * math.pi**2 * 0.3 * 0.1**2, rel=0.06)


def test_hollows_that_nobody_sees_are_filled():
    """A shell of a ball is the ball."""
    solid = read(mesh_of(lambda p: (p.norm(dim=1) - 0.3).abs() - 0.06))
    assert solid.body_count == 1
    assert solid.volume == pytest.approx(4 / 3 * math.pi * 0.36**3, rel=0.05)


@pytest.mark.parametrize(("radius", "told"), [(0.15, True), (0.05, False)])
def test_only_the_largest_part_is_kept_and_it_is_said_where_much_is_lost(caplog, radius, told):
    def two(p):
        second = (p - torch.tensor([0.0, 0.35, 0.0])).norm(dim=1) - radius
        return torch.minimum((p + torch.tensor([0.0, 0.2, 0.0])).norm(dim=1) - 0.2, second)

    with caplog.at_level(logging.WARNING, "vid4d.export"):
        solid = read(mesh_of(two))
    assert solid.body_count == 1
    assert solid.bounds[1, 1] < 0.03
    assert ("largest of 2 parts" in caplog.text) == told


def test_normals_of_a_ball_point_outwards():
    mesh = mesh_of(lambda p: p.norm(dim=1) - 0.3)
    outward = mesh.vertices / np.linalg.norm(mesh.vertices, axis=1, keepdims=True)
    assert (mesh.normals * outward).sum(1).min() > 0.97
    assert np.allclose(np.linalg.norm(mesh.normals, axis=1), 1, atol=1e-5)


def test_normals_by_hand():
    """Two triangles at a right angle, one of twice the area: the shared edge leans to the larger."""
    vertices = np.array([[0, 0, 0], [1, 0, 0], [0, 2, 0], [0, 0, 1.0]])
    normals = vertex_normals(vertices, np.array([[0, 1, 2], [0, 3, 1]]))
    assert np.allclose(normals[2], [0, 0, 1])
    assert np.allclose(normals[3], [0, 1, 0])
    assert np.allclose(normals[0], np.array([0, 1, 2]) / 5**0.5)


def test_a_ball_of_splats():
    """Its surface lies where the splats fade, between their centres and two standard deviations out."""
    mesh = mesh_at(ball_of_splats(), 0.5, SMALL)
    solid = read(mesh)
    radius = np.linalg.norm(mesh.vertices, axis=1)
    assert solid.is_watertight
    assert solid.euler_number == 2
    assert 0.295 < radius.mean() < 0.32
    assert radius.std() < 0.004
    true = mesh.vertices / radius[:, None] * 0.45 + 0.5
    assert np.abs(mesh.colors - true).mean() < 0.03


def test_it_is_where_the_object_is_at_that_time():
    moving = ball_of_splats(radius=0.2, count=1200, sigma=0.012, velocity=0.3)
    centres = [read(mesh_at(moving, t, SMALL)).center_mass for t in (0.0, 0.5, 1.0)]
    assert np.allclose(centres, [[0, -0.15, 0], [0, 0, 0], [0, 0.15, 0]], atol=0.006)


def test_silhouettes_are_those_of_the_splats():
    """Every vertex of the mesh is seen as opaque or nearly so from everywhere."""
    splats = ball_of_splats()
    mesh = mesh_at(splats, 0.5, SMALL)
    drawn = DepthViews.of(splats.at(0.5), Cameras.orbit([10.0, 130.0, 250.0], [0.0, 40.0, -30.0], size=128))
    for view in range(3):
        pixels, _ = drawn.cameras[view].project(torch.from_numpy(mesh.vertices))
        alpha = sample_bilinear(drawn.alpha[view, None, ..., None], pixels)[0, :, 0]
        assert (alpha > 0.05).float().mean() > 0.97


def test_all_cameras_see_all_of_the_box():
    low, high = torch.tensor([-0.4, -0.1, -0.7]), torch.tensor([0.2, 0.3, 0.1])
    cameras = fibonacci_cameras(low, high, 20, 100)
    pixels, depth = cameras.project(torch.cartesian_prod(*torch.stack([low, high], 1)))
    assert ((pixels > 0) & (pixels < 100)).all()
    assert (depth > 0).all()
    assert (cameras.position.mean(0).norm() / cameras.position[0].norm()) < 0.05  # from all around


def test_hidden_vertices_do_not_take_the_color_of_what_hides_them():
    """A red ball before a blue one: points on the far side of the red one's shadow are blue or unseen."""
    cameras = fibonacci_cameras(torch.full((3,), -0.4), torch.full((3,), 0.4), 1, 64)
    towards = torch.nn.functional.normalize(cameras.position[0], dim=0)
    depth = float(cameras.position[0].norm())
    red = torch.tensor([1.0, 0, 0])
    views = DepthViews(
        cameras,
        red.expand(1, 64, 64, 3),
        torch.ones(1, 64, 64),
        torch.full((1, 64, 64), depth - 0.2),
    )
    points = torch.stack([0.2 * towards, -0.2 * towards]).numpy()
    normals = torch.stack([towards, towards]).numpy()
    colors, seen = colors_of(views, points, normals, tolerance=0.02)
    assert np.allclose(colors, [[1, 0, 0], [0, 0, 0]], atol=1e-5)
    assert seen[0] > 0
    assert seen[1] == 0  # nobody sees it
    assert np.allclose(filled(points, colors, seen), [1, 0, 0], atol=1e-5)


def test_space_that_views_look_through_is_empty_and_what_nobody_sees_is_solid():
    low, high = torch.full((3,), -0.3), torch.full((3,), 0.3)
    options = MeshOptions(resolution=12)
    cameras = fibonacci_cameras(low, high, 6, 32)
    nothing = DepthViews(cameras, torch.zeros(6, 32, 32, 3), torch.zeros(6, 32, 32), torch.zeros(6, 32, 32))
    assert (tsdf_fuse(nothing, low, high, options).values > 0).all()
    near = torch.full((6, 32, 32), 0.01)
    wall = DepthViews(cameras, torch.zeros(6, 32, 32, 3), torch.ones(6, 32, 32), near)
    values = tsdf_fuse(wall, low, high, options).values
    inner = values[4:-4, 4:-4, 4:-4]  # without the margin, which few views see
    assert (inner < 0).all()


def test_voxels_that_are_not_asked_for_are_what_they_would_be():
    """Away from the surface the field is guessed from every second voxel; signs and values stay."""
    splats = ball_of_splats(count=1500, sigma=0.014).at(0.5)
    options = MeshOptions(resolution=24, views=24, size=64)
    low, high = visible_bounds(splats, 0.5)
    views = DepthViews.of(splats, fibonacci_cameras(low, high, options.views, options.size))
    field = tsdf_fuse(views, low, high, options)
    axes = [
        start + field.voxel * torch.arange(n)
        for start, n in zip(field.origin, field.values.shape, strict=True)
    ]
    every = signed_distances(views, torch.cartesian_prod(*axes), field.voxel, options).clamp(-1, 1)
    off = (field.values.flatten() - every).abs()
    assert (field.values.flatten().sign() == every.sign()).all()
    assert (off > 0.01).float().mean() < 1e-3
    assert (every.abs() < 0.9).sum() > 500  # there is a surface


def test_a_field_lands_in_world_units():
    """A ball of radius 5 voxels around voxel (8, 9, 10)."""
    x, y, z = torch.meshgrid(torch.arange(18), torch.arange(20), torch.arange(22), indexing="ij")
    values = ((x - 8) ** 2 + (y - 9) ** 2 + (z - 10) ** 2).sqrt() - 5
    field = Field(values.clamp(-1, 1), torch.tensor([1.0, 2.0, 3.0]), 0.1)
    vertices, _ = surface_from_field(field, MeshOptions(blur=0))
    assert np.allclose(vertices.mean(0), [1.8, 2.9, 4.0], atol=0.01)
    assert np.linalg.norm(vertices - [1.8, 2.9, 4.0], axis=1) == pytest.approx(0.5, abs=0.02)


def test_what_has_no_surface_is_refused():
    with pytest.raises(InputError, match="nothing is solid enough"):
        mesh_of(lambda p: torch.full((len(p),), 0.1), resolution=12)
    splats = ball_of_splats(count=400)
    with pytest.raises(InputError, match="empty at time"):
        mesh_at(splats.select(torch.zeros(400, dtype=torch.bool)), 0.5, SMALL)
    faint = splats.map(lambda x: torch.full_like(x, -2.5) if x.ndim == 1 else x)
    with pytest.raises(InputError, match="too faint at time"):
        mesh_at(faint.select(torch.arange(0, 400, 40)), 0.5, SMALL)
    with pytest.raises(InputError, match="3 faces"):
        MeshOptions(faces=3)


def test_an_ellipsoid_keeps_to_the_number_of_faces():
    for faces in (200, 1000):
        mesh = mesh_of(lambda p: ellipsoid(p, torch.zeros(3), torch.tensor([0.3, 0.2, 0.15])), faces=faces)
        assert 0.9 * faces < len(mesh.faces) <= faces
        assert read(mesh).is_watertight


def test_the_highest_value_around_is_that_of_pooling():
    generator = torch.Generator().manual_seed(0)
    for reach, size in ((1, (5, 4, 3)), (2, (2, 7, 1)), (6, (4, 9, 30))):
        values = torch.randn(size, generator=generator)
        pooled = max_pool3d(values[None, None], 2 * reach + 1, stride=1, padding=reach)[0, 0]
        assert torch.equal(highest_around(values, reach, (0, 1, 2)), pooled)


def test_colors_for_matching_are_near_those_that_are_shown():
    """One picture for depths and colors: as solid as the depths want it, and so a little less soft."""
    exact, quick = (surface_of_splats(ball_of_splats(), 0.5, SMALL, exact=some) for some in (True, False))
    assert np.array_equal(exact[0], quick[0])
    points = exact[0][:500]
    normals = vertex_normals(*exact[:2])[:500]
    off = np.abs(exact[2](points, normals) - quick[2](points, normals))
    assert 0 < off.mean() < 0.02
