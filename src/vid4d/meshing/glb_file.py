"""Animated meshes out of GLB files (glTF 2.0), posed at any moment: nodes, morph targets, skins.

Surfaces come in our axes (z up, front +x). Colors are those of the material as they are, unlit: vertex
colors, base color and its texture.
"""

from __future__ import annotations

import io
import json
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int, UInt8
from PIL import Image

from vid4d.errors import FAULTS, InputError
from vid4d.files.paths import refuse_special
from vid4d.media.picture_files import check_pixels, reading_picture

TYPES = {5120: "<i1", 5121: "<u1", 5122: "<i2", 5123: "<u2", 5125: "<u4", 5126: "<f4"}
WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT2": 4, "MAT3": 9, "MAT4": 16}
TRIANGLES = 4
MORPHED = {"POSITION", "COLOR_0", "TEXCOORD_0"}
UNREAD = ("KHR_draco_mesh_compression", "EXT_meshopt_compression", "KHR_texture_basisu")
LARGEST = 4 << 30
MOST = 20_000_000
"""Entries of an array, vertices say."""
MOST_MESHES = 500
"""Meshes at one moment; each takes a share of a second to draw."""
SMALLEST_SCALE = 1e-9
"""Of a node; below it, it is not drawn."""


@dataclass(frozen=True)
class Surface:
    """A part of an object at one moment. colors: sRGB per vertex, times the texture's where there is one.

    masked: the texture's alpha below one half is not there.
    """

    vertices: Float[np.ndarray, "v 3"]
    faces: Int[np.ndarray, "f 3"]
    colors: Float[np.ndarray, "v 3"]
    uv: Float[np.ndarray, "v 2"] | None = None
    texture: UInt8[np.ndarray, "th tw 4"] | None = None
    masked: bool = False


def to_srgb(linear: Float[np.ndarray, "*b"]) -> Float[np.ndarray, "*b"]:
    """Linear values in [0, 1] to sRGB (IEC 61966-2-1)."""
    low = linear <= 0.0031308
    return np.where(low, linear * 12.92, 1.055 * np.maximum(linear, 0.0031308) ** (1 / 2.4) - 0.055)


