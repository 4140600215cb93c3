"""What a folder holds: one sequence, pictures with masks, or more than could be meant."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from boxes import moving, on_white, refuse
from PIL import Image

from vid4d.clip.clip import read_clip
from vid4d.clip.sources import open_source
from vid4d.media.video import write_mp4

COUNT = 6
BOXES = moving(COUNT)
NOISE = np.random.default_rng(0).integers(0, 256, (*BOXES[0].shape[:2], 3), dtype=np.uint8)


def pictures() -> list[np.ndarray]:
    """The boxes before noise, which no plain method removes."""
    return [np.where(b[..., 3:] > 0, b[..., :3], NOISE).astype(np.uint8) for b in BOXES]


def masks(white: int = 255, *, inverted: bool = False) -> list[np.ndarray]:
    return [((b[..., 3] > 127) != inverted).astype(np.uint8) * white for b in BOXES]


def save(folder: Path, name: str, images: Sequence[np.ndarray], first: int = 0) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for i, image in enumerate(images):
        Image.fromarray(image).save(folder / name.format(i + first))
    return folder


def check(path: Path | str, **options: object) -> tuple[str, ...]:
    """The frames that are read are the boxes, exactly; what was said."""
    source = open_source(path, **options)  # type: ignore[arg-type]
    frames = list(source.read(range(COUNT)))
    assert len(source.times) == COUNT
    for frame, truth in zip(frames, BOXES, strict=True):
        assert (frame[..., 3] == truth[..., 3]).all()
        inside = truth[..., 3] > 0
        assert np.abs(frame[inside].astype(int) - truth[inside]).max() <= 1
    assert read_clip(path, frames=0, **options).matting == "alpha"  # type: ignore[arg-type]
    return source.notes


LAYOUTS: dict[str, Callable[[Path, list[np.ndarray]], object]] = {
    "endings": lambda f, m: (save(f, "{:05d}.bmp", pictures()), save(f, "{:05d}.png", m)),
    "words": lambda f, m: (save(f, "a_{}_rgb.png", pictures()), save(f, "a_{}_mask.png", m)),
    "only the masks' word": lambda f, m: (save(f, "{}.png", pictures()), save(f, "{}_alpha.png", m)),
    "folders": lambda f, m: (save(f / "rgb", "{}.png", pictures()), save(f / "mask", "{}.png", m)),
    "published": lambda f, m: (
        save(f / "JPEGImages", "{:05d}.png", pictures()),
        save(f / "Annotations", "{:05d}.png", m),
    ),
    "a folder inside": lambda f, m: (save(f, "x{}.png", pictures()), save(f / "masks", "m{}.png", m)),
    "other first number": lambda f, m: (save(f, "{}.png", pictures()), save(f / "mask", "{}.png", m, 100)),
}


@pytest.mark.parametrize("layout", list(LAYOUTS))
def test_masks_beside_pictures_become_alpha(tmp_path: Path, layout: str) -> None:
    LAYOUTS[layout](tmp_path / "f", masks())
    assert any("taken for the masks" in note for note in check(tmp_path / "f"))


@pytest.mark.parametrize("white", [1, 2, 200, 255])
@pytest.mark.parametrize("inverted", [False, True])
def test_masks_of_either_polarity_and_any_level(tmp_path: Path, white: int, inverted: bool) -> None:
    save(tmp_path / "f/rgb", "{}.png", pictures())
    save(tmp_path / "f/mask", "{}.png", masks(white, inverted=inverted))
    notes = check(tmp_path / "f")
    assert any("turned round" in n for n in notes) == inverted
    assert any("two levels" in n for n in notes) == (white < 255)


@pytest.mark.parametrize("kind", ["folder", "glob", "video", "palette", "16 bits", "1 bit", "larger"])
def test_masks_that_are_named(tmp_path: Path, kind: str) -> None:
    folder = save(tmp_path / "rgb", "{}.png", pictures())
    place = tmp_path / "m"
    place.mkdir()
    for i, mask in enumerate(masks()):
        image = Image.fromarray(mask)
        if kind == "palette":
            image = Image.fromarray(mask // 255)
            image.putpalette([0, 0, 0, 128, 0, 0])
        elif kind == "16 bits":
            image = Image.fromarray(mask.astype(np.uint16) * 257)
        elif kind == "1 bit":
            image = image.convert("1")
        elif kind == "larger":
            image = image.resize((2 * image.width, 2 * image.height), Image.Resampling.NEAREST)
        image.save(place / f"{i}.png")
    named: Path | str = f"{place}/*.png" if kind == "glob" else place
    if kind == "video":
        levels = [np.dstack([m] * 3) for m in masks()]
        named = write_mp4(tmp_path / "m.mp4", levels, 24, quality=1)
        frames = list(open_source(folder, masks=named).read(range(COUNT)))
        assert all(
            np.abs(f[..., 3].astype(int) - b[..., 3]).max() <= 4 for f, b in zip(frames, BOXES, strict=True)
        )
    else:
        check(folder, masks=named)


def test_masks_of_a_video(tmp_path: Path) -> None:
    video = write_mp4(tmp_path / "a.mp4", pictures(), 24)
    place = save(tmp_path / "m", "{:04d}.png", masks())
    frames = list(open_source(video, masks=place).read([0, 3]))
    assert (frames[1][..., 3] == BOXES[3][..., 3]).all()
    refuse("6 masks for 4 frames", write_mp4(tmp_path / "b.mp4", pictures()[:4], 24), masks=place)


def test_masks_that_do_not_fit(tmp_path: Path) -> None:
    folder = save(tmp_path / "f", "{}.png", pictures())
    refuse("masks for 4 of them, none for 4.png", folder, masks=save(tmp_path / "m", "{}.png", masks()[:4]))
    narrow = save(tmp_path / "n", "{}.png", [m[:, ::2] for m in masks()])
    refuse(r"0\.png: 48x80 pixels do not fit a picture of 96x80", folder, masks=narrow)
    refuse("no such file", folder, masks=tmp_path / "none")
    save(tmp_path / "f/masks", "{}.png", masks())
    save(tmp_path / "f/seg", "{}.png", masks())
    refuse("masks twice.*--masks", folder)


def test_one_of_the_roles_is_the_clip(tmp_path: Path) -> None:
    save(tmp_path / "f", "{}_rgba.png", BOXES)
    save(tmp_path / "f", "{}_normal.png", [255 - p for p in pictures()])
    save(tmp_path / "f", "{}_depth.png", [p[..., 0] for p in pictures()])
    (note,) = check(tmp_path / "f")
    assert "_depth.png" in note and "_normal.png" in note  # noqa: PT018


def test_a_clip_that_shows_a_mask_is_one(tmp_path: Path) -> None:
    check(save(tmp_path / "f", "mask_{}.png", BOXES))
    check(save(tmp_path / "depth", "{}.png", BOXES))


@pytest.mark.parametrize("extra", ["cover.png", "preview.jpg", "contact_sheet.png", "poster1.png"])
def test_a_picture_beside_the_sequence_is_left_out_and_named(tmp_path: Path, extra: str) -> None:
    folder = save(tmp_path / "f", "{:04d}.png", BOXES)
    Image.new("RGB", (96, 80) if "cover" in extra else (30, 30)).save(folder / extra)
    (folder / "Thumbs.db").write_bytes(b"x")
    (folder / "._0003.png").write_bytes(b"\0\5\x16\7")
    (note,) = check(folder)
    assert extra in note
    assert "left out" in note


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ("left_{:03d}.png", "right_{:03d}.png"),
        ("cam0_{:03d}.png", "cam1_{:03d}.png"),
        ("{}.png", "{}.bmp"),
        ("a/{}.png", "b/{}.png"),
    ],
)
def test_two_sequences_are_refused_with_the_way_out(tmp_path: Path, one: str, two: str) -> None:
    folder = tmp_path / "two [of] them"
    for name, images in ((one, BOXES), (two, [b[:, ::-1] for b in BOXES])):
        save((folder / name).parent, Path(name).name, [np.ascontiguousarray(i) for i in images])
    with pytest.raises(ValueError, match="two sequences that could be meant") as caught:
        read_clip(folder)
    globs = re.findall(r"'([^']+)'", str(caught.value).split("name one: ")[1])
    assert len(globs) == 2
    assert all(len(shlex.split(shlex.quote(g))) == 1 for g in globs)
    assert [len(open_source(g).times) for g in globs] == [COUNT, COUNT]
    check(next(g for g in globs if (Path(one).suffix in g and Path(one).parts[0][:2] in g) or "*.png" in g))


def test_names_without_a_pattern_are_taken_in_their_order_and_told(tmp_path: Path) -> None:
    folder = tmp_path / "f"
    folder.mkdir()
    for name, picture in zip(("alpha1", "be", "cow", "d", "egg", "fox"), BOXES, strict=True):
        Image.fromarray(picture).save(folder / f"{name}.png")
    folder.joinpath("alpha1.png").rename(folder / "a.png")
    (note,) = check(folder)
    assert "no pattern" in note
    assert "a.png, be.png" in note


def test_a_folder_with_a_video(tmp_path: Path) -> None:
    write_mp4(tmp_path / "f/утка [1].mp4", [on_white(b) for b in BOXES], 24)
    assert len(open_source(tmp_path / "f").times) == COUNT
    Image.new("RGB", (9, 9)).save(tmp_path / "f/cover.jpg")
    assert len(open_source(tmp_path / "f").times) == COUNT
    write_mp4(tmp_path / "f/b.mp4", [on_white(b) for b in BOXES], 24)
    refuse(r"2 videos, b\.mp4 and утка", tmp_path / "f")


def test_brackets_of_a_folder_that_exists_are_its_name(tmp_path: Path) -> None:
    folder = save(tmp_path / "clip [1]", "f{}.png", BOXES)
    check(f"{folder}/*.png")
    save(tmp_path / "clip1", "f{}.png", BOXES[:2])
    check(f"{folder}/f[0-9].png")
    assert len(open_source(f"{tmp_path}/cli[p]1/*.png").times) == 2
