"""Splats as other tools store them: axes with lengths and a rotation instead of a covariance."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from vid4d import conventions
from vid4d.cameras import Cameras
from vid4d.export.root_motion import root_motion
from vid4d.gaussians import sh as harmonics
from vid4d.gaussians.culling import FAINTEST
from vid4d.gaussians.model import Gaussians3D

if TYPE_CHECKING:
    from vid4d.asset import Asset

THINNEST = 1e-7
"""World units. Standard deviations below this have lost their digits in float32 anyway."""


def ellipsoids(
    covariances: Float[Tensor, "n 3 3"],
) -> tuple[Float[np.ndarray, "n 3"], Float[np.ndarray, "n 4"]]:
    """Standard deviations along the axes (world units) and the axes' rotation, a unit quaternion (w x y z).

    R diag(s^2) R^T is the covariance; w is not negative.
    """
    from scipy.spatial.transform import Rotation

    if len(covariances) == 0:
        return np.zeros((0, 3), np.float32), np.zeros((0, 4), np.float32)
    symmetric = (covariances + covariances.transpose(1, 2)).double() / 2
    squares, axes = torch.linalg.eigh(symmetric)
    axes[:, :, 0] *= torch.linalg.det(axes)[:, None]  # no mirrored axes: a rotation
    x, y, z, w = Rotation.from_matrix(axes.numpy()).as_quat(canonical=True).T
    scales = squares.clamp(min=THINNEST**2).sqrt().numpy()
    return scales.astype(np.float32), np.stack([w, x, y, z], 1).astype(np.float32)


def turned(splats: Gaussians3D, axes: str) -> Gaussians3D:
    """Splats in other axes, a name of `vid4d.conventions.AXES`; colors from every side turn with them."""
    if axes == "z-up":
        return splats
    rotation = conventions.axes(axes).to(splats.means)
    return Gaussians3D(
        splats.means @ rotation.T,
        rotation @ splats.covariances @ rotation.T,
        splats.opacities,
        harmonics.rotated(splats.sh, rotation),
    )


def of_degree(sh: Float[Tensor, "n k 3"], degree: int) -> Float[Tensor, "n j 3"]:
    """Coefficients of another degree of harmonics: filled up with zeros, or cut off."""
    full = sh.new_zeros(len(sh), harmonics.terms(degree), 3)
    kept = min(sh.shape[1], full.shape[1])
    full[:, :kept] = sh[:, :kept]
    return full


def fixed_colors(splats: Gaussians3D) -> Float[Tensor, "n 3"]:
    """One color per splat in [0, 1], for viewers without harmonics: as it looks from outside.

    Directions around the object's ring and above are weighted by how much they face the splat's own side.
    """
    degree = harmonics.degree_of(splats.sh.shape[1])
    if degree == 0:
        return harmonics.to_rgb(splats.sh[:, 0]).clamp(0, 1)
    azimuth = [float(a) for a in range(0, 360, 30)]
    places = Cameras.cat([Cameras.orbit(azimuth, e, distance=1.0) for e in (0.0, 30.0)]).position
    outward = places.to(splats.means)  # unit vectors from the object to the viewer
    basis = harmonics.basis(-outward, degree)  # the harmonics' direction runs from the viewer to the splat
    colors = (torch.einsum("dk,nkc->ndc", basis, splats.sh) + 0.5).clamp(0, 1)
    facing = torch.nn.functional.normalize(splats.means, dim=-1) @ outward.T
    weight = facing.clamp(min=0) + 1e-3
    return torch.einsum("nd,ndc->nc", weight / weight.sum(1, keepdim=True), colors)


def morton_order(means: Float[Tensor, "n 3"], bits: int = 10) -> Int[Tensor, " n"]:
    """Indices that put places close to each other beside each other: along a Z-order curve."""
    if len(means) == 0:
        return torch.zeros(0, dtype=torch.int64)
    low, high = means.amin(0), means.amax(0)
    cells = ((means - low) / (high - low).clamp(min=1e-9) * (2**bits - 1)).round().long()
    code = torch.zeros(len(means), dtype=torch.int64)
    for bit in range(bits):
        for axis in range(3):
            code |= ((cells[:, axis] >> bit) & 1) << (3 * bit + axis)
    return code.argsort(stable=True)


def bounding_box(
    means: Float[np.ndarray, "n 3"], scales: Float[np.ndarray, "n 3"], reach: float = 3.0
) -> Float[np.ndarray, "2 3"]:
    """Bounding box of all splats out to `reach` standard deviations of their longest axis; zeros for none."""
    if len(means) == 0:
        return np.zeros((2, 3), np.float32)
    radius = reach * scales.max(1, keepdims=True)
    return np.stack([(means - radius).min(0), (means + radius).max(0)]).astype(np.float32)


def splats_at(asset: Asset, time: float, *, walking: bool = False, axes: str = "z-up") -> Gaussians3D:
    """Visible splats at a time: on the CPU, float32, those fainter than 1 / 255 left out.

    walking: where the object is then (`root_motion`). axes: a name of `vid4d.conventions.AXES`.
    """
    with torch.no_grad():
        splats = asset.gaussians.at(time).to("cpu", torch.float32)
        visible = splats.opacities >= FAINTEST
        means = splats.means[visible]
        if walking:
            means = means + torch.from_numpy(root_motion(asset, [time])).to(means)
        seen = Gaussians3D(means, splats.covariances[visible], splats.opacities[visible], splats.sh[visible])
        return turned(seen, axes)
