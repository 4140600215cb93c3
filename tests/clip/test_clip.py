"""Clips: every kind of file, one crop, time sampling, loops, warnings, and every bad input."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vid4d.clip.checks import loop_period, loop_probes, thumbnail
from vid4d.clip.clip import Clip, ClipOptions, read_clip
from vid4d.clip.crop import crop
from vid4d.clip.files import key_times, load_frames, prepare_clip, save_strip, write_frames
from vid4d.errors import InputError
from vid4d.files.paths import natural_order
from vid4d.media.video import write_mp4

W, H = 96, 80


def box(x: int, y: int = 30, w: int = 20, h: int = 20, color: Sequence[int] = (200, 40, 40)) -> np.ndarray:
    """A transparent picture with one opaque box that carries a little texture."""
    picture = np.zeros((H, W, 4), np.uint8)
    v, u = np.mgrid[:h, :w]
    picture[y : y + h, x : x + w, :3] = np.array(color) + 12 * ((u + v) % 2)[..., None]
    picture[y : y + h, x : x + w, 3] = 255
    return picture


def on_white(rgba: np.ndarray) -> np.ndarray:
    return np.where(rgba[..., 3:] > 0, rgba[..., :3], 255).astype(np.uint8)


def folder_of(folder: Path, pictures: Sequence[np.ndarray]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for i, picture in enumerate(pictures):
        Image.fromarray(picture).save(folder / f"f{i}.png")
    return folder


def moving(count: int) -> list[np.ndarray]:
    return [box(10 + round(50 * i / max(count - 1, 1))) for i in range(count)]


# ---- every kind of file ----


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


def test_natural_order(tmp_path: Path) -> None:
    names = ["a10.png", "a9.png", "a1.png", "A2.png"]
    assert [p.name for p in natural_order([tmp_path / n for n in names])] == [
        "a1.png",
        "A2.png",
        "a9.png",
        "a10.png",
    ]


@pytest.mark.parametrize("ending", ["gif", "webp", "png"])
def test_animated_images_keep_alpha_and_their_own_times(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"a.{ending}"
    images = [Image.fromarray(p) for p in moving(5)]
    extra = {"lossless": True} if ending == "webp" else {"disposal": 2}
    images[0].save(path, save_all=True, append_images=images[1:], duration=[100, 100, 200, 100, 100], **extra)
    clip = read_clip(path, frames=0)
    assert len(clip) == 5
    assert clip.times == pytest.approx([0, 0.2, 0.4, 0.8, 1.0])
    assert clip.seconds == pytest.approx(0.5)
    assert clip.matting == "alpha"
    centre = [float((f[..., 3].sum(0) * np.arange(256)).sum() / f[..., 3].sum()) for f in clip.frames]
    assert np.all(np.diff(centre) > 20)


def test_a_video_on_white(tmp_path: Path) -> None:
    path = write_mp4(tmp_path / "a.mp4", [on_white(p) for p in moving(20)], 10)
    clip = read_clip(path, frames=5)
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


def test_photos_are_turned_upright(tmp_path: Path) -> None:
    image = Image.fromarray(on_white(box(10, w=60)))
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(tmp_path / "a.jpg", exif=exif, quality=95)
    mask = read_clip(tmp_path / "a.jpg").frames[0, ..., 3] > 0.5
    rows, columns = np.nonzero(mask)
    assert np.ptp(rows) > 2.5 * np.ptp(columns)  # upright: taller than wide


# ---- crop ----


def test_one_crop_for_the_whole_clip(tmp_path: Path) -> None:
    """The union over the frames is centred and spans 200 of 256 pixels; motion and size survive."""
    pictures = [box(10, 30, 10, 10), box(60, 30, 20, 20)]
    clip = read_clip(folder_of(tmp_path / "f", pictures))
    masks: np.ndarray = clip.frames[..., 3] > 0.5
    rows, columns = np.nonzero(masks.any((0, 2)))[0], np.nonzero(masks.any((0, 1)))[0]
    assert columns[-1] + 1 - columns[0] == pytest.approx(200, abs=1)
    assert (columns[0] + columns[-1] + 1) / 2 == pytest.approx(128, abs=1)
    assert (rows[0] + rows[-1] + 1) / 2 == pytest.approx(128, abs=1)
    areas = (clip.frames[..., 3] > 0.5).sum((1, 2))
    assert areas[1] / areas[0] == pytest.approx(4, rel=0.1)
    small = read_clip(tmp_path / "f", size=64, object_size=0.5)
    columns = np.nonzero((small.frames[..., 3] > 0.5).any((0, 1)))[0]
    assert columns[-1] + 1 - columns[0] == pytest.approx(32, abs=1)


@pytest.mark.parametrize("side", [40.0, 300.7])
def test_resampling_makes_no_fringe(side: float) -> None:
    picture = np.zeros((100, 100, 4), np.uint8)
    picture[..., :3] = (0, 255, 0)  # what lies under full transparency must not show
    picture[31:68, 33:70] = (255, 0, 128, 255)
    out = crop(picture, (50 - side / 2, 50.3 - side / 2, side), 96)
    visible = out[..., 3] > 0.01
    assert np.abs(out[visible][:, :3] - np.array([1, 0, 128 / 255])).max() < 1e-3
    scale = 96 / side
    assert out[..., 3].sum() == pytest.approx(min(37 * scale, 96) ** 2, rel=0.02)
    assert (out[~visible][:, 3]).max(initial=0) < 0.01


# ---- time ----


def test_first_and_last_are_included_and_steps_are_even(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "f", moving(32))
    clip = read_clip(folder, frames=8)
    assert clip.times[0] == 0
    assert clip.times[-1] == 1
    assert np.diff(clip.times) == pytest.approx(np.full(7, 1 / 7), abs=1 / 31 + 1e-9)
    assert read_clip(folder, frames=2).times.tolist() == [0, 1]
    assert len(read_clip(folder, frames=50)) == 32
    assert len(read_clip(folder, frames=0)) == 32


def test_start_end_every(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "f", moving(24))
    clip = read_clip(folder, start=0.25, end=0.5, frames=None)
    assert len(clip) == 7  # frames 6..12 at 24 a second
    assert clip.seconds == pytest.approx(0.25)
    assert len(read_clip(folder, every=5, frames=None)) == 5  # 0, 5, 10, 15, 20


def circling(count: int, closed: bool) -> list[np.ndarray]:
    """A box on a circle: one period in `count` frames; `closed` repeats the first frame at the end."""
    angles = 2 * np.pi * np.arange(count) / (count - 1 if closed else count)
    return [box(38 + round(20 * np.cos(a)), 30 + round(20 * np.sin(a))) for a in angles]


@pytest.mark.parametrize("closed", [False, True])
def test_loops_are_found(tmp_path: Path, closed: bool) -> None:
    folder = folder_of(tmp_path / "f", circling(25 if closed else 24, closed))
    clip = read_clip(folder, frames=8)
    assert clip.cyclic
    assert clip.times == pytest.approx(np.arange(8) / 8)
    assert clip.seconds == pytest.approx(1.0)
    assert not read_clip(folder, frames=8, cyclic=False).cyclic


def test_open_clips_are_no_loops(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "f", moving(24))
    assert not read_clip(folder).cyclic
    forced = read_clip(folder, cyclic=True)
    assert forced.cyclic
    assert forced.times == pytest.approx(np.arange(8) / 8)
    assert not read_clip(folder_of(tmp_path / "still", [box(30)] * 12)).cyclic
    half = circling(24, False)[:14]
    assert not read_clip(folder_of(tmp_path / "half", half)).cyclic
    random = np.random.default_rng(0)
    noisy = [on_white(box(30)) - random.integers(0, 8, (H, W, 3), dtype=np.uint8) for _ in range(12)]
    assert not read_clip(folder_of(tmp_path / "noisy", noisy)).cyclic


@pytest.mark.parametrize("loop", [False, True])
@pytest.mark.parametrize("dense", [0, 3, 8, 9, 13, 30, 32, 64])
def test_key_frames_are_among_the_dense_ones(tmp_path: Path, dense: int, loop: bool) -> None:
    """The same key frames at the same times, whatever else is read; no more in all than asked for."""
    folder = folder_of(tmp_path / "f", circling(32, False) if loop else moving(32))
    plain, clip = read_clip(folder, frames=8, size=64), read_clip(folder, frames=8, dense=dense, size=64)
    assert (clip.cyclic, clip.seconds) == (loop, plain.seconds)
    assert clip.at_keys().times.tolist() == plain.times.tolist()
    assert len(clip) == min(32, max(8, dense))
    assert (np.diff(clip.times) > 0).all()
    shares = clip.times * (32 if loop else 31)  # frame i stands at i / 32 of a period, at i / 31 of a clip
    assert shares == pytest.approx(shares.round(), abs=1e-6)
    gaps = np.diff(shares.round())
    assert gaps.max() <= (5 if dense < 30 else 2)
    if len(clip) > 8:
        assert clip.keys is not None
        assert np.array_equal(clip.at_keys().frames, clip.frames[list(clip.keys)])
        assert clip.at_keys().at_keys() is not None


def test_a_still_has_one_frame_whatever_else_could_be_read(tmp_path: Path) -> None:
    assert len(read_clip(folder_of(tmp_path / "f", moving(12)), frames=1, dense=64)) == 1


def test_the_crop_holds_what_happens_between_key_frames(tmp_path: Path) -> None:
    """The box is far to the right in the middle only, where no key frame is."""
    pictures = [box(10), box(14), box(70), box(14), box(10)]
    folder = folder_of(tmp_path / "f", pictures)
    keys = read_clip(folder, frames=2, size=64)
    both = read_clip(folder, frames=2, dense=5, size=64)
    width = [int((c.frames[0, ..., 3] > 0.5).any(0).sum()) for c in (keys, both)]
    assert width == pytest.approx([50, 12.5], abs=1)  # a box of 20 in windows of 24 / 0.78 and 80 / 0.78
    assert (both.frames[..., 3] > 0.5).sum((1, 2)) == pytest.approx(144, abs=30)
    assert both.keys == (0, 4)


def test_frames_between_that_show_nothing_are_left_out(tmp_path: Path) -> None:
    """Key frames without an object are refused, as ever."""
    empty = np.zeros((H, W, 4), np.uint8)
    folder = folder_of(tmp_path / "f", [box(10), empty, box(20), box(24), box(30)])
    clip = read_clip(folder, frames=3, dense=64, size=64)
    assert clip.times == pytest.approx([0, 0.5, 0.75, 1])
    assert clip.keys == (0, 1, 3)
    assert any(w.startswith("1 frames between the key frames show no object") for w in clip.warnings)
    refuse("0.04 s is empty", folder, frames=5, dense=64)


def test_long_loops_are_judged_by_a_few_frames() -> None:
    pictures = circling(500, False)
    probes = loop_probes(500)
    assert len(probes) < 60
    assert {0, 1, 498, 499} <= set(probes)
    assert loop_period([thumbnail(pictures[i]) for i in probes], probes, 500) in (499, 500)


def test_two_thousand_frames_are_sampled(tmp_path: Path) -> None:
    from vid4d.media.video import Video

    path = write_mp4(tmp_path / "long.mp4", (on_white(box(10 + i // 40)) for i in range(2000)), 50)
    held: list[int] = []
    plain_read = Video.read

    def counted(self: Video, indices: Sequence[int], max_side: int | None = None):  # type: ignore[no-untyped-def]
        held.append(len(indices))
        return plain_read(self, indices, max_side)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Video, "read", counted)
        clip = read_clip(path)
        assert sum(held) < 70
        held.clear()
        dense = read_clip(path, dense=64)
    assert len(clip) == 8
    assert clip.seconds == pytest.approx(1999 / 50)
    assert len(dense) == 64
    assert sum(held) < 130
    assert dense.at_keys().times.tolist() == clip.times.tolist()
    with pytest.raises(InputError, match=r"2000 frames would need \d+ GiB.*--frames"):
        read_clip(path, frames=None, size=2048, cyclic=False)


# ---- warnings ----


def warned(tmp_path: Path, pictures: Sequence[np.ndarray], **options: object) -> str:
    return " | ".join(read_clip(folder_of(tmp_path / "w", pictures), **options).warnings)  # type: ignore[arg-type]


def large(x: int = 60, blur: float = 0, seed: int = 0) -> np.ndarray:
    """A 240-pixel box with random texture in a 360-pixel picture."""
    from scipy import ndimage

    texture = np.random.default_rng(seed).integers(0, 256, (240, 240, 3)).astype(np.float32)
    texture = ndimage.gaussian_filter(texture, (1 + blur, 1 + blur, 0))
    picture = np.zeros((360, 360, 4), np.uint8)
    picture[60:300, x : x + 240, :3] = np.clip(128 + 3 * (texture - 128), 0, 255)
    picture[60:300, x : x + 240, 3] = 255
    return picture


def test_a_good_clip_has_no_warnings(tmp_path: Path) -> None:
    assert warned(tmp_path, [large(x) for x in (40, 50, 60, 70)]) == ""


def test_warnings_say_what_and_when(tmp_path: Path) -> None:
    assert "touches the border of the picture at 0.12 s" in warned(
        tmp_path / "border", [large(40), large(60), large(80), large(120)]
    )
    jump = [large() for _ in range(6)]
    jump[3][150:] = 0
    assert "area jumps at 0.12, 0.17 s" in warned(tmp_path / "jump", jump)
    two = large()
    two[140:200] = 0
    assert "several separate objects" in warned(tmp_path / "two", [two, two])
    soft = [large(), large(), large(blur=2.5), large()]
    assert "soft frames at 0.08 s" in warned(tmp_path / "soft", soft)
    assert "very low resolution: the object is enlarged" in warned(tmp_path / "low", [box(30), box(30)])


def test_low_confidence_is_said(tmp_path: Path) -> None:
    picture = np.full((120, 120, 3), 200, np.uint8)
    picture[30:90, 30:90] = 207
    picture[30:90, 30:33] = picture[30:90, 87:90] = picture[30:33, 30:90] = picture[87:90, 30:90] = 60
    clip = read_clip(folder_of(tmp_path / "f", [picture, picture]))
    assert clip.matting_confidence < 0.6
    assert any("low confidence" in w for w in clip.warnings)


def test_a_moving_camera_is_said(tmp_path: Path) -> None:
    from scipy import ndimage

    from vid4d.clip.checks import warn

    wide = ndimage.gaussian_filter(np.random.default_rng(0).normal(size=(360, 420)), 3)
    wide = (128 + 40 * wide / wide.std()).clip(0, 255).astype(np.uint8)

    def frames(shift: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
        cut, seen = [], []
        for i in range(3):
            rgba = large(60 + 3 * i)
            back = wide[:, i * shift : i * shift + 360, None].repeat(3, -1)
            cut.append(rgba)
            seen.append(
                np.dstack([np.where(rgba[..., 3:] > 0, rgba[..., :3], back), np.full((360, 360), 255)])
            )
        return cut, [s.astype(np.uint8) for s in seen]

    for shift, expected in ((0, False), (9, True)):
        cut, seen = frames(shift)
        said = warn(cut, seen, np.arange(3.0), confidence=1.0, has_background=True, enlarged=1.0)
        assert any("camera seems to move" in w for w in said) == expected


# ---- files ----


def test_written_frames_come_back(tmp_path: Path) -> None:
    clip = read_clip(folder_of(tmp_path / "f", circling(24, False)), size=64)
    folder = write_frames(clip, tmp_path / "out")
    back = load_frames(folder)
    visible = clip.frames[..., 3] > 0
    assert np.abs(back.frames - clip.frames)[visible].max() <= 0.5 / 255 + 1e-6
    assert np.array_equal(back.times, clip.times)
    for name in ("seconds", "cyclic", "warnings", "source", "matting", "matting_confidence"):
        assert getattr(back, name) == getattr(clip, name)
    again = read_clip(folder, size=64)  # a prepared folder is a clip like any other, with its own times
    assert again.cyclic
    assert again.times == pytest.approx(clip.times)
    assert again.seconds == pytest.approx(clip.seconds)
    with pytest.raises(InputError, match="exists already"):
        write_frames(clip, folder)


def test_written_frames_remember_their_key_frames(tmp_path: Path) -> None:
    clip = read_clip(folder_of(tmp_path / "f", moving(12)), frames=4, dense=9, size=32)
    folder = write_frames(clip, tmp_path / "out")
    assert load_frames(folder).keys == clip.keys
    assert key_times(folder) == tuple(clip.at_keys().times)
    file = folder / "clip.json"
    metadata = json.loads(file.read_text())
    keys = metadata.pop("keys")
    file.write_text(json.dumps(metadata))  # as it was written before there were frames between
    assert load_frames(folder).keys is None
    assert key_times(folder) == tuple(clip.times)
    for wrong in ([], [0, 9], "x", 3):
        file.write_text(json.dumps(metadata | {"keys": wrong}))
        with pytest.raises(InputError, match=r"clip\.json: 'keys' "):
            load_frames(folder)
    assert keys == list(clip.keys or ())
    assert key_times(tmp_path) is None


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"seconds": math.nan}, "'seconds'"),
        ({"seconds": -1}, "'seconds'"),
        ({"seconds": 1e6}, "'seconds'"),
        ({"seconds": "1"}, "'seconds'"),
        ({"cyclic": "false"}, "'cyclic' must be true or false, not text"),
        ({"cyclic": 0}, "'cyclic'"),
        ({"times": [1, 0.5, 0]}, "'times' do not increase"),
        ({"times": [0, 0.5, 2]}, r"'times.*'"),
        ({"times": [0, None, 1]}, r"'times.*'"),
        ({"times": []}, "'times'"),
        ({"matting_confidence": 7}, "'matting_confidence'"),
        ({"warnings": "none"}, "'warnings'"),
        ({"keys": [0, 3]}, "'keys'"),
    ],
)
def test_a_description_that_cannot_be_true_is_refused(tmp_path: Path, change, field) -> None:
    folder = folder_of(tmp_path / "f", moving(3))
    told = {"times": [0, 0.5, 1], "seconds": 1, "cyclic": False, **change}
    (folder / "clip.json").write_text(json.dumps(told))
    for read in (load_frames, read_clip):
        with pytest.raises(InputError, match=rf"clip\.json: .*{field}.*; ") as caught:
            read(folder)
        assert "\n" not in str(caught.value)
    assert key_times(folder) is None


def test_prepare_writes_frames_strip_and_description(tmp_path: Path) -> None:
    source = folder_of(tmp_path / "f", moving(12))
    clip = prepare_clip(source, tmp_path / "deep" / "out", ClipOptions(frames=4, size=64))
    out = tmp_path / "deep" / "out"
    assert sorted(p.name for p in (out / "frames").iterdir()) == [
        *(f"000{i}.png" for i in range(4)),
        "clip.json",
    ]
    assert json.loads((out / "frames" / "clip.json").read_text())["seconds"] == clip.seconds
    with Image.open(out / "strip.png") as strip:
        assert strip.size == (4 * 64, 64)
        assert np.asarray(strip)[2, 2].min() > 200  # light board
    assert [p.name for p in out.parent.iterdir()] == ["out"]
    with pytest.raises(InputError, match="exists already"):
        prepare_clip(source, out)
    with pytest.raises(InputError, match="cannot be written"):
        prepare_clip(source, source / "f0.png" / "out", ClipOptions(frames=1, size=16))


def test_a_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clip = read_clip(folder_of(tmp_path / "f", moving(3)), size=32)

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", full)
    target = tmp_path / "target"
    target.mkdir()
    with pytest.raises(InputError, match="No space left"):
        write_frames(clip, target / "out")
    with pytest.raises(InputError, match="No space left"):
        save_strip(clip, target / "strip.png")
    assert list(target.iterdir()) == []


def test_every_frame_has_a_time(unchecked: None) -> None:
    frames = np.zeros((1, 2, 2, 4), np.float32)
    with pytest.raises(ValueError, match="times"):
        Clip(frames, np.zeros(2), 1.0)


# ---- bad input ----


def refuse(match: str, path: Path | str, **options: object) -> None:
    with pytest.raises(InputError, match=match) as caught:
        read_clip(path, **options)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


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


def test_empty_and_full_masks(tmp_path: Path) -> None:
    empty = np.zeros((H, W, 4), np.uint8)
    refuse("0.00 s is empty", folder_of(tmp_path / "a", [empty]))
    refuse("0.04 s is empty", folder_of(tmp_path / "b", [box(30), empty, box(30)]))
    refuse("0.00 s is empty", folder_of(tmp_path / "c", [np.full((H, W, 3), 240, np.uint8)]))
    full = np.full((H, W, 4), 255, np.uint8)
    full[:1, :20, 3] = 0
    refuse("fills the whole picture", folder_of(tmp_path / "d", [full]))


def test_one_and_two_frames_work(tmp_path: Path) -> None:
    assert len(read_clip(folder_of(tmp_path / "one", moving(1)))) == 1
    two = read_clip(folder_of(tmp_path / "two", moving(2)))
    assert two.times.tolist() == [0, 1]
    assert two.seconds == pytest.approx(1 / 24)


def test_bad_options(tmp_path: Path, unchecked: None) -> None:
    folder = folder_of(tmp_path / "f", moving(12))
    refuse("no frame between 9 s and its end; the clip is 0.50 s", folder, start=9)
    refuse("--end 0.1: lies before the start", folder, start=0.2, end=0.1)
    refuse("--start -1", folder, start=-1)
    refuse("--every 0", folder, every=0)
    refuse("--frames -3", folder, frames=-3)
    refuse("--size 4", folder, size=4)
    refuse("--object-size 2", folder, object_size=2)
    refuse("--matting magic: neither", folder, matting="magic")
    refuse("--cyclic maybe", folder, cyclic="maybe")
    with pytest.raises(InputError, match=r"no clip\.json"):
        load_frames(folder)
    (folder / "clip.json").write_text("{}")
    with pytest.raises(InputError, match=r"clip\.json: the file lacks 'times'"):
        load_frames(folder)


# ---- real clips ----


def test_real_clips(shared_dir: Path) -> None:
    clips = shared_dir / "clips"
    rose = read_clip(clips / "blooming_rose", frames=3)
    assert (rose.matting, rose.warnings) == ("alpha", ())
    frog = read_clip(clips / "sighing_frog_fg.mp4", frames=3)
    assert frog.matting == "plain"
    assert frog.matting_confidence > 0.9
    assert frog.seconds == pytest.approx(31 / 16)
    gap = frog.frames[0, ..., 3]
    assert 0.15 < (gap > 0.5).mean() < 0.3
    assert ((gap > 0.02) & (gap < 0.98)).mean() < 0.05
