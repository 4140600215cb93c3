"""Animated meshes as one binary glTF 2.0 file (.glb).

A mesh of fixed topology has a morph target per moment (places, normals and colors; viewers that do not know
morphed colors keep those of the first moment), and their weights are animated; otherwise every moment
has a mesh of its own, and the scale of its node is 1 while it is shown and 0 elsewhere. glTF is y up with the
front towards +z; its vertex colors are linear; its times are seconds.
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float
from PIL import Image

from vid4d import __version__
from vid4d.export.meshes import sequence_of, textured_sequence
from vid4d.export.options import ExportOptions
from vid4d.export.root_motion import walking
from vid4d.meshing.mesh_sequence import MeshSequence
from vid4d.meshing.texture import Skin, check
from vid4d.meshing.tsdf import Mesh

if TYPE_CHECKING:
    from vid4d.asset import Asset

FLOAT, USHORT, UINT = 5126, 5123, 5125
"""Component types."""
VERTICES, INDICES = 34962, 34963
"""Targets of buffer views."""
CLAMP = 33071
"""Textures end at their borders."""
UNLIT = "KHR_materials_unlit"


def to_y_up(points: Float[np.ndarray, "*b 3"]) -> Float[np.ndarray, "*b 3"]:
    """World axes (z up, front +x) to those of glTF (y up, front +z): a rotation."""
    return points[..., [1, 2, 0]]


def to_linear(srgb: Float[np.ndarray, "*b"]) -> Float[np.ndarray, "*b"]:
    """sRGB in [0, 1] to linear (IEC 61966-2-1)."""
    return np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)


@dataclass
class _Document:
    """A glTF document that grows: its JSON, and its one buffer."""

    json: dict[str, Any]
    buffer: bytearray = field(default_factory=bytearray)

    def add(self, key: str, value: dict[str, Any]) -> int:
        """Appends to one of the document's lists; returns its index there."""
        self.json.setdefault(key, []).append(value)
        return len(self.json[key]) - 1

    def accessor(self, values: np.ndarray, *, target: int | None = None, bounds: bool = False) -> int:
        """Puts an array (n,) or (n, k) into the buffer. uint16 of two dimensions are fractions of 65535."""
        kind = {np.dtype("<f4"): FLOAT, np.dtype("<u2"): USHORT, np.dtype("<u4"): UINT}[values.dtype]
        width = 1 if values.ndim == 1 else values.shape[1]
        entry: dict[str, Any] = {
            "bufferView": self.view(values.tobytes(), target),
            "componentType": kind,
            "count": len(values),
            "type": "SCALAR" if width == 1 else f"VEC{width}",
        }
        if kind == USHORT and width > 1:
            entry["normalized"] = True
        if bounds:
            flat = values.reshape(len(values), width)
            entry["min"], entry["max"] = flat.min(0).tolist(), flat.max(0).tolist()
        return self.add("accessors", entry)

    def view(self, data: bytes, target: int | None = None) -> int:
        """Puts data into the buffer."""
        view: dict[str, Any] = {"buffer": 0, "byteOffset": len(self.buffer), "byteLength": len(data)}
        if target is not None:
            view["target"] = target
        self.buffer += data
        self.buffer += b"\0" * (-len(self.buffer) % 4)
        return self.add("bufferViews", view)

    def container(self) -> bytes:
        """The container: a header, the JSON, the buffer; chunks are multiples of four bytes."""
        self.json["buffers"] = [{"byteLength": len(self.buffer)}]
        text = json.dumps(self.json, separators=(",", ":"), ensure_ascii=True).encode("ascii")
        text += b" " * (-len(text) % 4)
        length = 12 + 8 + len(text) + 8 + len(self.buffer)
        head = struct.pack("<4sII", b"glTF", 2, length) + struct.pack("<I4s", len(text), b"JSON")
        return head + text + struct.pack("<I4s", len(self.buffer), b"BIN\0") + bytes(self.buffer)


def glb_bytes(
    sequence: MeshSequence,
    *,
    seconds: float,
    cyclic: bool = False,
    unlit: bool = True,
    skins: tuple[Skin, ...] = (),
) -> bytes:
    """The file. seconds: duration of the animation, one for clip time 0 to 1; a single moment stands still.

    skins: textures instead of colors of vertices: one for all meshes of a tracked sequence, or one for each.
    cyclic: the end of the clip is its beginning. unlit: viewers that know KHR_materials_unlit show the
    colors as they are, for they hold the light of the clip already; others light them.
    """
    document = _Document({"asset": {"version": "2.0", "generator": f"vid4d {__version__}"}, "scene": 0})
    if unlit:
        document.json["extensionsUsed"] = [UNLIT]
    for skin in skins or (None,):
        _material(document, skin, unlit)
    if sequence.tracked and len(sequence.meshes) > 1:
        _morphing(document, sequence, seconds, cyclic, skins[0] if skins else None)
    else:
        _switching(document, sequence, seconds, skins)
    document.json["scenes"] = [{"name": "vid4d", "nodes": list(range(len(document.json["nodes"])))}]
    return document.container()


