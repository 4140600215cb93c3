"""Frames by their tags: files made with a known matrix, range, transfer and gamut give the truth back."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from vid4d.errors import InputError
from vid4d.media import color
from vid4d.media.video import Video
from vid4d.media.video_frames import Tags, matrix_of

PATCHES = np.array(
    [(220, 40, 30), (30, 160, 60), (20, 60, 200), (240, 200, 40), (128, 128, 128), (255, 255, 255), (9, 9, 9)]
)
SIDE = 16


def picture() -> np.ndarray:
    return np.repeat(np.repeat(PATCHES[None], SIDE, 0), SIDE, 1).astype(np.uint8)


def encoded(rgb: np.ndarray, matrix: str, bits: int, *, full: bool) -> list[np.ndarray]:
    """Planes of YUV in so many bits, by the definition of H.273; rgb: in [0, 1]."""
    red, blue = color.LUMA[matrix]
    y = rgb @ (red, 1 - red - blue, blue)
    u, v = (rgb[..., 2] - y) / (2 - 2 * blue), (rgb[..., 0] - y) / (2 - 2 * red)
    one, most = 1 << bits - 8, (1 << bits) - 1
    if full:
        planes = [y * most, u * most + 128 * one, v * most + 128 * one]
    else:
        planes = [one * (16 + 219 * y), one * (128 + 224 * u), one * (128 + 224 * v)]
    return [np.clip(np.rint(p), 0, most).astype("<u2" if bits > 8 else np.uint8) for p in planes]


def write(file: Path, planes: list[np.ndarray], bits: int, tags: dict[str, int], count: int = 3) -> Path:
    """A video without loss; tags: attributes of the codec's context."""
    form = "yuv444p" if bits == 8 else f"yuv444p{bits}le"
    with av.open(str(file), "w") as container:
        stream = container.add_stream("ffv1", rate=24)
        stream.height, stream.width = planes[0].shape
        stream.pix_fmt = form
        for name, value in tags.items():
            setattr(stream.codec_context, name, value)
        for _ in range(count):
            frame = av.VideoFrame(stream.width, stream.height, form)
            for plane, values in zip(frame.planes, planes, strict=True):
                rows = np.zeros((plane.height, plane.line_size // values.itemsize), values.dtype)
                rows[:, : values.shape[1]] = values
                plane.update(rows.tobytes())
            for name, value in tags.items():
                if hasattr(frame, name):
                    setattr(frame, name, value)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return file


def read(file: Path) -> tuple[np.ndarray, tuple[str, ...]]:
    """The colors in the middle of the patches, and what was said."""
    video = Video(file)
    (frame,) = video.read([1])
    middle = frame[SIDE // 2, SIDE // 2 :: frame.shape[1] // len(PATCHES)][: len(PATCHES)]
    assert (middle[:, 3] == 255).all()
    return middle[:, :3].astype(int), video.notes


@pytest.mark.parametrize("matrix", [1, 6, 9])
@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("bits", [8, 10])
def test_matrix_and_range_are_read(tmp_path: Path, matrix: int, full: bool, bits: int) -> None:
    name = {1: "bt709", 6: "bt601", 9: "bt2020"}[matrix]
    tags = {"colorspace": matrix, "color_range": 2 if full else 1, "color_primaries": 1, "color_trc": 1}
    file = write(tmp_path / "a.mkv", encoded(picture() / 255, name, bits, full=full), bits, tags)
    colors, notes = read(file)
    assert np.abs(colors - PATCHES).max() <= (2 if bits == 8 else 1)  # 8 bits of YUV hold no more
    assert notes == ()


@pytest.mark.parametrize(("transfer", "name"), [(16, "PQ"), (18, "HLG")])
def test_hdr_is_shown_as_srgb(tmp_path: Path, transfer: int, name: str) -> None:
    light = color.srgb_to_linear(picture() / 255) @ np.linalg.inv(color.to_srgb_matrix(9)).T
    levels = np.linspace(0, 1, 200_001)
    curve = color.pq_to_linear(levels) if transfer == 16 else color.hlg_to_linear(levels)
    signal = np.interp(light, curve, levels)
    tags = {"colorspace": 9, "color_range": 1, "color_primaries": 9, "color_trc": transfer}
    file = write(tmp_path / "a.mkv", encoded(signal, "bt2020", 10, full=False), 10, tags)
    colors, notes = read(file)
    # a step of 10 bits in the dark is more than one of 255
    assert np.abs(colors - PATCHES)[:-1].max() <= 2
    assert np.abs(colors - PATCHES)[:-1].mean() <= 0.6
    (note,) = notes
    assert note.startswith(f"an HDR video ({name})")
    assert "brighter" not in note


def test_highlights_that_are_lost_are_named(tmp_path: Path) -> None:
    tags = {"colorspace": 9, "color_range": 1, "color_primaries": 9, "color_trc": 16}
    signal = np.full((SIDE, SIDE * len(PATCHES), 3), 0.9)
    file = write(tmp_path / "a.mkv", encoded(signal, "bt2020", 10, full=False), 10, tags)
    assert "100.0% of a frame is brighter than white" in read(file)[1][0]


def test_display_p3_is_converted(tmp_path: Path) -> None:
    light = color.srgb_to_linear(picture() / 255) @ np.linalg.inv(color.to_srgb_matrix(12)).T
    p3 = color.linear_to_srgb(np.clip(light, 0, 1))
    tags = {"colorspace": 1, "color_range": 1, "color_primaries": 12, "color_trc": 1}
    colors, _ = read(write(tmp_path / "a.mkv", encoded(p3, "bt709", 10, full=False), 10, tags))
    assert np.abs(colors - PATCHES).max() <= 1


def test_what_a_video_does_not_say() -> None:
    untold = Tags(2, None, 2, 2)
    assert matrix_of(untold, "h264", 1280, 720) == matrix_of(untold, "h264", 720, 1280) == "bt709"
    assert matrix_of(untold, "h264", 720, 576) == "bt601"
    assert matrix_of(untold, "mjpeg", 1920, 1080) == "bt601"
    assert matrix_of(untold._replace(primaries=9), "hevc", 320, 240) == "bt2020"


@pytest.mark.parametrize(
    ("tags", "said"),
    [
        ({"colorspace": 8, "color_primaries": 1, "color_trc": 1}, "YCgCo"),
        ({"colorspace": 1, "color_primaries": 1, "color_trc": 9}, "logarithmic"),
        ({"colorspace": 1, "color_primaries": 10, "color_trc": 1}, "primaries"),
    ],
)
def test_colors_that_cannot_be_read_are_named(tmp_path: Path, tags: dict[str, int], said: str) -> None:
    planes = encoded(picture() / 255, "bt709", 8, full=False)
    video = Video(write(tmp_path / "a.mkv", planes, 8, {"color_range": 1, **tags}))
    with pytest.raises(InputError, match=f"a.mkv.*{said}.*convert"):
        list(video.read([0]))


def woven(count: int) -> list[np.ndarray]:
    """A bar that moves 4 pixels between the fields of a frame."""
    fields = []
    for i in range(2 * count):
        field = np.full((64, 128, 3), 230, np.uint8)
        field[:, 8 + 4 * i : 28 + 4 * i] = 30
        fields.append(field)
    frames = [f.copy() for f in fields[::2]]
    for frame, later in zip(frames, fields[1::2], strict=True):
        frame[1::2] = later[1::2]
    return frames


def combed(frame: np.ndarray) -> float:
    """Share of pixels that differ from both neighbours above and below in the same direction."""
    rows = frame[..., 1].astype(int)
    return float(((rows[1:-1] - rows[:-2]) * (rows[1:-1] - rows[2:]) > 900).mean())


def test_interlaced_frames_show_one_moment(tmp_path: Path) -> None:
    file = tmp_path / "a.mp4"
    frames = woven(10)
    with av.open(str(file), "w") as container:
        stream = container.add_stream(
            "libx264", rate=25, options={"crf": "4", "x264-params": "tff=1:keyint=4"}
        )
        stream.height, stream.width, stream.pix_fmt = 64, 128, "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    video = Video(file)
    shown = list(video.read(range(10)))
    assert combed(frames[5]) > 0.05
    assert max(combed(f) for f in shown) < 0.01
    assert any("interlaced" in note for note in video.notes)
    for i, frame in enumerate(shown):  # the moment of the first field
        dark = np.nonzero(frame[32, :, 1] < 130)[0]
        assert abs(dark.min() - (8 + 8 * i)) <= 4
        assert len(dark) <= 26
    assert [f.shape for f in video.read([3, 7])] == [(64, 128, 4)] * 2
    assert np.abs(next(video.read([9])).astype(int) - shown[9]).mean() < 2


def test_of_several_streams_the_one_that_moves_is_read(tmp_path: Path) -> None:
    file = tmp_path / "a.mkv"
    with av.open(str(file), "w") as container:
        cover = container.add_stream("mjpeg", rate=1)
        cover.height, cover.width, cover.pix_fmt = 96, 96, "yuvj420p"
        film = container.add_stream("ffv1", rate=24)
        film.height, film.width, film.pix_fmt = 32, 48, "yuv420p"
        still = av.VideoFrame.from_ndarray(np.zeros((96, 96, 3), np.uint8), format="rgb24")
        container.mux(cover.encode(still.reformat(format="yuvj420p")))
        container.mux(cover.encode())
        for _ in range(6):
            frame = av.VideoFrame.from_ndarray(np.zeros((32, 48, 3), np.uint8), format="rgb24")
            container.mux(film.encode(frame.reformat(format="yuv420p")))
        container.mux(film.encode())
    video = Video(file)
    assert len(video) == 6
    assert [f.shape for f in video.read([0, 5])] == [(32, 48, 4)] * 2
