"""One take of one thing: cuts, fades, other content, empty ends; the range that works, named and taken."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from boxes import H, W, box, folder_of, refuse
from PIL import Image

from vid4d.clip.at_once import changes_at_once
from vid4d.clip.clip import read_clip
from vid4d.clip.crop import check_masks
from vid4d.clip.takes import Takes, of_pictures, option_words
from vid4d.errors import InputError

GROUND = (236, 238, 234)


def walk(
    count: int, start: int = 10, step: int = 1, color: tuple[int, ...] = (200, 40, 40)
) -> list[np.ndarray]:
    return [box(start + step * i, 30, 24, 24, color) for i in range(count)]


def before(pictures: list[np.ndarray], ground: tuple[int, ...] = GROUND) -> list[np.ndarray]:
    return [np.where(p[..., 3:] > 0, p[..., :3], np.array(ground)).astype(np.uint8) for p in pictures]


def filled(count: int, color: tuple[int, ...] = GROUND) -> list[np.ndarray]:
    return [np.full((H, W, 3), color, np.uint8)] * count


def card(count: int) -> list[np.ndarray]:
    """A picture of noise: a photograph after the end."""
    return [np.random.default_rng(3).integers(0, 256, (H, W, 3)).astype(np.uint8)] * count


BLUE = [box(20 + i, 24, 24, 24, (30, 60, 190)) for i in range(10)]
FADE = [np.rint(f * min(1, (i + 1) / 8)).astype(np.uint8) for i, f in enumerate(before(walk(24)))]
CLEAR = [p * np.array([1, 1, 1, min(1, (i + 1) / 8)]) for i, p in enumerate(walk(24))]

CASES = {
    "cut": (walk(14) + BLUE, (0, 13), "another thing"),
    "same thing elsewhere": (walk(14) + [p[:, ::-1] for p in walk(10)], (0, 13), "another take"),
    "cut before a background": (before(walk(10)) + before(BLUE + BLUE[::-1]), (10, 29), "another thing"),
    "other background": (before(walk(14)) + before(BLUE, (90, 140, 90)), (0, 13), "the background changes"),
    "card": (before(walk(14)) + card(8), (0, 13), "the background changes"),
    "fade in": (FADE, (7, 23), "the picture fades"),
    "fade of alpha": ([c.astype(np.uint8) for c in CLEAR], (6, 23), "fades"),
    "empty ends": (filled(5) + before(walk(14)) + filled(4), (5, 18), "no object can be seen"),
    "gone in between": (walk(8) + [np.zeros((H, W, 4), np.uint8)] * 5 + walk(10, 20), (13, 22), "no object"),
}


@pytest.mark.parametrize("name", list(CASES))
def test_the_longest_take_is_named_and_can_be_taken(name: str, tmp_path: Path) -> None:
    """Its options, typed in, and --trim auto give the same frames: those of the take and no others."""
    pictures, (first, last), said = CASES[name]
    folder = folder_of(tmp_path / "f", pictures)
    taken = read_clip(folder, frames=4, dense=64, trim="auto")
    assert any(said in w for w in taken.warnings)
    assert f"trimmed: {first / 24:.2f} to {last / 24:.2f} s are used" in taken.warnings
    alone = read_clip(folder_of(tmp_path / "alone", pictures[first : last + 1]), frames=4, dense=64)
    assert np.array_equal(taken.frames, alone.frames)
    try:
        told = " ".join(read_clip(folder, frames=4, dense=64).warnings)
    except Exception as e:  # some cannot be used as they are: the refusal names the way out, too
        told = str(e)
    named = re.search(r"give --start (\S+) --end (\S+) for the longest take, or --trim auto", told)
    assert named is not None
    typed = read_clip(folder, frames=4, dense=64, start=float(named[1]), end=float(named[2]))
    assert np.array_equal(typed.frames, alone.frames)


def test_a_clip_of_one_take_is_left_alone(tmp_path: Path) -> None:
    """Motion that begins and stops, a quick gesture, and a thing that turns to another color are no cuts."""
    rest = [box(10)] * 8 + walk(12, 10, 4) + [box(54)] * 8
    turning = [box(30, color=(200 - 9 * i, 40, 40 + 9 * i)) for i in range(16)]
    gesture = [box(x, 30, 24, 24) for x in (8,) * 7 + (13, 18, 31, 36, 41) + (41,) * 7]
    for k, pictures in enumerate((walk(20), rest, turning, gesture)):
        for trim in ("no", "auto"):
            clip = read_clip(folder_of(tmp_path / f"{k}", pictures), frames=4, dense=64, trim=trim)
            assert len(clip) == len(pictures)
            assert not any("cut" in w or "take" in w for w in clip.warnings)


def turned(angle: float) -> np.ndarray:
    """A long plate, turned by some degrees."""
    plate = Image.new("RGBA", (W, H))
    plate.paste((200, 40, 40, 255), (W // 2 - 5, H // 2 - 32, W // 2 + 5, H // 2 + 32))
    return np.asarray(plate.rotate(angle))


def test_poses_that_are_held_are_no_cuts(tmp_path: Path) -> None:
    """A drawn animation on fours, now quick and now slow; a cut in it is one all the same."""
    angles = (0, 8, 20, 65, 95, 100, 108, 112, 150, 196, 200, 206)
    held = [turned(a) for a in angles for _ in range(4)]
    clip = read_clip(folder_of(tmp_path / "held", held), frames=4, dense=64, fps=48)
    assert not any("cut" in w or "one take" in w for w in clip.warnings)
    other = held[:28] + [box(10 + i, 24, 40, 50, (30, 60, 190)) for i in range(4) for _ in range(4)]
    clip = read_clip(folder_of(tmp_path / "other", other), frames=4, dense=64, fps=48)
    assert any(re.search(r"another thing.* from 0\.58 s on: a cut", w) for w in clip.warnings)


@pytest.mark.parametrize("light", [0.87, 1.1])
def test_light_that_changes_at_once_is_no_cut(light: float, tmp_path: Path) -> None:
    """But something else, in another light, is."""
    pictures = before(walk(24), (200, 204, 196))
    lit = [np.rint(p * (light if i >= 12 else 1)).astype(np.uint8) for i, p in enumerate(pictures)]
    clip = read_clip(folder_of(tmp_path / "lit", lit), frames=4, dense=64)
    assert not any("cut" in w or "take" in w for w in clip.warnings)
    other = lit[:12] + [np.rint(p * np.array((1, 0.9, 1))).astype(np.uint8)[:, ::-1] for p in lit[12:]]
    clip = read_clip(folder_of(tmp_path / "other", other), frames=4, dense=64)
    assert any(": a cut" in w for w in clip.warnings)


@pytest.mark.parametrize("held", [1, 2])
@pytest.mark.parametrize("background", [None, (200, 204, 196)])
def test_what_moves_after_a_rest_is_no_something_else(
    background: tuple[int, int, int] | None, held: int, tmp_path: Path
) -> None:
    """A plate that rests, swings there and back within three of the frames that are looked at, and rests.

    Also drawn on twos.
    """
    swing = [60 * np.sin(np.pi * i / 12) for i in range(13)]
    angles = [0.0] * 60 + [a for a in swing[::held] for _ in range(held)] + [0.0] * 60
    pictures = [turned(a) for a in angles]
    if background is not None:
        pictures = before(pictures, background)
    clip = read_clip(folder_of(tmp_path / "f", pictures), frames=4, dense=34, fps=24, cyclic=False)
    assert len(clip) == 34
    assert not any("left out" in w for w in clip.warnings)


def test_single_frames_of_something_else_are_left_out(tmp_path: Path) -> None:
    """Also where one is a key frame: its neighbour becomes one."""
    pictures = walk(16)
    pictures[5] = pictures[5] * (np.arange(W) < 24)[None, :, None].astype(np.uint8)  # two thirds are missing
    pictures[15 // 3 * 2] = box(40, 5, 30, 60, (20, 20, 200))
    clip = read_clip(folder_of(tmp_path / "f", pictures), frames=4, dense=64)
    assert len(clip) == 14
    assert clip.keys is not None
    assert len(clip.keys) == 4
    assert (clip.times * 15).round().astype(int).tolist() == [i for i in range(16) if i not in (5, 10)]
    assert any(
        "frames at 0.21, 0.42 s show something else, or their masks lack a part: left out" in w
        for w in clip.warnings
    )


def test_refusals_say_what_was_found(tmp_path: Path) -> None:
    faint = [p * np.array([1, 1, 1, 0], np.uint8) + 3 * (p[..., 3:] > 0).astype(np.uint8) for p in walk(3)]
    refuse("alpha at most 3 of 255", folder_of(tmp_path / "faint", faint), matting="alpha")
    # as such frames come; sources mend them
    inverted = [np.dstack([p[..., :3], 255 - p[..., 3]]) for p in walk(3)]
    with pytest.raises(InputError, match=r"so it is inverted; invert it, or .* --matting plain"):
        check_masks(inverted, np.arange(3.0), "a", "alpha", "")


def test_runs_of_frames() -> None:
    takes = Takes(np.array([0, 1, 1, 1, 1, 1, 0, 1, 1], bool), cuts={3}, brief={4})
    assert takes.runs() == [(1, 2), (3, 5), (7, 8)]
    assert takes.best() == (3, 5)
    assert not takes.whole()
    assert Takes(np.ones(5, bool), brief={2}).whole()


def test_a_flash_is_no_cut() -> None:
    frames = [np.dstack([f, np.full((H, W), 255, np.uint8)]) for f in before(walk(12))]
    frames[6][..., :3] = 255 - frames[6][..., :3]
    takes = of_pictures(frames, np.arange(12) / 24)
    assert (takes.brief, takes.cuts, takes.whole()) == ({6}, set(), True)


def test_a_flash_that_fades_is_no_cut_and_a_lamp_is_none() -> None:
    """Brighter by 60, 40 and 20 of 255 in frames 10 to 12; or from frame 10 on."""
    still = [np.dstack([f, np.full((H, W), 255, np.uint8)]) for f in before(walk(24))]

    def lit(*more: int) -> list[np.ndarray]:
        frames = [f.copy() for f in still]
        for i, light in enumerate(more, 10):
            frames[i][..., :3] = (frames[i][..., :3] * 0.7).astype(np.uint8) + light
        for i in (*range(10), *range(10 + len(more), 24)):
            frames[i][..., :3] = (frames[i][..., :3] * 0.7).astype(np.uint8)
        return frames

    takes = of_pictures(lit(60, 40, 20), np.arange(24) / 24)
    assert (takes.brief, takes.cuts, takes.whole()) == ({10, 11, 12}, set(), True)
    assert of_pictures(lit(*[60] * 14), np.arange(24) / 24).brief == set()


@pytest.mark.parametrize("how", ["wipe", "iris"])
def test_another_ground_that_comes_in_over_the_border_is_a_cut(how: str) -> None:
    """Between frames 8 and 15 of 24, bit by bit; a picture that only gets darker, or slides by, is none."""
    one, other = (
        np.dstack([np.full((H, W, 3), c, np.uint8), np.full((H, W), 255, np.uint8)]) for c in (220, 90)
    )
    v, u = np.mgrid[:H, :W]
    place = u / W if how == "wipe" else 1 - np.hypot(u / W - 0.5, v / H - 0.5) / 0.71
    frames = [np.where((place < (i - 7) / 9)[..., None], other, one) for i in range(24)]
    takes = of_pictures(frames, np.arange(24) / 24)
    assert not takes.good[9:11].any()
    assert takes.good[:8].all()
    assert takes.good[16:].all()
    assert "comes in from the border" in takes.reasons[0]
    darker = [(one * (1 - 0.03 * i)).astype(np.uint8) for i in range(24)]
    for frame in darker:
        frame[..., 3] = 255
    slides = [np.roll(np.where((u // 12 % 2 > 0)[..., None], other, one), 3 * i, 1) for i in range(24)]
    assert not any(
        "border" in r for f in (darker, slides) for r in of_pictures(f, np.arange(24) / 24).reasons
    )


def test_options_have_the_digits_they_need() -> None:
    assert option_words(np.arange(48) / 24, 8, 31) == "--start 0.33 --end 1.292"
    assert option_words(np.arange(10) * 0.5, 1, 9) == "--start 0.50 --end 4.50"


def test_a_cut_happens_at_once() -> None:
    """Between two frames of a source: a jump, in a walk, too, but no way gone bit by bit or at a run."""

    class Boxes:
        def __init__(self, at: list[int]) -> None:
            self.at, self.times = at, np.arange(len(at)) / 24
            self.duration, self.has_alpha, self.notes = len(at) / 24, True, ()

        def read(self, indices: Sequence[int], max_side: int | None = None) -> Iterator[np.ndarray]:
            return iter([box(self.at[i]) for i in indices])

    still = Boxes([10] * 17 + [60] * 24)
    going = Boxes([10 + i for i in range(17)] + [60 + i for i in range(9)])
    assert changes_at_once(still, 0, 40)
    assert changes_at_once(going, 0, 25)
    assert changes_at_once(going, 16, 17)
    assert not changes_at_once(Boxes([10 + i for i in range(41)]), 0, 40)
    run = Boxes([10] * 8 + [15, 20, 34, 39, 44] + [44] * 8)
    assert not any(changes_at_once(run, i, i + 2) for i in range(7, 12))
    assert not any(changes_at_once(run, i, i + 1) for i in range(7, 12))
    on_threes = Boxes([10 + 9 * (i // 3) for i in range(18)])
    assert not any(changes_at_once(on_threes, i, i + 1) for i in range(5, 12))
    two_cuts = Boxes([10] * 8 + [60] * 3 + [20] * 8)
    assert changes_at_once(two_cuts, 7, 8)
    assert changes_at_once(two_cuts, 10, 11)
