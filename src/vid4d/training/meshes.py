"""Textured, posed triangle meshes in one bank of flat tensors, and ragged batches taken from it.

A bank holds thousands of small models without padding: one tensor of vertices, one of faces, one of texels,
and per model where its part begins. A batch is cut out by index arithmetic on the device, in a few launches.

The files are shards of models (npz): concatenated raw arrays as in the asset collection the shipped prior was
trained on (docs/training.md describes the layout). Any other source can fill a bank with
`TrainingMesh` objects.
"""

from __future__ import annotations

import io
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from vid4d.errors import InputError
from vid4d.files.records import read_record


@dataclass
class TrainingMesh:
    """One model as numpy arrays, world axes (z up, front towards +x).

    poses (k, v, 3); faces (f, 3) into vertices; uv (t, 2), v down from the first row; uv_faces (f, 3) into
    uv; smooth (f,): smooth shading; texture (h, w, 4) uint8; vertex_color (t, 3) uint8, per texture
    coordinate.
    """

    name: str
    poses: np.ndarray
    faces: np.ndarray
    uv: np.ndarray
    uv_faces: np.ndarray
    smooth: np.ndarray
    texture: np.ndarray
    vertex_color: np.ndarray | None = None
    has_alpha: bool = False
    modular: bool = False


def to_world_axes(points: np.ndarray) -> np.ndarray:
    """glTF axes (y up, front +z) to ours (z up, front +x): a cyclic permutation, so a proper rotation."""
    return points[..., [2, 0, 1]]


