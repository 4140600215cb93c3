"""Splats in another unit of time: a part of a clip is fitted in its own time, and placed in the clip's."""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from vid4d.gaussians.model import Gaussians4D, rotation4d

TINY = 1e-12
"""Smallest variance along an axis of a splat."""


@torch.no_grad()
def retimed(gaussians: Gaussians4D, scale: float, shift: float) -> Gaussians4D:
    """Splats that at time `scale * t + shift` look as these do at time t.

    A covariance in space and time that is stretched along time has other axes (they are no longer at right
    angles): the new ones are its eigenvectors.
    """
    if gaussians.cyclic:
        raise ValueError("a loop's time has no other unit: it goes from 0 to 1")
    stretch = torch.tensor([1.0, 1.0, 1.0, scale], dtype=torch.float64, device=gaussians.means.device)
    covariances = gaussians.to(dtype=torch.float64).covariance4d() * stretch * stretch[:, None]
    variances, axes = torch.linalg.eigh(covariances)
    axes[:, :, 0] *= torch.linalg.det(axes).sign()[:, None]
    left, right = quaternions_of(axes)
    offset = torch.tensor([0.0, 0.0, 0.0, shift], dtype=torch.float64, device=stretch.device)
    like = gaussians.means
    return replace(
        gaussians,
        means=(gaussians.means.double() * stretch + offset).to(like),
        log_scales=(variances.clamp(min=TINY).log() / 2).to(like),
        quats_left=left.to(like),
        quats_right=right.to(like),
        period=gaussians.period * scale if gaussians.fourier_terms > 1 else gaussians.period,
    )


def quaternions_of(rotation: Float[Tensor, "n 4 4"]) -> tuple[Float[Tensor, "n 4"], Float[Tensor, "n 4"]]:
    """Quaternions whose `rotation4d` is a rotation (determinant 1) of (x, y, z, t).

    A rotation is linear in the 16 products of the two quaternions' components, whose matrix has rank 1.
    """
    one = torch.eye(4, dtype=rotation.dtype, device=rotation.device)
    p, q = torch.meshgrid(torch.arange(4), torch.arange(4), indexing="ij")
    basis = rotation4d(one[p.flatten()], one[q.flatten()])
    products = torch.einsum("nij,kij->nk", rotation, basis).view(-1, 4, 4) / 4
    row = products.norm(dim=2).argmax(1)
    right = F.normalize(products[torch.arange(len(products), device=row.device), row], dim=1)
    return (products @ right[:, :, None])[:, :, 0], right
