"""Real spherical harmonics up to degree 3, for color that depends on the viewing direction.

Basis and signs are those of 3D Gaussian Splatting (2308.04079), so coefficients can be exchanged with its
files: with the direction (x, y, z) the four functions up to degree 1 are C0, -C1 y, C1 z, -C1 x.
"""

from __future__ import annotations

import functools
import math

import torch
from jaxtyping import Float
from torch import Tensor

from vid4d.errors import InputError

C0 = 0.28209479177387814
C1 = 0.4886025119029199
C2 = (1.0925484305920792, -1.0925484305920792, 0.31539156525252005, -1.0925484305920792, 0.5462742152960396)
C3 = (
    -0.5900435899266435,
    2.890611442640554,
    -0.4570457994644658,
    0.3731763325901154,
    -0.4570457994644658,
    1.445305721320277,
    -0.5900435899266435,
)
MAX_DEGREE = 3


def terms(degree: int) -> int:
    """Number of basis functions up to and including a degree."""
    return (degree + 1) ** 2


def degree_of(count: int) -> int:
    """Degree of a basis of 1, 4, 9 or 16 functions. Raises InputError for any other count."""
    for degree in range(MAX_DEGREE + 1):
        if terms(degree) == count:
            return degree
    raise InputError(f"{count} spherical harmonics are not a full basis: there must be 1, 4, 9 or 16")


def basis(directions: Float[Tensor, "*b 3"], degree: int) -> Float[Tensor, "*b k"]:
    """The (degree + 1)^2 basis functions at unit directions.

    Source: 3DGS (2308.04079), section 5.1; constants of the usual real spherical harmonics.
    """
    x, y, z = directions.unbind(-1)
    values = [torch.full_like(x, C0)]
    if degree > 0:
        values += [-C1 * y, C1 * z, -C1 * x]
    if degree > 1:
        xx, yy, zz = x * x, y * y, z * z
        values += [
            C2[0] * x * y,
            C2[1] * y * z,
            C2[2] * (2 * zz - xx - yy),
            C2[3] * x * z,
            C2[4] * (xx - yy),
        ]
    if degree > 2:
        values += [
            C3[0] * y * (3 * xx - yy),
            C3[1] * x * y * z,
            C3[2] * y * (4 * zz - xx - yy),
            C3[3] * z * (2 * zz - 3 * xx - 3 * yy),
            C3[4] * x * (4 * zz - xx - yy),
            C3[5] * z * (xx - yy),
            C3[6] * x * (xx - 3 * yy),
        ]
    return torch.stack(values, -1)


@functools.cache
def rotation_matrix(rotation: tuple[tuple[float, ...], ...], degree: int) -> Float[Tensor, "k k"]:
    """What coefficients are multiplied with when the world is turned, float64.

    rotation: 3 x 3, from the old world to the new one. A color seen along d in the old world is seen along
    `rotation` d in the new one. Functions of one degree turn among themselves; the matrix is solved from the
    values at enough directions, which is exact up to rounding.
    """
    i = torch.arange(64, dtype=torch.float64) + 0.5
    z, angle = 1 - i / 32, math.pi * (1 + math.sqrt(5)) * i
    directions = torch.stack([(1 - z**2).sqrt() * angle.cos(), (1 - z**2).sqrt() * angle.sin(), z], 1)
    turned = directions @ torch.tensor(rotation, dtype=torch.float64).T
    old, new = basis(directions, degree), basis(turned, degree)
    matrix = torch.linalg.lstsq(new, old).solution
    return torch.where(matrix.abs() < 1e-12, 0, matrix)


def rotated(sh: Float[Tensor, "n k c"], rotation: Float[Tensor, "3 3"]) -> Float[Tensor, "n k c"]:
    """Coefficients of any number of channels in a turned world; see `rotation_matrix`."""
    rows = tuple(tuple(row) for row in rotation.double().tolist())
    return torch.einsum("jk,nkc->njc", rotation_matrix(rows, degree_of(sh.shape[1])).to(sh), sh)


def evaluate(
    sh: Float[Tensor, "n k 3"], means: Float[Tensor, "n 3"], camera_position: Float[Tensor, " 3"]
) -> Float[Tensor, "n 3"]:
    """Colors of splats seen from a camera: max(0, 0.5 + sum of basis * coefficients); not clipped above.

    The direction runs from the camera to the splat.
    """
    directions = torch.nn.functional.normalize(means - camera_position, dim=-1, eps=1e-12)
    values = basis(directions, degree_of(sh.shape[1]))
    return ((values[..., None] * sh).sum(1) + 0.5).clamp(min=0)


def from_rgb(rgb: Float[Tensor, "*b 3"]) -> Float[Tensor, "*b 3"]:
    """Degree-0 coefficients that give a color in [0, 1] from every side."""
    return (rgb - 0.5) / C0


def to_rgb(dc: Float[Tensor, "*b 3"]) -> Float[Tensor, "*b 3"]:
    """The color of degree-0 coefficients; inverse of `from_rgb`."""
    return dc * C0 + 0.5
