"""What is written: BT.709, tagged, with the colors of the pictures by the definition of the standard."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from vid4d.media.video import Video, write_mp4
from vid4d.media.video_frames import FrameWriter

PATCHES = np.array([(220, 40, 30), (30, 160, 60), (20, 60, 200), (128, 128, 128), (255, 0, 0), (9, 9, 9)])
SIDE = 32


def picture() -> np.ndarray:
    return np.repeat(np.repeat(PATCHES[None], SIDE, 0), SIDE, 1).astype(np.uint8)


def decoded(frame: Any) -> np.ndarray:
    """RGB at the middles of the patches, from 4:2:0 in limited range, by BT.709's own numbers."""
    y, u, v = (
        np.frombuffer(p, np.uint8).reshape(p.height, p.line_size)[:, : p.width].astype(float)
        for p in list(frame.planes)[:3]
    )
    y = (y[SIDE // 2, SIDE // 2 :: SIDE] - 16) / 219
    u, v = ((c[SIDE // 4, SIDE // 4 :: SIDE // 2] - 128) / 224 for c in (u, v))
    red, blue = y + 1.5748 * v, y + 1.8556 * u
    return np.stack([red, (y - 0.2126 * red - 0.0722 * blue) / 0.7152, blue], -1) * 255


def first_frame(file: Path) -> Any:
    with av.open(str(file)) as container:
        context = container.streams.video[0].codec_context
        tags = (context.colorspace, context.color_primaries, context.color_trc, context.color_range)
        assert [int(t) for t in tags] == [1, 1, 1, 1]
        return next(container.decode(video=0))


def test_mp4_is_bt709_and_says_so(tmp_path: Path) -> None:
    file = write_mp4(tmp_path / "a.mp4", [picture()] * 3, 24)
    assert np.abs(decoded(first_frame(file)) - PATCHES).max() <= 2
    (frame,) = Video(file).read([1])
    assert np.abs(frame[SIDE // 2, SIDE // 2 :: SIDE, :3].astype(int) - PATCHES).max() <= 2


@pytest.mark.parametrize("has_alpha", [False, True])
def test_webm_is_bt709_and_says_so(tmp_path: Path, has_alpha: bool) -> None:
    file = tmp_path / "a.webm"
    with av.open(str(file), "w", format="webm") as container:
        stream = container.add_stream("libvpx-vp9", rate=24, options={"crf": "12", "b": "0"})
        stream.height, stream.width = picture().shape[:2]
        stream.pix_fmt = "yuva420p" if has_alpha else "yuv420p"
        writer = FrameWriter(stream.codec_context, has_alpha=has_alpha)
        rows = np.dstack([picture(), np.full(picture().shape[:2], 200, np.uint8)])
        for _ in range(3):
            container.mux(stream.encode(writer.frame(rows if has_alpha else picture())))
        container.mux(stream.encode())
    assert np.abs(decoded(first_frame(file)) - PATCHES).max() <= 3  # VP9's own loss
    (frame,) = Video(file).read([1])
    assert np.abs(frame[SIDE // 2, SIDE // 2 :: SIDE, :3].astype(int) - PATCHES).max() <= 3
    assert abs(int(frame[SIDE // 2, 20, 3]) - (200 if has_alpha else 255)) <= 2
