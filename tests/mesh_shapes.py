"""Hand-made meshes, plain light and shards for the tests of training."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from vid4d.training.mesh_render import Lighting
from vid4d.training.meshes import MeshBank, MeshBatch, TrainingMesh

CORNERS = np.array([(x, y, z) for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], np.float32)
CUBE_FACES = np.array(
    [
        *((0, 1, 3), (0, 3, 2), (4, 6, 7), (4, 7, 5), (0, 4, 5), (0, 5, 1)),
        *((2, 3, 7), (2, 7, 6), (0, 2, 6), (0, 6, 4), (1, 5, 7), (1, 7, 3)),
    ]
)


def mesh(
    poses: np.ndarray, faces: np.ndarray, color: Sequence[int] = (255, 0, 0), name: str = "made"
) -> TrainingMesh:
    """A flat-shaded mesh of one color. poses: (v, 3) or (k, v, 3)."""
    return TrainingMesh(
        name=name,
        poses=np.asarray(poses, np.float32).reshape(-1, *np.shape(poses)[-2:]),
        faces=np.asarray(faces),
        uv=np.full((1, 2), 0.5, np.float32),
        uv_faces=np.zeros_like(faces),
        smooth=np.zeros(len(faces), bool),
        texture=np.array([[[*color, 255]]], np.uint8),
    )


def box(
    centre: Sequence[float],
    half: Sequence[float] | float,
    color: Sequence[int] = (255, 0, 0),
    name: str = "box",
) -> TrainingMesh:
    """A box of one color."""
    return mesh(CORNERS * half + np.asarray(centre, np.float32), CUBE_FACES, color, name)


def moving_box(poses: int = 16, step: float = 0.05) -> TrainingMesh:
    """A box that moves by `step` along x and z from pose to pose."""
    places = np.arange(poses)[:, None, None] * np.array([step, 0, step], np.float32)
    return mesh(CORNERS * (0.2, 0.3, 0.1) + places, CUBE_FACES, (0, 0, 255), "moving")


def wall(
    x: float,
    y: tuple[float, float],
    z: tuple[float, float],
    color: Sequence[int] = (255, 0, 0),
    name: str = "wall",
) -> TrainingMesh:
    """A rectangle at constant x, which faces the input camera; u grows with y, v with -z."""
    corners = np.array([(x, y[0], z[1]), (x, y[1], z[1]), (x, y[1], z[0]), (x, y[0], z[0])], np.float32)
    made = mesh(corners, np.array([(0, 1, 2), (0, 2, 3)]), color, name)
    made.uv = np.array([(0, 0), (1, 0), (1, 1), (0, 1)], np.float32)
    made.uv_faces = made.faces.copy()
    return made


def scene(*meshes: TrainingMesh) -> MeshBatch:
    """All meshes, first poses, as one object."""
    bank = MeshBank(meshes)
    batch = bank.batch(torch.arange(len(meshes)), torch.zeros(len(meshes), dtype=torch.long))
    batch.vertex_object = torch.zeros_like(batch.vertex_object)
    batch.face_object = torch.zeros_like(batch.face_object)
    batch.objects = 1
    return batch


def unlit(n: int = 1) -> Lighting:
    """Light under which a surface has exactly its texture's color."""
    light = Lighting.studio(n, "cpu")
    light.ambient, light.sky, light.lamp = torch.ones(n), torch.zeros(n), torch.zeros(n)
    return light


def png(pixels: np.ndarray) -> bytes:
    """An image file's bytes."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def write_shard(path: Path) -> None:
    """Two triangles: one static with vertex colors and an alpha texture, one skinned with two poses.

    The skinned one's vertices 0 and 1 follow joint 0, which stays; vertex 2 follows joint 1, which stays in
    pose 0 and moves by 0.25 along glTF's y in pose 1; its weight is split in halves between two such joints.
    """
    one = np.array([(0, 0, 0), (0.5, 0, 0), (0, 0.5, 0)])
    joints = np.zeros((3, 3, 4, 2), np.float16)
    joints[:, :, :3] = np.eye(3)[None, :, :, None]
    joints[1:, 1, 3, 1] = 0.25
    pictures = [png(np.full((4, 2, 4), 200, np.uint8)), png(np.full((1, 1, 3), 9, np.uint8))]
    low_then_high = joints.reshape(-1).view(np.uint8).reshape(-1, 2).T.reshape(-1)
    np.savez_compressed(
        path,
        ids=np.array([b"static", b"skinned"], "S12"),
        dims=np.array(
            [(1, 3, 3, 1, 0, len(pictures[0]), 1, 1, 0, 1), (1, 3, 1, 2, 3, len(pictures[1]), 1, 1, 0, 0)],
            np.int32,
        ),
        f=np.array([0, 1, 2, 2, 1, 0], np.uint16),
        ft=np.array([0, 1, 2, 0, 0, 0], np.uint16),
        t=np.array([0, 65535, 0, 0, 0, 65535, 13107, 65535], np.uint16),
        vc=np.array([255, 0, 0, 0, 255, 0, 0, 0, 255], np.uint8),
        sm=np.packbits([1, 0, 0, 0, 0, 0, 0, 0]).repeat(2) * np.array([1, 0], np.uint8),
        tex=np.frombuffer(b"".join(pictures), np.uint8),
        v=np.rint(np.concatenate([one.T.reshape(-1)] * 2) * 65534).astype(np.int16),
        jm=low_then_high,
        ji=np.array([0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 0, 0], np.uint8),
        jw=np.array([255, 0, 0, 0, 255, 0, 0, 0, 127, 128, 0, 0], np.uint8),
    )
