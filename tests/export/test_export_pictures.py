"""Videos, GIF and pictures, read back with PyAV and Pillow and compared with renders of the asset."""

from __future__ import annotations

import av
import numpy as np
import pytest
from exported import ball_asset
from PIL import Image
from readers import decoded, read_gif

from vid4d.cameras import Cameras
from vid4d.errors import InputError
from vid4d.export.formats import export
from vid4d.export.options import ExportOptions
from vid4d.media.images import over, to_uint8
from vid4d.media.video import Video

SIDE = 48
OPTIONS = {"fps": 10.0, "seconds": 1.0, "size": SIDE, "elevation": 10.0}


@pytest.fixture
def asset(tmp_path):
    return ball_asset(tmp_path, seconds=1.0)


def truth(asset, i: int, background: float | None = None) -> np.ndarray:
    """Frame i of the turntable of OPTIONS."""
    return asset.render(Cameras.orbit([36.0 * i], 10.0, size=SIDE), i / 10, background=background)[0].numpy()


def test_mp4_shows_the_asset_on_white_or_a_color(asset):
    (path,) = export(asset, "mp4", options=ExportOptions(**OPTIONS))
    frames, rate = decoded(path)
    assert (len(frames), rate) == (10, 10)
    for i in (0, 4, 9):
        assert np.abs(frames[i] - truth(asset, i, 1.0)).mean() < 0.02
    (path,) = export(asset, "mp4", options=ExportOptions(**OPTIONS, background="#0000ff", force=True))
    np.testing.assert_allclose(decoded(path)[0][0][0, 0], [0, 0, 1], atol=0.03)


def test_webm_keeps_the_alpha(asset):
    """FFmpeg's own VP9 decoder drops it without a word; libvpx gives it back."""
    (path,) = export(asset, "webm", options=ExportOptions(**OPTIONS))
    with av.open(str(path)) as container:
        assert container.streams.video[0].metadata.get("alpha_mode") == "1"
    frames, rate = decoded(path, "libvpx-vp9", "rgba")
    assert (len(frames), rate) == (10, 10)
    for i in (0, 5, 9):
        expected = truth(asset, i)
        assert np.abs(frames[i][..., 3] - expected[..., 3]).mean() < 0.02
        solid = expected[..., 3] > 0.9
        assert solid.sum() > 50
        assert np.abs(frames[i][solid][:, :3] - expected[solid][:, :3]).mean() < 0.04
        edge = (expected[..., 3] > 0.3) & (expected[..., 3] < 0.7)
        darker = expected[edge][:, :3].mean() - frames[i][edge][:, :3].mean()
        assert darker < 0.05, "black from outside of the object bled into its outline"


def test_webm_on_a_background_has_no_alpha(asset):
    (path,) = export(asset, "webm", options=ExportOptions(**OPTIONS, background="white"))
    frames, _ = decoded(path)
    assert np.abs(frames[3] - truth(asset, 3, 1.0)).mean() < 0.02
    with av.open(str(path)) as container:
        assert "alpha_mode" not in container.streams.video[0].metadata


def gif_tables(data: bytes) -> tuple[bool, int]:
    """Whether the file has a palette for all frames, and how many frames have one of their own."""
    shared, at, own = bool(data[10] & 0x80), 13 + 3 * (2 << (data[10] & 7)), 0
    while data[at] != 0x3B:
        if data[at] == 0x21:  # an extension
            at += 2
        else:
            assert data[at] == 0x2C  # a picture
            local = data[at + 9] & 0x80
            own += bool(local)
            at += 11 + (3 * (2 << (data[at + 9] & 7)) if local else 0)
        while data[at]:
            at += data[at] + 1
        at += 1
    return shared, own


@pytest.mark.parametrize("background", ["auto", "black"])
def test_gif_has_one_palette_the_right_colors_and_duration(asset, background):
    options = ExportOptions(**{**OPTIONS, "fps": None, "background": background})
    (path,) = export(asset, "gif", options=options)
    assert gif_tables(path.read_bytes()) == (True, 0)
    with Image.open(path) as gif:
        assert (gif.n_frames, gif.size, gif.info["loop"]) == (12, (SIDE, SIDE), 0)
    frames, lasting = read_gif(path)
    for i, picture in enumerate(frames):
        camera = Cameras.orbit([30.0 * i], 10.0, size=SIDE)
        expected = asset.render(camera, i / 12)[0].numpy()
        solid = expected[..., 3] > 0.95
        assert np.abs(picture[solid][:, :3] - expected[solid][:, :3]).mean() < 0.05
        visible = picture[..., 3] > 0
        if background == "auto":
            assert (visible == (expected[..., 3] >= 0.5)).mean() > 0.99
        else:
            assert visible.all()
            assert picture[0, 0, :3].max() < 0.02
    assert lasting == 1


