"""Motion of things by whole pixels, and how well pixels continue them."""

from __future__ import annotations

import numpy as np

from vid4d.clip.carrying import continued, painted, way_of

H, W = 60, 80


def scene(thing: tuple[int, int], other: tuple[int, int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Two things with a pattern of their own, painted, and their masks."""
    rng = np.random.default_rng(3)
    patterns = rng.integers(60, 200, (2, 16, 16, 3))
    color, masks = np.zeros((H, W, 3), np.uint8), np.zeros((2, H, W), bool)
    for mask, (y, x), pattern in zip(masks, (thing, other), patterns, strict=True):
        color[y : y + 16, x : x + 16] = pattern
        mask[y : y + 16, x : x + 16] = True
    return painted(color, masks.any(0)), masks[0], masks[1]


def test_each_thing_has_its_own_motion() -> None:
    before, mine, other = scene((10, 10), (12, 50))
    here, mine_here, _ = scene((14, 21), (9, 38))
    assert way_of(before, mine, here) == (4, 11)
    assert way_of(before, other, here) == (-3, -12)
    assert way_of(before, mine, here, guess=(2, 9)) == (4, 11)
    box = (slice(5, 35), slice(15, 60))
    mine_cost = continued(before, mine, here, box, (4, 11))
    other_cost = continued(before, other, here, box, (-3, -12))
    inner = mine_here[box].copy()
    inner[:11] = inner[23:] = False
    inner[:, :8] = inner[:, 20:] = False
    assert inner.any()
    assert (mine_cost[inner] < 0.05).all()
    assert (other_cost[inner] > 0.3).all()


def test_nothing_has_no_motion_and_continues_nowhere() -> None:
    before, mine, _ = scene((10, 10), (12, 50))
    nothing = np.zeros_like(mine)
    assert way_of(before, nothing, before, guess=(1, 2)) == (1, 2)
    assert (continued(before, nothing, before, (slice(0, 20), slice(0, 20)), (0, 0)) == 1).all()
