"""Meshes: axes, ragged batches, and the shard layout of docs/training.md."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from mesh_shapes import box, moving_box, wall, write_shard

from vid4d.errors import InputError
from vid4d.training.meshes import (
    MeshBank,
    join,
    ragged_index,
    read_folder,
    read_models,
    read_shard,
    to_world_axes,
)


def test_axes_turn_without_mirroring() -> None:
    matrix = to_world_axes(np.eye(3)).T
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(3))
    assert np.linalg.det(matrix) == pytest.approx(1.0)
    np.testing.assert_array_equal(matrix @ (0, 1, 0), (0, 0, 1))  # glTF's up is our up
    np.testing.assert_array_equal(matrix @ (0, 0, 1), (1, 0, 0))  # glTF's front faces our input camera


def test_ragged_index_by_hand() -> None:
    index, owner = ragged_index(torch.tensor([10, 50, 3]), torch.tensor([2, 0, 3]))
    assert index.tolist() == [10, 11, 3, 4, 5]
    assert owner.tolist() == [0, 0, 2, 2, 2]


def test_a_batch_of_two_equals_each_alone() -> None:
    bank = MeshBank([wall(0, (0, 1), (0, 1)), moving_box(), box((0, 0, 0), 1)])
    both = bank.batch(torch.tensor([1, 0]), torch.tensor([5, 0]))
    alone = [bank.batch(torch.tensor([m]), torch.tensor([p])) for m, p in ((1, 5), (0, 0))]
    for i, one in enumerate(alone):
        mine = both.face_object == i
        torch.testing.assert_close(both.vertices[both.faces[mine]], one.vertices[one.faces])
        torch.testing.assert_close(both.uv[mine], one.uv)
        texel, other = both.texture_start[mine], one.texture_start
        torch.testing.assert_close(both.texels[texel], one.texels[other])
    joined = join(alone)
    for name, value in vars(both).items():
        if isinstance(value, torch.Tensor):
            torch.testing.assert_close(getattr(joined, name), value, msg=name)
    assert joined.objects == both.objects == 2
    assert alone[0].vertices[0].tolist() == pytest.approx([-0.2 + 5 * 0.05, -0.3, -0.1 + 5 * 0.05])


def test_a_shard_of_the_documented_layout(tmp_path: Path) -> None:
    write_shard(tmp_path / "made.npz")
    static, skinned = read_shard(tmp_path / "made.npz", {"skinned": {"tier": "B"}})
    world = np.array([(0, 0, 0), (0, 0.5, 0), (0, 0, 0.5)])
    np.testing.assert_allclose(static.poses, world[None], atol=1e-4)
    np.testing.assert_allclose(static.uv, [(0, 0), (1, 0), (0, 1)])
    np.testing.assert_array_equal(static.vertex_color, np.eye(3) * 255)
    assert static.texture.shape == (4, 2, 4)
    assert (static.name, static.has_alpha, static.modular, static.smooth.tolist()) == (
        "static",
        True,
        False,
        [True],
    )
    np.testing.assert_allclose(skinned.poses[0], world, atol=1e-4)
    np.testing.assert_allclose(
        skinned.poses[1], world + np.array([(0, 0, 0)] * 2 + [(0, 0, 0.25)]), atol=1e-4
    )
    np.testing.assert_allclose(skinned.uv, [(0.2, 1)], atol=1e-5)
    assert skinned.faces.tolist() == [[2, 1, 0]]
    assert (skinned.has_alpha, skinned.modular, skinned.smooth.tolist()) == (False, True, [False])
    assert skinned.vertex_color is None
    bank = MeshBank([static, skinned])
    batch = bank.batch(torch.tensor([1, 0]), torch.tensor([1, 0]))
    torch.testing.assert_close(batch.vertices[2], torch.tensor([0.0, 0.0, 0.75]), atol=1e-4, rtol=0)
    torch.testing.assert_close(batch.corner_color, torch.stack([torch.ones(3, 3), torch.eye(3)]))


def test_a_folder_without_shards_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no \*\.npz shards"):
        read_folder(tmp_path)
    with pytest.raises(InputError, match="empty list"):
        MeshBank([])


def test_the_collection_reads_as_its_own_reader_reads_it(shared_dir: Path) -> None:
    assets = shared_dir / "assets"
    spec = importlib.util.spec_from_file_location("collection_loader", assets / "loader.py")
    assert spec is not None
    assert spec.loader is not None
    loader = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loader)
    theirs = loader.load_shard(assets / "val" / "val.npz")
    listing = {m["id"]: m for m in json.loads((assets / "manifest.json").read_text())}
    meshes = read_folder(assets / "val")
    assert [m.name for m in meshes] == list(theirs)
    for mesh in meshes[:4]:
        truth = loader.decode(theirs[mesh.name])
        np.testing.assert_allclose(mesh.poses, to_world_axes(truth["V"]), atol=1e-5)
        np.testing.assert_array_equal(mesh.faces, truth["F"])
        np.testing.assert_allclose(mesh.uv[mesh.uv_faces], truth["UV"][truth["FT"]])
        np.testing.assert_array_equal(mesh.smooth, truth["smooth"])
        np.testing.assert_array_equal(mesh.texture[..., :3], truth["tex"][..., :3])
    for mesh in meshes:
        assert mesh.has_alpha == bool(listing[mesh.name]["alpha"])
        assert mesh.poses.shape[0] == listing[mesh.name]["poses"]
        assert np.linalg.norm(mesh.poses, axis=-1).max() == pytest.approx(0.5, abs=0.01)


def test_models_are_left_out_or_chosen_by_name(tmp_path: Path) -> None:
    write_shard(tmp_path / "made.npz")
    assert [m.name for m in read_folder(tmp_path)] == ["static", "skinned"]
    assert [m.name for m in read_folder(tmp_path, limit=1, leave_out={"static"})] == ["skinned"]
    assert [m.name for m in read_models(tmp_path, ["skinned", "static"])] == ["skinned", "static"]
    with pytest.raises(InputError, match="holds other"):
        read_models(tmp_path, ["static", "other"])
