"""Pieces of masks, followed from frame to frame."""

from __future__ import annotations

import numpy as np

from vid4d.clip.pieces import follow_pieces


def test_pieces_that_overlap_are_one_thing() -> None:
    """Two boxes that part are one track, a third beside them another."""
    masks = np.zeros((3, 8, 20), bool)
    masks[0, 2:6, 2:10] = True
    masks[1, 2:6, 2:5] = masks[1, 2:6, 7:10] = True
    masks[:, 1:3, 15:18] = True
    pieces = follow_pieces(list(masks))
    assert pieces.area.tolist() == [6, 32, 6, 12, 12, 6]
    assert pieces.frame_of().tolist() == [0, 0, 1, 1, 1, 2]
    order = [set(np.nonzero(pieces.track == t)[0]) for t in np.unique(pieces.track)]
    assert {frozenset(o) for o in order} == {frozenset({1, 3, 4}), frozenset({0, 2, 5})}
