"""Video files: what is written comes back, at the right time, upright, with its alpha."""

from __future__ import annotations

import shutil
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from vid4d.errors import InputError
from vid4d.media.video import Video, shrink, write_mp4


def grey(level: int, height: int = 48, width: int = 64) -> np.ndarray:
    return np.full((height, width, 3), level, np.uint8)


def test_write_then_read_keeps_times_and_colors(tmp_path: Path) -> None:
    picture = np.zeros((48, 64, 3), np.float32)
    picture[:, :32], picture[:, 32:] = (0.8, 0.2, 0.1), (0.1, 0.3, 0.9)
    path = write_mp4(tmp_path / "a.mp4", [picture] * 5, 12.5)
    video = Video(path)
    assert video.times == pytest.approx([0, 0.08, 0.16, 0.24, 0.32])
    assert video.duration == pytest.approx(0.4)
    (frame,) = video.read([4])
    assert frame.shape == (48, 64, 4)
    assert not video.has_alpha
    for x, color in ((10, (204, 51, 26)), (54, (26, 77, 230))):
        assert np.abs(frame[20, x, :3].astype(int) - color).max() <= 4
    assert [p.name for p in tmp_path.iterdir()] == ["a.mp4"]


def test_the_file_is_h264_that_players_open(tmp_path: Path) -> None:
    with av.open(str(write_mp4(tmp_path / "a.mp4", [grey(9)] * 2, 24))) as container:
        context = container.streams.video[0].codec_context
        assert (context.name, context.pix_fmt) == ("h264", "yuv420p")


def test_odd_sizes_grow_to_even(tmp_path: Path) -> None:
    (frame,) = Video(write_mp4(tmp_path / "a.mp4", [grey(100, 31, 41)], 24)).read([0])
    assert frame.shape == (32, 42, 4)
    assert np.abs(frame[..., :3].astype(int) - 100).max() <= 3


def test_the_same_pictures_are_the_same_bytes(tmp_path: Path) -> None:
    """Of a width that is no whole number of an encoder's vectors, with what differs every time around it."""
    rng = np.random.default_rng(0)
    pictures, kept, seen = [grey(255, 48, 48) for _ in range(12)], [], set()
    for i, picture in enumerate(pictures):
        picture[12:36, 8 + i : 30 + i] = rng.integers(100, 130, (24, 22, 3))
    for _ in range(12):
        kept.append(rng.integers(0, 256, 100_000, np.uint8).tobytes())
        seen.add(write_mp4(tmp_path / "a.mp4", pictures, 12).read_bytes())
    assert len(seen) == 1


def test_any_frame_can_be_asked_for(tmp_path: Path) -> None:
    """Frames are told by their brightness; groups of 10 make the reader jump between key frames."""
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"g": "10", "bf": "2", "crf": "10"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for i in range(100):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(grey(2 * i + 20), format="rgb24")))
        container.mux(stream.encode())
    video = Video(path)
    assert len(video) == 100
    for wanted in ([0, 1, 2, 99], [57], [8, 9, 10, 11, 64, 65, 98]):
        levels = [float(f[..., :3].mean()) for f in video.read(wanted)]
        assert levels == pytest.approx([2 * i + 20 for i in wanted], abs=1.0)


def test_webm_alpha_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "a.webm"
    with av.open(str(path), "w") as container:
        stream = container.add_stream(
            "libvpx-vp9", rate=10, options={"crf": "10", "b": "0", "auto-alt-ref": "0"}
        )
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuva420p"
        for i in range(4):
            picture = np.zeros((48, 64, 4), np.uint8)
            picture[10:30, 5 + 8 * i : 25 + 8 * i] = (200, 30, 60, 255)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgba")))
        container.mux(stream.encode())
    video = Video(path)
    assert video.has_alpha
    for i, frame in zip((0, 3), video.read([0, 3]), strict=True):
        assert frame[20, 15 + 8 * i, 3] == 255
        assert frame[40, 40, 3] == 0
        assert (frame[..., 3] > 127).sum() == pytest.approx(400, rel=0.05)


def test_a_phone_held_upright_gives_upright_pictures(tmp_path: Path) -> None:
    """The display matrix of a quarter turn to the right, as phones write it, in the track header."""
    picture = grey(0)
    picture[:, :16] = 250  # left edge; after a quarter turn to the right it is the top edge
    path = write_mp4(tmp_path / "a.mp4", [picture] * 2, 24)
    data = bytearray(path.read_bytes())
    one = (1 << 16).to_bytes(4, "big")
    start = data.index(b"tkhd") + 4 + 40
    assert data[start : start + 4] == one
    zero, minus = bytes(4), (0x100000000 - (1 << 16)).to_bytes(4, "big")
    data[start : start + 36] = (
        zero
        + one
        + zero
        + minus
        + zero
        + zero
        + (48 << 16).to_bytes(4, "big")
        + zero
        + (1 << 30).to_bytes(4, "big")
    )
    path.write_bytes(data)
    (frame,) = Video(path).read([0])
    assert frame.shape == (64, 48, 4)
    assert frame[:12, :, 0].min() > 200
    assert frame[20:, :, 0].max() < 50