def _material(document: _Document, skin: Skin | None, unlit: bool) -> None:
    surface: dict[str, Any] = {"metallicFactor": 0.0, "roughnessFactor": 1.0}
    if skin is not None:
        picture = BytesIO()
        Image.fromarray(skin.picture).save(picture, "PNG")
        image = document.add(
            "images", {"bufferView": document.view(picture.getvalue()), "mimeType": "image/png"}
        )
        sampler = {"wrapS": CLAMP, "wrapT": CLAMP}
        texture = {"source": image, "sampler": document.add("samplers", sampler)}
        surface["baseColorTexture"] = {"index": document.add("textures", texture)}
    material: dict[str, Any] = {"name": "object", "pbrMetallicRoughness": surface}
    if unlit:
        material["extensions"] = {UNLIT: {}}
    document.add("materials", material)


def _primitive(document: _Document, mesh: Mesh, skin: Skin | None, material: int = 0) -> dict[str, Any]:
    small = len(mesh.vertices) < 65_535
    faces = mesh.faces.astype("<u2" if small else "<u4").ravel()
    attributes = {
        "POSITION": document.accessor(_floats(mesh.vertices), target=VERTICES, bounds=True),
        "NORMAL": document.accessor(_floats(mesh.normals), target=VERTICES),
    }
    if skin is None:
        colors = np.rint(_linear_colors(mesh) * 65_535).astype("<u2")
        attributes["COLOR_0"] = document.accessor(colors, target=VERTICES)
    else:
        attributes["TEXCOORD_0"] = document.accessor(skin.uv.astype("<f4"), target=VERTICES)
    return {
        "attributes": attributes,
        "indices": document.accessor(faces, target=INDICES),
        "material": material,
    }


def _linear_colors(mesh: Mesh) -> Float[np.ndarray, "v 4"]:
    """RGBA: three values of two bytes would not be aligned."""
    return np.pad(to_linear(np.clip(mesh.colors, 0, 1)), ((0, 0), (0, 1)), constant_values=1.0)


def _floats(points: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(to_y_up(points).astype("<f4"))


def _morphing(
    document: _Document, sequence: MeshSequence, seconds: float, cyclic: bool, skin: Skin | None
) -> None:
    """Mesh at the first moment, with morph targets for the others."""
    first, *others = sequence.meshes
    primitive = _primitive(document, first, skin)
    primitive["targets"] = []
    for mesh in others:
        target = {
            "POSITION": document.accessor(
                _floats(mesh.vertices - first.vertices), target=VERTICES, bounds=True
            ),
            "NORMAL": document.accessor(_floats(mesh.normals - first.normals), target=VERTICES),
        }
        if skin is None:
            change = (_linear_colors(mesh) - _linear_colors(first)).astype("<f4")
            target["COLOR_0"] = document.accessor(change, target=VERTICES)
        primitive["targets"].append(target)
    document.add("meshes", {"name": "object", "primitives": [primitive], "weights": [0.0] * len(others)})
    document.add("nodes", {"name": "object", "mesh": 0})
    times = np.array(sequence.times) * seconds
    weights = np.eye(len(sequence.meshes))[:, 1:]
    if cyclic and sequence.times[-1] < 1:
        times, weights = np.append(times, seconds), np.vstack([weights, weights[:1]])
    sampler = {
        "input": document.accessor(times.astype("<f4"), bounds=True),
        "interpolation": "LINEAR",
        "output": document.accessor(weights.astype("<f4").ravel()),
    }
    channel = {"sampler": 0, "target": {"node": 0, "path": "weights"}}
    document.add("animations", {"name": "clip", "samplers": [sampler], "channels": [channel]})


def _switching(document: _Document, sequence: MeshSequence, seconds: float, skins: tuple[Skin, ...]) -> None:
    """A mesh per moment. Each is shown for the same time; a node of scale 0 is not drawn."""
    count = len(sequence.meshes)
    samplers, channels = [], []
    for i, mesh in enumerate(sequence.meshes):
        name = "object" if count == 1 else f"moment {i:04}"
        primitive = _primitive(document, mesh, skins[i] if skins else None, i if skins else 0)
        document.add("meshes", {"name": name, "primitives": [primitive]})
        node: dict[str, Any] = {"name": name, "mesh": i}
        if i > 0:
            node["scale"] = [0.0, 0.0, 0.0]
        document.add("nodes", node)
        if count == 1:
            return
        begin, end = i * seconds / count, (i + 1) * seconds / count
        keys = {0.0: float(i == 0), begin: 1.0, end: float(i == count - 1)}
        scales = np.repeat(np.array(list(keys.values()))[:, None], 3, 1)
        samplers.append(
            {
                "input": document.accessor(np.array(list(keys), dtype="<f4"), bounds=True),
                "interpolation": "STEP",
                "output": document.accessor(scales.astype("<f4")),
            }
        )
        channels.append({"sampler": i, "target": {"node": i, "path": "scale"}})
    document.add("animations", {"name": "clip", "samplers": samplers, "channels": channels})


def write(asset: Asset, out: Path, options: ExportOptions) -> list[Path]:
    """An animated mesh of the whole clip, or the mesh at `options.time`."""
    if options.texture:
        check()
    sequence, plan = sequence_of(asset, options)
    seconds = plan.seconds if options.time is None else 0.0
    skins: tuple[Skin, ...] = ()
    if options.texture:
        sequence, skins = textured_sequence(asset, sequence, options)
    if options.root_motion:
        sequence = walking(sequence, asset)
    out.write_bytes(glb_bytes(sequence, seconds=seconds, cyclic=asset.cyclic, skins=skins))
    return [out]
