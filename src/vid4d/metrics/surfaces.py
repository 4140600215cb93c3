"""Measures of what is solid: surfaces as points seen in depth maps, and the pieces an object falls into."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from vid4d.cameras import Cameras

NEAR_ENOUGH = 0.03
"""World units within which two surfaces count as the same; objects are about 1 wide."""

SPECK = 1 / 8192
"""Share of a picture below which a piece is too small to be one (2 pixels of 128 x 128)."""


def surface_points(
    depth: Float[Tensor, "v h w"], alpha: Float[Tensor, "v h w"], cameras: Cameras, *, threshold: float = 0.5
) -> list[Float[np.ndarray, "_ 3"]]:
    """Surface points that each of V cameras sees, world units: its solid pixels, unprojected.

    depth: along the optical axis; pixels where it is infinite or 0 see nothing.
    """
    origin, direction = cameras.rays()
    solid = (alpha > threshold) & depth.isfinite() & (depth > 0)
    points = origin[:, None, None] + depth.where(solid, 1.0)[..., None] * direction
    return [p[s].double().cpu().numpy() for p, s in zip(points, solid, strict=True)]


def f_scores(
    predicted: Sequence[Float[np.ndarray, "_ 3"]],
    truth: Sequence[Float[np.ndarray, "_ 3"]],
    *,
    distance: float = NEAR_ENOUGH,
) -> Float[np.ndarray, " v"]:
    """F-score of two surfaces by what each of V views sees of them (Tanks and Temples, Knapitsch 2017).

    Of a view's points of one surface those count that lie within `distance` of the other as all views
    together see it; the F-score is the harmonic mean of the two shares. Where a view sees neither it is 1,
    where it sees one of them only that one's share, which has no partner, makes it 0.
    """
    near, far = _near(predicted, truth, distance), _near(truth, predicted, distance)
    scores = []
    for precise, whole in zip(near, far, strict=True):
        if len(precise) == 0 or len(whole) == 0:
            scores.append(float(len(precise) == len(whole)))
            continue
        p, r = precise.mean(), whole.mean()
        scores.append(2 * p * r / (p + r) if p + r > 0 else 0.0)
    return np.array(scores)


def _near(
    points: Sequence[Float[np.ndarray, "_ 3"]], others: Sequence[Float[np.ndarray, "_ 3"]], distance: float
) -> list[np.ndarray]:
    """For each point whether one of all the others is within the distance."""
    from scipy.spatial import cKDTree

    joined = np.concatenate(list(others))
    if len(joined) == 0:
        return [np.zeros(len(p), bool) for p in points]
    tree = cKDTree(joined, balanced_tree=False, compact_nodes=False)
    return [
        np.isfinite(tree.query(p, eps=0, distance_upper_bound=distance)[0]) if len(p) else np.zeros(0, bool)
        for p in points
    ]


def loose_pieces(
    alpha: Float[Tensor, "... h w"], *, threshold: float = 0.5, speck: float = SPECK
) -> Int[Tensor, " ..."]:
    """Pieces beside the largest one that a silhouette falls into.

    Pixels touch along edges and corners; pieces smaller than `speck` of the picture are not counted, nothing
    at all has none.
    """
    from scipy import ndimage

    h, w = alpha.shape[-2:]
    masks = (alpha > threshold).reshape(-1, h, w).cpu().numpy()
    least = max(1.0, speck * h * w)
    counts = []
    for mask in masks:
        labels, _ = ndimage.label(mask, np.ones((3, 3)))
        sizes = np.bincount(labels.ravel())[1:]
        counts.append(max(0, int((sizes >= least).sum()) - 1))
    return torch.tensor(counts).reshape(alpha.shape[:-2])
