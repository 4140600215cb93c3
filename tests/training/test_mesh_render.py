"""The mesh renderer: coverage, color, depth, cameras and framing, against numbers worked by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from mesh_shapes import CORNERS, CUBE_FACES, box, mesh, scene, unlit, wall

from vid4d.cameras import Cameras
from vid4d.training.mesh_render import (
    Lighting,
    fit_to_frame,
    nearest_plain,
    project,
    render_meshes,
    render_with_depth,
)
from vid4d.training.meshes import MeshBank, MeshBatch

SIZE = 32
FRONT = Cameras.orbit([0.0], 0.0, size=SIZE)
PIXEL = 1.5 / (280 / 256 * SIZE)
"""World units per pixel at the origin's depth; column = 16 + y / PIXEL, row = 16 - z / PIXEL."""

ONE = torch.zeros(1, dtype=torch.long)


def test_a_square_covers_the_pixels_it_should() -> None:
    batch = scene(wall(0, (-6 * PIXEL, 10 * PIXEL), (-3 * PIXEL, 5 * PIXEL), (51, 102, 204)))
    picture = render_meshes(batch, FRONT, ONE, unlit(), supersample=1)[0]
    expected = torch.zeros(SIZE, SIZE)
    expected[16 - 5 : 16 + 3, 16 - 6 : 16 + 10] = 1
    torch.testing.assert_close(picture[..., 3], expected)
    colors = picture[expected > 0][:, :3]
    torch.testing.assert_close(colors, torch.tensor([0.2, 0.4, 0.8]).expand_as(colors))


def test_surfaces_between_the_pixels_draw_nothing() -> None:
    """A picture that no pixel is drawn in is empty; triangles are there, none of them covers a center."""
    batch = scene(wall(0, (0.6 * PIXEL, 0.9 * PIXEL), (0.6 * PIXEL, 0.9 * PIXEL), (255, 0, 0)))
    assert not render_meshes(batch, FRONT, ONE, unlit(), supersample=1).any()


def test_half_covered_pixels_have_half_alpha_and_full_color() -> None:
    batch = scene(wall(0, (-4.5 * PIXEL, 4 * PIXEL), (-4 * PIXEL, 4 * PIXEL), (255, 0, 0)))
    picture = render_meshes(batch, FRONT, ONE, unlit(), supersample=2)[0]
    torch.testing.assert_close(picture[12:20, 11], torch.tensor([1.0, 0, 0, 0.5]).expand(8, 4))
    torch.testing.assert_close(picture[12:20, 12], torch.tensor([1.0, 0, 0, 1]).expand(8, 4))


def test_the_nearer_surface_wins_in_any_order() -> None:
    near = wall(0.3, (-0.2, 0.1), (-0.2, 0.2), (0, 255, 0))
    far = wall(-0.3, (-0.3, 0.3), (-0.3, 0.3), (255, 0, 0))
    first = render_meshes(scene(near, far), FRONT, ONE, unlit())
    second = render_meshes(scene(far, near), FRONT, ONE, unlit())
    torch.testing.assert_close(first, second)
    assert first[0, 16, 14, :3].tolist() == [0, 1, 0]
    assert first[0, 16, 20, :3].tolist() == [1, 0, 0]
    behind = Cameras.orbit([180.0], 0.0, size=SIZE)
    assert render_meshes(scene(near, far), behind, ONE, unlit())[0, 16, 16, :3].tolist() == [1, 0, 0]


def test_depth_is_along_the_optical_axis_and_infinite_where_nothing_is() -> None:
    batch = scene(wall(0.3, (-0.2, 0.2), (-0.2, 0.2)), wall(-0.3, (-0.1, 0.5), (-0.1, 0.1)))
    picture, depth = render_with_depth(batch, FRONT, ONE, unlit(), supersample=1)
    torch.testing.assert_close(picture[0, ..., 3] > 0, depth[0].isfinite())
    assert depth[0, 16, 16].item() == pytest.approx(1.2, rel=1e-5)
    assert depth[0, 16, 22].item() == pytest.approx(1.8, rel=1e-5)
    assert depth[0, 2, 2].item() == float("inf")
    assert render_with_depth(batch, FRONT, ONE, unlit(), supersample=2)[1].shape == (1, 64, 64)


