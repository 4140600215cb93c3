"""OpenUSD: a mesh and Gaussian splats with time samples, as `.usd` and packed as `.usdz`.

Both stand for the same object, so they are variants (`representation`) of its prim, and the mesh is chosen
until somebody chooses otherwise: few programs draw splats. Time codes are those of the splats, of which there
are more moments than of the mesh.

Splats: ParticleField3DGaussianSplat of UsdVol, OpenUSD 26: linear scales, opacities in [0, 1], quaternions,
spherical harmonics particle by particle. All samples hold the same splats in the same order, so that readers
may interpolate between them: those that can be seen at one of the moments at least, with opacity 0 while they
cannot. A 4D Gaussian keeps its shape over time, so scales and orientations have one value; positions and
opacities (and colors with Fourier terms) have one per moment. The mesh: `vid4d.export.usd_mesh`.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from time import mktime
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float

from vid4d.errors import InputError, install_hint, missing_package
from vid4d.export.options import ExportOptions, FrameTimes, frame_times
from vid4d.export.root_motion import root_motion
from vid4d.export.splats import bounding_box, ellipsoids
from vid4d.export.usd_mesh import put_surface, surface_of
from vid4d.gaussians.culling import FAINTEST

if TYPE_CHECKING:
    from vid4d.asset import Asset
    from vid4d.gaussians.model import Gaussians3D, Gaussians4D

SCHEMA = "ParticleField3DGaussianSplat"
ROOT, SPLATS = "/Asset", "/Asset/Splats"
VARIANTS = "representation"


def write(asset: Asset, out: Path, options: ExportOptions) -> list[Path]:
    """Writes the stage, and the mesh's texture beside it; an `out` that ends in .usdz is a package of both.

    Raises InputError where usd-core is missing or too old, and where the mesh cannot be made.
    """
    try:
        from pxr import Sdf, Usd, UsdUtils, UsdVol
    except ImportError:
        raise missing_package("usd-core", "OpenUSD") from None
    if options.content != "mesh" and not hasattr(UsdVol, SCHEMA):
        have = ".".join(map(str, Usd.GetVersion()))
        raise InputError(f"the installed OpenUSD {have} knows no splats: {install_hint('export')}")
    if out.suffix.lower() != ".usdz":
        return [out, *_write_stage(asset, out, options)]
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=".stage.") as folder:
        layer = Path(folder) / "asset.usdc"
        same = mktime((1980, 1, 1, 0, 0, 0, 0, 1, -1))  # the package tells this time, in the local zone
        for file in (layer, *_write_stage(asset, layer, options)):
            os.utime(file, (same, same))
        if not UsdUtils.CreateNewUsdzPackage(Sdf.AssetPath(str(layer)), str(out)):
            raise OSError(f"OpenUSD could not pack {out.name}")
    return [out]


def _write_stage(asset: Asset, path: Path, options: ExportOptions) -> list[Path]:
    """Writes the stage; returns the files beside it."""
    from pxr import Usd, UsdGeom

    surface = None if options.content == "splats" else surface_of(asset, options)
    plan = frame_times(asset, options)
    stage = Usd.Stage.CreateNew(str(path))
    UsdGeom.SetStageUpAxis(stage, UsdGeom.Tokens.z)
    UsdGeom.SetStageMetersPerUnit(stage, 1.0)
    if len(plan.times) > 1:
        stage.SetTimeCodesPerSecond(plan.fps)
        stage.SetFramesPerSecond(plan.fps)
        stage.SetStartTimeCode(0)
        stage.SetEndTimeCode(len(plan.times) - 1)
    stage.GetRootLayer().comment = "4D asset by vid4d. Colors are sRGB, as trained."
    stage.GetRootLayer().customLayerData = {
        "vid4d:seconds": float(plan.seconds),
        "vid4d:cyclic": bool(asset.cyclic),
    }
    root = UsdGeom.Xform.Define(stage, ROOT)
    Usd.ModelAPI(root.GetPrim()).SetKind("component")
    stage.SetDefaultPrim(root.GetPrim())
    files = []
    if surface is None:
        _put_splats(stage, asset, plan, options)
    else:
        picture = None if surface.skin is None else path.with_name(f"{path.stem}_texture.png")
        if options.content == "mesh":
            put_surface(stage, surface, plan, asset.cyclic, picture)
        else:
            variants = root.GetPrim().GetVariantSets().AddVariantSet(VARIANTS)
            for name in ("splats", "mesh"):
                variants.AddVariant(name)
                variants.SetVariantSelection(name)
                with variants.GetVariantEditContext():
                    if name == "splats":
                        _put_splats(stage, asset, plan, options)
                    else:
                        put_surface(stage, surface, plan, asset.cyclic, picture)
        files = [] if picture is None else [picture]
    stage.GetRootLayer().Save()
    return files


def _put_splats(stage: Any, asset: Asset, plan: FrameTimes, options: ExportOptions) -> None:
    from pxr import Gf, Usd, UsdVol, Vt

    still = len(plan.times) == 1
    gaussians = _visible(asset.gaussians, plan)
    field = getattr(UsdVol, SCHEMA).Define(stage, SPLATS)
    first = gaussians.at(plan.times[0])
    scales, rotation = ellipsoids(first.covariances)
    field.CreateScalesAttr(Vt.Vec3fArray.FromNumpy(scales))
    field.CreateOrientationsAttr(_quaternions(rotation))
    field.CreateRadianceSphericalHarmonicsDegreeAttr(gaussians.sh_degree)
    field.CreateRadianceSphericalHarmonicsCoefficientsAttr().SetColorSpace(Gf.ColorSpaceNames.SRGBRec709)
    if constant_colors := gaussians.fourier_terms == 1:
        field.GetRadianceSphericalHarmonicsCoefficientsAttr().Set(_colors(first))
    places = root_motion(asset, plan.times) if options.root_motion else np.zeros((len(plan.times), 3))
    for i, time in enumerate(plan.times):
        splats = gaussians.at(time)
        when = Usd.TimeCode.Default() if still else Usd.TimeCode(i)
        visible = splats.opacities >= FAINTEST
        means = splats.means.numpy() + places[i].astype(np.float32)
        opacities = torch.where(visible, splats.opacities, 0).clamp(max=1).numpy()
        box = bounding_box(means[visible.numpy()], scales[visible.numpy()])
        field.CreatePositionsAttr().Set(Vt.Vec3fArray.FromNumpy(means), when)
        field.CreateOpacitiesAttr().Set(Vt.FloatArray.FromNumpy(opacities), when)
        field.CreateExtentAttr().Set(Vt.Vec3fArray.FromNumpy(box), when)
        if not constant_colors:
            field.GetRadianceSphericalHarmonicsCoefficientsAttr().Set(_colors(splats), when)
        options.report_progress(i + 1, len(plan.times))


@torch.no_grad()
def _visible(gaussians: Gaussians4D, plan: FrameTimes) -> Gaussians4D:
    """Mask of the splats that are visible at one of the moments, on the CPU."""
    gaussians = gaussians.detach().to("cpu", torch.float32)
    visible = torch.zeros(len(gaussians), dtype=torch.bool)
    for time in plan.times:
        visible |= gaussians.at(time).opacities >= FAINTEST
    return gaussians.select(visible)


def _colors(splats: Gaussians3D) -> Any:
    """All coefficients of the first splat, then of the second."""
    from pxr import Vt

    return Vt.Vec3fArray.FromNumpy(np.ascontiguousarray(splats.sh.reshape(-1, 3).numpy()))


def _quaternions(wxyz: Float[np.ndarray, "n 4"]) -> Any:
    """OpenUSD's quaternions lie in memory with the real part last."""
    from pxr import Vt

    return Vt.QuatfArray.FromNumpy(np.ascontiguousarray(wxyz[:, [1, 2, 3, 0]]))
