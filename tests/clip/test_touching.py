"""A thing is followed through a clip in which another touches it, also where both are one piece."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from boxes import box

from vid4d.clip.graph_cut import block_colors
from vid4d.clip.pieces import follow_pieces, overlap
from vid4d.clip.touching import Followed, Follower, comes_apart, frames_with_several

RED, BLUE = (200, 40, 40), (40, 60, 200)
Masks = list[np.ndarray]


def over(back: np.ndarray, front: np.ndarray) -> np.ndarray:
    return np.where(front[..., 3:] > 0, front, back)


def meeting(
    places: Sequence[int], *, color: tuple[int, int, int] = BLUE, before: bool = True
) -> tuple[Masks, Masks, Masks]:
    """Pictures of a red box that goes down, and another that comes to these places; what is seen of either.

    before: the other box, which comes, is the nearer one.
    """
    pictures, mine, other = [], [], []
    for i, x in enumerate(places):
        down = 16 + round(20 * i / (len(places) - 1))
        red, moving = box(30, down, 24, 24, RED), box(x, 32, 20, 16, color)
        front, back = (moving, red) if before else (red, moving)
        pictures.append(over(back, front))
        hidden = front[..., 3] > 0
        seen = {id(front): hidden, id(back): (back[..., 3] > 0) & ~hidden}
        mine.append(seen[id(red)])
        other.append(seen[id(moving)])
    return pictures, mine, other


def followed(pictures: Masks, start: int, mine: np.ndarray) -> Followed:
    pieces = follow_pieces([p[..., 3] > 127 for p in pictures])
    number = pieces.labels[start][mine][0]
    track = int(pieces.track[pieces.first[start] + number - 1])
    follower = Follower(pieces, track, lambda k: block_colors(pictures[k], 1))
    return follower.follow(start, pieces.labels[start] == number)


COME_AND_GO = [74, 68, 62, 56, 52, 48, 44, 48, 52, 56, 62, 68, 74]


@pytest.mark.parametrize("start", [0, 12])
def test_what_is_touched_keeps_its_own_mask(start: int) -> None:
    pictures, mine, other = meeting(COME_AND_GO)
    for truth in (mine, other):
        found = followed(pictures, start, truth[start])
        assert min(overlap(a, b) for a, b in zip(found.masks, truth, strict=True)) > 0.95
        assert np.nonzero(found.touched)[0].tolist() == [4, 5, 6, 7, 8]
        assert found.agreed.min() > 0.9
        assert found.beside.all()


def test_things_of_one_color_are_told_by_their_motion() -> None:
    pictures, mine, _ = meeting(COME_AND_GO, color=RED)
    found = followed(pictures, 0, mine[0])
    right = np.array([overlap(a, b) for a, b in zip(found.masks, mine, strict=True)])
    assert right[~found.touched].min() > 0.99
    assert right.min() > 0.75


def test_what_was_hidden_is_known_again() -> None:
    """A blue box passes behind a red one, and cannot be seen for a while; it is no part of the red one."""
    pictures, red, blue = meeting(list(range(2, 76, 3)), before=False)
    assert min(int(b.sum()) for b in blue) == 0
    found = followed(pictures, 0, blue[0])
    alone = ~found.touched
    assert alone[:2].all()
    assert alone[-4:].all()
    assert min(overlap(found.masks[k], blue[k]) for k in np.nonzero(alone)[0]) > 0.95
    assert found.agreed.min() == 0.0  # where nothing of it can be seen, nothing is sure
    other = followed(pictures, 0, red[0])
    assert min(overlap(a, b) for a, b in zip(other.masks, red, strict=True)) > 0.95


def test_one_end_is_enough() -> None:
    """They touch up to the end of the clip, or from its beginning on."""
    pictures, mine, _ = meeting(COME_AND_GO[:7])
    for order in (slice(None), slice(None, None, -1)):
        truth = mine[order]
        start = 0 if order == slice(None) else 6
        found = followed(pictures[order], start, truth[start])
        assert min(overlap(a, b) for a, b in zip(found.masks, truth, strict=True)) > 0.95


def test_a_crumb_is_a_part_and_what_is_far_is_not() -> None:
    crumb, far = box(58, 26, 3, 3, RED), box(88, 60, 4, 4, BLUE)
    pictures = [over(box(30, 26, 24, 24, RED), crumb) for _ in range(4)]
    pictures[2:] = [over(p, far) for p in pictures[2:]]
    masks = [p[..., 3] > 127 for p in pictures]
    masks[1][28, 54:58] = True  # the crumb is joined for a moment, so that both are one track
    masks[3][30:60, 53:90] = True
    pieces = follow_pieces(masks)
    follower = Follower(pieces, int(pieces.track[0]), lambda k: block_colors(pictures[k], 1))
    number = pieces.labels[0][30, 40]
    found = follower.follow(0, pieces.labels[0] == number)
    assert found.masks[0][27, 59]
    assert not found.touched[:3].any()
    assert not found.masks[2][61, 89]


def test_where_one_piece_comes_apart() -> None:
    pictures, mine, _ = meeting(COME_AND_GO[6:])
    pieces = follow_pieces([p[..., 3] > 127 for p in pictures])
    assert comes_apart(pieces, pieces.labels[0] == 1) == 3
    assert frames_with_several(pieces, int(pieces.track[0])) == 4
    before, alone, _ = meeting(COME_AND_GO)
    pieces = follow_pieces([p[..., 3] > 127 for p in before])
    assert comes_apart(pieces, alone[0]) == 0  # something comes to it before they part
    assert mine[0].any()