def test_faces_in_any_order_and_chunks_of_any_size_give_one_picture() -> None:
    generator = torch.Generator().manual_seed(0)
    points = (torch.rand(90, 3, generator=generator) - 0.5).numpy()
    soup = mesh(points, np.arange(90).reshape(30, 3))
    soup.texture = (torch.rand(5, 6, 4, generator=generator) * 255).to(torch.uint8).numpy()
    soup.uv = torch.rand(90, 2, generator=generator).numpy()
    soup.uv_faces = soup.faces.copy()
    batch = scene(soup)
    order = torch.randperm(30, generator=generator)
    names = (
        "faces",
        "face_object",
        "uv",
        "corner_color",
        "smooth",
        "texture_start",
        "texture_size",
        "has_alpha",
    )
    mixed = replace(batch, **{name: getattr(batch, name)[order] for name in names})
    cameras = Cameras.orbit([0.0, 100.0], 20.0, size=SIZE)
    owner = torch.zeros(2, dtype=torch.long)
    picture = render_meshes(batch, cameras, owner)
    assert (picture[..., 3] > 0).float().mean() > 0.1
    torch.testing.assert_close(render_meshes(mixed, cameras, owner), picture)
    torch.testing.assert_close(render_meshes(batch, cameras, owner, chunk=500), picture)


def test_holes_of_an_alpha_texture_show_what_is_behind() -> None:
    near = wall(0.3, (-0.3, 0.3), (-0.3, 0.3))
    near.texture = np.array([[(0, 255, 0, 255), (0, 255, 0, 100)]], np.uint8)
    far = wall(-0.3, (-0.3, 0.3), (-0.3, 0.3), (255, 0, 0))
    near.has_alpha = True
    picture = render_meshes(scene(near, far), FRONT, ONE, unlit())[0]
    assert picture[16, 12].tolist() == [0, 1, 0, 1]
    assert picture[16, 20].tolist() == [1, 0, 0, 1]
    near.has_alpha = False
    assert render_meshes(scene(near, far), FRONT, ONE, unlit())[0, 16, 20].tolist() == [0, 1, 0, 1]


def test_textures_follow_the_perspective() -> None:
    slanted = wall(0, (-0.4, 0.4), (-0.3, 0.3))
    slanted.poses[0, :, 0] = slanted.poses[0, :, 1] * 1.2  # its right side comes close
    slanted.texture = np.array([[(255, 0, 0, 255), (0, 0, 255, 255)]], np.uint8)
    camera = Cameras.orbit([0.0], 0.0, size=256)
    row = render_meshes(scene(slanted), camera, ONE, unlit(), supersample=1)[0, 128]
    border = int((row[:, 0] > 0.5).nonzero().max()) + 1
    assert row[border, 2] == 1
    assert abs(border - float(camera.project(torch.zeros(1, 3))[0][0, 0, 0])) <= 1
    wrong = (row[:, 3] > 0).nonzero().float().mean()  # where it would be without
    assert abs(float(wrong) - border) > 20


def test_points_appear_where_the_cameras_project_them() -> None:
    point = (0.21, -0.13, 0.3)
    cameras = Cameras.orbit([0.0, 67.5, 180.0, 290.0], torch.tensor([-10.0, 30, 10, 60]), size=128)
    bank = MeshBank([box((0, 0, 0), 0.1), box(point, 0.02, (0, 255, 0))])
    pictures = render_meshes(
        bank.batch(torch.tensor([0, 1]), torch.zeros(2, dtype=torch.long)), cameras, ONE.expand(4) + 1
    )
    pixels, _ = cameras.project(torch.tensor([point]))
    for picture, expected in zip(pictures, pixels[:, 0], strict=True):
        at = picture[..., 3].nonzero().float().mean(0).flip(0) + 0.5
        assert (at - expected).norm() < 0.5


def test_light_comes_from_the_lamp_and_from_above() -> None:
    batch = scene(box((0, 0, 0), 0.2, (200, 200, 200)))
    light = Lighting.studio(1, "cpu")
    light.ambient, light.sky, light.lamp = (torch.tensor([v]) for v in (0.5, 0.2, 0.3))
    light.direction = torch.tensor([[1.0, 0.0, 0.0]])
    grey = 200 / 255
    front = render_meshes(batch, FRONT, ONE, light)[0, 16, 16, 0]
    assert float(front) == pytest.approx(grey * 0.8, abs=1e-4)
    back = render_meshes(batch, Cameras.orbit([180.0], 0.0, size=SIZE), ONE, light)[0, 16, 16, 0]
    assert float(back) == pytest.approx(grey * 0.5, abs=1e-4)
    above = render_meshes(batch, Cameras.orbit([0.0], 89.0, size=SIZE), ONE, light)[0, 16, 16, 0]
    assert float(above) == pytest.approx(grey * 0.7, abs=1e-4)


