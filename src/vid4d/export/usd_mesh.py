"""The moving mesh in OpenUSD: UsdGeomMesh with time samples, UsdPreviewSurface with its texture.

Vertices are shared by the triangles around them (the mesh is closed), and places in the picture are given
corner by corner. While the topology stays, points and normals have samples; where it changes, faces and
places in the picture have some too, as OpenUSD has it for meshes whose topology varies.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from jaxtyping import Float
from PIL import Image

from vid4d.export.glb import to_linear
from vid4d.export.meshes import sequence_of, skin_of
from vid4d.export.options import ExportOptions, FrameTimes
from vid4d.export.root_motion import walking
from vid4d.meshing.mesh_sequence import MeshSequence
from vid4d.meshing.texture import Skin, check

if TYPE_CHECKING:
    from vid4d.asset import Asset

SURFACE, MATERIAL = "/Asset/Surface", "/Asset/Material"
INSTANT = 1e-5
"""Clip time before a change of topology at which the old mesh stands for the last time."""


class Surface(NamedTuple):
    """Meshes of an asset's moments, and their texture if any. closes: the first follows the last."""

    sequence: MeshSequence
    skin: Skin | None
    closes: bool = False


def surface_of(asset: Asset, options: ExportOptions) -> Surface:
    """The surface that options want. Raises InputError where none can be made, or a package is missing."""
    if options.texture:
        check()
    sequence, _ = sequence_of(asset, options, colored=not options.texture)
    skin = skin_of(asset, sequence, options) if options.texture else None
    if options.root_motion:
        return Surface(walking(sequence, asset), skin)
    return Surface(sequence, skin, closes=asset.cyclic)


def put_surface(stage: Any, surface: Surface, plan: FrameTimes, cyclic: bool, picture: Path | None) -> None:
    """Defines the mesh on a stage, and writes its texture to a file beside the stage's.

    plan: what the stage's time codes are; the mesh's moments may lie between them. cyclic: the clip's end is
    its beginning.
    """
    from pxr import Sdf, Usd, UsdGeom, UsdShade, Vt

    sequence, skin, closes = surface
    mesh = UsdGeom.Mesh.Define(stage, SURFACE)
    mesh.CreateSubdivisionSchemeAttr(UsdGeom.Tokens.none)
    mesh.SetNormalsInterpolation(UsdGeom.Tokens.vertex)
    shown = UsdGeom.PrimvarsAPI(mesh)
    if skin is None:
        colors = mesh.CreateDisplayColorPrimvar(UsdGeom.Tokens.vertex)
    else:
        corners = shown.CreatePrimvar("st", Sdf.ValueTypeNames.TexCoord2fArray, UsdGeom.Tokens.faceVarying)
    still = len(sequence.times) == 1
    last = len(plan.times) if cyclic else len(plan.times) - 1
    moments = _samples(sequence, closes)
    for i, (time, index, part) in enumerate(moments):
        each = sequence.meshes[index]
        when = Usd.TimeCode.Default() if still else Usd.TimeCode(time * last)
        fixed = Usd.TimeCode.Default() if sequence.tracked else when
        neighbours = [moments[j][2] for j in (i - 1, i + 1) if 0 <= j < len(moments)]
        if i == 0 or (not sequence.tracked and any(other != part for other in neighbours)):
            mesh.CreateFaceVertexCountsAttr().Set(Vt.IntArray(len(each.faces), 3), fixed)
            mesh.CreateFaceVertexIndicesAttr().Set(_array(Vt.IntArray, each.faces.ravel(), np.int32), fixed)
            if skin is not None:
                chart = skin.charts[part]
                uv = chart.uv[chart.faces].reshape(-1, 2) * [1, -1] + [0, 1]  # st begins at the lower left
                corners.Set(_array(Vt.Vec2fArray, uv, np.float32), fixed)
        mesh.CreatePointsAttr().Set(_array(Vt.Vec3fArray, each.vertices, np.float32), when)
        mesh.CreateNormalsAttr().Set(_array(Vt.Vec3fArray, each.normals, np.float32), when)
        box = np.stack([each.vertices.min(0), each.vertices.max(0)])
        mesh.CreateExtentAttr().Set(_array(Vt.Vec3fArray, box, np.float32), when)
        if skin is None:
            colors.Set(_array(Vt.Vec3fArray, to_linear(np.clip(each.colors, 0, 1)), np.float32), when)
    if skin is None or picture is None:
        return
    Image.fromarray(skin.picture).save(picture)
    material = UsdShade.Material.Define(stage, MATERIAL)
    paint = _shader(stage, "Paint", "UsdPreviewSurface")
    paint.CreateInput("roughness", Sdf.ValueTypeNames.Float).Set(1.0)
    paint.CreateInput("metallic", Sdf.ValueTypeNames.Float).Set(0.0)
    texture = _shader(stage, "Texture", "UsdUVTexture")
    texture.CreateInput("file", Sdf.ValueTypeNames.Asset).Set(f"./{picture.name}")
    texture.CreateInput("sourceColorSpace", Sdf.ValueTypeNames.Token).Set("sRGB")
    for side in ("wrapS", "wrapT"):
        texture.CreateInput(side, Sdf.ValueTypeNames.Token).Set("clamp")
    where = _shader(stage, "Corners", "UsdPrimvarReader_float2")
    where.CreateInput("varname", Sdf.ValueTypeNames.String).Set("st")
    places = where.CreateOutput("result", Sdf.ValueTypeNames.Float2)
    texture.CreateInput("st", Sdf.ValueTypeNames.Float2).ConnectToSource(places)
    color = texture.CreateOutput("rgb", Sdf.ValueTypeNames.Float3)
    paint.CreateInput("diffuseColor", Sdf.ValueTypeNames.Color3f).ConnectToSource(color)
    outcome = paint.CreateOutput("surface", Sdf.ValueTypeNames.Token)
    material.CreateSurfaceOutput().ConnectToSource(outcome)
    UsdShade.MaterialBindingAPI.Apply(mesh.GetPrim()).Bind(material)


def _samples(sequence: MeshSequence, closes: bool) -> list[tuple[float, int, int]]:
    """Clip time, mesh and part of every sample.

    Readers interpolate arrays of equal length, whatever their topology. So half way between moments, where
    another part takes over, the old mesh stands once more just before, and the new one there already.
    """
    samples = []
    for k, part in enumerate(sequence.parts):
        if k > 0:
            change = (sequence.times[part[0] - 1] + sequence.times[part[0]]) / 2
            samples += [(change - INSTANT, part[0] - 1, k - 1), (change, part[0], k)]
        samples += [(sequence.times[i], i, k) for i in part]
    if closes and sequence.tracked and len(sequence.times) > 1:
        samples.append((1.0, 0, 0))
    return samples


def _shader(stage: Any, name: str, kind: str) -> Any:
    from pxr import UsdShade

    shader = UsdShade.Shader.Define(stage, f"{MATERIAL}/{name}")
    shader.CreateIdAttr(kind)
    return shader


def _array(kind: Any, values: Float[np.ndarray, "..."] | np.ndarray, dtype: type) -> Any:
    return kind.FromNumpy(np.ascontiguousarray(values, dtype=dtype))