def test_cut_off_files(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (40, 48, 64, 3), dtype=np.uint8)
    whole = write_mp4(tmp_path / "whole.mp4", list(noise), 20).read_bytes()
    most = tmp_path / "most.mp4"
    most.write_bytes(whole[: int(0.8 * len(whole))])
    video = Video(most)
    assert 20 <= len(video) < 40
    assert "cut off" in video.notes[0]
    assert len(list(video.read([0, len(video) - 1]))) == 2
    for share in (0.3, 0.01):
        little = tmp_path / "little.mp4"
        little.write_bytes(whole[: int(share * len(whole))])
        with pytest.raises(InputError, match=r"little\.mp4.*cut off"):
            Video(little)


def test_files_that_are_no_video(tmp_path: Path) -> None:
    text = tmp_path / "notes.mp4"
    text.write_text("this is a shopping list\n" * 50)
    with pytest.raises(InputError, match=r"notes\.mp4: not a video"):
        Video(text)
    sound = tmp_path / "sound.wav"
    with av.open(str(sound), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
        silence.rate = 8000
        container.mux(stream.encode(silence))
        container.mux(stream.encode())
    with pytest.raises(InputError, match="only sound"):
        Video(sound)


def test_a_failed_write_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="among frames of"):
        write_mp4(tmp_path / "a.mp4", [grey(1), grey(1, 50, 50)], 24)
    with pytest.raises(ValueError, match="no frames"):
        write_mp4(tmp_path / "a.mp4", [], 24)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        write_mp4(tmp_path / "file" / "a.mp4", [grey(1)], 24)


def test_shrinking_leaves_no_fringe() -> None:
    picture = np.zeros((200, 400, 4), np.uint8)
    picture[..., 1] = 255  # green under full transparency must not leak
    picture[50:150, 101:300] = (255, 0, 0, 255)
    small = shrink(picture, 97)
    assert max(small.shape) == 97
    assert small[small[..., 3] > 8][:, 1].max() <= 1


@pytest.mark.parametrize("name", ["2024-01-01T12:30:00.mp4", "caf\udce9.mp4", "héllo ☃.mp4", "http:a.mp4"])
def test_files_of_any_name_are_opened(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    write_mp4("plain.mp4", [np.full((32, 32, 3), 90, np.uint8)] * 3, 10)
    Path("plain.mp4").rename(name)
    for path in (name, f"./{name}", tmp_path / name):
        assert len(list(Video(path).read([0, 2]))) == 2


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("notes.txt", "The quick brown fox\n" * 40),
        ("x.svg", '<svg xmlns="http://www.w3.org/2000/svg"/>'),
        ("list.m3u8", "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nplain.mp4\n#EXT-X-ENDLIST\n"),
        ("list.txt", "ffconcat version 1.0\nfile plain.mp4\n"),
        ("a.srt", "1\n00:00:01,000 --> 00:00:02,000\nHello\n"),
    ],
)
def test_text_and_playlists_are_no_videos(tmp_path, monkeypatch, name, content):
    monkeypatch.chdir(tmp_path)
    write_mp4("plain.mp4", [np.full((32, 32, 3), 90, np.uint8)] * 3, 10)
    Path(name).write_text(content)
    with pytest.raises(InputError, match=r"no video|not a video"):
        Video(name)


@pytest.mark.parametrize("kind", ["zip", "tar", "gztar"])
def test_archives_are_to_be_unpacked(tmp_path, kind):
    folder = tmp_path / "pictures"
    folder.mkdir()
    (folder / "a.png").write_bytes(bytes(range(200)))
    file = shutil.make_archive(str(tmp_path / "a"), kind, folder)
    with pytest.raises(InputError, match="an archive; unpack it, and give the folder"):
        Video(file)


@pytest.mark.parametrize(("pixel", "width"), [(2, 64), (0.5, 16), (100, 32), (1, 32)])
def test_pixels_are_made_square(tmp_path, pixel, width):
    """Those of anamorphic video; what a pixel cannot be is not believed."""
    file = tmp_path / "a.mp4"
    with av.open(str(file), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
        stream.codec_context.sample_aspect_ratio = Fraction(pixel).limit_denominator(100)
        for _ in range(3):
            frame = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    assert next(Video(file).read([0])).shape == (32, width, 4)
