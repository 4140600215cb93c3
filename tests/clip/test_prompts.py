"""Clicks and boxes choose the object among several things, whatever the masks come from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from boxes import box, folder_of, on_white, refuse
from command_line import refused, run

from vid4d.clip.clip import read_clip
from vid4d.clip.places import Places
from vid4d.clip.prompts import Prompts, read_prompts
from vid4d.errors import InputError
from vid4d.methods.stages import read_as_set
from vid4d.settings import Settings

RED, GREEN, BLUE = (200, 40, 40), (40, 160, 40), (40, 40, 200)


def three(x: int) -> np.ndarray:
    """A large red box at the lower left, and a green and a blue one above; all go to the right."""
    pictures = [
        box(x, 50, 24, 20, RED),
        box(x + 10, 10, 12, 12, GREEN),
        box(x + 50, 12, 10, 10, BLUE),
    ]
    return np.max(pictures, axis=0)


def shown(path: Path, **options: object) -> set[str]:
    """Names of the colors that all frames of a clip show, each in all of them."""
    clip = read_clip(path, frames=0, cyclic=False, **options)  # type: ignore[arg-type]
    strongest = clip.frames[..., :3].argmax(-1)
    names = [
        {name for i, name in enumerate(("red", "green", "blue")) if (opaque & (seen == i)).sum() > 50}
        for seen, opaque in zip(strongest, clip.frames[..., 3] > 0.5, strict=True)
    ]
    assert all(n == names[0] for n in names)
    return names[0]


def test_what_is_pointed_at_is_the_object(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "f", [three(4 + 2 * i) for i in range(4)])
    assert shown(folder) == {"red", "green", "blue"}
    assert shown(folder, click=("10,60",)) == {"red"}
    assert shown(folder, click=("20,15", "58,16")) == {"green", "blue"}
    assert shown(folder, click=("13,15",)) == {"green"}  # a pixel beside it
    assert shown(folder, box="10,5,70,30") == {"green", "blue"}
    assert shown(folder, box="10,5,40,30", click=("10,60",)) == {"red", "green"}
    clip = read_clip(folder, frames=0, cyclic=False, click=("58,16",))
    assert clip.object_pixels == pytest.approx(10, abs=1.5)
    assert "2 other things are left out, beside what was chosen" in clip.warnings


def test_a_plain_background_and_a_run(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "f", [on_white(three(4 + 2 * i)) for i in range(2)])
    assert shown(folder, click=("58,16",)) == {"blue"}
    settings = Settings(clip=str(folder), click=("58,16",), cyclic="no")
    clip = read_as_set(settings, frames=2, size=32)
    assert clip.matting == "plain"
    assert clip.object_pixels == pytest.approx(10, abs=1.5)
    assert read_as_set(replace(settings, click=(), box="0,45,50,75"), frames=2, size=32).object_pixels == 24


def test_pixels_are_those_of_the_source(tmp_path: Path) -> None:
    """In a picture of 1152 pixels, which is judged at 1024, below a bar of 192."""
    picture = on_white(np.kron(three(4), np.ones((12, 12, 1), np.uint8)))
    picture[:192] = 0
    picture[192:, :] = np.where(picture[192:, :] == 255, 250, picture[192:, :])
    folder = folder_of(tmp_path / "f", [picture])
    assert shown(folder, click=("120,720",)) == {"red"}
    assert Prompts(((100, 80),), (20, 40, 60, 80)).in_picture(Places((200, 160), 2, (5, 10))) == Prompts(
        ((45, 30),), (5, 10, 25, 30)
    )


def test_what_hits_nothing_is_one_sentence(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "f", [three(4 + 2 * i) for i in range(3)])
    refuse(r"--click 80,70: nothing lies there.*largest lies in 4,50,28,70", folder, click=("80,70",))
    refuse(r"--click 500,10: lies outside", folder, click=("500,10",))
    refuse(r"--box 70,60,90,75: holds nothing in the first frame", folder, box="70,60,90,75")
    refuse("no effect beside --keep", folder, click=("10,60",), keep=True)


def test_places_in_sentences_are_pixels_of_the_source(tmp_path: Path) -> None:
    """A picture of 2048 pixels, judged at 1024, below a bar of 192: what is named can be given as it is."""
    picture = on_white(np.kron(three(4), np.ones((22, 22, 1), np.uint8)))[:, :2048]
    picture[:192] = 0
    folder = folder_of(tmp_path / "f", [picture])
    with pytest.raises(InputError, match="holds nothing in the first frame; of what") as refused:
        read_clip(folder, box="1800,1500,1900,1600")
    named = str(refused.value).split("lies in ")[1].split(" ")[0]
    left, top, right, bottom = (int(n) for n in named.split(","))
    assert (left, top, right, bottom) == pytest.approx((4 * 22, 50 * 22, 28 * 22, 70 * 22), abs=8)
    assert shown(folder, box=f"{left - 9},{top - 9},{right + 9},{bottom + 9}") == {"red"}


@pytest.mark.parametrize("text", ["10", "10,20,30", "a,b", "-1,5", "10;20", "", "nan,1"])
def test_what_is_no_point(text: str) -> None:
    with pytest.raises(InputError, match=r"--click .*give pixels of the source as X,Y"):
        read_prompts([text], "")


def test_boxes_that_hold_nothing() -> None:
    with pytest.raises(InputError, match="left, top, right and bottom"):
        read_prompts([], "30,10,20,40")
    assert not read_prompts([], "")


def test_the_commands_take_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = folder_of(tmp_path / "f", [three(4 + 2 * i) for i in range(3)])
    out = tmp_path / "out"
    assert run("prepare", folder, "--out", out, "--click", "20,15", "--click", "58,16", "--size", 32) == 0
    assert "one other thing" in capsys.readouterr().out
    assert "nothing lies there" in refused(
        capsys, "prepare", folder, "--out", tmp_path / "n", "--click", "80,70"
    )
    assert not (tmp_path / "n").exists()
