"""Two things in one mask told apart: colors by histograms, a minimum cut between pixels, soft edges.

The cut is that of Boykov and Jolly, "Interactive graph cuts", ICCV 2001: it goes where evidence changes
sides, and rather along edges of color.
"""

from __future__ import annotations

import numpy as np
import scipy.sparse
from jaxtyping import Bool, Float, UInt8
from scipy import ndimage
from scipy.sparse.csgraph import breadth_first_order, maximum_flow

from vid4d.clip.shadows import blocks

LEVELS = 16
"""Levels of a channel of the histograms."""
SMOOTH, EDGE = 2.0, 12.0
"""Cost of a cut between two pixels of one color; change of color, 8-bit steps, at which it is 0.6 of that."""
CERTAIN = 6.0
"""Cost of the wrong side, in logarithms of probabilities, at most."""


def block_colors(frame: UInt8[np.ndarray, "h w 4"], step: int) -> UInt8[np.ndarray, "h2 w2 3"]:
    """Mean color of the opaque part of blocks of pixels."""
    alpha = frame[..., 3:].astype(np.float32)
    weight = blocks(np.repeat(alpha, 3, -1), step)
    color = blocks(frame[..., :3] * alpha, step) / np.maximum(weight, 1)
    return np.rint(color).clip(0, 255).astype(np.uint8)


def histogram(colors: UInt8[np.ndarray, "m 3"]) -> Float[np.ndarray, "n n n"]:
    """Shares of colors, blurred by a level."""
    counts = np.zeros((LEVELS,) * 3, np.float32)
    np.add.at(counts, tuple((colors // (256 // LEVELS)).T), 1)
    soft = ndimage.gaussian_filter(counts, 1.0, mode="nearest")
    return np.asarray(soft / max(float(soft.sum()), 1e-9))


def odds(
    colors: UInt8[np.ndarray, "*s 3"], one: Float[np.ndarray, "n n n"], other: Float[np.ndarray, "n n n"]
) -> Float[np.ndarray, "*s"]:
    """Logarithm of how much likelier a color is in one histogram than in the other."""
    at = tuple(np.moveaxis(colors // (256 // LEVELS), -1, 0))
    return np.log((one[at] + 1e-6) / (other[at] + 1e-6))


def minimum_cut(
    mask: Bool[np.ndarray, "h w"], colors: UInt8[np.ndarray, "h w 3"], likely: Float[np.ndarray, "h w"]
) -> Bool[np.ndarray, "h w"]:
    """The part of a mask that belongs to one thing.

    likely: logarithm of how much likelier a pixel belongs to it than to the rest.
    """
    color = colors.astype(np.float32)
    n = int(mask.sum())
    if n == 0:
        return np.zeros_like(mask)
    number = np.full(mask.shape, -1)
    number[mask] = np.arange(n)
    source, sink = n, n + 1
    begins, ends, costs = [], [], []
    for axis in (0, 1):
        here, there = (np.moveaxis(number, axis, 0)[s].ravel() for s in (slice(-1), slice(1, None)))
        change = (np.diff(np.moveaxis(color, axis, 0), axis=0) ** 2).sum(-1).ravel()
        both = (here >= 0) & (there >= 0)
        cost = SMOOTH * np.exp(-change[both] / (2 * EDGE**2)) + 0.1
        begins += [here[both], there[both]]
        ends += [there[both], here[both]]
        costs += [cost, cost]
    weight = likely[mask]
    numbers, own = np.arange(n), weight > 0
    begins += [np.full(own.sum(), source), numbers[~own]]
    ends += [numbers[own], np.full((~own).sum(), sink)]
    costs += [weight[own], -weight[~own]]
    whole = (100 * np.concatenate(costs)).astype(np.int32)  # the flow counts in whole numbers
    graph = scipy.sparse.csr_matrix((whole, (np.concatenate(begins), np.concatenate(ends))), (n + 2, n + 2))
    rest = graph - maximum_flow(graph, source, sink).flow
    rest.data[rest.data < 0] = 0
    rest.eliminate_zeros()
    sides = np.zeros(n + 2, bool)
    sides[breadth_first_order(rest, source, return_predecessors=False)] = True
    result = np.zeros_like(mask)
    result[mask] = sides[:n]
    return result


def without(
    frame: UInt8[np.ndarray, "h w 4"],
    left: Bool[np.ndarray, "h2 w2"],
    lost: Bool[np.ndarray, "h2 w2"],
    step: int,
) -> UInt8[np.ndarray, "h w 4"]:
    """A frame without what is lost, soft where that was joined to what is left. Both: blocks of pixels."""
    h, w = frame.shape[:2]
    result = frame.copy()
    mine, other = (
        ndimage.zoom(near, step, order=1, grid_mode=True, mode="nearest")[:h, :w]
        for near in (ndimage.gaussian_filter(x.astype(np.float32), 0.7) for x in (left, lost))
    )
    share = mine / np.maximum(mine + other, 1e-6)
    result[..., 3] = np.rint(frame[..., 3] * np.clip(4 * (share - 0.5) + 0.5, 0, 1))
    result[result[..., 3] == 0] = 0
    return result
