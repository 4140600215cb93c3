"""Animated meshes as one binary glTF 2.0 file (.glb).

A mesh of fixed topology has a morph target per moment (places, normals and colors; viewers that do not know
morphed colors keep those of the first moment), and their weights are animated. Where the topology changes
another mesh takes over: the scale of its node is 1 while it is shown and 0 elsewhere. glTF is y up with the
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
from vid4d.export.meshes import sequence_of, skin_of
from vid4d.export.options import ExportOptions
from vid4d.export.root_motion import walking
from vid4d.meshing.mesh_sequence import MeshSequence
from vid4d.meshing.texture import Chart, Skin, check
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
    skin: Skin | None = None,
) -> bytes:
    """The file. seconds: duration of the animation, one for clip time 0 to 1; a single moment stands still.

    skin: a texture instead of colors of vertices, with a chart for each part of the sequence.
    cyclic: the end of the clip is its beginning. unlit: viewers that know KHR_materials_unlit show the
    colors as they are, for they hold the light of the clip already; others light them.
    """
    document = _Document({"asset": {"version": "2.0", "generator": f"vid4d {__version__}"}, "scene": 0})
    if unlit:
        document.json["extensionsUsed"] = [UNLIT]
    _material(document, skin, unlit)
    _animated(document, sequence, seconds, cyclic, skin)
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


def _primitive(document: _Document, mesh: Mesh, uv: Float[np.ndarray, "v 2"] | None) -> dict[str, Any]:
    small = len(mesh.vertices) < 65_535
    faces = mesh.faces.astype("<u2" if small else "<u4").ravel()
    attributes = {
        "POSITION": document.accessor(_floats(mesh.vertices), target=VERTICES, bounds=True),
        "NORMAL": document.accessor(_floats(mesh.normals), target=VERTICES),
    }
    if uv is None:
        colors = np.rint(_linear_colors(mesh) * 65_535).astype("<u2")
        attributes["COLOR_0"] = document.accessor(colors, target=VERTICES)
    else:
        attributes["TEXCOORD_0"] = document.accessor(uv.astype("<f4"), target=VERTICES)
    return {"attributes": attributes, "indices": document.accessor(faces, target=INDICES), "material": 0}


def _linear_colors(mesh: Mesh) -> Float[np.ndarray, "v 4"]:
    """RGBA: three values of two bytes would not be aligned."""
    return np.pad(to_linear(np.clip(mesh.colors, 0, 1)), ((0, 0), (0, 1)), constant_values=1.0)


def _floats(points: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(to_y_up(points).astype("<f4"))


def _animated(
    document: _Document, sequence: MeshSequence, seconds: float, cyclic: bool, skin: Skin | None
) -> None:
    """A mesh per part of the sequence, its morph targets, and what is shown when."""
    samplers: list[dict[str, Any]] = []
    channels: list[dict[str, Any]] = []

    def animate(node: int, path: str, keys: list[float], values: np.ndarray, how: str) -> None:
        keyed = document.accessor(np.array(keys, dtype="<f4"), bounds=True)
        output = document.accessor(np.ascontiguousarray(values.astype("<f4")))
        channels.append({"sampler": len(samplers), "target": {"node": node, "path": path}})
        samplers.append({"input": keyed, "interpolation": how, "output": output})

    changes = [0.0, *(seconds * moment for moment in _changes(sequence)), seconds]
    for k, part in enumerate(sequence.parts):
        name = "object" if sequence.tracked else f"part {k:04}"
        meshes = [sequence.meshes[i] for i in part]
        document.add("meshes", {"name": name, **_morphs(document, meshes, skin.charts[k] if skin else None)})
        node: dict[str, Any] = {"name": name, "mesh": k}
        if k > 0:
            node["scale"] = [0.0, 0.0, 0.0]
        document.add("nodes", node)
        if len(part) > 1:
            times, weights = [sequence.times[i] * seconds for i in part], np.eye(len(part))[:, 1:]
            if cyclic and sequence.tracked and sequence.times[-1] < 1:
                times, weights = [*times, seconds], np.vstack([weights, weights[:1]])
            animate(k, "weights", times, weights.ravel(), "LINEAR")
        if not sequence.tracked:
            last = k == len(sequence.starts) - 1
            shown = {0.0: float(k == 0), changes[k]: 1.0, changes[k + 1]: float(last)}
            animate(k, "scale", list(shown), np.repeat(np.array(list(shown.values()))[:, None], 3, 1), "STEP")
    if samplers:
        document.add("animations", {"name": "clip", "samplers": samplers, "channels": channels})


def _changes(sequence: MeshSequence) -> list[float]:
    """Clip times when another part takes over: half way between two moments."""
    return [(sequence.times[i - 1] + sequence.times[i]) / 2 for i in sequence.starts[1:]]


def _morphs(document: _Document, meshes: list[Mesh], chart: Chart | None) -> dict[str, Any]:
    """Mesh at its first moment, with morph targets for the others."""
    first, *others = meshes if chart is None else [chart.cut(mesh) for mesh in meshes]
    primitive = _primitive(document, first, None if chart is None else chart.uv)
    if not others:
        return {"primitives": [primitive]}
    primitive["targets"] = []
    for mesh in others:
        target = {
            "POSITION": document.accessor(
                _floats(mesh.vertices - first.vertices), target=VERTICES, bounds=True
            ),
            "NORMAL": document.accessor(_floats(mesh.normals - first.normals), target=VERTICES),
        }
        if chart is None:
            change = (_linear_colors(mesh) - _linear_colors(first)).astype("<f4")
            target["COLOR_0"] = document.accessor(change, target=VERTICES)
        primitive["targets"].append(target)
    return {"primitives": [primitive], "weights": [0.0] * len(others)}


def write(asset: Asset, out: Path, options: ExportOptions) -> list[Path]:
    """An animated mesh of the whole clip, or the mesh at `options.time`."""
    if options.texture:
        check()
    sequence, plan = sequence_of(asset, options, colored=not options.texture)
    seconds = plan.seconds if options.time is None else 0.0
    skin = skin_of(asset, sequence, options) if options.texture else None
    if options.root_motion:
        sequence = walking(sequence, asset)
    out.write_bytes(glb_bytes(sequence, seconds=seconds, cyclic=asset.cyclic, skin=skin))
    return [out]