def test_png_are_exact(asset, tmp_path):
    files = export(asset, "png", tmp_path / "frames", ExportOptions(**OPTIONS))
    assert [f.name for f in files] == [f"frame_{i:04}.png" for i in range(10)]
    for i in (0, 7):
        picture = np.asarray(Image.open(files[i]))
        assert picture.shape == (SIDE, SIDE, 4)
        np.testing.assert_allclose(picture / 255, truth(asset, i), atol=0.5 / 255 + 1e-6)


def test_both_views_stand_side_by_side(asset, tmp_path):
    files = export(asset, "png", tmp_path / "frames", ExportOptions(**OPTIONS, view="both", time=0.5))
    first, last = (np.asarray(Image.open(f)) / 255 for f in (files[0], files[-1]))
    assert first.shape == (SIDE, 2 * SIDE, 4)
    np.testing.assert_allclose(first[:, :SIDE], first[:, SIDE:])  # the turn begins where the other stands
    np.testing.assert_allclose(last[:, :SIDE], first[:, :SIDE])  # which stands still, and so does time
    assert np.abs(last[:, SIDE:] - first[:, SIDE:]).max() > 0.2


def test_mp4_cannot_be_transparent(asset, tmp_path):
    with pytest.raises(InputError, match="mp4 has no transparency"):
        export(asset, "mp4", options=ExportOptions(**OPTIONS, background="transparent"))
    assert not (tmp_path / "export").exists()


def test_progress_is_told(asset):
    told = []
    export(
        asset, "gif", options=ExportOptions(**OPTIONS, report=lambda done, total: told.append((done, total)))
    )
    assert told == [(i, 10) for i in range(1, 11)]


@pytest.mark.parametrize("background", ["auto", "#0000ff"])
def test_prores_4444_has_straight_alpha_and_the_right_colors(asset, background):
    (path,) = export(asset, "mov", options=ExportOptions(**OPTIONS, background=background))
    with av.open(str(path)) as container:
        (stream,) = container.streams.video
        assert (stream.codec_context.name, stream.frames) == ("prores", 10)
        assert float(stream.duration * stream.time_base) == pytest.approx(1.0, abs=1e-4)
        assert int(stream.codec_context.colorspace) == 1  # BT.709
        assert ("yuva" in stream.codec_context.pix_fmt) == (background == "auto")
    pictures = np.stack(list(Video(path).read(range(10)))).astype(float)
    expected = rendered(asset, background)
    seen = expected[..., 3] == 255
    assert np.abs(pictures[seen][:, :3] - expected[seen][:, :3]).mean() < 2
    assert np.abs(pictures[..., 3] - expected[..., 3]).max() <= 2


@pytest.mark.parametrize("background", ["auto", "#0000ff"])
def test_animated_webp_has_alpha_the_right_colors_and_duration(asset, background):
    (path,) = export(asset, "webp", options=ExportOptions(**OPTIONS, background=background))
    with Image.open(path) as animation:
        assert (animation.n_frames, animation.info["loop"]) == (10, 0)
        pictures, total = [], 0
        for i in range(10):
            animation.seek(i)
            pictures.append(np.asarray(animation.convert("RGBA")).astype(float))
            total += animation.info["duration"]
    assert total == 1000
    expected = rendered(asset, background)
    seen = expected[..., 3] == 255
    assert np.abs(np.stack(pictures)[seen][:, :3] - expected[seen][:, :3]).mean() < 6
    assert np.abs(np.stack(pictures)[..., 3] - expected[..., 3]).max() <= 2


def rendered(asset, background: str) -> np.ndarray:
    """What the frames should show: (10, h, w, 4)."""
    cameras = Cameras.orbit([36.0 * i for i in range(10)], 10.0, size=SIDE)
    rgba = asset.render(cameras, [i / 10 for i in range(10)]).numpy()
    if background != "auto":
        rgba = over(rgba, np.array([0, 0, 1], np.float32))
        rgba = np.concatenate([rgba, np.ones_like(rgba[..., :1])], -1)
    return to_uint8(rgba).astype(float)