class Glb:
    """A GLB file. Raises InputError where it is none, is damaged or compressed, or shows no triangles."""

    def __init__(self, path: Path) -> None:
        self.path = path
        refuse_special(path)
        with self._reading():
            if path.stat().st_size > LARGEST:
                raise InputError(f"{path} is larger than any mesh that is judged: give a smaller one")
            self._read(path.read_bytes())
        self.at(0.0)

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """A block that reads the file, at whatever moment: what is wrong in it is an InputError."""
        try:
            yield
        except InputError:
            raise
        except FAULTS as error:
            raise InputError(f"{self.path} is no whole GLB file ({error}): export it again") from error

    def _read(self, data: bytes) -> None:
        magic, version, _ = struct.unpack_from("<4sII", data)
        if (magic, version) != (b"glTF", 2):
            raise InputError(f"{self.path} is no GLB file (glTF 2.0): export it as one")
        size, kind = struct.unpack_from("<I4s", data, 12)
        self.json: dict[str, Any] = json.loads(data[20 : 20 + size]) if kind == b"JSON" else {}
        start = 20 + size + 8
        self.buffer = data[start:]
        used = [name for name in UNREAD if name in self.json.get("extensionsRequired", [])]
        if used:
            raise InputError(f"{self.path} is compressed ({used[0]}): export it without compression")

    def array(self, index: int) -> np.ndarray:
        """An accessor: (count, width), normalised where it says so."""
        entry = self.json["accessors"][index]
        kind, width, count = np.dtype(TYPES[entry["componentType"]]), WIDTHS[entry["type"]], entry["count"]
        if not 0 <= count <= MOST:
            raise InputError(f"{self.path} has an array of {count} entries: export it again")
        values = np.zeros((count, width), kind)
        if "bufferView" in entry:
            values = self._view(entry["bufferView"], entry.get("byteOffset", 0), kind, count, width)
        if sparse := entry.get("sparse"):
            at, new = sparse["indices"], sparse["values"]
            kind_at = np.dtype(TYPES[at["componentType"]])
            where = self._view(at["bufferView"], at.get("byteOffset", 0), kind_at, sparse["count"], 1)[:, 0]
            values = values.copy()
            values[where] = self._view(new["bufferView"], new.get("byteOffset", 0), kind, len(where), width)
        if entry.get("normalized") and kind.kind in "iu":
            return np.maximum(values / np.iinfo(kind).max, -1)
        return values

    def _view(self, index: int, offset: int, kind: np.dtype, count: int, width: int) -> np.ndarray:
        view = self.json["bufferViews"][index]
        begin = view.get("byteOffset", 0) + offset
        step = view.get("byteStride") or kind.itemsize * width
        if begin + max(0, count - 1) * step + width * kind.itemsize > len(self.buffer):
            raise InputError(f"{self.path} ends before its meshes do: export it again")
        strides = (step, kind.itemsize)
        return np.ndarray((count, width), kind, self.buffer, begin, strides)

    @cached_property
    def channels(self) -> list[tuple[int, str, np.ndarray, np.ndarray, str]]:
        """Of the first animation: node, what is moved, keys in seconds, values by key, how between them."""
        found = []
        for animation in self.json.get("animations", [])[:1]:
            for channel in animation["channels"]:
                target, sampler = channel["target"], animation["samplers"][channel["sampler"]]
                if "node" not in target:
                    continue
                keys = self.array(sampler["input"])[:, 0].astype(float)
                values = self.array(sampler["output"]).astype(float)
                if not (np.isfinite(keys).all() and (np.diff(keys) >= 0).all() and np.isfinite(values).all()):
                    raise InputError(
                        f"{self.path} is animated at moments or by values that are no numbers in order: "
                        "export it again"
                    )
                how = sampler.get("interpolation", "LINEAR")
                found.append((target["node"], target["path"], keys, values.reshape(len(keys), -1), how))
        return found

    @property
    def seconds(self) -> float:
        """Duration of the animation; 0 of a still."""
        return max((float(keys[-1]) for _, _, keys, _, _ in self.channels), default=0.0)

    @property
    def tracked(self) -> bool:
        """Whether vertices are the same places of the object at all times: no part comes or goes."""
        return not any(path == "scale" and how == "STEP" for _, path, _, _, how in self.channels)

    def at(self, seconds: float) -> list[Surface]:
        """The surfaces at a moment of the animation. Raises InputError where there are none."""
        with self._reading():
            return self._at(seconds)

    def _at(self, seconds: float) -> list[Surface]:
        moved: dict[int, dict[str, np.ndarray]] = {}
        for node, path, keys, values, how in self.channels:
            moved.setdefault(node, {})[path] = _between(seconds, keys, values, how, path == "rotation")
        nodes = self.json.get("nodes", [])
        poses: dict[int, np.ndarray] = {}
        scenes = self.json.get("scenes") or [{"nodes": list(range(len(nodes)))}]
        stack = [(n, np.eye(4)) for n in scenes[self.json.get("scene", 0)].get("nodes", [])]
        while stack:
            index, above = stack.pop()
            if index in poses:
                raise InputError(f"{self.path} has a node below two others: export it again")
            poses[index] = above @ _pose(nodes[index], moved.get(index, {}))
            stack += [(child, poses[index]) for child in nodes[index].get("children", [])]
        surfaces = []
        shown = sorted(i for i in poses if "mesh" in nodes[i])
        if len(shown) > MOST_MESHES:
            raise InputError(
                f"{self.path} shows {len(shown)} meshes, more than {MOST_MESHES}: join them first"
            )
        for index in shown:
            if abs(np.linalg.det(poses[index][:3, :3])) > SMALLEST_SCALE**3 or "skin" in nodes[index]:
                weights = moved.get(index, {}).get("weights", nodes[index].get("weights"))
                surfaces += self._mesh(nodes[index], poses, poses[index], weights)
        if not surfaces:
            raise InputError(f"{self.path} shows no triangles at {seconds:g} s: export it with a mesh")
        return surfaces

    def _mesh(
        self, node: dict, poses: dict[int, np.ndarray], pose: np.ndarray, weights: Any
    ) -> list[Surface]:
        mesh = self.json["meshes"][node["mesh"]]
        weights = mesh.get("weights", []) if weights is None else weights
        parts = []
        for primitive in mesh["primitives"]:
            if primitive.get("mode", TRIANGLES) != TRIANGLES:
                continue
            values = {n: self.array(i).astype(float) for n, i in primitive["attributes"].items()}
            for weight, target in zip(weights, primitive.get("targets", []), strict=False):
                for name in target.keys() & MORPHED if weight else ():
                    values[name] = values[name] + weight * self.array(target[name])
            if broken := [n for n, v in values.items() if not np.isfinite(v).all()]:
                raise InputError(f"{self.path} has NaN or infinity in {broken[0]}: export it again")
            points = np.pad(values["POSITION"], ((0, 0), (0, 1)), constant_values=1.0)
            if "skin" in node and "JOINTS_0" in values:
                points = self._skinned(points, values, self.json["skins"][node["skin"]], poses)
            else:
                points = points @ pose.T
            if not np.isfinite(points).all() or np.abs(points).max(initial=0) > 1e6:
                raise InputError(f"{self.path} has vertices at no place that is finite: export it again")
            count = len(points)
            faces = self.array(primitive["indices"]) if "indices" in primitive else np.arange(count)
            faces = faces.reshape(-1, 3).astype(np.int64)
            if len(faces) and not 0 <= faces.min() <= faces.max() < count:
                raise InputError(f"{self.path} has faces without vertices: export it again")
            color = values.get("COLOR_0", np.ones((count, 3)))[:, :3]
            parts.append(self._painted(points[:, [2, 0, 1]], faces, color, values, primitive))
        return parts

    def _skinned(
        self, points: np.ndarray, values: dict[str, np.ndarray], skin: dict, poses: dict[int, np.ndarray]
    ) -> np.ndarray:
        """Linear blend skinning: the node's own pose does not count (glTF 2.0, section 3.7.3)."""
        joints = skin["joints"]
        bind = np.tile(np.eye(4), (len(joints), 1, 1))
        if "inverseBindMatrices" in skin:
            bind = self.array(skin["inverseBindMatrices"]).astype(float).reshape(-1, 4, 4).swapaxes(1, 2)
        matrices = np.stack([poses.get(j, np.eye(4)) for j in joints]) @ bind
        moved = np.zeros_like(points)
        for suffix in ("0", "1"):
            if f"JOINTS_{suffix}" not in values:
                continue
            index, weight = values[f"JOINTS_{suffix}"].astype(int), values[f"WEIGHTS_{suffix}"]
            for slot in range(4):
                turned = np.einsum("vij,vj->vi", matrices[index[:, slot]], points)
                moved += weight[:, slot, None] * turned
        return moved

    def _painted(
        self, points: np.ndarray, faces: np.ndarray, color: np.ndarray, values: dict, primitive: dict
    ) -> Surface:
        material = self.json.get("materials", [{}])[primitive["material"]] if "material" in primitive else {}
        base = material.get("pbrMetallicRoughness", {})
        factor = np.array(base.get("baseColorFactor", (1, 1, 1, 1)), float)[:3]
        if not np.isfinite(factor).all():
            raise InputError(f"{self.path} has a color that is no number: export it again")
        surface = Surface(points, faces, to_srgb((color * factor).clip(0, 1)))
        texture = base.get("baseColorTexture")
        if texture is None:
            return surface
        uv = values[f"TEXCOORD_{texture.get('texCoord', 0)}"]
        masked = material.get("alphaMode", "OPAQUE") != "OPAQUE"
        return replace(surface, uv=uv, texture=self._texture(texture["index"]), masked=masked)

    def _texture(self, index: int) -> UInt8[np.ndarray, "th tw 4"]:
        image = self.json["images"][self.json["textures"][index]["source"]]
        if "bufferView" not in image:
            raise InputError(f"{self.path} has a texture in another file: export it with its textures inside")
        if index not in self._textures:
            view = self.json["bufferViews"][image["bufferView"]]
            begin = view.get("byteOffset", 0)
            data = self.buffer[begin : begin + view["byteLength"]]
            with reading_picture(self.path), Image.open(io.BytesIO(data)) as picture:
                check_pixels(self.path, *picture.size)
                self._textures[index] = np.asarray(picture.convert("RGBA"))
        return self._textures[index]

    @cached_property
    def _textures(self) -> dict[int, np.ndarray]:
        return {}