def _skin(bind: np.ndarray, joints: np.ndarray, index: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Linear blend skinning: bind (v, 3), joints (k, j, 3, 4), index and weight (v, 4) -> (k, v, 3)."""
    homogeneous = np.concatenate([bind, np.ones_like(bind[:, :1])], 1)
    moved = np.zeros((len(joints), len(bind), 3), np.float32)
    for slot in range(4):
        used = np.flatnonzero(weight[:, slot])
        if len(used):
            transforms = joints[:, index[used, slot]]
            moved[:, used] += weight[used, slot, None] * np.einsum(
                "kvij,vj->kvi", transforms, homogeneous[used], optimize=True
            )
    return moved


def read_shard(path: Path, manifest: dict[str, dict] | None = None) -> Iterator[TrainingMesh]:
    """The models of one shard file."""
    with np.load(path) as archive:
        arrays = {key: archive[key] for key in archive.files}
    if "jm" in arrays:  # the two bytes of each float16 are stored as two planes
        arrays["jm"] = np.ascontiguousarray(arrays["jm"].reshape(2, -1).T).reshape(-1).view(np.float16)
    cursor = dict.fromkeys(arrays, 0)

    def take(key: str, count: int) -> np.ndarray:
        begin = cursor[key]
        cursor[key] = begin + count
        return arrays[key][begin : begin + count]

    from PIL import Image

    for raw_id, row in zip(arrays["ids"], arrays["dims"].tolist(), strict=True):
        f, v, t, k, j, texture_bytes, smooth_bytes, has_v, has_p, has_color = row
        identity = raw_id.decode()
        faces = take("f", 3 * f).reshape(f, 3).astype(np.int64)
        uv_faces = take("ft", 3 * f).reshape(f, 3).astype(np.int64)
        uv = take("t", 2 * t).reshape(2, t).T.astype(np.float32) / 65535
        smooth = np.unpackbits(take("sm", smooth_bytes))[:f].astype(bool)
        with Image.open(io.BytesIO(take("tex", texture_bytes).tobytes())) as picture:
            has_alpha = "A" in picture.getbands()
            texture = np.asarray(picture.convert("RGBA"))
        color = take("vc", 3 * t).reshape(t, 3) if has_color else None
        bind = take("v", 3 * v).reshape(3, v).T.astype(np.float32) / 65534 if has_v else None
        baked = take("p", 3 * v * k).reshape(3, v, k) if has_p else None
        if j:
            joints = take("jm", k * j * 12).reshape(j, 3, 4, k).transpose(3, 0, 1, 2).astype(np.float32)
            index = take("ji", 4 * v).reshape(v, 4).astype(np.int64)
            weight = take("jw", 4 * v).reshape(v, 4).astype(np.float32) / 255
        if baked is not None:
            poses = baked.transpose(2, 1, 0).astype(np.float32) / 65534
        elif bind is not None and j:
            poses = _skin(bind, joints, index, weight)
        elif bind is not None:
            poses = bind[None]
        else:
            raise InputError(f"{path.name}: model {identity} has no vertices; the file is damaged")
        modular = (manifest or {}).get(identity, {}).get("tier") == "B"
        yield TrainingMesh(
            identity, to_world_axes(poses), faces, uv, uv_faces, smooth, texture, color, has_alpha, modular
        )


def read_folder(
    folder: Path, *, limit: int | None = None, leave_out: Collection[str] = ()
) -> list[TrainingMesh]:
    """All models below a folder of shards, in the order of the file names, without those to be left out."""
    paths = _shards(folder)
    listing = Path(folder).parent / "manifest.json"
    listed = read_record(listing, list[dict], "write it again") if listing.exists() else []
    manifest = {m["id"]: m for m in listed if "id" in m}
    meshes: list[TrainingMesh] = []
    for path in paths:
        for mesh in read_shard(path, manifest):
            if mesh.name in leave_out:
                continue
            meshes.append(mesh)
            if limit and len(meshes) >= limit:
                return meshes
    return meshes


def read_models(folder: Path, names: Sequence[str]) -> list[TrainingMesh]:
    """Some models of a folder of shards, in the order of their names; shards without any are not unpacked.

    Raises InputError where one is missing.
    """
    models: dict[str, TrainingMesh] = {}
    for path in _shards(folder):
        with np.load(path) as archive:
            wanted = {raw.decode() for raw in archive["ids"]} & set(names)
        if wanted:
            models |= {mesh.name: mesh for mesh in read_shard(path) if mesh.name in wanted}
    missing = [name for name in names if name not in models]
    if missing:
        raise InputError(f"no shard in {folder} holds {', '.join(missing)}")
    return [models[name] for name in names]


def _shards(folder: Path) -> list[Path]:
    paths = sorted(Path(folder).glob("*.npz"))
    if not paths:
        raise InputError(f"no *.npz shards of models in {folder}; see docs/training.md for their layout")
    return paths


def ragged_index(start: Int[Tensor, " n"], count: Int[Tensor, " n"]) -> tuple[Tensor, Tensor]:
    """Indices start_i, ..., start_i + count_i - 1 for all i joined, and the i each belongs to."""
    owner = torch.repeat_interleave(torch.arange(len(count), device=count.device), count)
    offset = torch.cumsum(count, 0) - count
    within = torch.arange(len(owner), device=count.device) - offset[owner]
    return start[owner] + within, owner


@dataclass
class MeshBatch:
    """Meshes of several objects joined: one list of vertices and of faces, each with its object."""

    vertices: Float[Tensor, "v 3"]
    vertex_object: Int[Tensor, " v"]
    faces: Int[Tensor, "f 3"]
    face_object: Int[Tensor, " f"]
    uv: Float[Tensor, "f 3 2"]
    corner_color: Float[Tensor, "f 3 3"]
    smooth: Bool[Tensor, " f"]
    texture_start: Int[Tensor, " f"]
    texture_size: Int[Tensor, "f 2"]
    has_alpha: Bool[Tensor, " f"]
    texels: Tensor
    objects: int


def join(batches: Sequence[MeshBatch]) -> MeshBatch:
    """Batches of one bank as one batch; the objects of the second follow those of the first."""
    vertices = [len(b.vertices) for b in batches]
    objects = [b.objects for b in batches]
    v_shift = [sum(vertices[:i]) for i in range(len(batches))]
    o_shift = [sum(objects[:i]) for i in range(len(batches))]

    def cat(name: str, shifts: list[int] | None = None) -> Tensor:
        parts = [getattr(b, name) for b in batches]
        return torch.cat([p + s for p, s in zip(parts, shifts, strict=True)] if shifts else parts)

    return MeshBatch(
        vertices=cat("vertices"),
        vertex_object=cat("vertex_object", o_shift),
        faces=cat("faces", v_shift),
        face_object=cat("face_object", o_shift),
        uv=cat("uv"),
        corner_color=cat("corner_color"),
        smooth=cat("smooth"),
        texture_start=cat("texture_start"),
        texture_size=cat("texture_size"),
        has_alpha=cat("has_alpha"),
        texels=batches[0].texels,
        objects=sum(objects),
    )


class MeshBank:
    """Many meshes on one device. Counts and offsets are int64 tensors of one entry per model."""

    def __init__(self, meshes: Sequence[TrainingMesh], device: torch.device | str = "cpu") -> None:
        if not meshes:
            raise InputError("an empty list of models cannot be trained on or rendered")
        self.device = torch.device(device)
        self.names = [m.name for m in meshes]

        def counts(values: list[int]) -> tuple[Tensor, Tensor]:
            count = torch.tensor(values, device=self.device)
            return count, torch.cumsum(count, 0) - count

        def joined(parts: list[np.ndarray]) -> Tensor:
            return torch.from_numpy(np.concatenate(parts)).to(self.device)

        self.n_vertices, _ = counts([m.poses.shape[1] for m in meshes])
        self.n_poses, _ = counts([len(m.poses) for m in meshes])
        _, self.vertex_start = counts([m.poses.shape[0] * m.poses.shape[1] for m in meshes])
        self.n_faces, self.face_start = counts([len(m.faces) for m in meshes])
        _, self.texture_start = counts([m.texture.shape[0] * m.texture.shape[1] for m in meshes])
        self.texture_size = torch.tensor([m.texture.shape[:2] for m in meshes], device=self.device)
        self.has_alpha = torch.tensor([m.has_alpha for m in meshes], device=self.device)
        self.vertices = joined([m.poses.reshape(-1, 3) for m in meshes])
        self.faces = joined([m.faces for m in meshes])
        self.uv = joined([m.uv[m.uv_faces] for m in meshes])
        white = [
            np.full((len(m.faces), 3, 3), 255, np.uint8)
            if m.vertex_color is None
            else m.vertex_color[m.uv_faces]
            for m in meshes
        ]
        self.corner_color = joined(white)
        self.smooth = joined([m.smooth for m in meshes])
        self.texels = joined([m.texture.reshape(-1, 4) for m in meshes])

    def __len__(self) -> int:
        return len(self.names)

    def batch(self, models: Int[Tensor, " n"], poses: Int[Tensor, " n"]) -> MeshBatch:
        """The given models, each in one of its poses; entry i of the lists becomes object i."""
        models, poses = models.to(self.device), poses.to(self.device)
        n_vertices = self.n_vertices[models]
        first = self.vertex_start[models] + poses * n_vertices
        vertex_index, vertex_object = ragged_index(first, n_vertices)
        face_index, face_object = ragged_index(self.face_start[models], self.n_faces[models])
        shift = torch.cumsum(n_vertices, 0) - n_vertices
        return MeshBatch(
            vertices=self.vertices[vertex_index],
            vertex_object=vertex_object,
            faces=self.faces[face_index] + shift[face_object][:, None],
            face_object=face_object,
            uv=self.uv[face_index],
            corner_color=self.corner_color[face_index].float() / 255,
            smooth=self.smooth[face_index],
            texture_start=self.texture_start[models][face_object],
            texture_size=self.texture_size[models][face_object],
            has_alpha=self.has_alpha[models][face_object],
            texels=self.texels,
            objects=len(models),
        )