@pytest.mark.parametrize("elevation", [-10.0, 35.0])
def test_objects_fill_the_picture_as_a_clips_crop_does(elevation: float) -> None:
    size = 256
    places = np.stack([CORNERS * (0.1, 0.3, 0.05) + (0.7, 0.2, 0.4), CORNERS * 0.1 + (0.4, 0.6, 0.5)])
    bank = MeshBank([mesh(places, CUBE_FACES)])
    batch = bank.batch(torch.zeros(2, dtype=torch.long), torch.arange(2))
    camera = Cameras.orbit([0.0], elevation, size=size)
    framed = fit_to_frame(batch, camera, group=torch.zeros(2, dtype=torch.long))
    alpha = render_meshes(framed, Cameras.cat([camera, camera]), torch.arange(2))[..., 3]
    assert float((alpha[0] - alpha[1]).abs().max()) == 1  # the poses keep their own places
    rows, columns = (alpha.amax(0) > 0.3).nonzero().unbind(1)
    low = torch.stack([columns.min(), rows.min()]).float()
    high = torch.stack([columns.max(), rows.max()]).float() + 1
    assert float((high - low).max()) == pytest.approx(200, abs=1)
    torch.testing.assert_close((low + high) / 2, torch.full((2,), size / 2), atol=1.0, rtol=0)


def test_the_radius_bounds_what_the_input_view_cannot_see() -> None:
    batch = scene(box((0, 0, 0), (1.0, 0.05, 0.05)))  # a rod that points at the camera
    wide = fit_to_frame(batch, FRONT, radius=0.6)
    assert float(wide.vertices.norm(dim=1).max()) == pytest.approx(0.6, abs=0.01)
    free = fit_to_frame(batch, FRONT, radius=10.0)
    assert float(free.vertices.norm(dim=1).max()) > 0.7


def test_the_kernel_covers_the_same_pixels_with_the_same_surfaces() -> None:
    kernels = pytest.importorskip("vid4d.training.mesh_render_kernels")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    rng = np.random.default_rng(0)
    size, n = 24, 30
    soup = mesh(rng.uniform(-0.4, 0.4, (3 * n, 3)), np.arange(3 * n).reshape(n, 3))
    holes = replace(
        mesh(rng.uniform(-0.4, 0.4, (3 * n, 3)), np.arange(3 * n).reshape(n, 3)),
        uv=rng.uniform(-0.2, 1.2, (3 * n, 2)).astype(np.float32),
        uv_faces=np.arange(3 * n).reshape(n, 3),
        texture=(rng.random((5, 7, 4)) > 0.5).astype(np.uint8) * 255,
        has_alpha=True,
    )
    small = box((0.1, 0.0, 0.1), 0.05)
    batch = MeshBank([soup, holes, small]).batch(torch.tensor([0, 1, 2]), torch.zeros(3, dtype=torch.long))
    cameras = Cameras.orbit([0.0, 70.0, 200.0, 30.0], [10.0, -20.0, 60.0, 0.0], size=size)
    owners = torch.tensor([0, 1, 2, 1])
    instances = project(batch, cameras, owners, size)
    expected = nearest_plain(batch, instances, size, len(cameras))
    moved = MeshBatch(
        **{k: v.to(device) if isinstance(v, torch.Tensor) else v for k, v in vars(batch).items()}
    )
    given = {k: v.to(device) for k, v in vars(instances).items()}
    for rows, columns in ((8, 8), (4, 16)):
        keys = kernels.nearest(moved, **given, size=size, views=4, rows=rows, columns=columns).cpu()
        same = (keys >> 32 == expected >> 32) & (keys & 0xFFFFFFFF == expected & 0xFFFFFFFF)
        # edges through the middle of a pixel, and equal depths, may be rounded to either side on a GPU
        assert float(same.float().mean()) >= (1.0 if device == "cpu" else 0.995)
        assert (keys >= 0).sum() > 400
        assert len(torch.unique(keys & 0xFFFFFFFF)) > 40
    assert int((expected.view(4, -1) >= 0).sum(1).min()) > 3, "every view shows something"


def test_the_kernel_draws_nothing_of_nothing() -> None:
    kernels = pytest.importorskip("vid4d.training.mesh_render_kernels")
    batch = scene(box((0, 0, 0), 0.1))
    away = Cameras.orbit([0.0], 0.0, size=8)
    instances = project(replace(batch, vertices=batch.vertices + 50), away, ONE, 8)
    assert len(instances.face) == 0
    assert bool((kernels.nearest(batch, **vars(instances), size=8, views=1) == -1).all())
