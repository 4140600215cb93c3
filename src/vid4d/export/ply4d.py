"""Native 4D Gaussians as one PLY, with the parameters that the code of 2310.10642 keeps.

Facts of the format, read off OpenSplat4D (Unreal), which reads it (November 2026): the properties of a PLY
of 3D Gaussians, rot_0..7 (the left and the right quaternion of the rotation in 4D), scale_3 (logarithm of
the standard deviation along the rotated fourth axis) and t (clip time). f_rest holds, channel by channel,
the coefficients after the first of 16 harmonics times two or three terms of a Fourier series (the terms of
the least degrees that hold them), or is missing where there is one color for all sides and times. The
authors' own code saves checkpoints of PyTorch and no PLY.

Quaternions (w x y z) act on (x, y, z, t) as on a quaternion in this order: v -> l v conj(r). Ours act on the
axes in reverse (`vid4d.gaussians.model.rotation4d`), so they are solved anew.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from vid4d import conventions
from vid4d.errors import InputError
from vid4d.export.options import ExportOptions
from vid4d.export.ply import comments, logits, write_table
from vid4d.gaussians import sh as harmonics
from vid4d.gaussians.culling import FAINTEST, visibility_mask
from vid4d.gaussians.model import MARGINAL_CUT, Gaussians4D, marginal_of, rotation4d

if TYPE_CHECKING:
    from vid4d.asset import Asset

MOST_TERMS = 3


@torch.no_grad()
def write(asset: Asset, out: Path, options: ExportOptions) -> list[Path]:
    """Writes the PLY. Raises InputError for colors that it cannot hold."""
    gaussians = asset.gaussians.detach().to("cpu", torch.float32)
    if gaussians.fourier_terms > MOST_TERMS or (gaussians.fourier_terms > 1 and gaussians.period != 1):
        raise InputError(
            f"a 4D PLY holds colors of {MOST_TERMS} terms in time, with the clip as period; this asset has "
            f"{gaussians.fourier_terms} with {gaussians.period:g} clips: export stg or v4d instead"
        )
    gaussians = _unrolled(gaussians.select(visibility_mask(gaussians)))
    turn = conventions.axes(options.axes_in_file())
    around = torch.eye(4)
    around[:3, :3] = turn
    left, right = quaternion_pair(around @ rotation4d(gaussians.quats_left, gaussians.quats_right))
    columns = {
        ("x", "y", "z"): gaussians.means[:, :3] @ turn.T,
        ("nx", "ny", "nz"): torch.zeros(len(gaussians), 3),
        **_colors(gaussians, turn),
        ("opacity",): torch.from_numpy(logits(gaussians.opacities))[:, None],
        tuple(f"scale_{i}" for i in range(4)): gaussians.log_scales,
        tuple(f"rot_{i}" for i in range(8)): torch.cat([left, right], 1),
        ("t",): gaussians.means[:, 3:],
    }
    names = [name for group in columns for name in group]
    table = torch.cat([part.double() for part in columns.values()], 1).numpy()
    write_table(
        out, names, table, (*comments(options.axes_in_file()), f"a clip of {asset.seconds:.6g} s lasts 1")
    )
    options.report_progress(1, 1)
    return [out]


def _colors(
    gaussians: Gaussians4D, turn: Float[Tensor, "3 3"]
) -> dict[tuple[str, ...], Float[Tensor, "n c"]]:
    n, k, terms, _ = gaussians.sh.shape
    sh = harmonics.rotated(gaussians.sh.flatten(2), turn).view(gaussians.sh.shape)
    first = {tuple(f"f_dc_{i}" for i in range(3)): sh[:, 0, 0]}
    if k == terms == 1:
        return first
    full = sh.new_zeros(n, harmonics.terms(harmonics.MAX_DEGREE), max(terms, 2), 3)
    full[:, :k, :terms] = sh
    rest = full.permute(0, 3, 2, 1).flatten(2)[:, :, 1:].flatten(1)  # all harmonics of a term, then the next
    return first | {tuple(f"f_rest_{i}" for i in range(rest.shape[1])): rest}


def _unrolled(gaussians: Gaussians4D) -> Gaussians4D:
    """As `MovingGaussians.unrolled`."""
    if not gaussians.cyclic:
        return gaussians
    variance, parts = gaussians.covariance4d()[:, 3, 3], []
    for laps in (-1, 0, 1):
        means = gaussians.means.clone()
        means[:, 3] += laps - means[:, 3].floor()
        marginal = marginal_of(means[:, 3] - means[:, 3].clamp(0, 1), variance)
        there = (marginal >= MARGINAL_CUT) & (gaussians.opacities * marginal >= FAINTEST)
        parts.append(replace(gaussians, means=means, cyclic=False).select(there))
    return Gaussians4D.cat(parts)


def quaternion_pair(
    rotations: Float[Tensor, "n 4 4"],
) -> tuple[Float[Tensor, "n 4"], Float[Tensor, "n 4"]]:
    """Unit quaternions l, r with v -> l v conj(r) for rotations of v = (w, x, y, z).

    The rotation is linear in the 16 products of their components, with matrices that are orthogonal to each
    other: l r^T is found by projection, and its two factors by its singular vectors.
    """
    products = torch.einsum("nij,pqij->npq", rotations.double(), _product_matrices()) / 4
    u, _, v = torch.linalg.svd(products)
    return u[:, :, 0].to(rotations), v[:, 0, :].to(rotations)


def _product_matrices() -> Float[Tensor, "4 4 4 4"]:
    """[p, q]: the matrix of v -> e_p v conj(e_q) of the unit quaternions e."""
    unit = torch.eye(4, dtype=torch.float64)
    conjugate = torch.tensor([1.0, -1, -1, -1], dtype=torch.float64)
    columns = [
        [[_product(_product(unit[p], unit[j]), unit[q] * conjugate) for j in range(4)] for q in range(4)]
        for p in range(4)
    ]
    return torch.stack([torch.stack([torch.stack(c, 1) for c in row]) for row in columns])


def _product(a: Float[Tensor, " 4"], b: Float[Tensor, " 4"]) -> Float[Tensor, " 4"]:
    """The product of two quaternions (w x y z)."""
    w = a[0] * b[0] - a[1:] @ b[1:]
    return torch.cat([w[None], a[0] * b[1:] + b[0] * a[1:] + torch.linalg.cross(a[1:], b[1:])])
