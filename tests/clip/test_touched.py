"""What is said where others touch the object: the frames, the options that work, and less confidence."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from boxes import box, folder_of, on_white
from test_touching import COME_AND_GO, meeting, over

from vid4d.clip.clip import Clip, read_clip
from vid4d.clip.places import Places
from vid4d.clip.touched import PARTED, UNSURE, Touched, noticed
from vid4d.clip.touching import Followed

PASSING = [2, 8, 14, 20, 26, 32, 38, 44, 50, 56, 62, 68, 74]


def prepared(folder: Path, pictures: list[np.ndarray], **options: object) -> Clip:
    return read_clip(folder_of(folder, pictures), frames=0, cyclic=False, **options)  # type: ignore[arg-type]


def told(clip: Clip, words: str) -> str:
    (said,) = [w for w in clip.warnings if words in w]
    return said


def colors_of(clip: Clip) -> set[str]:
    """Whether red and blue things of some size are seen in any frame."""
    found = set()
    for frame in clip.frames:
        seen = frame[..., 3] > 0.5
        for name, own, other in (("red", 0, 2), ("blue", 2, 0)):
            if (seen & (frame[..., own] > frame[..., other] + 0.2)).sum() > 0.02 * seen.sum():
                found.add(name)
    return found


def test_a_click_follows_one_of_two_that_touch(tmp_path: Path) -> None:
    pictures, *_ = meeting(COME_AND_GO)
    clip = prepared(tmp_path / "f", [on_white(p) for p in pictures], click=("80,38",))
    assert colors_of(clip) == {"blue"}
    assert clip.matting_confidence == PARTED
    assert "from 0.17 to 0.33 s: they are parted" in told(clip, "other things touch what was chosen")


def test_a_click_on_what_is_one_piece_at_first(tmp_path: Path) -> None:
    pictures, mine, other = meeting(COME_AND_GO[6:])
    shown = [on_white(p) for p in pictures]
    for truth, name in ((mine, "red"), (other, "blue")):
        y, x = (int(n.mean()) for n in np.nonzero(truth[0]))
        assert colors_of(prepared(tmp_path / name, shown, click=(f"{x},{y}",))) == {name}
    y, x = np.nonzero(other[0])
    around = f"{x.min() - 1},{y.min() - 1},{x.max() + 2},{y.max() + 2}"
    assert colors_of(prepared(tmp_path / "box", shown, box=around)) == {"blue"}
    both = prepared(tmp_path / "both", shown, click=("35,38", "60,40"))
    assert colors_of(both) == {"red", "blue"}


def test_ranges_that_are_named_work(tmp_path: Path) -> None:
    """A blue box passes behind a red one: where it is hidden is left out by what is named, and by --trim."""
    pictures, *_ = meeting(PASSING, before=False)
    shown = [on_white(p) for p in pictures]
    given = read = None
    try:
        read = prepared(tmp_path / "f", shown, click=("8,40",))
        given = told(read, "other things touch")
    except Exception as e:
        given = str(e)
    way = re.search(r"give --start (\S+) --end (\S+) --click (\S+) for the longest part without that", given)
    assert way is not None
    options = {"start": float(way[1]), "end": float(way[2]), "click": (way[3],)}
    named = prepared(tmp_path / "n", shown, **options)
    trimmed = prepared(tmp_path / "t", shown, click=("8,40",), trim="auto")
    for clip in (named, trimmed):
        assert colors_of(clip) == {"blue"}
        assert len(clip) >= 4
        assert clip.matting_confidence >= PARTED
        areas = (clip.frames[..., 3] > 0.5).sum((1, 2))
        assert areas.min() > 0.85 * areas.max()
    assert (named.frames == trimmed.frames).all()


def test_without_a_click_it_is_told_with_one_that_works(tmp_path: Path) -> None:
    pictures, *_ = meeting(COME_AND_GO)
    shown = [on_white(p) for p in pictures]
    clip = prepared(tmp_path / "f", shown)
    said = told(clip, "another thing touches the object from 0.17 to 0.33 s")
    assert colors_of(clip) == {"red", "blue"}
    assert clip.matting_confidence == UNSURE
    follows = re.search(r"--click (\S+) follows the object alone", said)
    assert follows is not None
    assert colors_of(prepared(tmp_path / "c", shown, click=(follows[1],))) == {"red"}
    way = re.search(r"give --start (\S+) --end (\S+) --click (\S+) for", said)
    assert way is not None
    named = prepared(tmp_path / "n", shown, start=float(way[1]), end=float(way[2]), click=(way[3],))
    assert colors_of(named) == {"red"}
    trimmed = prepared(tmp_path / "t", shown, trim="auto")
    assert len(trimmed) == len(named)
    assert trimmed.matting_confidence > UNSURE  # the other may still stand beside it


def test_what_passes_by_is_left_out_with_all_frames_that_show_it(tmp_path: Path) -> None:
    pictures = [box(30, 2 + 2 * i, 24, 24) for i in range(8)]
    later, *_ = meeting([76, 68, 60, 52, 44, 52, 60, 68, 76])
    after = [box(30, 36 - 2 * i, 24, 24) for i in range(7)]
    clip = prepared(tmp_path / "f", [on_white(p) for p in pictures + later + after], trim="auto")
    assert colors_of(clip) == {"red"}
    assert len(clip) == 8
    assert "another thing is beside the object from 0.33 to 0.67 s" in told(clip, "left out")


def test_no_false_alarms() -> None:
    """One thing; two that never touch; a part that comes off and stays near."""
    places = Places((96, 80))
    one = [box(10 + 3 * i) for i in range(8)]
    apart = [over(p, box(70, 4, 12, 12, (40, 60, 200))) for p in one[:6]]
    gap = [0, 0, 1, 2, 2, 2, 1, 0]
    part = [over(box(20, 20, 30, 30), box(50 + g, 25, 8, 20)) for g in gap]
    for pictures in (one, apart, part):
        assert noticed(pictures, places) is None
    assert noticed([np.zeros_like(p) for p in one], places) is None
    there, *_ = meeting(COME_AND_GO)
    assert noticed(there, places) is not None


@pytest.mark.parametrize("agreed", [1.0, 0.5])
def test_what_is_doubtful(agreed: float) -> None:
    """Eight frames, touched from the third on to the sixth; a third of it is hidden in the fourth."""
    masks = [np.zeros((20, 30), bool) for _ in range(8)]
    for i, mask in enumerate(masks):
        mask[4:16, 3 : 11 if i == 3 else 15] = True
    touched = np.array([False] * 2 + [True] * 4 + [False] * 2)
    looks = np.where(np.arange(8) == 5, agreed, 1.0)
    found = Touched.of([Followed(masks, touched, touched, looks)], masks, 2, Places((60, 40)))
    assert found is not None
    expected = [3] if agreed == 1.0 else [3, 4, 5]
    assert np.nonzero(found.doubtful)[0].tolist() == expected
    assert found.confidence([0, 1, 6]) == 1.0
    assert found.confidence([0, 2]) == PARTED
    assert found.confidence([0, 3]) == UNSURE
    assert found.clicks(0) == ("17,19",)
    assert Touched.of([], masks, 2, Places((60, 40))) is None


def test_what_comes_after_a_cut_touches_nothing_before_it(tmp_path: Path) -> None:
    """One box, then a card of two on the same ground, which the first's place joins."""
    one = [on_white(box(20 + i // 2, 20, 30, 40)) for i in range(24)]
    card = on_white(np.maximum(box(10, 24, 34, 16, (30, 60, 190)), box(50, 40, 36, 24, (30, 120, 40))))
    clip = read_clip(folder_of(tmp_path / "f", [*one, *[card] * 12]), frames=0, cyclic=False, trim="auto")
    assert "touches" not in " ".join(clip.warnings)
    assert len(clip) == 24
    assert clip.matting_confidence > 0.9
