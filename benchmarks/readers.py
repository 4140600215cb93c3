"""Exported files read back with what other people wrote, for the tests and benchmarks/round_trip.py.

plyfile, OpenUSD, trimesh, PyAV and Pillow read; GLB (whose morph targets trimesh leaves out) and the page are
taken apart by hand. Nothing here comes from the exporters.
"""

from __future__ import annotations

import json
import struct
from fractions import Fraction
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from vid4d.gaussians.model import Gaussians3D

# Splats ------------------------------------------------------------------------------------------------


def covariance(scales: np.ndarray, wxyz: np.ndarray) -> np.ndarray:
    """(n, 3, 3) from standard deviations and quaternions, by the textbook."""
    w, x, y, z = (wxyz / np.linalg.norm(wxyz, axis=1, keepdims=True)).T
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    axes = np.moveaxis(np.array(rows), -1, 0)
    return (axes * scales[:, None] ** 2) @ axes.transpose(0, 2, 1)


def read_ply(path: str | Path) -> Gaussians3D:
    """As the viewers do: logarithms, logits, w x y z, channel by channel."""
    from plyfile import PlyData

    vertex = PlyData.read(str(path))["vertex"]

    def columns(*names: str) -> np.ndarray:
        return np.stack([vertex[name] for name in names], 1).astype(np.float64)

    def numbered(stem: str) -> np.ndarray:
        names = [p.name for p in vertex.properties if p.name.startswith(stem)]
        names.sort(key=lambda n: int(n.removeprefix(stem)))
        return columns(*names) if names else np.zeros((len(vertex["x"]), 0))

    rest = numbered("f_rest_")
    sh = np.concatenate([numbered("f_dc_")[:, None], rest.reshape(len(rest), 3, -1).transpose(0, 2, 1)], 1)
    return Gaussians3D(
        torch.from_numpy(columns("x", "y", "z")),
        torch.from_numpy(covariance(np.exp(numbered("scale_")), numbered("rot_"))),
        torch.from_numpy(1 / (1 + np.exp(-vertex["opacity"].astype(np.float64)))),
        torch.from_numpy(sh),
    )


def open_usd(path: str | Path, variant: str = "splats"):  # type: ignore[no-untyped-def]
    """The stage with a variant of the object chosen; and its field of splats, or its mesh."""
    from pxr import Usd, UsdGeom, UsdVol

    stage = Usd.Stage.Open(str(path))
    stage.SetEditTarget(stage.GetSessionLayer())
    stage.GetPrimAtPath("/Asset").GetVariantSet("representation").SetVariantSelection(variant)
    if variant == "mesh":
        shown = UsdGeom.Mesh(stage.GetPrimAtPath("/Asset/Surface"))
    else:
        shown = UsdVol.ParticleField3DGaussianSplat(stage.GetPrimAtPath("/Asset/Splats"))
    assert shown, f"no {variant} below /Asset"
    return stage, shown


def usd_surface(mesh, time) -> tuple[np.ndarray, np.ndarray, np.ndarray]:  # type: ignore[no-untyped-def]
    """Corners of triangles (3f, 3), the triangles, the corners' colors in the texture (sRGB)."""
    from pxr import UsdGeom, UsdShade

    faces = np.array(mesh.GetFaceVertexIndicesAttr().Get(time))
    assert set(mesh.GetFaceVertexCountsAttr().Get(time)) == {3}
    points = np.array(mesh.GetPointsAttr().Get(time), np.float64)[faces]
    material, _ = UsdShade.MaterialBindingAPI(mesh).ComputeBoundMaterial()
    surface, _, _ = material.ComputeSurfaceSource()
    source = surface.GetInput("diffuseColor").GetConnectedSources()[0][0]
    file = UsdShade.Shader(source.source.GetPrim()).GetInput("file").Get()
    uv = np.array(UsdGeom.PrimvarsAPI(mesh).GetPrimvar("st").Get(time)) * [1, -1] + [0, 1]
    return points, np.arange(len(points)).reshape(-1, 3), sampled(usd_picture(file), uv)


def usd_picture(file) -> np.ndarray:  # type: ignore[no-untyped-def]
    """A picture that a stage names, beside it or in its package."""
    from pxr import Ar

    data = Ar.GetResolver().OpenAsset(Ar.ResolvedPath(file.resolvedPath)).GetBuffer()
    return np.asarray(Image.open(BytesIO(bytes(data))).convert("RGB")) / 255


def sampled(picture: np.ndarray, uv: np.ndarray) -> np.ndarray:
    """Colors at places in [0, 1] from a picture's upper left corner: those of the nearest pixels."""
    height, width = picture.shape[:2]
    x, y = np.clip((uv * [width, height]).astype(int), 0, [width - 1, height - 1]).T
    return picture[y, x]


def usd_complaints(stage) -> list[str]:  # type: ignore[no-untyped-def]
    """What every validator that OpenUSD has says."""
    from pxr import UsdValidation

    validators = UsdValidation.ValidationRegistry().GetOrLoadAllValidators()
    assert len(validators) > 10
    return [e.GetMessage() for e in UsdValidation.ValidationContext(validators).Validate(stage)]


