"""Meshes of a DyNeRF: size, place, colors, motion; only occupied cells are asked; the command."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
from command_line import refused, run
from exported import asset_of
from readers import Glb
from solids import ball_of_splats
from torch.nn.functional import grid_sample
from toy_fields import ToyField, ball

from vid4d.asset import Asset
from vid4d.cameras import Cameras
from vid4d.dynerf import CascadeField, FieldConfig, LevelConfig, OccupancyGrid, render_field
from vid4d.dynerf.files import save_field
from vid4d.errors import InputError
from vid4d.export.formats import export
from vid4d.export.meshes import DYNERF, dynerf_of
from vid4d.export.options import ExportOptions
from vid4d.gaussians.metadata import AssetMetadata
from vid4d.meshing.deformation import TrackOptions
from vid4d.meshing.dynerf_mesh import LEVEL, mesh_of_dynerf, surface_of_dynerf
from vid4d.meshing.marching_cubes import MeshOptions
from vid4d.meshing.mesh_sequence import mesh_sequence
from vid4d.meshing.surface import Surface, centre_of

SMALL = MeshOptions(resolution=64, faces=2000)
HALF_BLOB = math.log1p(math.exp(5.0)) / 0.75
"""Where raw density 10 (1 - r / 0.5) is 5: r is 0.25 of the box's units, 0.1875 of ours."""
BLOB = 0.75 * 0.5 * (1 - math.log(math.exp(0.75 * LEVEL) - 1) / 10)
"""Radius of the blob where it is as dense as a surface."""


def blob() -> CascadeField:
    """Networks of zeros leave the blob, softplus(10 (1 - r / 0.5)) per box unit, and grey."""
    dynerf = CascadeField(FieldConfig((LevelConfig(8, 2, 4, 4),)))
    with torch.no_grad():
        for name, value in dynerf.named_parameters():
            if "density_out" in name or "colour_out" in name:
                value.zero_()
    return dynerf


def around(half: float) -> OccupancyGrid:
    """A grid that is occupied in the middle, up to `half` along each axis (box units)."""
    grid = OccupancyGrid(16)
    grid.update(ToyField(lambda p, t: 50.0 * (p.abs().amax(1) < half)), torch.Generator().manual_seed(0))
    return grid


def radii(mesh) -> np.ndarray:  # type: ignore[no-untyped-def]
    return np.linalg.norm(mesh.vertices, axis=1)


def test_a_dynerf_that_knows_only_its_blob():
    mesh = mesh_of_dynerf(blob(), 0.5, SMALL, level=HALF_BLOB)
    assert radii(mesh) == pytest.approx(0.1875, abs=0.004)
    assert np.allclose(mesh.colors, 0.5, atol=1e-5)
    assert trimesh.Trimesh(mesh.vertices, mesh.faces, process=False).is_watertight


def test_only_occupied_cells_are_asked():
    """The same surface, from far fewer questions."""
    field = ToyField(ball([0.1, 0.0, 0.0], 0.25, 60.0))
    everywhere, asked = mesh_of_dynerf(field, 0.5, SMALL), field.asked
    grid = OccupancyGrid(16)
    grid.update(field, torch.Generator().manual_seed(0), draws=200)
    field.asked = 0
    some = mesh_of_dynerf(field, 0.5, SMALL, grid=grid)
    assert field.asked < 0.7 * asked
    radius = 0.25 + 0.05 * 0.25 * math.log(60 / (0.75 * LEVEL) - 1)
    for mesh in (everywhere, some):
        away = np.linalg.norm(mesh.vertices - [0.075, 0, 0], axis=1)
        assert np.ptp(away) < 0.012
        assert away.mean() == pytest.approx(0.75 * radius, abs=0.006)

    nothing = OccupancyGrid(16)
    nothing.occupy(torch.zeros(16, 16, 16, dtype=torch.bool))
    with pytest.raises(InputError, match=r"too faint at time 0\.5 .* choose --surface splats"):
        mesh_of_dynerf(field, 0.5, SMALL, grid=nothing)


def test_something_small_gets_all_voxels():
    """A ball of a seventh of the box: five voxels of a grid over all of it, 0.05 wide."""
    mesh = mesh_of_dynerf(ToyField(ball([0.4, 0.3, -0.2], 0.12, 200.0)), 0.5, MeshOptions(resolution=32))
    away = np.linalg.norm(mesh.vertices - np.multiply(0.75, [0.4, 0.3, -0.2]), axis=1)
    radius = 0.12 + 0.05 * 0.12 * math.log(200 / (0.75 * LEVEL) - 1)
    assert away == pytest.approx(0.75 * radius, abs=0.005)


def test_a_faint_dynerf_has_no_surface():
    with pytest.raises(InputError, match=r"the DyNeRF is too faint at time 0\.25"):
        mesh_of_dynerf(ToyField(ball([0.0, 0.0, 0.0], 0.3, 1.0)), 0.25, SMALL)


