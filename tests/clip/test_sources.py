"""Sources of clips: every kind of file, and those that are damaged or none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from boxes import box, folder_of, moving, on_white, refuse
from PIL import Image

from vid4d.clip.alpha import read_levels
from vid4d.clip.clip import read_clip
from vid4d.clip.sources import open_source, read_rgba
from vid4d.media import images
from vid4d.media.video import write_mp4


def test_a_folder_a_glob_and_a_single_image(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "f", moving(12))
    clip = read_clip(folder)
    assert clip.frames.shape == (8, 256, 256, 4)
    assert clip.frames.dtype == np.float32
    assert (clip.times[0], clip.times[-1]) == (0, 1)
    assert clip.seconds == pytest.approx(11 / 24)
    assert (clip.matting, clip.cyclic, clip.source) == ("alpha", False, str(folder))
    assert read_clip(folder, fps=11).seconds == pytest.approx(1)
    assert len(read_clip(f"{folder}/f1*.png", frames=None)) == 3  # f1, f10, f11
    still = read_clip(folder / "f0.png")
    assert (len(still), still.times.tolist(), still.seconds, still.cyclic) == (1, [0.0], 1.0, False)


@pytest.mark.parametrize("ending", ["gif", "webp", "png"])
def test_animated_images_keep_alpha_and_their_own_times(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"a.{ending}"
    images = [Image.fromarray(p) for p in moving(5)]
    extra = {"lossless": True} if ending == "webp" else {"disposal": 2}
    images[0].save(path, save_all=True, append_images=images[1:], duration=[100, 100, 200, 100, 100], **extra)
    clip = read_clip(path, frames=0, follow="no")
    assert len(clip) == 5
    assert clip.times == pytest.approx([0, 0.2, 0.4, 0.8, 1.0])
    assert clip.seconds == pytest.approx(0.5)
    assert clip.matting == "alpha"
    centre = [float((f[..., 3].sum(0) * np.arange(256)).sum() / f[..., 3].sum()) for f in clip.frames]
    assert np.all(np.diff(centre) > 20)


def test_a_video_on_white(tmp_path: Path) -> None:
    path = write_mp4(tmp_path / "a.mp4", [on_white(p) for p in moving(20)], 10)
    clip = read_clip(path, frames=5, follow="no")
    assert (clip.matting, len(clip)) == ("plain", 5)
    assert clip.matting_confidence > 0.8
    assert clip.seconds == pytest.approx(1.9)
    assert clip.times == pytest.approx([0, 5 / 19, 9 / 19, 14 / 19, 1], abs=1 / 19 + 1e-9)
    # the box is 20 of 70 pixels of the union, which spans 200 of 256
    assert (clip.frames[..., 3] > 0.5).sum((1, 2)) == pytest.approx((200 * 20 / 70) ** 2, rel=0.1)


@pytest.mark.parametrize("mode", ["grey16", "L", "LA", "P", "1", "RGB", "palette alpha"])
def test_png_kinds(tmp_path: Path, mode: str) -> None:
    """A dark box on white, or on nothing, in every kind of PNG gives the same mask."""
    rgba = box(30, color=(60, 60, 60))
    grey = np.where(rgba[..., 3] > 0, 60, 255).astype(np.uint8)
    images = {
        "grey16": lambda: Image.fromarray(grey.astype(np.uint16) * 257),
        "L": lambda: Image.fromarray(grey),
        "LA": lambda: Image.fromarray(np.dstack([np.full_like(grey, 60), rgba[..., 3]]), "LA"),
        "P": lambda: Image.fromarray(grey).convert("RGB").quantize(4),
        "1": lambda: Image.fromarray(grey > 128),
        "RGB": lambda: Image.fromarray(np.dstack([grey] * 3)),
        "palette alpha": lambda: Image.fromarray(rgba).quantize(8, method=Image.Quantize.FASTOCTREE),
    }
    path = tmp_path / "a.png"
    images[mode]().save(path)
    clip = read_clip(path)
    mask = clip.frames[0, ..., 3] > 0.5
    assert mask.sum() == pytest.approx(200 * 200, rel=0.03)
    inside = clip.frames[0, 128, 128, :3]
    assert inside == pytest.approx(0 if mode == "1" else 60 / 255, abs=0.06)
    assert clip.matting == ("alpha" if mode in ("LA", "palette alpha") else "plain")


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16", "F"])
def test_large_pictures_are_read_in_blocks_of_rows(
    tmp_path: Path, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (30, 20, 4), np.uint8))
    path = tmp_path / f"a.{'tif' if mode in ('CMYK', 'F') else 'png'}"
    if mode in ("I;16", "F"):
        deep = np.asarray(noise.convert("L"))
        Image.fromarray(deep.astype(np.uint16) * 257 if mode == "I;16" else deep / np.float32(255)).save(path)
    else:
        noise.convert(mode).save(path, **({"transparency": 7} if mode == "P" else {}))
    whole = read_rgba(path), read_levels(path)
    monkeypatch.setattr(images, "BLOCK", 70)
    for picture, expected in zip((read_rgba(path), read_levels(path)), whole, strict=True):
        np.testing.assert_array_equal(picture, expected)
        assert len(np.unique(picture)) > 1


def test_photos_are_turned_upright(tmp_path: Path) -> None:
    image = Image.fromarray(on_white(box(10, w=60)))
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(tmp_path / "a.jpg", exif=exif, quality=95)
    mask = read_clip(tmp_path / "a.jpg").frames[0, ..., 3] > 0.5
    rows, columns = np.nonzero(mask)
    assert np.ptp(rows) > 2.5 * np.ptp(columns)  # upright: taller than wide


def test_bad_files(tmp_path: Path) -> None:
    refuse("no such file", tmp_path / "none.mp4")
    refuse("no file matches", f"{tmp_path}/*.png")
    (tmp_path / "empty").mkdir()
    refuse("no images in this folder", tmp_path / "empty")
    (tmp_path / "text.mp4").write_text("hello " * 100)
    refuse("not a video or image", tmp_path / "text.mp4")
    (tmp_path / "zero.mp4").write_bytes(b"")
    refuse("is empty", tmp_path / "zero.mp4")
    whole = write_mp4(tmp_path / "whole.mp4", [on_white(box(30))] * 30, 24).read_bytes()
    (tmp_path / "cut.mp4").write_bytes(whole[: len(whole) // 4])
    refuse("cut off|damaged", tmp_path / "cut.mp4")
    folder = folder_of(tmp_path / "broken", moving(3))
    data = (folder / "f1.png").read_bytes()
    (folder / "f1.png").write_bytes(data[: len(data) // 2])
    refuse(r"f1\.png.*damaged", folder)
    (folder / "f1.png").write_text("no image")
    refuse(r"f1\.png: not an image", folder)


def test_frames_of_different_sizes(tmp_path: Path) -> None:
    refuse(
        r"different sizes.*f0\.png has 96x80.*f1\.png has 40x40",
        folder_of(tmp_path / "f", [box(30), box(30)[:40, :40]]),
    )


def test_a_stack_of_pages_is_a_clip_and_a_preview_is_none(tmp_path: Path) -> None:
    pages = [Image.fromarray(p) for p in moving(4)]
    stack = tmp_path / "stack.tif"
    pages[0].save(stack, save_all=True, append_images=pages[1:])
    clip = read_clip(stack, frames=0, cyclic=False)
    assert len(clip) == 4
    assert "stack.tif: its 4 pages are taken for frames, 10 a second" in clip.warnings
    frames = read_clip(folder_of(tmp_path / "f", moving(4)), frames=0, cyclic=False, fps=10)
    assert np.array_equal(clip.frames, frames.frames)
    pages[0].save(stack, save_all=True, append_images=[pages[0].resize((24, 20))])
    assert len(read_clip(stack)) == 1


def test_pictures_further_down_are_named_with_their_masks(tmp_path: Path) -> None:
    """As in sets for video segmentation: the words of the sentence, given as they are, are understood."""
    pictures = folder_of(tmp_path / "JPEGImages" / "480p" / "bear", [p[..., :3] for p in moving(3)])
    masks = folder_of(tmp_path / "Annotations" / "480p" / "bear", [p[..., 3] // 255 for p in moving(3)])
    refuse(f"no images in this folder; give {pictures} --masks {masks}$", tmp_path)
    assert len(read_clip(pictures, frames=0, masks=masks)) == 3
    folder_of(tmp_path / "JPEGImages" / "480p" / "swan", [p[..., :3] for p in moving(3)])
    refuse("or another of the 2 folders of pictures in it", tmp_path)


def test_pictures_further_down_beside_a_sequence_are_told(tmp_path: Path) -> None:
    folder_of(tmp_path / "clip" / "ref", moving(4))
    assert open_source(tmp_path / "clip").notes == ()
    folder_of(tmp_path / "clip" / "views" / "0", moving(2))
    (told,) = open_source(tmp_path / "clip").notes
    assert told.startswith("views: pictures in folders further down")


def test_a_frame_without_alpha_among_others_that_have_it(tmp_path: Path) -> None:
    pictures = moving(4)
    pictures[2] = np.dstack([on_white(pictures[2]), np.full(pictures[2].shape[:2], 255, np.uint8)])
    folder = folder_of(tmp_path / "f", [*pictures[2:3], *pictures[:2]])
    refuse("0.00 s fills the whole picture, and those of others do not.*--matting plain", folder, frames=0)
    assert len(read_clip(folder, frames=0, matting="plain")) == 3