def usd_splats(field, time) -> Gaussians3D:  # type: ignore[no-untyped-def]
    """All splats of a time code, those that are not there at that time with opacity 0."""
    wxyz = [(q.GetReal(), *q.GetImaginary()) for q in field.GetOrientationsAttr().Get(time)]
    scales = np.array(field.GetScalesAttr().Get(time), np.float64)
    degree = field.GetRadianceSphericalHarmonicsDegreeAttr().Get()
    sh = np.array(field.GetRadianceSphericalHarmonicsCoefficientsAttr().Get(time), np.float64)
    return Gaussians3D(
        torch.from_numpy(np.array(field.GetPositionsAttr().Get(time), np.float64)),
        torch.from_numpy(covariance(scales, np.array(wxyz))),
        torch.from_numpy(np.array(field.GetOpacitiesAttr().Get(time), np.float64)),
        torch.from_numpy(sh.reshape(-1, (degree + 1) ** 2, 3)),
    )


# Meshes ------------------------------------------------------------------------------------------------

TYPES = {5126: "<f4", 5123: "<u2", 5125: "<u4"}
WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4}


class Glb:
    """A reader of its own: the JSON, and accessors as arrays."""

    def __init__(self, data: bytes) -> None:
        magic, version, length = struct.unpack_from("<4sII", data)
        assert (magic, version, length) == (b"glTF", 2, len(data))
        size, kind = struct.unpack_from("<I4s", data, 12)
        assert kind == b"JSON"
        self.json = json.loads(data[20 : 20 + size])
        _, kind = struct.unpack_from("<I4s", data, 20 + size)
        assert kind == b"BIN\0"
        self.buffer = data[28 + size :]

    def array(self, index: int) -> np.ndarray:
        entry = self.json["accessors"][index]
        view = self.json["bufferViews"][entry["bufferView"]]
        width = WIDTHS[entry["type"]]
        count = entry["count"] * width
        values = np.frombuffer(self.buffer, TYPES[entry["componentType"]], count, view["byteOffset"])
        values = values.reshape(-1, width) if width > 1 else values
        return values / 65_535 if entry.get("normalized") else values

    def morphed(self, weights: np.ndarray, mesh: int = 0) -> dict[str, np.ndarray]:
        """The attributes of a mesh with its morph targets applied."""
        primitive = self.json["meshes"][mesh]["primitives"][0]
        attributes = {name: self.array(i).astype(float) for name, i in primitive["attributes"].items()}
        for weight, target in zip(weights, primitive.get("targets", []), strict=True):
            for name, i in target.items():
                attributes[name] = attributes[name] + weight * self.array(i)
        return attributes

    @property
    def samplers(self) -> list[tuple[dict[str, Any], np.ndarray, np.ndarray, str]]:
        """Of the first animation: what is moved, the keys in seconds, a row of values per key, how."""
        samplers = []
        for channel in self.json["animations"][0]["channels"]:
            sampler = self.json["animations"][0]["samplers"][channel["sampler"]]
            keys = self.array(sampler["input"])
            values = self.array(sampler["output"]).reshape(len(keys), -1)
            samplers.append((channel["target"], keys, values, sampler["interpolation"]))
        return samplers

    @property
    def seconds(self) -> float:
        """Duration of the animation."""
        return max(float(keys[-1]) for _, keys, _, _ in self.samplers)

    def at(self, seconds: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Vertices, faces and colors (linear RGB) as a player shows them."""
        shown, weights = [0], {}
        for target, keys, values, how in self.samplers:
            if target["path"] == "weights":
                weights[target["node"]] = np.array([np.interp(seconds, keys, column) for column in values.T])
            else:
                assert (target["path"], how) == ("scale", "STEP")
                shown = shown if target["node"] else []
                if values[max(0, int(np.searchsorted(keys, seconds, side="right")) - 1)].min() == 1:
                    shown.append(target["node"])
        (node,) = shown
        mesh = self.json["nodes"][node]["mesh"]
        attributes = self.morphed(weights.get(node, np.zeros(0)), mesh)
        faces = self.array(self.json["meshes"][mesh]["primitives"][0]["indices"]).reshape(-1, 3)
        if "TEXCOORD_0" not in attributes:
            return attributes["POSITION"], faces, attributes["COLOR_0"][:, :3]
        srgb = sampled(self.picture(), attributes["TEXCOORD_0"])
        return (
            attributes["POSITION"],
            faces,
            np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4),
        )

    def picture(self) -> np.ndarray:
        """The texture, sRGB in [0, 1]."""
        view = self.json["bufferViews"][self.json["images"][0]["bufferView"]]
        begin = view.get("byteOffset", 0)
        data = self.buffer[begin : begin + view["byteLength"]]
        return np.asarray(Image.open(BytesIO(bytes(data))).convert("RGB")) / 255


# Pictures ----------------------------------------------------------------------------------------------


def decoded(
    path: str | Path, codec: str | None = None, form: str = "rgb24"
) -> tuple[list[np.ndarray], Fraction]:
    """All frames of a video in [0, 1], and the rate. FFmpeg's own VP9 decoder drops the alpha without a word;
    "libvpx-vp9" as `codec` gives it back."""
    import av

    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        decoder: Any = stream.codec_context if codec is None else av.CodecContext.create(codec, "r")
        frames = [f for p in container.demux(stream) for f in decoder.decode(p if p.size else None)]
        assert stream.average_rate is not None
        return [f.to_ndarray(format=form) / 255 for f in frames], stream.average_rate


def read_gif(path: str | Path) -> tuple[list[np.ndarray], float]:
    """All frames (RGBA in [0, 1]), and how many seconds they last together."""
    frames, lasting = [], 0
    with Image.open(path) as gif:
        for i in range(getattr(gif, "n_frames", 1)):
            gif.seek(i)
            frames.append(np.asarray(gif.convert("RGBA")) / 255)
            lasting += gif.info["duration"]  # a WebP has it once the frame was read
    return frames, lasting / 1000