def test_colors_are_what_is_seen_not_what_lies_at_the_surface():
    """A red ball of soft density in a grey skin that lets most of the light through."""

    def red_inside(p: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        inside = torch.sigmoid((0.42 - p.norm(dim=1, keepdim=True)) / 0.005)
        grey, red = torch.full((3,), 0.5).double(), torch.tensor([0.9, 0.1, 0.1]).double()
        return inside * red + (1 - inside) * grey

    field = ToyField(lambda p, t: 25.0 * torch.sigmoid((0.4 - p.norm(dim=1)) / 0.03), red_inside)
    mesh = mesh_of_dynerf(field, 0.5, SMALL)
    assert radii(mesh).min() > 0.75 * 0.43  # outside of the red
    assert np.allclose(mesh.colors.mean(0), [0.9, 0.1, 0.1], atol=0.12)


def test_the_trusted_camera_says_what_it_sees():
    """Stripes in a fuzzy ball: slanting rays see others than those that meet the surface head-on."""

    def stripes(p: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        return (0.5 + 0.4 * torch.sin(14 * p[:, 1:2])).expand(-1, 3)

    field = ToyField(lambda p, t: 25.0 * torch.sigmoid((0.4 - p.norm(dim=1)) / 0.04), stripes)
    camera = Cameras.orbit([0.0], 0.0, size=96)
    with torch.no_grad():
        drawn = render_field(field, camera, 0.5, background=0.0)[-1]
    picture = (drawn.color / drawn.alpha[..., None].clamp(min=1e-6)).permute(0, 3, 1, 2).float()
    plain, trusting = (mesh_of_dynerf(field, 0.5, SMALL, reference=c) for c in (None, camera))
    assert np.array_equal(plain.vertices, trusting.vertices)
    towards = camera.position[0].numpy() - plain.vertices
    cosine = (plain.normals * towards).sum(1) / np.linalg.norm(towards, axis=1)
    pixels, _ = camera.project(torch.from_numpy(plain.vertices))
    seen = grid_sample(picture, (pixels / 48 - 1)[:, None], align_corners=False)[0, :, 0].T.numpy()
    front = (cosine > 0.3) & (cosine < 0.8)
    off = [np.abs(mesh.colors - seen)[front].mean() for mesh in (plain, trusting)]
    assert off[1] < 0.3 * off[0]
    assert np.array_equal(plain.colors[cosine < 0], trusting.colors[cosine < 0])


def test_it_moves_as_one_mesh():
    def along_y(time: torch.Tensor | float) -> torch.Tensor:
        t = torch.as_tensor(time, dtype=torch.float64)
        return torch.stack([0 * t, 0.2 * t, 0 * t], -1)

    field = ToyField(
        ball(along_y, 0.25, 60.0),
        lambda p, t: (0.5 + p[:, 2:]).clamp(0.1, 0.9).expand(-1, 3),
    )
    few = TrackOptions(nodes=80, steps=60, n_correspondence_updates=12, points=600)
    small = MeshOptions(resolution=40, faces=1000)
    made = mesh_sequence(
        lambda time: Surface.of(*surface_of_dynerf(field, time, small)), (0.0, 0.5, 1.0), small.faces, few
    )
    assert made.tracked
    for mesh, y in zip(made.meshes, (-0.15, 0.0, 0.15), strict=True):
        assert np.array_equal(mesh.faces, made.meshes[0].faces)
        assert np.allclose(centre_of(mesh.vertices, mesh.faces), [0, y, 0], atol=0.01)


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    """Splats of a ball, and beside them a DyNeRF that is the blob."""
    asset_of(tmp_path, ball_of_splats(radius=0.2, count=1000, sigma=0.014), seconds=0.2)
    save_field(tmp_path / DYNERF, blob(), around(0.6))
    return tmp_path


def test_the_command_takes_the_surface_asked_for(run_folder):
    sizes = {}
    for surface in ("splats", "dynerf"):
        out = run_folder / f"{surface}.obj"
        assert (
            run(
                "export",
                run_folder,
                "--to",
                "obj",
                "--time",
                0,
                "--faces",
                800,
                "--surface",
                surface,
                "--out",
                out,
            )
            == 0
        )
        sizes[surface] = np.linalg.norm(trimesh.load(out).vertices, axis=1).mean()
    assert sizes["splats"] == pytest.approx(0.215, abs=0.01)
    assert sizes["dynerf"] == pytest.approx(BLOB, abs=0.004)


def test_an_animated_glb_of_a_dynerf(run_folder):
    asset = Asset(
        ball_of_splats(radius=0.3, count=100), AssetMetadata(seconds=0.2), run_folder / "asset.safetensors"
    )
    [path] = export(asset, "glb", options=ExportOptions(frames=2, faces=600, surface="dynerf"))
    glb = Glb(path.read_bytes())
    for weight in (0.0, 1.0):
        there = glb.morphed(np.array([weight]))
        assert np.linalg.norm(there["POSITION"], axis=1).mean() == pytest.approx(BLOB, abs=0.005)


def test_what_is_not_there_is_refused(run_folder, tmp_path, capsys, unchecked):
    with pytest.raises(InputError, match="a mesh cannot be made of 'air'"):
        ExportOptions(surface="air").check()
    (run_folder / DYNERF).unlink()
    for place in (run_folder, run_folder / "asset.safetensors"):
        told = refused(capsys, "export", place, "--to", "glb", "--surface", "dynerf")
        assert f"{run_folder} holds no dynerf.safetensors" in told
        assert "choose --surface splats" in told
    assert not (run_folder / "export").exists()
    (run_folder / DYNERF).write_bytes(b"no")
    with pytest.raises(InputError, match="cannot be read"):
        dynerf_of(Asset(ball_of_splats(count=10), AssetMetadata(), run_folder / "asset.safetensors"))