def _between(seconds: float, keys: np.ndarray, values: np.ndarray, how: str, turns: bool) -> np.ndarray:
    """A channel's value at a time, held at both ends (glTF 2.0, appendix C). turns: they are quaternions."""
    cubic = how == "CUBICSPLINE"
    points = values.reshape(len(keys), 3, -1)[:, 1] if cubic else values
    i = int(np.clip(np.searchsorted(keys, seconds, side="right") - 1, 0, len(keys) - 1))
    if seconds <= keys[0] or i + 1 == len(keys) or how == "STEP":
        return points[i if seconds > keys[0] else 0]
    step = keys[i + 1] - keys[i]
    s = (seconds - keys[i]) / step
    a, b = points[i], points[i + 1]
    if cubic:
        tangents = values.reshape(len(keys), 3, -1)
        out, into = step * tangents[i, 2], step * tangents[i + 1, 0]
        h = (2 * s**3 - 3 * s**2 + 1, s**3 - 2 * s**2 + s, -2 * s**3 + 3 * s**2, s**3 - s**2)
        return h[0] * a + h[1] * out + h[2] * b + h[3] * into
    if turns:
        b = b if a @ b >= 0 else -b
        angle = np.arccos(np.clip(a @ b / max(np.linalg.norm(a) * np.linalg.norm(b), 1e-12), -1, 1))
        if angle > 1e-6:
            return (np.sin((1 - s) * angle) * a + np.sin(s * angle) * b) / np.sin(angle)
    return (1 - s) * a + s * b


def _pose(node: dict, moved: dict[str, np.ndarray]) -> np.ndarray:
    """A node's matrix: its own, or of translation, rotation (x y z w) and scale, as moved."""
    if "matrix" in node and not moved.keys() & {"translation", "rotation", "scale"}:
        return np.array(node["matrix"], float).reshape(4, 4).T
    from scipy.spatial.transform import Rotation

    pose = np.eye(4)
    turn = np.asarray(moved.get("rotation", node.get("rotation", (0, 0, 0, 1))), float)
    scale = np.asarray(moved.get("scale", node.get("scale", (1, 1, 1))), float)
    pose[:3, :3] = Rotation.from_quat(turn).as_matrix() * scale
    pose[:3, 3] = moved.get("translation", node.get("translation", (0, 0, 0)))
    return pose
